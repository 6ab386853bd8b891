//! Spans as OTLP has them in JSON: the body of a request to `/v1/traces`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::plan::Traces;
use crate::secret::Masks;
use crate::traceparent::TraceParent;

use super::{Kind, Span};

/// The status of a span that failed.
const ERROR: u8 = 2;

/// The spans of one call, and what it takes to tell them.
#[derive(Debug)]
pub(super) struct OfCall {
    /// The call's own span, as it was told to upstreams.
    pub(super) own: TraceParent,
    pub(super) spans: Vec<Span>,
    /// The secrets of its table.
    pub(super) masks: Masks,
}

/// The clock of people beside that of the machine.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

/// The body of a request with the spans of `calls`.
pub(super) fn body<'a>(calls: impl Iterator<Item = &'a OfCall>, traces: &Traces) -> Value {
    let clock = Clock::now();
    let spans: Value = calls.flat_map(|call| call.spans.iter().map(|span| call.span(span, clock))).collect();
    let program = json!({"name": "jackfield", "version": env!("CARGO_PKG_VERSION")});
    let resource =
        [("service.name", traces.service.as_str()), ("service.version", env!("CARGO_PKG_VERSION"))];
    let resource: Value = resource.into_iter().map(|(key, text)| attribute(key, &text.into())).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": program, "spans": spans}],
    }]})
}

impl OfCall {
    fn span(&self, span: &Span, clock: Clock) -> Value {
        let attributes = span.attributes.iter().map(|(key, value)| match value {
            Value::String(text) => attribute(key, &self.masks.hide(text).into()),
            value => attribute(key, value),
        });
        let mut told = json!({
            "traceId": format!("{:032x}", self.own.trace),
            "spanId": id(span.id),
            "name": self.masks.hide(&span.name),
            "kind": match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
            },
            "startTimeUnixNano": clock.nanos(span.began),
            "endTimeUnixNano": clock.nanos(span.ended),
            "attributes": attributes.collect::<Value>(),
        });
        if let Some(parent) = span.parent {
            told["parentSpanId"] = id(parent).into();
        }
        if let Some(state) = self.own.state.as_ref().and_then(|state| state.to_str().ok()) {
            told["traceState"] = state.into();
        }
        if span.failed {
            told["status"] = json!({"code": ERROR});
        }
        told
    }
}

impl Clock {
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), since_epoch }
    }

    /// Nanoseconds since 1970. OTLP writes numbers of 64 bits as texts.
    fn nanos(self, at: Instant) -> String {
        let ago = self.instant.saturating_duration_since(at);
        self.since_epoch.saturating_sub(ago).as_nanos().to_string()
    }
}

fn id(span: u64) -> String {
    format!("{span:016x}")
}

fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(truth) => json!({"boolValue": truth}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": value})
}
