//! Records as JSON, for `call --explain`, the log and the admin API. Secrets and sensitive values are masked.

use std::cell::OnceCell;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::call::{FailureKind, GivenArguments, Reply};
use crate::json::{JsonText, SharedValue, ValueRef};
use crate::lang::template::{ParsedResponse, Scope, StepOutput};
use crate::plan::Route;
use crate::plan::when::KnownValues;
use crate::secret::{HIDDEN, Masks};
use crate::upstream::Request;
use crate::upstream::delivery::AttemptRecord;

use super::masking::hide_named;
use crate::flow::{CacheUse, CallError, DeliveryRecord, MemoryRecord, Record, StepRecord};

/// The outcome of a call that did not fail.
pub const ANSWERED: &str = "answered";

/// The key that stands in for a value that is too large to show.
pub const OMITTED_BYTES: &str = "omitted_bytes";

/// The largest value or body that is shown, in bytes. Of a larger one, only the size is shown.
pub(super) const MAX_SHOWN: usize = 64 * 1024;

/// The most characters of an error, and of a name chosen by the caller.
pub(super) const MAX_TEXT: usize = 500;

/// A record, and what is needed to show it.
struct View<'a> {
    record: &'a Record,
    route: Option<&'a Route>,
    secrets: &'a Masks,
    /// Built when the first text is hidden: a summary usually has none.
    masks: OnceCell<Masks>,
}

impl Record {
    /// A summary of the call, with the fields of its log line.
    pub fn summary(&self, secrets: &Masks, route: Option<&Route>) -> Map<String, Value> {
        View { record: self, route, secrets, masks: OnceCell::new() }.summary()
    }

    /// The whole call with all its steps.
    pub fn view(&self, secrets: &Masks, route: Option<&Route>) -> Map<String, Value> {
        View { record: self, route, secrets, masks: OnceCell::new() }.whole()
    }

    /// What the caller was told: `answered`, or the kind of failure. If the deadline passed first, that is a timeout,
    /// whatever the call came to later.
    pub fn outcome_slug(&self) -> &'static str {
        if self.was_overdue() { FailureKind::Timeout.slug() } else { self.final_outcome() }
    }

    /// What the call came to: `answered`, or the kind of failure.
    pub fn final_outcome(&self) -> &'static str {
        self.error.as_ref().map_or(ANSWERED, |error| error.kind().slug())
    }

    /// The id of the trace, if the call is part of one.
    pub fn trace(&self) -> Option<String> {
        self.traced.as_ref().map(|traced| format!("{:032x}", traced.link.own.trace))
    }
}

