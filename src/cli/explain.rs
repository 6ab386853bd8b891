//! What came of a request, for people and for machines, with what must not be shown hidden.

use serde_json::{Value, json};

use crate::dispatch::in_process::{Completed, CompletedCall};
use crate::plan::Plan;
use crate::platform::{Answer, Platform};

use super::call::pretty;
use super::walk::Walk;

/// What came of a request, to be shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) tried: &'a Completed,
    pub(super) plan: &'a Plan,
    pub(super) platform: &'static dyn Platform,
    /// The time of its calls.
    pub(super) now: &'a str,
    /// Whether nothing was sent.
    pub(super) dry_run: bool,
}

impl Shown<'_> {
    /// The steps of these of its calls, up to the answer.
    pub(super) fn explained(self, calls: &[&CompletedCall]) -> String {
        if let (Some(event), []) = (self.tried.event, calls) {
            return format!("event      {event}, for which the table has no entry");
        }
        let calls: Vec<String> = calls.iter().map(|call| Walk::of(self, call).text).collect();
        calls.join("\n\n")
    }

    /// Whether these of its calls came as far as a request that was not sent.
    pub(super) fn is_unsent(self, calls: &[&CompletedCall]) -> bool {
        self.dry_run && calls.iter().any(|call| call.record.was_rendered())
    }

    /// What the platform is told.
    pub(super) fn answer(self) -> String {
        let Answer { status, content_type, body } = &self.tried.answer;
        let (platform, status) = (self.platform.name(), status.as_u16());
        let head = format!("\nanswer     as {platform} gets it: status {status}, {content_type}");
        format!("{head}\n{}", self.hidden(&pretty(body)))
    }

    /// The records and the answer, as JSON; without the answer where nothing was sent.
    pub(super) fn to_json(self, calls: &[&CompletedCall]) -> Value {
        let records = calls.iter().map(|call| call.record.view(&self.plan.masks, call.route.as_deref()));
        let Answer { status, content_type, body } = &self.tried.answer;
        let body = self.hidden(&String::from_utf8_lossy(body));
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        let answer = json!({"status": status.as_u16(), "content_type": content_type, "body": body});
        json!({
            "at": self.now,
            "event": self.tried.event,
            "calls": records.collect::<Vec<_>>(),
            "answer": if self.is_unsent(calls) { Value::Null } else { answer },
        })
    }

    /// A text that belongs to the request, with what must not be shown of any of its calls hidden.
    fn hidden(self, text: &str) -> String {
        self.tried.calls.iter().fold(text.to_owned(), |text, call| {
            call.record.masks(&self.plan.masks, call.route.as_deref()).hide(&text)
        })
    }
}
