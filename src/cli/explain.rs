//! A record as a person reads it: every step of one call, with what must not be shown hidden.

use std::fmt::Write as _;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::call::Arguments;
use crate::flow::masking::hide_named;
use crate::flow::{CallError, Record, StepRecord};
use crate::plan::route::Step;
use crate::plan::{Brought, Plan, Route};
use crate::platform::{Answer, Platform};
use crate::secret::{HIDDEN, Masks};
use crate::trial::{Tried, TriedCall};
use crate::upstream::delivery::DeliveryError;

use super::call::pretty;

/// What came of a request, to be shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) tried: &'a Tried,
    pub(super) plan: &'a Plan,
    pub(super) platform: &'static dyn Platform,
    /// The time of its calls.
    pub(super) now: &'a str,
    /// Whether nothing was sent.
    pub(super) dry_run: bool,
}

impl Shown<'_> {
    /// The steps of these of its calls, up to the answer.
    pub(super) fn explained(self, calls: &[&TriedCall]) -> String {
        if let (Some(event), []) = (self.tried.event, calls) {
            return format!("event      {event}, for which the table has no entry");
        }
        let calls: Vec<String> = calls.iter().map(|call| self.call(call)).collect();
        calls.join("\n\n")
    }

    fn call(self, call: &TriedCall) -> String {
        explain(&call.record, self.plan, self.platform, self.dry_run)
    }

    /// What the platform is told.
    pub(super) fn answer(self) -> String {
        let Answer { status, content_type, body } = &self.tried.answer;
        let head = format!("\nanswer     status {}, {content_type}", status.as_u16());
        format!("{head}\n{}", self.hidden(&pretty(body)))
    }

    /// The records and the answer, as JSON; without the answer where nothing was sent.
    pub(super) fn to_json(self, calls: &[&TriedCall], unsent: bool) -> Value {
        let records = calls.iter().map(|call| call.record.view(&self.plan.masks, call.route.as_deref()));
        let Answer { status, content_type, body } = &self.tried.answer;
        let body = self.hidden(&String::from_utf8_lossy(body));
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        let answer = json!({"status": status.as_u16(), "content_type": content_type, "body": body});
        json!({
            "at": self.now,
            "event": self.tried.event,
            "calls": records.collect::<Vec<_>>(),
            "answer": if unsent { Value::Null } else { answer },
        })
    }

    /// A text that belongs to the request, with what must not be shown of any of its calls hidden.
    fn hidden(self, text: &str) -> String {
        self.tried.calls.iter().fold(text.to_owned(), |text, call| {
            call.record.masks(&self.plan.masks, call.route.as_deref()).hide(&text)
        })
    }
}

/// The steps of a call, up to the answer.
fn explain(record: &Record, plan: &Plan, platform: &dyn Platform, dry_run: bool) -> String {
    let context = &record.call.context;
    let route = plan.route(&context.function, platform.name()).map(AsRef::as_ref);
    let masks = record.masks(&plan.masks, route);
    let mut out = Explanation { text: String::new(), masks };
    out.head("call", &format!("{} as {}", context.function, platform.name()));
    match route {
        None => out.line("no route answers this function for this platform"),
        Some(route) => {
            out.arguments(record, route);
            if route.steps.is_empty() && record.validated.is_some() {
                out.head("request", "none: the route answers by itself");
            }
            for ((step, went), brought) in route.steps.iter().zip(&record.steps).zip(&record.brought) {
                out.step(step, went, brought, dry_run);
            }
        }
    }
    if dry_run && matches!(record.error, Some(CallError::Delivery(DeliveryError::Credential(_)))) {
        out.line("without its credential, for which a token would have to be asked for");
    }
    if let Some(error) = &record.error
        && !(dry_run && record.was_rendered())
    {
        out.head("failed", &format!("{}: {error}", error.kind()));
    }
    if let Some(error) = &record.failure_error {
        out.line(&format!("the case for this failure could not be rendered: {error}"));
    }
    if !(dry_run && record.was_rendered()) {
        out.case(record, route);
    }
    out.text.trim_end().to_owned()
}

