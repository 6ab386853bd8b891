//! A record as JSON: what `call --explain` walks through, for the log and the admin listener, without what must not be
//! shown.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::call::{Context, GivenArguments, Reply};
use crate::json::{SharedValue, ValueRef, bytes_of};
use crate::lang::template::{StepOutput, UpstreamReply};
use crate::plan::Route;
use crate::secret::{HIDDEN, Masks};
use crate::upstream::Request;
use crate::upstream::delivery::AttemptRecord;

use super::masking::hide_named;
use crate::flow::{CacheUse, CallError, PhaseTimes, Record, StepRecord};

/// The most bytes of a value or a body that are shown; of more, only how many there are.
const MAX_SHOWN: usize = 64 * 1024;

/// The most characters of a name that a caller chose, and of an error.
const MAX_TEXT: usize = 500;

/// About what a request takes beside its body, in bytes.
const REQUEST: usize = 1024;

/// A record, and what it takes to show it.
struct View<'a> {
    record: &'a Record,
    route: Option<&'a Route>,
    masks: Masks,
}

impl Record {
    /// The call in short: what its line in the log says.
    pub fn summary(&self, secrets: &Masks, route: Option<&Route>) -> Map<String, Value> {
        View { record: self, route, masks: self.masks(secrets, route) }.summary()
    }

    /// The whole call, every step of it.
    pub fn view(&self, secrets: &Masks, route: Option<&Route>) -> Map<String, Value> {
        View { record: self, route, masks: self.masks(secrets, route) }.whole()
    }

    /// About what it takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let given = match &self.call.args {
            GivenArguments::Json(given) => given.bytes(),
            GivenArguments::Unreadable => 0,
        };
        let context = &self.call.context;
        let names = context.function.len() + context.conversation.as_ref().map_or(0, String::len);
        let validated = self.validated.as_ref().map_or(0, |validated| bytes_of(&validated.args));
        let brought = self.outputs.iter().map(|brought| {
            let body = brought.reading.as_ref().and_then(UpstreamReply::body_if_read);
            let is_counted = |value: &&SharedValue| body.is_some_and(|body| body.shares_document(value));
            let values = brought.values.iter().flatten().filter(|value| !is_counted(value));
            brought.reading.as_ref().map_or(0, UpstreamReply::body_bytes)
                + values.map(SharedValue::bytes).sum::<usize>()
        });
        let sent = self.steps.iter().filter_map(|step| step.trace.request.as_ref());
        let sent = sent.map(|request| REQUEST + request.body.as_ref().map_or(0, bytes::Bytes::len));
        let content = brought.sum::<usize>() + sent.sum::<usize>() + self.outcome.bytes();
        size_of::<Self>() + names + given + validated + content
    }

    /// Drops what is not shown of the call: the body that it came in, what the platform said with it, and what its spans
    /// are made of; the id of its trace stays.
    pub fn forget_envelope(&mut self) {
        let context = std::mem::take(&mut self.call.context);
        self.call.context = Context {
            platform: context.platform,
            function: short(context.function),
            conversation: context.conversation.map(short),
            ..Context::default()
        };
        if let Some(traced) = &mut self.traced {
            traced.marks = PhaseTimes::default();
            traced.link.own.state = None;
        }
        for went in &mut self.steps {
            went.marks = PhaseTimes::default();
        }
        // The given arguments are a part of the call's body, and would keep all of it. Once validated, they are not shown.
        if let GivenArguments::Json(given) = &mut self.call.args {
            let taken = std::mem::take(given);
            if self.validated.is_none() {
                *given = taken.detached();
            }
        }
        // Headers are not shown, and of a reply that is not shown, there is no need to keep all.
        for (went, brought) in self.steps.iter().zip(&mut self.outputs) {
            if let Some(reading) = &mut brought.reading {
                reading.forget_headers();
            }
            if went.reply_bytes > MAX_SHOWN {
                brought.reading = brought.reading.take().map(|reading| reading.without_body());
                for value in brought.values.iter_mut().flatten() {
                    *value = std::mem::take(value).detached();
                }
            }
        }
    }

    /// Drops what was given, sent, brought and answered; how it went stays.
    pub fn forget_content(&mut self) {
        self.call.args = Value::Null.into();
        self.validated = None;
        self.outputs.iter_mut().for_each(|brought| *brought = StepOutput::default());
        self.steps.iter_mut().for_each(|step| step.trace.request = None);
        self.outcome.reply = Reply::default();
        self.dropped.clear();
    }

    /// What it came to, by name: `answered`, or the kind of the failure.
    pub fn outcome_slug(&self) -> &'static str {
        self.error.as_ref().map_or("answered", |error| error.kind().slug())
    }

    /// The id of the trace that it is part of, if it is known.
    pub fn trace(&self) -> Option<String> {
        self.traced.as_ref().map(|traced| format!("{:032x}", traced.link.own.trace))
    }
}

