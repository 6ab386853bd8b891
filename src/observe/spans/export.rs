//! Export of spans to the collector, on a task of its own. No call waits for it or fails because of it.
//!
//! Spans that do not fit into the queue, or that the collector does not accept in two attempts, are dropped and
//! counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use crate::flow::Record;
use crate::plan::{Plan, Route, Traces};
use crate::upstream::delivery::{self, AttemptSpans, DeliveryOptions, UpstreamResources};
use crate::upstream::{Request, Response, Transport};

use super::otlp::{self, CallSpans};
use super::spans;

/// The most calls whose spans are queued.
const MAX_WAITING: usize = 2048;

/// The number of spans after which a batch is sent.
const BATCH: usize = 512;

/// How long the first span of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// The timeout of an export, including the second attempt.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The shortest interval between warnings about lost spans.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Queues the spans of calls that have ended.
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Sender<PendingSpans>,
    counts: Arc<ExportCounts>,
}

/// Sends the queued spans.
pub struct Exporter {
    queue: mpsc::Receiver<PendingSpans>,
    counts: Arc<ExportCounts>,
    transport: Arc<dyn Transport>,
    /// The live state of the collector.
    resources: UpstreamResources,
    /// The first spans of the next batch, which go to another collector.
    next: Option<PendingSpans>,
    /// When lost spans were last reported, and how many were lost since.
    last_warning: Option<Instant>,
    unreported: u64,
}

#[derive(Debug, Default)]
struct ExportCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// The spans of a call, in the queue.
#[derive(Debug)]
struct PendingSpans {
    traces: Arc<Traces>,
    call: CallSpans,
}

impl Spans {
    /// Creates the queue and its exporter.
    pub fn over(transport: Arc<dyn Transport>) -> (Self, Exporter) {
        let (sender, queue) = mpsc::channel(MAX_WAITING);
        let counts = Arc::<ExportCounts>::default();
        let exporter = Exporter {
            queue,
            counts: Arc::clone(&counts),
            transport,
            resources: UpstreamResources::default(),
            next: None,
            last_warning: None,
            unreported: 0,
        };
        (Self { queue: sender, counts }, exporter)
    }

    /// Queues the spans of a call, if it is recorded and there is room.
    pub fn take(&self, record: &Record, plan: &Plan, route: Option<&Route>, client: IpAddr) {
        let (Some(traces), Some(traced)) = (&plan.traces, &record.traced) else { return };
        let spans = spans(record, route, client);
        if spans.is_empty() {
            return;
        }
        let call = CallSpans { own: traced.link.own.clone(), spans, masks: plan.masks.clone() };
        self.put(PendingSpans { traces: Arc::clone(traces), call });
    }

    fn put(&self, pending: PendingSpans) {
        let count = pending.call.spans.len();
        if self.queue.try_send(pending).is_err() {
            add(&self.counts.dropped, count);
        }
    }

