//! `[traces]`: a collector gets the spans of each call, upstreams get the trace context, and a collector never delays
//! or fails a call.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::metrics::Scrape;
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Seen, Upstream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A trace collector.
struct Collector {
    upstream: Upstream,
    received: mpsc::UnboundedReceiver<Seen>,
}

impl Collector {
    async fn new() -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let upstream = Upstream::new(move |seen| {
            sender.send(seen.clone()).unwrap();
            Reply::json(&json!({"partialSuccess": {}}))
        });
        Self { upstream: upstream.await, received }
    }

    /// The next export, and its spans.
    async fn next(&mut self) -> (Seen, Vec<Value>) {
        let seen = self.received.recv().await.unwrap();
        let spans = seen.json()["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        (seen, spans)
    }

    fn table(&self, rest: &str) -> String {
        format!("[traces]\nendpoint = \"http://{}/v1/traces\"\n{rest}", self.upstream.address)
    }
}

/// An attribute as text; empty if it is absent.
fn attribute(span: &Value, key: &str) -> String {
    let attributes = span["attributes"].as_array().unwrap();
    let value = attributes.iter().find(|attribute| attribute["key"] == key);
    value.map_or_else(String::new, |attribute| {
        let value = attribute["value"].as_object().unwrap().values().next().unwrap();
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    })
}

fn nanos(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

/// A span on one line, followed by its children in the order in which they started.
fn tree(spans: &[Value], parent: &str, depth: usize) -> String {
    let mut text = String::new();
    let mut children: Vec<&Value> =
        spans.iter().filter(|span| span["parentSpanId"].as_str().unwrap_or_default() == parent).collect();
    children.sort_by_key(|span| nanos(span, "startTimeUnixNano"));
    for span in children {
        let (began, ended) = (nanos(span, "startTimeUnixNano"), nanos(span, "endTimeUnixNano"));
        assert!(began <= ended, "{span}");
        let outer = spans.iter().find(|outer| outer["spanId"] == parent);
        if let Some(outer) = outer {
            assert!(nanos(outer, "startTimeUnixNano") <= began && ended <= nanos(outer, "endTimeUnixNano"));
        }
        let kind = ["", "", " server", " client"][usize::try_from(span["kind"].as_u64().unwrap()).unwrap()];
        let failed = if span["status"]["code"] == 2 { " failed" } else { "" };
        let keys = ["http.response.status_code", "http.request.resend_count", "error.type"];
        let values: Vec<_> =
            keys.iter().map(|key| attribute(span, key)).filter(|text| !text.is_empty()).collect();
        let values = format!("{kind}{failed} {}", values.join(" "));
        let line = format!("{}{}{values}", "  ".repeat(depth), span["name"].as_str().unwrap());
        text += &format!("{}\n{}", line.trim_end(), tree(spans, span["spanId"].as_str().unwrap(), depth + 1));
    }
    text
}

async fn call(proxy: &Proxy, function: &str, args: &Value, headers: &[(&str, &str)]) -> Value {
    proxy.send(Method::POST, &format!("/http/{function}"), headers, args.to_string()).await.json()
}

fn caller(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[tokio::test]
async fn spans_are_linked_to_the_caller_and_to_upstream_requests() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503, &json!({})),
        _ => Reply::json(&json!({"name": "Ada Private"})),
    })
    .await;
    let mut collector = Collector::new().await;
    let table = collector.table(
        "headers = { authorization = \"Bearer ${COLLECTOR_TOKEN}\" }\nservice = \"gateway\"\n\
         [server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n\
         [upstreams.api]\nbase_url = \"http://localhost:PORT/base\"\nauth.bearer = { token = \"${API_TOKEN}\" }\n\
         retry = { attempts = 2, backoff = \"1ms\" }\n\
         [routes.book]\nargs.city = { type = \"string\" }\nreply.text = \"{{two.name}}\"\n\
         [[routes.book.steps]]\nname = \"one\"\nupstream = \"api\"\nrequest = { path = \"/{{args.city}}\", query = { at = \"{{args.city}}\" } }\n\
         [[routes.book.steps]]\nname = \"two\"\nupstream = \"api\"\nrequest = { method = \"POST\", path = \"/book\", body = { at = \"{{args.city}}\" } }\n\
         extract.name = \"$.name\"\n",
    );
    let table = table.replace("PORT", &upstream.address.port().to_string());
    let secrets = [("COLLECTOR_TOKEN", "c0llector-s3cret"), ("API_TOKEN", "api-s3cret")];
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &secrets).await;
    let headers = [
        ("traceparent", caller("01")),
        ("tracestate", "vendor=1".to_owned()),
        ("x-conversation-id", "c-7".to_owned()),
    ];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = call(&proxy, "book", &json!({"city": "Oslo-Private"}), &headers).await;
    assert_eq!(answer, json!({"text": "Ada Private"}));

    let (seen, spans) = collector.next().await;
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/v1/traces"));
    assert_eq!(seen.header("content-type"), ["application/json"]);
    assert_eq!(seen.header("authorization"), ["Bearer c0llector-s3cret"]);
    assert_eq!(
        tree(&spans, CALLER, 0),
        "execute_tool book server
  decode
  find_route
  validate
  run_steps
    step one
      render
      send
        GET client failed 503 503
        GET client 200 1
      extract
    step two
      render
      send
        POST client 200
      extract
  reply
"
    );
    assert_eq!(spans.len(), 17, "every span is below the call's own: {spans:#?}");
    assert!(spans.iter().all(|span| span["traceId"] == TRACE && span["traceState"] == "vendor=1"));
    let root = &spans[0];
    for (key, value) in [
        ("jackfield.platform", "http"),
        ("jackfield.outcome", "answered"),
        ("jackfield.case", "1"),
        ("gen_ai.tool.name", "book"),
        ("gen_ai.conversation.id", "c-7"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(root, key), value, "{key}");
    }
    let resource = &seen.json()["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "gateway");
    let sent: Vec<&Value> = spans.iter().filter(|span| span["kind"] == 3).collect();
    assert_eq!(attribute(sent[0], "http.request.method"), "GET");
    assert_eq!(attribute(sent[0], "server.address"), "localhost");
    assert_eq!(attribute(sent[0], "server.port"), upstream.address.port().to_string());
    assert_eq!(attribute(sent[0], "peer.service"), "api");
    // Each request carries the id of its own span.
    let requests = upstream.take();
    assert_eq!(requests.len(), 3);
    for (span, request) in sent.iter().zip(&requests) {
        let own = format!("00-{TRACE}-{}-01", span["spanId"].as_str().unwrap());
        assert_eq!(request.header("traceparent"), [own]);
        assert_eq!(request.header("tracestate"), ["vendor=1"]);
    }
    let body = String::from_utf8(seen.body).unwrap();
    for hidden in ["s3cret", "Private", "/base", "/book?"] {
        assert!(!body.contains(hidden), "{hidden}: {body}");
    }
    let line = proxy.logged("book: answered").await;
    assert!(line.contains(&format!("trace=\"{TRACE}\"")), "{line}");
}