struct Explanation {
    text: String,
    masks: Masks,
}

impl Explanation {
    fn head(&mut self, name: &str, what: &str) {
        let what = self.masks.hide(what);
        let _ = writeln!(self.text, "{}", format!("{name:<10} {what}").trim_end());
    }

    fn line(&mut self, text: &str) {
        let text = self.masks.hide(text);
        for line in text.lines() {
            let _ = writeln!(self.text, "           {line}");
        }
    }

    fn json(&mut self, value: &Value) {
        let value = self.masks.hide_value(value);
        self.line(&format!("{value:#}"));
    }

    fn arguments(&mut self, record: &Record, route: &Route) {
        match &record.validated {
            Some(validated) => {
                self.head("arguments", "they fit");
                self.json(&hide_named(&validated.args, route));
                if !validated.converted.is_empty() {
                    self.line(&format!("converted: {}", validated.converted.join(", ")));
                }
                if !validated.dropped.is_empty() {
                    self.line(&format!("dropped, not declared: {}", validated.dropped.join(", ")));
                }
            }
            None => {
                self.head("arguments", "they do not fit");
                match &record.call.args {
                    Arguments::Json(given) => self.json(&hide_named(given, route)),
                    Arguments::Unreadable => self.line("what came is not JSON"),
                }
            }
        }
    }

    fn step(&mut self, step: &Step, went: &StepRecord, brought: &Brought, dry_run: bool) {
        if let Some(name) = &step.name {
            let how = if went.skipped { ": not asked, its conditions do not hold" } else { "" };
            self.head("step", &format!("{name}{how}"));
        }
        if let Some(request) = &went.trace.request {
            let sent = if dry_run || went.trace.time.is_none() { " (not sent)" } else { "" };
            self.head("request", &format!("{} {}{sent}", request.method, request.url));
            self.headers(&request.headers);
            if let Some(body) = &request.body {
                self.body(body);
            }
        }
        if went.trace.attempts > 1 {
            let hedges = match went.trace.hedges {
                0 => String::new(),
                hedges => format!(", {hedges} of them beside one that was late"),
            };
            self.line(&format!("sent {} times{hedges}", went.trace.attempts));
        }
        if let Some(reading) = &brought.reading {
            let took = went.trace.time.map_or(0, |time| time.as_millis());
            self.head("reply", &format!("status {} in {took} ms", reading.status()));
            match reading.body() {
                Value::String(text) => self.line(text),
                body => self.json(body),
            }
        }
        if !brought.values.is_empty() {
            self.head("extracted", "");
        }
        for (name, value) in step.extraction.names().zip(&brought.values) {
            let shown = match value {
                Some(value) => self.masks.hide_value(value).to_string(),
                None => "missing".to_owned(),
            };
            self.line(&format!("{name} = {shown}"));
        }
        if let Some(error) = went.error.as_ref().filter(|_| !dry_run) {
            self.line(&format!("failed: {}: {error}", error.kind()));
        }
    }

    fn headers(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            let shown = String::from_utf8_lossy(value.as_bytes());
            self.line(&format!("{name}: {}", if value.is_sensitive() { HIDDEN } else { &shown }));
        }
    }

    fn body(&mut self, body: &[u8]) {
        match serde_json::from_slice::<Value>(body) {
            Ok(json) => self.json(&json),
            Err(_) => self.line(&String::from_utf8_lossy(body)),
        }
    }

    fn case(&mut self, record: &Record, route: Option<&Route>) {
        let what = match (record.case, &record.error, route) {
            (Some(case), _, _) => format!("case {}", case + 1),
            (None, None, Some(_)) => "no case: every extracted value".to_owned(),
            _ => "no case: the text for this kind of failure".to_owned(),
        };
        self.head("answered", &format!("{what}, in {} ms", record.time.as_millis()));
        for dropped in &record.dropped {
            self.line(dropped);
        }
    }
}