impl View<'_> {
    fn masks(&self) -> &Masks {
        self.masks.get_or_init(|| self.record.masks(self.secrets, self.route))
    }

    fn summary(&self) -> Map<String, Value> {
        let record = self.record;
        let context = &record.call.context;
        let mut shown = Map::new();
        let mut add = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        add("platform", context.platform.into());
        add("function", cut(&self.masks().show(&context.function)).into());
        let conversation = context.conversation.as_deref().map(|text| cut(&self.masks().show(text)));
        add("conversation", conversation.into());
        add("outcome", record.outcome_slug().into());
        add("reason", record.error.as_ref().map(|error| error.reason().slug()).into());
        add("late_outcome", record.was_overdue().then(|| record.final_outcome()).into());
        add("error", self.why_failed().into());
        add("case", record.case.map(|case| case + 1).into());
        add("ms", ms(record.time));
        add("overhead_ms", ms(record.overhead(self.route)));
        add("upstream_ms", record.upstream_time().map_or(Value::Null, ms));
        add("upstreams", record.upstreams().into());
        add("attempts", record.steps.iter().map(|step| step.delivery.attempts).sum::<u32>().into());
        add("cache", record.cache_use().map(CacheUse::slug).into());
        add("overdue", record.was_overdue().into());
        add("trace", record.trace().into());
        shown
    }

    /// Why the caller got a failure.
    fn why_failed(&self) -> Option<String> {
        let error = self.record.error.as_ref().map(|error| self.error(error));
        let late = || "the deadline passed while the request was in flight; it ended later".to_owned();
        error.or_else(|| self.record.was_overdue().then(late))
    }

    fn whole(&self) -> Map<String, Value> {
        let mut shown = self.summary();
        shown.insert("arguments".to_owned(), self.arguments());
        shown.insert("memory".to_owned(), self.memory());
        shown.insert("steps".to_owned(), self.steps());
        let skipped = self.record.skipped_cases.iter().filter_map(|skipped| {
            let scope = self.record.scope("");
            let reason = self.route?.replies.why_skipped(*skipped, self.known(&scope));
            Some(json!({"case": skipped.case + 1, "reason": cut(&self.masks().show(&reason))}))
        });
        shown.insert("skipped".to_owned(), skipped.collect());
        shown.insert("delivery".to_owned(), self.delivery());
        shown.insert("reply".to_owned(), self.reply(&self.record.outcome.reply));
        let errors = self.record.failure_error.iter().map(ToString::to_string);
        let errors = errors.chain(self.record.dropped.iter().cloned());
        let errors = errors.map(|text| cut(&self.masks().show(&text)));
        shown.insert("reply_errors".to_owned(), errors.collect());
        shown
    }

    fn steps(&self) -> Value {
        let Some(route) = self.route else { return Value::Array(Vec::new()) };
        let ran = route.steps.iter().zip(self.record.steps.iter().zip(&self.record.outputs)).enumerate();
        ran.map(|(index, (step, (step_record, output)))| {
            let extracted = step.extraction.names().zip(&output.values);
            let extracted = extracted.map(|(name, value)| {
                let shown = match value {
                    Some(_) if step.extraction.is_sensitive(name) => Value::from(HIDDEN),
                    value => self.value(value.as_ref().map(SharedValue::get)),
                };
                (name.to_owned(), shown)
            });
            let mut shown = self.step(step_record, output);
            shown["name"] = step.name.as_deref().into();
            shown["upstream"] = step.request.upstream.delivery.target.name.as_str().into();
            shown["extracted"] = Value::Object(extracted.collect());
            if step_record.skipped {
                // The conditions of a step see the earlier steps only.
                let steps = &self.record.outputs[..index];
                let scope = Scope { steps, ..self.record.scope("") };
                let reason = route.why_skipped(index, step_record.unmet, self.known(&scope));
                shown["skip_reason"] = cut(&self.masks().show(&reason)).into();
            }
            shown
        })
        .collect()
    }

    /// What the call recalled and remembered; null if it did neither.
    fn memory(&self) -> Value {
        let MemoryRecord { recalled, remembered, error, .. } = &*self.record.memory;
        if recalled.is_none() && remembered.is_empty() && error.is_none() {
            return Value::Null;
        }
        let remembered =
            remembered.iter().map(|(name, value)| (name.clone(), self.value(Some(value.into()))));
        json!({
            "recalled": self.value(recalled.as_deref().map(ValueRef::from)),
            "remembered": Value::Object(remembered.collect()),
            "error": error.as_ref().map(|error| cut(&self.masks().show(&error.to_string()))),
        })
    }

    /// The delivery that the call stored, or that it attempts; null if it is about none.
    fn delivery(&self) -> Value {
        let Some(DeliveryRecord { id, is_ordered, attempt }) = self.record.delivery.as_deref() else {
            return Value::Null;
        };
        json!({
            "id": id.to_string(),
            "ordered": is_ordered,
            "attempt": attempt.as_ref().map(|attempt| attempt.number),
            "accepted_at": attempt.as_ref().map(|attempt| attempt.accepted_at.to_string()),
            "accepted_by": attempt.as_ref().map(|attempt| attempt.revision.as_str()),
        })
    }

    /// The values that the record still has.
    fn known<'s>(&self, scope: &'s Scope<'s>) -> KnownValues<'s> {
        if self.record.validated.is_none() {
            return KnownValues::Lost;
        }
        let bodies = self.record.steps.iter().all(|step| step.response_bytes <= MAX_SHOWN);
        KnownValues::Kept { scope, bodies }
    }

    fn arguments(&self) -> Value {
        let named = |args: ValueRef<'_>| match self.route {
            Some(route) => hide_named((&self.value(Some(args))).into(), route),
            // Without a route, it is unknown which arguments are sensitive.
            None => Value::from(HIDDEN),
        };
        let names = |names: &[String]| {
            names.iter().map(|name| self.masks().show(name).into()).collect::<Vec<Value>>()
        };
        match (&self.record.validated, &self.record.call.args) {
            (Some(validated), _) => json!({
                "valid": true,
                "values": named((&validated.args).into()),
                "converted": names(&validated.converted),
                "dropped": names(&validated.dropped),
            }),
            (None, GivenArguments::Json(given)) => json!({"valid": false, "values": named(given.get())}),
            (None, GivenArguments::Unreadable) => json!({"valid": false, "values": null}),
        }
    }

    fn step(&self, step_record: &StepRecord, output: &StepOutput) -> Value {
        json!({
            "name": null,
            "upstream": null,
            "skipped": step_record.skipped,
            "skip_reason": null,
            "request": step_record.request.as_deref().map(|request| self.request(request)),
            "attempt_count": step_record.delivery.attempts,
            "hedges": step_record.delivery.hedges,
            "attempts": step_record.finished_attempts().map(|attempt| self.attempt(attempt)).collect::<Vec<_>>(),
            "waited_ms": ms(step_record.delivery.waited),
            "upstream_ms": step_record.delivery.time.map(ms),
            "cache": step_record.cache.map(CacheUse::slug),
            "response": output.response.as_ref().map(|response| self.response(response, step_record.response_bytes)),
            "extracted": {},
            "failure": step_record.failure().map(|kind| kind.slug()),
            "reason": step_record.error.as_ref().map(|error| error.reason().slug()),
            "error": step_record.error.as_ref().map(|error| self.error(error)),
        })
    }

    fn response(&self, response: &ParsedResponse, bytes: usize) -> Value {
        let headers = response.shown_headers();
        let content_type = headers.iter().find(|(name, _)| name == "content-type");
        let body = if bytes > MAX_SHOWN { omitted(bytes) } else { self.value(Some(response.body().get())) };
        json!({
            "status": response.status(),
            "content_type": content_type.map(|(_, value)| self.masks().show(value)),
            "headers": headers.iter().map(|(name, value)| json!([name, self.masks().show(value)])).collect::<Value>(),
            "problem": response.problem().map(|problem| cut(&self.masks().show(problem))),
            "body": body,
        })
    }

    fn attempt(&self, attempt: &AttemptRecord) -> Value {
        let result = attempt.result.as_ref();
        let status = attempt.status().map(|status| status.as_u16());
        json!({
            "at_ms": ms(attempt.began.saturating_duration_since(self.record.began)),
            "ms": ms(attempt.time()),
            "status": status,
            "error": result.and_then(|result| Some(cut(&self.masks().show(&result.as_ref().err()?.to_string())))),
        })
    }

    fn request(&self, request: &Request) -> Value {
        let body = request.body.as_ref().map(|body| match serde_json::from_slice::<Value>(body) {
            _ if body.len() > MAX_SHOWN => omitted(body.len()),
            Ok(json) => self.value(Some((&json).into())),
            Err(_) => self.masks().show(&String::from_utf8_lossy(body)).into(),
        });
        json!({
            "method": request.method.as_str(),
            "url": self.masks().show(request.url.as_str()),
            "headers": self.headers(&request.headers),
            "body": body,
        })
    }

    fn headers(&self, headers: &HeaderMap) -> Value {
        let shown = |value: &http::HeaderValue| match value.is_sensitive() {
            true => HIDDEN.to_owned(),
            false => self.masks().show(&String::from_utf8_lossy(value.as_bytes())),
        };
        headers.iter().map(|(name, value)| json!([name.as_str(), shown(value)])).collect()
    }

    fn reply(&self, reply: &Reply) -> Value {
        let extensions = reply.extensions.iter();
        let extensions: Map<_, _> =
            extensions.map(|extension| (extension.key.to_string(), extension.value.to_value())).collect();
        let (data, extensions) = (reply.data.as_ref().map(JsonText::to_value), Value::Object(extensions));
        json!({
            "text": reply.text.as_deref().map(|text| self.value(Some(ValueRef::Text(text)))),
            "data": self.value(data.as_ref().map(ValueRef::from)),
            "extensions": self.value(Some((&extensions).into())),
        })
    }

    /// A masked value; null if there is none.
    fn value(&self, value: Option<ValueRef<'_>>) -> Value {
        let Some(value) = value else { return Value::Null };
        let mut json = String::new();
        value.write_json(&mut json);
        if json.len() > MAX_SHOWN { omitted(json.len()) } else { self.masks().show_value(&value.to_value()) }
    }

    fn error(&self, error: &CallError) -> String {
        cut(&self.masks().show(&error.to_string()))
    }
}

fn omitted(bytes: usize) -> Value {
    json!({OMITTED_BYTES: bytes})
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn ms(time: Duration) -> Value {
    // Rounded down to microseconds.
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    Value::from(f64::from(micros) / 1000.0)
}