#[tokio::test]
async fn failures_are_recorded_on_the_span_where_they_happened() {
    let mut collector = Collector::new().await;
    let upstream = Upstream::new(|_| Reply::status(404, &json!({}))).await;
    let table = collector.table(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[upstreams.dead]\nbase_url = \"http://127.0.0.1:1\"\n\
         retry.attempts = 1\n[routes.find]\nupstream = \"api\"\nrequest = { path = \"/\" }\n\
         args.id = { type = \"integer\", required = true }\n\
         [routes.reach]\nupstream = \"dead\"\nrequest = { path = \"/\" }\n\
         [routes.say]\nreply.text = \"{{args.word}}\"\nargs.word = { type = \"string\" }\nlimit.concurrency = 1\n\
         [platforms.voicedock]\n[events.voicedock.status_update]\nreply.data = { seen = true }\n",
    );
    let proxy = Proxy::over(&upstream, &table).await;
    for (function, args, expected) in [
        (
            "find",
            json!({"id": 7}),
            "execute_tool find server failed bad_response\n  decode\n  find_route\n  validate\n  run_steps failed\n    render\n    send\n      \
             GET client failed 404 404\n    extract failed\n  reply\n",
        ),
        (
            "find",
            json!({}),
            "execute_tool find server failed invalid_args\n  decode\n  find_route\n  validate failed\n  reply\n",
        ),
        (
            "reach",
            json!({}),
            "execute_tool reach server failed unreachable\n  decode\n  find_route\n  validate\n  run_steps failed\n    render\n    send failed\n      \
             GET client failed unreachable\n  reply\n",
        ),
        (
            "say",
            json!({}),
            "execute_tool say server failed bad_response\n  decode\n  find_route\n  validate\n  wait\n  reply failed\n  reply\n",
        ),
        (
            "nothing",
            json!({}),
            "execute_tool server failed unknown_function\n  decode\n  find_route failed\n  reply\n",
        ),
    ] {
        proxy.send(Method::POST, &format!("/http/{function}"), &[], args.to_string()).await;
        let (_, spans) = collector.next().await;
        assert_eq!(tree(&spans, "", 0), expected, "{function}");
    }
    let event = json!({"message": {"type": "status-update", "status": "ended", "call": {"id": "c-1"}}});
    assert_eq!(proxy.post("/voicedock", &event).await.json(), json!({"seen": true}));
    let (_, spans) = collector.next().await;
    assert!(tree(&spans, "", 0).starts_with("event status_update server\n  decode\n"), "{spans:#?}");
}

