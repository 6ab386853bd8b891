//! Deliveries as JSON, and how they are selected: for the command line and the admin API.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::call::GivenArguments;
use crate::flow::StoredCall;
use crate::json::ValueRef;
use crate::observe::masking::hide_named;
use crate::plan::{Plan, Route};
use crate::platform;
use crate::secret::{HIDDEN, Masks};
use crate::state::{Counts, Delivery, DeliveryFilter, DeliveryStatus, StateError, WorkKind};

/// A delivery, without what it holds. `masks` hide secrets in the reason.
pub fn summary(delivery: &Delivery, masks: &Masks) -> Map<String, Value> {
    let Delivery {
        id,
        work,
        platform,
        conversation,
        revision,
        is_ordered,
        status,
        attempts,
        accepted_at,
        due_at,
        retry_until,
        finished_at,
        reason: _,
    } = delivery;
    let shown = json!({
        "id": id.to_string(),
        "kind": work.kind.as_str(),
        "route": work.name,
        "platform": platform,
        "conversation": conversation,
        "status": status.as_str(),
        "attempts": attempts,
        "accepted_at": accepted_at.to_string(),
        "due_at": due_at.map(|at| at.to_string()),
        "retry_until": retry_until.to_string(),
        "finished_at": finished_at.map(|at| at.to_string()),
        "ordered": is_ordered,
        "accepted_by": revision,
        "reason": reason(delivery, masks),
    });
    match shown {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

/// Why the last attempt failed, with secrets hidden. Those of its own table were hidden before it was stored.
pub fn reason(delivery: &Delivery, masks: &Masks) -> Option<String> {
    delivery.reason.as_deref().map(|reason| masks.hide(reason))
}

/// A delivery and the call that it holds, with secrets and sensitive values hidden.
pub fn whole(delivery: &Delivery, payload: &Result<Vec<u8>, StateError>, plan: &Plan) -> Map<String, Value> {
    let mut shown = summary(delivery, &plan.masks);
    let call = match payload {
        Ok(payload) => call(delivery, payload, plan),
        Err(error) => json!({"error": error.to_string()}),
    };
    shown.insert("call".to_owned(), call);
    shown
}

fn call(delivery: &Delivery, payload: &[u8], plan: &Plan) -> Value {
    let platform = platform::find(&delivery.platform).map_or("", |platform| platform.name());
    let Some(StoredCall { call, memory, now }) = StoredCall::decode(platform, payload) else {
        return json!({"error": "what was stored of the call is damaged"});
    };
    let route = match delivery.work.kind {
        WorkKind::Route => plan.routes.get(&delivery.work.name),
        WorkKind::Event => plan.event(platform, &delivery.work.name),
    };
    let route: Option<&Route> = route.map(AsRef::as_ref);
    let args = match (&call.args, route) {
        (GivenArguments::Json(args), Some(route)) => {
            let shown = plan.masks.show_value(&args.get().to_value());
            hide_named((&shown).into(), route)
        }
        // Without its route, it is unknown which arguments are sensitive.
        _ => HIDDEN.into(),
    };
    let value = |value: ValueRef<'_>| match route {
        Some(route) if !route.state.sensitive => plan.masks.show_value(&value.to_value()),
        _ if value.is_null() => Value::Null,
        _ => HIDDEN.into(),
    };
    let context = &call.context;
    json!({
        "function": plan.masks.show(&context.function),
        "id": context.id,
        "args": args,
        "event": value(context.event.get()),
        "memory": value((&memory).into()),
        "now": now,
    })
}

/// How many deliveries there are, by status, and the age of the oldest that is not finished.
pub fn counts(counts: &Counts) -> Value {
    let Counts { waiting, retrying, running, delivered, dead, oldest } = counts;
    json!({
        "waiting": waiting,
        "retrying": retrying,
        "running": running,
        "delivered": delivered,
        "dead": dead,
        "oldest_at": oldest.map(|at| at.to_string()),
    })
}

/// How deliveries are selected, as written.
#[derive(Debug, Clone, Default)]
pub struct DeliveryQuery {
    /// The route or event.
    pub route: Option<String>,
    /// The status.
    pub status: Option<String>,
    /// Accepted at this time or later, or at most this long ago.
    pub since: Option<String>,
    /// The conversation.
    pub conversation: Option<String>,
}

impl DeliveryQuery {
    /// Reads the query.
    ///
    /// # Errors
    /// What is wrong with it, with what to write.
    pub fn read(self) -> Result<DeliveryFilter, String> {
        let Self { route, status, since, conversation } = self;
        let status = status.as_deref().map(status_of).transpose()?;
        let since = since.as_deref().map(time_of).transpose()?;
        Ok(DeliveryFilter { name: route, status, since, conversation, is_undelivered: false })
    }
}

fn status_of(text: &str) -> Result<DeliveryStatus, String> {
    DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
        let known: Vec<String> =
            DeliveryStatus::ALL.iter().map(|known| format!("`{}`", known.as_str())).collect();
        let shown: String = text.chars().take(100).collect();
        format!("unknown status `{shown}`: use one of {}", known.join(", "))
    })
}

/// A time, or how long ago it was.
fn time_of(text: &str) -> Result<Timestamp, String> {
    let ago = |ago: Duration| Timestamp::now().checked_sub(ago).ok();
    let time = text.parse().ok().or_else(|| ago(humantime::parse_duration(text).ok()?));
    time.ok_or_else(|| {
        "invalid `since`: write a time such as `2026-06-19T03:00:00Z`, or an age such as `15m` or `8h`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{JobId, Work};

    #[test]
    fn a_list_hides_secrets_in_reasons() {
        let delivery = Delivery {
            id: JobId::default(),
            work: Work { kind: WorkKind::Route, name: "note".to_owned() },
            platform: "http".to_owned(),
            conversation: None,
            revision: String::new(),
            is_ordered: false,
            status: DeliveryStatus::Dead,
            attempts: 1,
            accepted_at: Timestamp::UNIX_EPOCH,
            due_at: None,
            retry_until: Timestamp::UNIX_EPOCH,
            finished_at: Some(Timestamp::UNIX_EPOCH),
            reason: Some("refused: the login of hunter2-hunter2 with *** failed".to_owned()),
        };
        let mut masks = Masks::default();
        masks.add("hunter2-hunter2");
        assert_eq!(summary(&delivery, &masks)["reason"], "refused: the login of *** with *** failed");
    }

    #[test]
    fn a_query_that_selects_nothing_by_mistake_is_an_error() {
        let status = DeliveryQuery { status: Some("died".to_owned()), ..DeliveryQuery::default() };
        assert!(status.read().unwrap_err().contains("`dead`"));
        let since = DeliveryQuery { since: Some("yesterday".to_owned()), ..DeliveryQuery::default() };
        assert!(since.read().unwrap_err().contains("`15m`"));
        let good = DeliveryQuery {
            status: Some("dead".to_owned()),
            since: Some("2026-06-19T03:00:00Z".to_owned()),
            ..DeliveryQuery::default()
        };
        assert_eq!(good.read().unwrap().status, Some(DeliveryStatus::Dead));
    }
}
