//! The spans of calls, for a collector of OpenTelemetry: made from a call's one record when the call has ended.
//!
//! A span is a verb, a step, or a sending of a request; the names of attributes are OpenTelemetry's where it has one. In
//! none of them are arguments, URLs, bodies or headers, but for the `tracestate` that came.
//!
//! Spans are sent in the JSON encoding of OTLP, which every collector takes, by the transport that is here anyway. That is
//! one short file of ours; `opentelemetry-otlp` would bring 17 more crates and a second client, and its SDK a second way
//! to note what the record has already.

mod export;
mod otlp;

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Instant;

use serde_json::Value;

use crate::call::Context;
use crate::flow::{CallError, Phase, PhaseTimes, Record, StepRecord};
use crate::plan::Route;
use crate::plan::route::Step;
use crate::traceparent::new_span;
use crate::upstream::Request;
use crate::upstream::delivery::{AttemptRecord, DeliveryError};

pub use export::{Exporter, Spans};

/// The most characters of a name that a caller chose.
const MAX_NAME: usize = 200;

/// One span.
#[derive(Debug)]
struct TraceSpan {
    id: u64,
    parent: Option<u64>,
    name: Cow<'static, str>,
    kind: SpanKind,
    began: Instant,
    ended: Instant,
    /// The values are texts, whole numbers and booleans.
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

/// Which side of a request a span is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanKind {
    Internal,
    Server,
    Client,
}

/// The spans of a call, its own first; none when it is not recorded.
fn spans(record: &Record, route: Option<&Route>, client: IpAddr) -> Vec<TraceSpan> {
    let Some(traced) = &record.traced else { return Vec::new() };
    let Some((began, ended)) = traced.phase_times.time() else { return Vec::new() };
    let (id, parent) = (traced.link.own.span, traced.link.parent);
    let is_event = !record.call.context.event.is_null();
    let what = if is_event { "event" } else { "execute_tool" };
    let name = route.map_or(Cow::Borrowed(what), |route| format!("{what} {}", route.name).into());
    let (attributes, failed) = (of_call(record, is_event, client), record.error.is_some());
    let mut spans =
        vec![TraceSpan { id, parent, name, kind: SpanKind::Server, began, ended, attributes, failed }];
    let ask = verbs(&traced.phase_times, id, Phase::RunSteps, &mut spans);
    let steps = route.map(|route| route.steps.as_slice()).unwrap_or_default();
    for (step, record) in steps.iter().zip(&record.steps) {
        of_step(step, record, ask, &mut spans);
    }
    spans
}

/// What is told of a call as a whole.
fn of_call(record: &Record, is_event: bool, client: IpAddr) -> Vec<(&'static str, Value)> {
    let Context { platform, function, id, conversation, .. } = &record.call.context;
    let mut attributes = vec![
        ("jackfield.platform", Value::from(*platform)),
        ("jackfield.outcome", record.outcome_slug().into()),
        ("client.address", client.to_string().into()),
    ];
    if !is_event {
        attributes.push(("gen_ai.operation.name", "execute_tool".into()));
        attributes.push(("gen_ai.tool.name", short(function)));
    }
    attributes.extend(id.as_deref().map(|id| ("gen_ai.tool.call.id", short(id))));
    attributes.extend(conversation.as_deref().map(|id| ("gen_ai.conversation.id", short(id))));
    attributes.extend(record.case.map(|case| ("jackfield.case", Value::from(case + 1))));
    attributes.extend(record.cache_use().map(|used| ("jackfield.cache", used.slug().into())));
    attributes.extend(record.was_overdue().then_some(("jackfield.overdue", Value::from(true))));
    attributes.extend(record.error.as_ref().map(|error| ("error.type", error.kind().slug().into())));
    attributes
}

/// A span for each verb. Gives the span of the verb that `holds` others, else the one that they are in themselves.
fn verbs(phase_times: &PhaseTimes, parent: u64, holds: Phase, spans: &mut Vec<TraceSpan>) -> u64 {
    let mut holder = parent;
    for (began, end) in phase_times.each() {
        let id = new_span();
        if end.phase == holds {
            holder = id;
        }
        spans.push(TraceSpan {
            id,
            parent: Some(parent),
            name: end.phase.name().into(),
            kind: SpanKind::Internal,
            began,
            ended: end.ended,
            attributes: Vec::new(),
            failed: end.failed,
        });
    }
    holder
}

/// A step that has a name is a span of its own; the only one of a route has none, and is its verbs.
fn of_step(step: &Step, record: &StepRecord, ask: u64, spans: &mut Vec<TraceSpan>) {
    let Some((began, ended)) = record.phase_times.time() else { return };
    let mut parent = ask;
    if let Some(name) = &step.name {
        parent = new_span();
        let error = record.failure().map(|kind| ("error.type", Value::from(kind.slug())));
        spans.push(TraceSpan {
            id: parent,
            parent: Some(ask),
            name: format!("step {name}").into(),
            kind: SpanKind::Internal,
            began,
            ended,
            attributes: error.into_iter().collect(),
            failed: record.error.is_some(),
        });
    }
    let send = verbs(&record.phase_times, parent, Phase::Send, spans);
    if let Some(request) = &record.delivery.request {
        let mut attempts: Vec<&AttemptRecord> = record.attempts.iter().collect();
        attempts.sort_by_key(|attempt| attempt.began);
        let attempts = (0..).zip(attempts);
        spans.extend(attempts.filter_map(|(before, attempt)| attempt_span(attempt, before, request, send)));
    }
}

/// One sending of a request, before which it was sent so often.
fn attempt_span(attempt: &AttemptRecord, before: u32, request: &Request, parent: u64) -> Option<TraceSpan> {
    let mut attributes = vec![
        ("http.request.method", Value::from(request.method.as_str())),
        ("url.scheme", request.url.scheme().into()),
        ("peer.service", request.target.name.as_str().into()),
    ];
    attributes.extend(request.url.host_str().map(|host| ("server.address", host.into())));
    attributes.extend(request.url.port_or_known_default().map(|port| ("server.port", port.into())));
    attributes.extend((before > 0).then_some(("http.request.resend_count", before.into())));
    let mut error = None;
    match &attempt.result {
        Some(Ok(status)) => {
            attributes.push(("http.response.status_code", status.as_u16().into()));
            let failed = status.is_client_error() || status.is_server_error();
            error = failed.then(|| status.as_str().to_owned());
        }
        Some(Err(failed)) => {
            let kind = CallError::Delivery(DeliveryError::Transport(failed.clone())).kind();
            error = Some(kind.slug().to_owned());
        }
        // The one beside it was quicker: nothing is wrong with this one.
        None => attributes.push(("jackfield.cancelled", true.into())),
    }
    let failed = error.is_some();
    attributes.extend(error.map(|error| ("error.type", Value::from(error))));
    Some(TraceSpan {
        id: attempt.span?,
        parent: Some(parent),
        name: request.method.to_string().into(),
        kind: SpanKind::Client,
        began: attempt.began,
        ended: attempt.ended,
        attributes,
        failed,
    })
}

fn short(text: &str) -> Value {
    text.chars().take(MAX_NAME).collect::<String>().into()
}