#[tokio::test]
async fn spans_record_abandoned_and_unsent_requests() {
    let mut collector = Collector::new().await;
    let count = AtomicUsize::new(0);
    let upstream = Upstream::with(move |_| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { pending().await } else { Reply::json(&json!({})) } }
    })
    .await;
    let table = collector.table(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\nhedge_after = \"1ms\"\n\
         [routes.ask]\nupstream = \"api\"\nrequest = { path = \"/\" }\nreply.text = \"Good.\"\ncache = \"5m\"\n",
    );
    let proxy = Proxy::over(&upstream, &table).await;
    assert_eq!(call(&proxy, "ask", &json!({}), &[]).await, json!({"text": "Good."}));
    let (_, spans) = collector.next().await;
    let sent: Vec<&Value> = spans.iter().filter(|span| span["kind"] == 3).collect();
    let mut given_up: Vec<_> = sent.iter().map(|span| attribute(span, "jackfield.cancelled")).collect();
    given_up.sort();
    assert_eq!(given_up, ["", "true"]);
    let mut parents: Vec<_> =
        upstream.take().iter().map(|seen| seen.header("traceparent")[0].clone()).collect();
    let mut own: Vec<_> = sent
        .iter()
        .map(|span| {
            let id = |key: &str| span[key].as_str().unwrap().to_owned();
            format!("00-{}-{}-01", id("traceId"), id("spanId"))
        })
        .collect();
    parents.sort();
    own.sort();
    assert_eq!(parents, own);

    assert_eq!(call(&proxy, "ask", &json!({}), &[]).await, json!({"text": "Good."}));
    let (_, spans) = collector.next().await;
    let expected = "execute_tool ask server\n  decode\n  find_route\n  validate\n  run_steps\n    render\n    cache\n    extract\n  reply\n";
    assert_eq!(tree(&spans, "", 0), expected);
    assert_eq!(attribute(&spans[0], "jackfield.cache"), "hit");
    assert_eq!(upstream.seen(), 0);
}

/// The tracing headers of the only request that arrived.
fn trace_headers(upstream: &Upstream) -> (Vec<String>, Vec<String>) {
    let seen = upstream.one();
    (seen.header("traceparent"), seen.header("tracestate"))
}

#[tokio::test]
async fn without_tracing_the_trace_context_is_forwarded_unchanged() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(
        &upstream,
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n\
         [routes.ask]\nupstream = \"api\"\nrequest = { path = \"/\" }\n\
         [routes.own]\nupstream = \"api\"\nrequest = { path = \"/\", headers = { traceparent = \"mine\" } }\n",
    )
    .await;
    let nothing = || (vec![], vec![]);
    call(&proxy, "ask", &json!({}), &[]).await;
    assert_eq!(trace_headers(&upstream), nothing());
    for flags in ["00", "01"] {
        let caller = caller(flags);
        call(&proxy, "ask", &json!({}), &[("traceparent", &caller), ("tracestate", "a=1")]).await;
        assert_eq!(trace_headers(&upstream), (vec![caller.clone()], vec!["a=1".to_owned()]));
        call(&proxy, "own", &json!({}), &[("traceparent", &caller), ("tracestate", "a=1")]).await;
        assert_eq!(trace_headers(&upstream), (vec!["mine".to_owned()], vec![]));
    }
    // Invalid trace headers are dropped.
    let answer =
        call(&proxy, "ask", &json!({}), &[("traceparent", "00-0-0-01"), ("tracestate", "a=1")]).await;
    assert_eq!((answer, trace_headers(&upstream)), (json!({"data": {}}), nothing()));
}

