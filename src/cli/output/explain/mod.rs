//! Prints a completed request, as text and as JSON, with secrets hidden.

mod end;
mod shown;
mod walk;

use serde_json::{Value, json};

use crate::dispatch::in_process::CompletedCall;
use crate::platform::Answer;
use crate::secret::Masks;

use crate::cli::shared::pretty;

pub(in crate::cli) use shown::Shown;
use walk::Walk;

impl Shown<'_> {
    /// The steps of these calls, without the answer to the platform.
    pub(in crate::cli) fn explained(self, calls: &[&CompletedCall]) -> String {
        if let (Some(event), []) = (self.completed.event, calls) {
            return format!("event      {event}: no entry in the table");
        }
        let calls: Vec<String> = calls
            .iter()
            .map(|call| {
                let mut walk = Walk::of(self, call);
                walk.end(call.route.as_deref());
                walk.text
            })
            .collect();
        calls.join("\n\n")
    }

    /// Whether one of these calls rendered a request that was not sent, because of `--dry-run`.
    pub(in crate::cli) fn is_unsent(self, calls: &[&CompletedCall]) -> bool {
        self.dry_run && calls.iter().any(|call| call.record.was_rendered())
    }

    /// The answer to the platform.
    pub(in crate::cli) fn answer(self) -> String {
        let Answer { status, content_type, body } = &self.completed.answer;
        let (platform, status) = (self.platform.name(), status.as_u16());
        let head = format!("\nresponse   to {platform}: status {status}, {content_type}");
        format!("{head}\n{}", self.masks().show(&pretty(body)))
    }

    /// The records and the answer as JSON. The answer is null if nothing was sent.
    pub(in crate::cli) fn to_json(self, calls: &[&CompletedCall]) -> Value {
        let records = calls.iter().map(|call| call.record.view(&self.plan.masks, call.route.as_deref()));
        let Answer { status, content_type, body } = &self.completed.answer;
        let body = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
        let body = self.masks().show_value(&body);
        let answer = json!({"status": status.as_u16(), "content_type": content_type, "body": body});
        json!({
            "at": self.now,
            "event": self.completed.event,
            "calls": records.collect::<Vec<_>>(),
            "answer": if self.is_unsent(calls) { Value::Null } else { answer },
        })
    }

    /// The secrets and sensitive values of all calls.
    fn masks(self) -> Masks {
        let mut masks = self.plan.masks.clone();
        for call in &self.completed.calls {
            masks.extend(&call.record.masks(&self.plan.masks, call.route.as_deref()));
        }
        masks
    }
}