impl View<'_> {
    fn summary(&self) -> Map<String, Value> {
        let record = self.record;
        let context = &record.call.context;
        let mut shown = Map::new();
        let mut add = |name: &str, value: Value| {
            shown.insert(name.to_owned(), value);
        };
        add("platform", context.platform.into());
        add("function", cut(&context.function).into());
        add("conversation", context.conversation.as_deref().map(cut).into());
        add("outcome", record.outcome_slug().into());
        add("error", record.error.as_ref().map(|error| self.error(error)).into());
        add("case", record.case.map(|case| case + 1).into());
        add("ms", ms(record.time));
        add("own_ms", ms(record.own_time(self.route)));
        add("upstream_ms", record.upstream_time().map_or(Value::Null, ms));
        add("upstreams", record.upstreams().into());
        add("attempts", record.steps.iter().map(|step| step.trace.attempts).sum::<u32>().into());
        add("cache", record.cache_use().map(CacheUse::slug).into());
        add("overdue", record.was_overdue().into());
        add("trace", record.trace().into());
        shown
    }

    fn whole(&self) -> Map<String, Value> {
        let mut shown = self.summary();
        let record = self.record;
        shown.insert("arguments".to_owned(), self.arguments());
        let steps = self.route.map(|route| route.steps.as_slice()).unwrap_or_default();
        let went = record.steps.iter().zip(&record.outputs);
        let steps = steps.iter().enumerate().zip(went).map(|((index, step), (went, brought))| {
            let extracted = step.extraction.names().zip(&brought.values);
            let extracted = extracted
                .map(|(name, value)| (name.to_owned(), self.value(value.as_ref().map(SharedValue::get))));
            let mut shown = self.step(went, brought);
            shown["name"] = step.name.as_deref().into();
            shown["upstream"] = step.request.upstream.delivery.target.name.as_str().into();
            shown["extracted"] = Value::Object(extracted.collect());
            // The values that a condition looked at are shown where they stand; what the platform said is gone.
            let why =
                self.route.filter(|_| went.skipped).map(|route| route.why_skipped(index, went.unmet, None));
            shown["skipped_for"] = why.into();
            shown
        });
        shown.insert("steps".to_owned(), steps.collect());
        let passed = record.passed.iter().filter_map(|passed| {
            let why = self.route?.replies.told(*passed, None);
            Some(json!({"case": passed.case + 1, "why": cut(&self.masks.hide(&why))}))
        });
        shown.insert("passed_over".to_owned(), passed.collect());
        shown.insert("reply".to_owned(), self.reply(&record.outcome.reply));
        let complaints = record.failure_error.iter().map(ToString::to_string);
        let complaints = complaints.chain(record.dropped.iter().cloned());
        let complaints = complaints.map(|text| cut(&self.masks.hide(&text)));
        shown.insert("complaints".to_owned(), complaints.collect());
        shown
    }

    fn arguments(&self) -> Value {
        let named = |args: ValueRef<'_>| match self.route {
            Some(route) => self.value(Some((&hide_named(args, route)).into())),
            // Nobody knows which of them are sensitive.
            None => Value::from(HIDDEN),
        };
        match (&self.record.validated, &self.record.call.args) {
            (Some(validated), _) => json!({
                "fit": true,
                "values": named((&validated.args).into()),
                "converted": validated.converted,
                "dropped": validated.dropped,
            }),
            (None, GivenArguments::Json(given)) => json!({"fit": false, "values": named(given.get())}),
            (None, GivenArguments::Unreadable) => json!({"fit": false, "values": null}),
        }
    }

    fn step(&self, went: &StepRecord, brought: &StepOutput) -> Value {
        json!({
            "name": null,
            "upstream": null,
            "skipped": went.skipped,
            "request": went.trace.request.as_deref().map(|request| self.request(request)),
            "attempts": went.trace.attempts,
            "hedges": went.trace.hedges,
            "tries": went.tries().map(|one| self.one_try(one)).collect::<Vec<_>>(),
            "waited_ms": ms(went.trace.waited),
            "upstream_ms": went.trace.time.map(ms),
            "cache": went.cache.map(CacheUse::slug),
            "reply": brought.reading.as_ref().map(|reading| json!({
                "status": reading.status(),
                "body": if went.reply_bytes > MAX_SHOWN { left_out(went.reply_bytes) } else { self.value(Some(reading.body().get())) },
            })),
            "extracted": {},
            "failure": went.failure().map(|kind| kind.slug()),
            "error": went.error.as_ref().map(|error| self.error(error)),
        })
    }

    fn one_try(&self, one: &AttemptRecord) -> Value {
        let came = one.result.as_ref();
        json!({
            "at_ms": ms(one.began.saturating_duration_since(self.record.began)),
            "ms": ms(one.time()),
            "status": came.and_then(|came| Some(came.as_ref().ok()?.as_u16())),
            "error": came.and_then(|came| Some(cut(&self.masks.hide(&came.as_ref().err()?.to_string())))),
        })
    }

    fn request(&self, request: &Request) -> Value {
        let body = request.body.as_ref().map(|body| match serde_json::from_slice::<Value>(body) {
            _ if body.len() > MAX_SHOWN => left_out(body.len()),
            Ok(json) => self.value(Some((&json).into())),
            Err(_) => self.masks.hide(&String::from_utf8_lossy(body)).into(),
        });
        json!({
            "method": request.method.as_str(),
            "url": self.masks.hide(request.url.as_str()),
            "headers": self.headers(&request.headers),
            "body": body,
        })
    }

    fn headers(&self, headers: &HeaderMap) -> Value {
        let shown = |value: &http::HeaderValue| match value.is_sensitive() {
            true => HIDDEN.to_owned(),
            false => self.masks.hide(&String::from_utf8_lossy(value.as_bytes())),
        };
        headers.iter().map(|(name, value)| json!([name.as_str(), shown(value)])).collect()
    }

    fn reply(&self, reply: &Reply) -> Value {
        let extensions = Value::Object(reply.extensions.clone());
        json!({
            "text": reply.text.as_deref().map(|text| self.value(Some(ValueRef::Text(text)))),
            "data": self.value(reply.data.as_ref().map(ValueRef::from)),
            "own": self.value(Some((&extensions).into())),
        })
    }

    /// A value with what must not be shown hidden; null where there is none.
    fn value(&self, value: Option<ValueRef<'_>>) -> Value {
        let Some(value) = value else { return Value::Null };
        let mut json = String::new();
        value.write_json(&mut json);
        if json.len() > MAX_SHOWN { left_out(json.len()) } else { self.masks.hide_value(&value.to_value()) }
    }

    fn error(&self, error: &CallError) -> String {
        cut(&self.masks.hide(&error.to_string()))
    }
}

fn left_out(bytes: usize) -> Value {
    json!({"left_out_bytes": bytes})
}

/// As much of a name as is kept.
fn short(name: String) -> String {
    match name.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => name[..end].to_owned(),
        None => name,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

fn ms(time: Duration) -> Value {
    // To the microsecond.
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    Value::from(f64::from(micros) / 1000.0)
}