    /// The number of spans that the collector has accepted.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Ordering::Relaxed)
    }

    /// The number of spans that were dropped.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Sends spans until the queue is closed and empty.
    pub async fn run(mut self) {
        while let Some(first) = self.first().await {
            let traces = Arc::clone(&first.traces);
            let calls = self.gather(first).await;
            let count = calls.iter().map(|call| call.spans.len()).sum();
            let masks = calls.first().map(|call| call.masks.clone()).unwrap_or_default();
            let (lost, why) = match self.send(&traces, calls).await {
                Ok(response) => (rejected(&response).min(count), "they were rejected".to_owned()),
                Err(why) => (count, why),
            };
            add(&self.counts.exported, count - lost);
            add(&self.counts.dropped, lost);
            self.report_lost(lost, &masks.show(&why));
        }
    }

    async fn first(&mut self) -> Option<PendingSpans> {
        match self.next.take() {
            Some(next) => Some(next),
            None => self.queue.recv().await,
        }
    }

    /// Collects spans that arrive soon after the first and go to the same collector.
    async fn gather(&mut self, first: PendingSpans) -> Vec<CallSpans> {
        let until = Instant::now() + LINGER;
        let (mut count, mut calls) = (first.call.spans.len(), vec![first.call]);
        while count < BATCH {
            match timeout_at(until, self.queue.recv()).await {
                Ok(Some(PendingSpans { traces, call })) if Arc::ptr_eq(&traces, &first.traces) => {
                    count += call.spans.len();
                    calls.push(call);
                }
                Ok(Some(elsewhere)) => {
                    self.next = Some(elsewhere);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        calls
    }

    async fn send(&self, traces: &Traces, calls: Vec<CallSpans>) -> Result<Response, String> {
        let service = traces.service.clone();
        // Encoding a large batch takes time and would hold up the calls on this thread.
        let body = spawn_blocking(move || otlp::body(&calls, &service).to_string()).await;
        let request = Request {
            target: Arc::clone(&traces.delivery.target),
            step: None,
            method: Method::POST,
            url: traces.endpoint.clone().into(),
            headers: traces.headers.clone(),
            body: Some(body.map_err(|error| error.to_string())?.into()),
        };
        let began = Instant::now().into_std();
        let options = DeliveryOptions {
            began,
            transport: &*self.transport,
            deadline: began + TIMEOUT,
            safe: false,
            // Span ids are unique, so a duplicate is harmless.
            repeatable: true,
            overdue: None,
            resources: &self.resources,
            spans: &AttemptSpans::new(None, &request),
        };
        match traces
            .delivery
            .deliver(&mut Arc::new(request), options, &mut delivery::DeliveryLog::default())
            .await
        {
            Ok(response) if response.status.is_success() => Ok(response),
            Ok(response) => Err(format!("status {}", response.status.as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Warns about lost spans, at most once per interval.
    fn report_lost(&mut self, lost: usize, why: &str) {
        self.unreported += u64::try_from(lost).unwrap_or(u64::MAX);
        if lost > 0 && self.last_warning.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
            let spans = std::mem::take(&mut self.unreported);
            self.last_warning = Some(Instant::now());
            tracing::warn!(
                spans,
                "{spans} spans lost: the collector of `[traces]` does not accept them: {why}"
            );
        }
    }
}

/// The number of spans that the collector rejected although it accepted the request.
fn rejected(response: &Response) -> usize {
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    // OTLP encodes 64-bit numbers as strings, but some collectors send a number.
    match &answer["partialSuccess"]["rejectedSpans"] {
        Value::String(count) => count.parse().unwrap_or_default(),
        count => count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use crate::http1::response_headers::ResponseHeaders;
    use crate::observe::spans::export::*;
    use crate::observe::spans::{SpanKind, TraceSpan};
    use crate::secret::Masks;
    use crate::traceparent::Link;
    use crate::upstream::delivery::Delivery;
    use crate::upstream::stub::StubTransport;
    use crate::upstream::tls::Tls;
    use crate::upstream::{EgressPolicy, Redirects, Target};
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    fn traces() -> Arc<Traces> {
        let target = Target {
            name: "[traces]".to_owned(),
            timeout: None,
            root: String::new(),
            max_body: 1024,
            redirects: Redirects::None,
            tls: Tls::default(),
            network: EgressPolicy::Any,
            proxy: None,
        };
        Arc::new(Traces {
            endpoint: "http://collector/v1/traces".parse().unwrap(),
            headers: HeaderMap::new(),
            delivery: Delivery::plain(target),
            sample: 1.0,
            service: "jackfield-test".to_owned(),
        })
    }

    fn pending(traces: &Arc<Traces>) -> PendingSpans {
        let own = Link::of(None, Some(1.0)).unwrap().own;
        let now = std::time::Instant::now();
        let span = TraceSpan {
            id: own.span,
            parent: None,
            name: "call".into(),
            kind: SpanKind::Server,
            began: now,
            ended: now,
            attributes: Vec::new(),
            failed: false,
        };
        PendingSpans {
            traces: Arc::clone(traces),
            call: CallSpans { own, spans: vec![span], masks: Masks::default() },
        }
    }

    #[tokio::test]
    async fn spans_beyond_the_queue_are_dropped_and_queued_ones_are_sent_before_the_end() {
        let stub = Arc::new(StubTransport::answering(|_| {
            Ok(Response { status: StatusCode::OK, headers: ResponseHeaders::default(), body: Bytes::new() })
        }));
        let (spans, exporter) = Spans::over(Arc::clone(&stub) as _);
        let traces = traces();
        for _ in 0..MAX_WAITING + 3 {
            spans.put(pending(&traces));
        }
        assert_eq!((spans.exported(), spans.dropped()), (0, 3));
        let counts = Arc::clone(&spans.counts);
        drop(spans);
        exporter.run().await;
        let sent: Vec<usize> = stub
            .requests()
            .iter()
            .map(|request| {
                let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
                body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
            })
            .collect();
        assert_eq!(sent, [BATCH; MAX_WAITING / BATCH]);
        assert_eq!(counts.exported.load(Ordering::Relaxed), 2048);
    }
}
