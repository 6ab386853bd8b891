//! The spans of calls, for OpenTelemetry collectors. They are built from a call's record when the call has ended.
//!
//! A span is a phase, a step or an attempt to send a request. Attributes have OpenTelemetry's names where it defines
//! them. No span contains arguments, URLs, bodies or headers, except the inbound `tracestate`.
//!
//! Spans are sent as OTLP in JSON, which every collector accepts, with the HTTP client that Jackfield has anyway. That
//! is one short file. `opentelemetry-otlp` would add 17 crates and a second client, and its SDK would record again what
//! the record already contains.

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

/// The most characters of a name chosen by the caller.
const MAX_NAME: usize = 200;

/// A span.
#[derive(Debug)]
struct TraceSpan {
    id: u64,
    parent: Option<u64>,
    name: Cow<'static, str>,
    kind: SpanKind,
    began: Instant,
    ended: Instant,
    /// The values are strings, integers and booleans.
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

/// The side of a request that a span is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanKind {
    Internal,
    Server,
    Client,
}

/// The spans of a call, starting with its root span; empty if it is not recorded.
fn spans(record: &Record, route: Option<&Route>, client: IpAddr) -> Vec<TraceSpan> {
    let Some(traced) = &record.traced else { return Vec::new() };
    let Some((began, ended)) = traced.phase_times.time() else { return Vec::new() };
    let (id, parent) = (traced.link.own.span, traced.link.parent);
    let is_event = !record.call.context.event.is_null();
    let what = if is_event { "event" } else { "execute_tool" };
    let name = route.map_or(Cow::Borrowed(what), |route| format!("{what} {}", route.name).into());
    let (attributes, failed) = (call_attributes(record, is_event, client), record.error.is_some());
    let mut spans =
        vec![TraceSpan { id, parent, name, kind: SpanKind::Server, began, ended, attributes, failed }];
    let run_steps = push_phases(&traced.phase_times, id, Phase::RunSteps, &mut spans);
    let steps = route.map(|route| route.steps.as_slice()).unwrap_or_default();
    for (step, record) in steps.iter().zip(&record.steps) {
        push_step(step, record, run_steps, &mut spans);
    }
    spans
}

/// The attributes of a call's root span.
fn call_attributes(record: &Record, is_event: bool, client: IpAddr) -> Vec<(&'static str, Value)> {
    let Context { platform, function, id, conversation, .. } = &*record.call.context;
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

/// Adds a span for each phase. Returns the id of the span of the phase `container`, or `parent` if there is none.
fn push_phases(phase_times: &PhaseTimes, parent: u64, container: Phase, spans: &mut Vec<TraceSpan>) -> u64 {
    let mut id_of_container = parent;
    for (began, end) in phase_times.each() {
        let id = new_span();
        if end.phase == container {
            id_of_container = id;
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
    id_of_container
}

/// Adds the spans of a step. A named step has a span of its own; the only step of a route consists of its phases.
fn push_step(step: &Step, record: &StepRecord, run_steps: u64, spans: &mut Vec<TraceSpan>) {
    let Some((began, ended)) = record.phase_times.time() else { return };
    let mut parent = run_steps;
    if let Some(name) = &step.name {
        parent = new_span();
        let error = record.failure().map(|kind| ("error.type", Value::from(kind.slug())));
        spans.push(TraceSpan {
            id: parent,
            parent: Some(run_steps),
            name: format!("step {name}").into(),
            kind: SpanKind::Internal,
            began,
            ended,
            attributes: error.into_iter().collect(),
            failed: record.error.is_some(),
        });
    }
    let send = push_phases(&record.phase_times, parent, Phase::Send, spans);
    if let Some(request) = &record.request {
        let mut attempts: Vec<&AttemptRecord> = record.attempts.iter().collect();
        attempts.sort_by_key(|attempt| attempt.began);
        let attempts = (0..).zip(attempts);
        spans.extend(attempts.filter_map(|(before, attempt)| attempt_span(attempt, before, request, send)));
    }
}

/// The span of an attempt to send a request, after `before` earlier attempts.
fn attempt_span(attempt: &AttemptRecord, before: u32, request: &Request, parent: u64) -> Option<TraceSpan> {
    let mut attributes = vec![
        ("http.request.method", Value::from(request.method.as_str())),
        ("url.scheme", request.url.origin().scheme().into()),
        ("peer.service", request.target.name.as_str().into()),
    ];
    attributes.extend(request.url.origin().host_str().map(|host| ("server.address", host.into())));
    attributes.extend(request.url.origin().port_or_known_default().map(|port| ("server.port", port.into())));
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
        // A hedged request that lost is not an error.
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