#[tokio::test]
async fn a_traceparent_of_the_table_is_kept_by_every_attempt() {
    let upstream = Upstream::new(|_| Reply::status(503, &json!({}))).await;
    let proxy = Proxy::over(
        &upstream,
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n\
         retry = { attempts = 2, backoff = \"1ms\" }\n\
         [routes.own]\nupstream = \"api\"\nrequest = { path = \"/\", headers = { traceparent = \"mine\" } }\n",
    )
    .await;
    call(&proxy, "own", &json!({}), &[("traceparent", &caller("01"))]).await;
    let sent: Vec<_> = upstream.take().iter().map(|seen| seen.header("traceparent")).collect();
    assert_eq!(sent, [["mine"], ["mine"]]);
}

#[tokio::test]
async fn sampling_records_a_share_of_traces_and_all_that_are_already_sampled() {
    let mut collector = Collector::new().await;
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let table = collector.table(
        "sample = 0\n[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n\
         [routes.ask]\nupstream = \"api\"\nrequest = { path = \"/\" }\n",
    );
    let mut proxy = Proxy::over(&upstream, &table).await;
    call(&proxy, "ask", &json!({}), &[("traceparent", &caller("00"))]).await;
    assert_eq!(trace_headers(&upstream).0, [caller("00")]);
    // A new trace starts here, and upstreams are told that it is not sampled.
    call(&proxy, "ask", &json!({}), &[("traceparent", "what")]).await;
    let (begun, _) = trace_headers(&upstream);
    assert!(
        begun[0].starts_with("00-") && begun[0].ends_with("-00") && !begun[0].contains(TRACE),
        "{begun:?}"
    );
    call(&proxy, "ask", &json!({}), &[("traceparent", &caller("01"))]).await;
    let (recorded, _) = trace_headers(&upstream);
    assert!(recorded[0].contains(TRACE) && recorded[0].ends_with("-01") && recorded[0] != caller("01"));
    // The shutdown flushes the queue, so nothing follows.
    proxy.signal("TERM");
    assert!(proxy.ended().await.success(), "{}", proxy.log());
    let (_, spans) = collector.next().await;
    assert!(spans.iter().all(|span| span["traceId"] == TRACE), "{spans:#?}");
    assert_eq!(collector.upstream.seen(), 1);
}

#[tokio::test]
async fn an_unreachable_collector_fails_no_calls() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::over(
        &upstream,
        "[traces]\nendpoint = \"http://127.0.0.1:1/v1/traces\"\n\
         [platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n\
         [routes.ask]\nupstream = \"api\"\nrequest = { path = \"/\" }\n",
    )
    .await;
    assert_eq!(call(&proxy, "ask", &json!({}), &[]).await, json!({"data": {}}));
    let line = proxy.logged("the collector of `[traces]` does not accept them: cannot connect").await;
    assert!(line.contains("WARN 10 spans lost"), "{line}");
    let scrape = Scrape::of(&proxy).await;
    assert_eq!((scrape.get("spans_dropped_total"), scrape.get("spans_exported_total")), (10.0, 0.0));
    assert_eq!(call(&proxy, "ask", &json!({}), &[]).await, json!({"data": {}}));
}

#[tokio::test]
async fn a_hanging_collector_delays_neither_calls_nor_shutdown() {
    let silent = Upstream::with(|_| pending::<Reply>()).await;
    let mut proxy = Proxy::over(
        &silent,
        "[traces]\nendpoint = \"http://UPSTREAM/v1/traces\"\n[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n",
    )
    .await;
    for _ in 0..3 {
        assert_eq!(call(&proxy, "say", &json!({}), &[]).await, json!({"text": "Hello."}));
    }
    proxy.signal("TERM");
    assert!(proxy.ended().await.success(), "{}", proxy.log());
}

#[tokio::test]
async fn rejected_spans_are_counted() {
    let (sender, mut received) = mpsc::unbounded_channel();
    let picky = Upstream::new(move |_| {
        sender.send(()).unwrap();
        Reply::json(&json!({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no"}}))
    })
    .await;
    let mut proxy = Proxy::over(
        &picky,
        "[traces]\nendpoint = \"http://UPSTREAM/v1/traces\"\n[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n",
    )
    .await;
    call(&proxy, "say", &json!({}), &[]).await;
    received.recv().await.unwrap();
    proxy.logged("2 spans lost: the collector of `[traces]` does not accept them: they were rejected").await;
    let scrape = Scrape::of(&proxy).await;
    assert_eq!((scrape.get("spans_dropped_total"), scrape.get("spans_exported_total")), (2.0, 3.0));
}

#[tokio::test]
async fn a_reload_switches_the_collector() {
    let (mut one, mut other) = (Collector::new().await, Collector::new().await);
    let rest =
        "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n";
    let mut proxy = Proxy::start(&one.table(rest)).await;
    call(&proxy, "say", &json!({}), &[]).await;
    proxy.folder.write("routes.toml", &other.table(rest));
    proxy.logged("configuration reloaded").await;
    call(&proxy, "say", &json!({}), &[]).await;
    let ((_, first), (_, second)) = (one.next().await, other.next().await);
    assert_eq!((first.len(), second.len()), (5, 5));
    assert_ne!(first[0]["traceId"], second[0]["traceId"]);
    assert!(one.received.try_recv().is_err());
}
