//! Calls of `async` routes: the call is stored, the platform gets the reply, and the requests are sent later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::plan::Route;
use crate::plan::replies::Picked;
use crate::plan::state::AsyncDelivery;
use crate::state::{JobId, NewJob, Payload, StateError, StateFault, Work, WorkKind};

use super::stored_call::StoredCall;
use super::{CallEnv, CallError, Phase, Record};

/// The longest time that one attempt to deliver a call may take.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// The delivery in a record: either the call was stored for it, or the record is an attempt of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: JobId,
    /// Whether the deliveries of its conversation run one after the other.
    pub is_ordered: bool,
    /// The attempt; `None` if the call was stored and its requests are sent later.
    pub attempt: Option<DeliveryAttempt>,
}

/// An attempt to deliver a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryAttempt {
    /// The number of the attempt; 1 is the first.
    pub number: u32,
    /// When the call was accepted.
    pub accepted_at: Timestamp,
    /// The revision of the table that accepted it.
    pub revision: String,
}

/// Picks the reply of a call and stores the call. If the call cannot be stored, it fails, and the reply is not sent.
pub(super) async fn accept(
    route: &Route,
    delivery: AsyncDelivery,
    env: &CallEnv<'_>,
    record: &mut Record,
) -> Result<Picked, Arc<CallError>> {
    let picked = super::pick(route, env, record)?;
    if picked.failure.is_some() {
        return Ok(picked);
    }
    let context = &record.call.context;
    let is_event = !context.event.is_null();
    let is_sensitive = route.state.sensitive || record.memory.is_sensitive;
    let bytes = StoredCall::encode(record, route, env.now);
    let job = NewJob {
        work: Work {
            kind: if is_event { WorkKind::Event } else { WorkKind::Route },
            name: route.name.clone(),
        },
        platform: context.platform.to_owned(),
        conversation: context.conversation.clone(),
        revision: env.plan.revision.clone(),
        ordered: delivery.ordered,
        retry_for: delivery.retry_for,
        seed: env.key.seed(),
        payload: Payload { bytes, is_sensitive },
    };
    // If this instance dies before it answers, the platform retries the call. The retry may store it again only if the
    // upstream recognises the idempotency key. Otherwise it is unconfirmed.
    if !route.reruns_failures()
        && let Some(marking) = env.caller.before_write()
    {
        marking.await?;
    }
    let left = env.deadline.saturating_duration_since(Instant::now());
    let stored = match env.state {
        Some(state) => state.store.within(left).append_job(job).await,
        None => Err(no_store()),
    };
    record.state_limit = stored.is_err().then_some(left);
    let id = stored.map_err(|error| Arc::new(CallError::NotStored(error)))?;
    record.delivery = Some(Box::new(DeliveryRecord { id, is_ordered: delivery.ordered, attempt: None }));
    record.note(Phase::Store);
    Ok(picked)
}

fn no_store() -> StateError {
    StateError { fault: StateFault::CannotOpen, place: String::new(), detail: "no store is open".to_owned() }
}
