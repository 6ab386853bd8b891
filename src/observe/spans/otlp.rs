//! Spans as OTLP JSON: the body of a request to `/v1/traces`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::secret::Masks;
use crate::traceparent::TraceParent;

use super::{SpanKind, TraceSpan};

/// The status code of a failed span.
const ERROR: u8 = 2;

/// The spans of one call, and what is needed to encode them.
#[derive(Debug)]
pub(super) struct CallSpans {
    /// The trace context of the root span, as passed to upstreams.
    pub(super) own: TraceParent,
    pub(super) spans: Vec<TraceSpan>,
    /// The secrets of the table, to mask.
    pub(super) masks: Masks,
}

/// Converts monotonic instants to wall-clock time.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    since_epoch: Duration,
}

/// Encodes the spans of `calls` as the body of a request.
pub(super) fn body(calls: &[CallSpans], service: &str) -> Value {
    let clock = Clock::now();
    let spans = calls.iter().flat_map(|call| call.spans.iter().map(|span| call.span(span, clock)));
    let version = env!("CARGO_PKG_VERSION");
    let resource = [("service.name", service), ("service.version", version)];
    let resource = resource.into_iter().map(|(key, text)| attribute(key, &text.into()));
    json!({"resourceSpans": [{
        "resource": {"attributes": resource.collect::<Value>()},
        "scopeSpans": [{
            "scope": {"name": "jackfield", "version": version},
            "spans": spans.collect::<Value>(),
        }],
    }]})
}

impl CallSpans {
    fn span(&self, span: &TraceSpan, clock: Clock) -> Value {
        let attributes = span.attributes.iter().map(|(key, value)| match value {
            Value::String(text) => attribute(key, &self.masks.show(text).into()),
            value => attribute(key, value),
        });
        let mut json = json!({
            "traceId": format!("{:032x}", self.own.trace),
            "spanId": id(span.id),
            "name": self.masks.show(&span.name),
            "kind": match span.kind {
                SpanKind::Internal => 1,
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            },
            "startTimeUnixNano": clock.nanos(span.began),
            "endTimeUnixNano": clock.nanos(span.ended),
            "attributes": attributes.collect::<Value>(),
        });
        if let Some(parent) = span.parent {
            json["parentSpanId"] = id(parent).into();
        }
        if let Some(state) = self.own.state.as_ref().and_then(|state| state.to_str().ok()) {
            json["traceState"] = self.masks.hide(state).into();
        }
        if span.failed {
            json["status"] = json!({"code": ERROR});
        }
        json
    }
}

impl Clock {
    fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), since_epoch }
    }

    /// Nanoseconds since 1970. OTLP encodes 64-bit numbers as strings.
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

#[cfg(test)]
mod tests {
    use crate::observe::spans::otlp::*;
    use http::HeaderMap;

    #[test]
    fn a_span_is_encoded_as_otlp_without_secrets() {
        let headers = [
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "vendor=1"),
        ];
        let headers: HeaderMap = headers
            .into_iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let mut masks = Masks::default();
        masks.add("tenant-7");
        let began = Instant::now();
        let span = TraceSpan {
            id: 7,
            parent: Some(1 << 40),
            name: "GET".into(),
            kind: SpanKind::Client,
            began,
            ended: began + Duration::from_millis(3),
            attributes: vec![
                ("server.address", "tenant-7.example.com".into()),
                ("server.port", 443.into()),
                ("jackfield.given_up", true.into()),
            ],
            failed: true,
        };
        let call = CallSpans { own: TraceParent::read(&headers).unwrap(), spans: vec![span], masks };
        let clock = Clock {
            instant: began + Duration::from_secs(1),
            since_epoch: Duration::from_secs(1_700_000_001),
        };
        assert_eq!(
            call.span(&call.spans[0], clock),
            json!({
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": "0000000000000007",
                "name": "GET",
                "kind": 3,
                "startTimeUnixNano": "1700000000000000000",
                "endTimeUnixNano": "1700000000003000000",
                "attributes": [
                    {"key": "server.address", "value": {"stringValue": "***.example.com"}},
                    {"key": "server.port", "value": {"intValue": "443"}},
                    {"key": "jackfield.given_up", "value": {"boolValue": true}},
                ],
                "parentSpanId": "0000010000000000",
                "traceState": "vendor=1",
                "status": {"code": 2},
            })
        );
        let resource = &body(&[call], "jackfield-test")["resourceSpans"][0];
        assert_eq!(
            resource["resource"]["attributes"][0],
            json!({"key": "service.name", "value": {"stringValue": "jackfield-test"}})
        );
        assert_eq!(resource["scopeSpans"][0]["spans"].as_array().unwrap().len(), 1);
    }
}
