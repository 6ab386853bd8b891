//! The way of spans to their collector, on a task of its own: no call waits for it, and none fails with it.
//!
//! What does not fit into the queue, or is not taken by the collector after a second attempt, is dropped and counted.

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

use super::otlp::{self, OfCall};
use super::spans;

/// The most calls whose spans wait to be sent.
const MAX_WAITING: usize = 2048;

/// The most spans that are sent at a time, or a few more.
const BATCH: usize = 512;

/// How long the first of them waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// How long the collector may take, the second attempt included.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is said at most that spans are lost.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Takes the spans of calls that have ended.
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Sender<PendingSpans>,
    counts: Arc<ExportCounts>,
}

/// Sends them.
pub struct Exporter {
    queue: mpsc::Receiver<PendingSpans>,
    counts: Arc<ExportCounts>,
    transport: Arc<dyn Transport>,
    /// The live state of the collector.
    resources: UpstreamResources,
    /// One that goes elsewhere than those before it.
    next: Option<PendingSpans>,
    /// When it was said for the last time that spans are lost, and how many were since.
    said: Option<Instant>,
    unsaid: u64,
}

#[derive(Debug, Default)]
struct ExportCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// The spans of a call, on their way.
#[derive(Debug)]
struct PendingSpans {
    traces: Arc<Traces>,
    call: OfCall,
}

impl Spans {
    /// The two ends of the way.
    pub fn over(transport: Arc<dyn Transport>) -> (Self, Exporter) {
        let (sender, queue) = mpsc::channel(MAX_WAITING);
        let counts = Arc::<ExportCounts>::default();
        let exporter = Exporter {
            queue,
            counts: Arc::clone(&counts),
            transport,
            resources: UpstreamResources::default(),
            next: None,
            said: None,
            unsaid: 0,
        };
        (Self { queue: sender, counts }, exporter)
    }

    /// Takes the spans of a call, if it is recorded and there is room.
    pub fn take(&self, record: &Record, plan: &Plan, route: Option<&Route>, client: IpAddr) {
        let (Some(traces), Some(traced)) = (&plan.traces, &record.traced) else { return };
        let spans = spans(record, route, client);
        if spans.is_empty() {
            return;
        }
        let call = OfCall { own: traced.link.own.clone(), spans, masks: plan.masks.clone() };
        self.put(PendingSpans { traces: Arc::clone(traces), call });
    }

    fn put(&self, waiting: PendingSpans) {
        let count = waiting.call.spans.len();
        if self.queue.try_send(waiting).is_err() {
            add(&self.counts.dropped, count);
        }
    }

    /// How many spans the collector has taken.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Ordering::Relaxed)
    }

    /// How many it never got.
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
    /// Sends what comes, until nobody can take spans any more and all are sent.
    pub async fn run(mut self) {
        while let Some(first) = self.first().await {
            let traces = Arc::clone(&first.traces);
            let calls = self.gather(first).await;
            let count = calls.iter().map(|call| call.spans.len()).sum();
            let masks = calls.first().map(|call| call.masks.clone()).unwrap_or_default();
            let (lost, why) = match self.send(&traces, calls).await {
                Ok(response) => (rejected(&response).min(count), "it rejects them".to_owned()),
                Err(why) => (count, why),
            };
            add(&self.counts.exported, count - lost);
            add(&self.counts.dropped, lost);
            self.say(lost, &masks.hide(&why));
        }
    }

    async fn first(&mut self) -> Option<PendingSpans> {
        match self.next.take() {
            Some(next) => Some(next),
            None => self.queue.recv().await,
        }
    }

    /// Those that come soon after the first, and go where it goes.
    async fn gather(&mut self, first: PendingSpans) -> Vec<OfCall> {
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

    async fn send(&self, traces: &Traces, calls: Vec<OfCall>) -> Result<Response, String> {
        let service = traces.service.clone();
        // To write that many takes a while, which must not hold up the calls on this thread.
        let body = spawn_blocking(move || otlp::body(&calls, &service).to_string()).await;
        let request = Request {
            target: Arc::clone(&traces.delivery.target),
            step: None,
            method: Method::POST,
            url: traces.endpoint.clone(),
            headers: traces.headers.clone(),
            body: Some(body.map_err(|error| error.to_string())?.into()),
        };
        let options = DeliveryOptions {
            transport: &*self.transport,
            deadline: (Instant::now() + TIMEOUT).into_std(),
            safe: false,
            // A span that comes twice is the same one.
            repeatable: true,
            overdue: None,
            resources: &self.resources,
            spans: &AttemptSpans::new(None),
        };
        match traces.delivery.deliver(request, options, &mut delivery::DeliveryLog::default()).await {
            Ok(response) if response.status.is_success() => Ok(response),
            Ok(response) => Err(format!("status {}", response.status.as_u16())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Says that spans are lost, but not each time.
    fn say(&mut self, lost: usize, why: &str) {
        self.unsaid += u64::try_from(lost).unwrap_or(u64::MAX);
        if lost > 0 && self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            let spans = std::mem::take(&mut self.unsaid);
            self.said = Some(Instant::now());
            tracing::warn!(
                spans,
                "{spans} spans are lost, the collector of `[traces]` does not take them: {why}"
            );
        }
    }
}

/// How many of the spans a collector did not want, though it took the others.
fn rejected(response: &Response) -> usize {
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    // JSON's numbers are too small for 64 bits: it is a text, and a number for those who do not know that.
    match &answer["partialSuccess"]["rejectedSpans"] {
        Value::String(count) => count.parse().unwrap_or_default(),
        count => count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
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
            service: "door".to_owned(),
        })
    }

    fn waiting(traces: &Arc<Traces>) -> PendingSpans {
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
            call: OfCall { own, spans: vec![span], masks: Masks::default() },
        }
    }

    #[tokio::test]
    async fn what_has_no_room_is_dropped_and_what_has_is_sent_before_the_end() {
        let stub = Arc::new(StubTransport::answering(|_| {
            Ok(Response { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() })
        }));
        let (spans, exporter) = Spans::over(Arc::clone(&stub) as _);
        let traces = traces();
        for _ in 0..MAX_WAITING + 3 {
            spans.put(waiting(&traces));
        }
        assert_eq!((spans.exported(), spans.dropped()), (0, 3));
        let counts = Arc::clone(&spans.counts);
        drop(spans);
        exporter.run().await;
        let told: Vec<usize> = stub
            .requests()
            .iter()
            .map(|request| {
                let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
                body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
            })
            .collect();
        assert_eq!(told, [BATCH; MAX_WAITING / BATCH]);
        assert_eq!(counts.exported.load(Ordering::Relaxed), 2048);
    }
}
