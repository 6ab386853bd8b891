//! `GET /metrics`: everything that the running binary counts, in the Prometheus format, without labels that a caller
//! can choose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::proxy::{LISTENERS, Proxy};
use crate::support::upstream::{Reply, Upstream};

/// Samples by name and labels, checked as `promtool check metrics` does.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: BTreeMap<String, f64>,
    /// The type of each metric family.
    families: BTreeMap<String, String>,
}

impl Scrape {
    pub(crate) async fn of(proxy: &Proxy) -> Self {
        let answer = proxy.ask_admin("/metrics", &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        Self::read(answer.text())
    }

    fn read(text: &str) -> Self {
        let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
        let (mut helped, mut family) = (BTreeSet::new(), String::new());
        let mut order = Vec::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap();
                assert!(words.ends_with('.') && helped.insert(name.to_owned()), "{line}");
                continue;
            }
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(name.starts_with("jackfield_") && helped.contains(name), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                name.clone_into(&mut family);
                continue;
            }
            let (key, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let name = key.split('{').next().unwrap();
            let base = match families[&family].as_str() {
                "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)),
                _ => Some(name),
            };
            assert_eq!(base, Some(family.as_str()), "{line} is listed under another family");
            if let Some(labels) = key.strip_prefix(name).filter(|labels| !labels.is_empty()) {
                assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
            }
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert!(samples.insert(key.to_owned(), value).is_none(), "{line} comes twice");
            order.push((key.to_owned(), value));
        }
        assert_eq!(helped, families.keys().cloned().collect());
        let mut before: Option<(String, f64)> = None;
        let mut buckets = 0;
        for (key, value) in order {
            let Some((series, bound)) = key.split_once("le=\"") else {
                // The count equals that of the `+Inf` bucket, which comes before the sum.
                if key.contains("_seconds_count{") {
                    assert_eq!(before.take().map(|(_, count)| count), Some(value), "{key}");
                }
                continue;
            };
            if let Some((known, less)) = &before
                && known == series
            {
                assert!(*less <= value, "{key} is not cumulative");
            }
            if bound == "+Inf\"}" {
                buckets += 1;
            }
            before = Some((series.to_owned(), value));
        }
        assert!(buckets > 0);
        Self { samples, families }
    }

    /// The names of the metric families.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.families.keys().map(String::as_str).collect()
    }

    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> f64 {
        let key = format!("jackfield_{key}");
        *self.samples.get(&key).unwrap_or_else(|| panic!("no `{key}` among {:#?}", self.samples))
    }
}

pub(crate) const TABLE: &str = r#"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
limit = { rate = "1/h", burst = 100, wait = "1ms" }
[upstreams.shaky]
base_url = "http://UPSTREAM"
retry = { attempts = 2, backoff = "1ms", on = ["5xx"] }
[upstreams.late]
base_url = "http://UPSTREAM"
hedge_after = "20ms"
[upstreams.sick]
base_url = "http://UPSTREAM"
retry = { attempts = 1 }
breaker = { min_calls = 2, open_for = "10m" }
[routes.say]
reply.text = "Hello."
[routes.once]
limit = { rate = "1/h", wait = "1ms" }
upstream = "api"
request = { path = "/good" }
[routes.kept]
cache = "1m"
upstream = "api"
request = { path = "/good" }
[routes.write]
upstream = "api"
repeat_window = "1m"
request = { method = "POST", path = "/good" }
[routes.shaky]
upstream = "shaky"
request = { path = "/shaky" }
[routes.late]
upstream = "late"
request = { path = "/late" }
[routes.sick]
upstream = "sick"
request = { path = "/bad" }
"#;

/// The first request to `/shaky` fails, and the first one to `/late` is never answered.
pub(crate) async fn upstream() -> Upstream {
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    Upstream::with(move |seen| {
        let counts = Arc::clone(&counts);
        async move {
            match seen.path() {
                "/bad" => Reply::status(503, &json!({})),
                "/shaky" if counts[0].fetch_add(1, Ordering::Relaxed) == 0 => Reply::status(503, &json!({})),
                "/late" if counts[1].fetch_add(1, Ordering::Relaxed) == 0 => std::future::pending().await,
                _ => Reply::json(&json!({"good": true})),
            }
        }
    })
    .await
}

/// Calls every route of [`TABLE`], then reloads a table with an error and a valid one.
pub(crate) async fn use_all(proxy: &mut Proxy, upstream: &Upstream) {
    for function in ["say", "say", "once", "once", "kept", "kept", "shaky", "late"] {
        proxy.post(&format!("/http/{function}"), &json!({})).await;
    }
    for function in ["sick", "sick", "sick", "nobody\"\n{}", "nobody-else"] {
        let call = json!({"function": function, "argument": {"parsed": [{}]}, "call_id": "c-1"});
        proxy.post("/swaig", &call).await;
    }
    let write = json!({"function": "write", "argument": {"parsed": [{}]}, "call_id": "c-1"});
    for _ in 0..3 {
        assert_eq!(proxy.post("/swaig", &write).await.status, 200);
    }
    proxy.post("/nothing", &Value::Null).await;
    let table = format!("{LISTENERS}{TABLE}").replace("UPSTREAM", &upstream.address.to_string());
    proxy.folder.write("routes.toml", &format!("{table}[routes.more]\nreply.txet = \"Hi.\"\n"));
    proxy.logged("configuration rejected").await;
    proxy.folder.write("routes.toml", &format!("{table}[routes.more]\nreply.text = \"Hi.\"\n"));
    proxy.logged("configuration reloaded").await;
}

#[tokio::test]
async fn everything_is_counted() {
    let upstream = upstream().await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    let before = Scrape::of(&proxy).await;
    for (key, expected) in [
        ("upstream_attempts_total{upstream=\"sick\"}", 0.0),
        ("upstream_breaker_state{upstream=\"sick\",state=\"closed\"}", 1.0),
        ("reloads_total{result=\"applied\"}", 0.0),
        ("plan_rejected", 0.0),
        ("build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(before.get(key), expected, "{key}");
    }
    use_all(&mut proxy, &upstream).await;
    let after = Scrape::of(&proxy).await;
    let calls = |platform: &str, route: &str, outcome: &str| {
        after.get(&format!("calls_total{{platform=\"{platform}\",route=\"{route}\",outcome=\"{outcome}\"}}"))
    };
    for (platform, route, outcome, expected) in [
        ("http", "say", "answered", 2.0),
        ("http", "say", "timeout", 0.0),
        ("http", "once", "answered", 1.0),
        ("http", "once", "refused", 1.0),
        ("http", "kept", "answered", 2.0),
        ("http", "shaky", "answered", 1.0),
        ("http", "late", "answered", 1.0),
        ("swaig", "sick", "bad_response", 2.0),
        ("swaig", "sick", "refused", 1.0),
        ("swaig", "(unknown)", "unknown_function", 2.0),
        ("swaig", "write", "answered", 1.0),
        ("swaig", "write", "deduplicated", 2.0),
    ] {
        assert_eq!(calls(platform, route, outcome), expected, "{platform} {route} {outcome}");
    }
    for (key, expected) in [
        ("call_seconds_count{platform=\"http\",route=\"say\"}", 2.0),
        ("call_seconds_bucket{platform=\"http\",route=\"say\",le=\"+Inf\"}", 2.0),
        ("proxy_overhead_seconds_count{platform=\"http\"}", 8.0),
        ("proxy_overhead_seconds_count{platform=\"swaig\"}", 6.0),
        ("route_limit_rejected_total", 1.0),
        ("upstream_attempts_total{upstream=\"api\"}", 3.0),
        ("upstream_attempts_total{upstream=\"shaky\"}", 2.0),
        ("upstream_attempts_total{upstream=\"late\"}", 2.0),
        ("upstream_attempts_total{upstream=\"sick\"}", 2.0),
        ("upstream_retries_total{upstream=\"shaky\"}", 1.0),
        ("upstream_retries_total{upstream=\"late\"}", 0.0),
        ("upstream_hedges_total{upstream=\"late\"}", 1.0),
        ("upstream_responses_total{upstream=\"sick\",status=\"5xx\"}", 2.0),
        ("upstream_responses_total{upstream=\"shaky\",status=\"5xx\"}", 1.0),
        ("upstream_responses_total{upstream=\"shaky\",status=\"2xx\"}", 1.0),
        ("upstream_failures_total{upstream=\"sick\",kind=\"bad_response\",reason=\"status\"}", 2.0),
        ("upstream_failures_total{upstream=\"sick\",kind=\"refused\",reason=\"breaker\"}", 1.0),
        ("upstream_failures_total{upstream=\"shaky\",kind=\"bad_response\",reason=\"status\"}", 0.0),
        ("upstream_rejected_total{upstream=\"sick\",reason=\"breaker\"}", 1.0),
        ("upstream_rejected_total{upstream=\"sick\",reason=\"limit\"}", 0.0),
        ("upstream_seconds_count{upstream=\"sick\"}", 2.0),
        ("upstream_breaker_state{upstream=\"sick\",state=\"open\"}", 1.0),
        ("upstream_breaker_state{upstream=\"sick\",state=\"closed\"}", 0.0),
        ("cache_requests_total{upstream=\"api\",result=\"miss\"}", 1.0),
        ("cache_requests_total{upstream=\"api\",result=\"hit\"}", 1.0),
        ("cache_requests_total{upstream=\"api\",result=\"stale\"}", 0.0),
        ("rejected_requests_total{reason=\"not_served\"}", 1.0),
        ("rejected_requests_total{reason=\"busy_calls\"}", 0.0),
        ("requests_without_call_total{reason=\"no_entry\"}", 0.0),
        ("log_lines_dropped_total", 0.0),
        ("calls_in_flight", 0.0),
        ("calls_in_flight_limit", 4096.0),
        ("reloads_total{result=\"applied\"}", 1.0),
        ("reloads_total{result=\"rejected\"}", 1.0),
        ("plan_rejected", 0.0),
    ] {
        assert_eq!(after.get(key), expected, "{key}");
    }
    assert!(after.get("connections") >= 1.0 && after.get("cache_bytes") > 0.0);
    let times = ["start_time_seconds", "plan_rejected_timestamp_seconds", "plan_loaded_timestamp_seconds"];
    let times = times.map(|name| after.get(name));
    assert!(times.is_sorted() && times[0] > before.get("start_time_seconds") - 1.0, "{times:?}");
    assert!(!after.samples.keys().any(|key| key.contains("nobody")), "a caller names a series");
    let revision = proxy.status().await["plan"]["revision"].take();
    let revision = revision.as_str().unwrap();
    assert_eq!(after.get(&format!("plan_info{{revision=\"{revision}\"}}")), 1.0);
}

#[tokio::test]
async fn overhead_excludes_time_spent_waiting() {
    let gate = Arc::new(Semaphore::new(0));
    let (opened, counts) = (Arc::clone(&gate), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let upstream = Upstream::with(move |seen| {
        let (gate, counts) = (Arc::clone(&opened), Arc::clone(&counts));
        async move {
            match seen.path() {
                "/shaky" if counts[0].fetch_add(1, Ordering::Relaxed) == 0 => {
                    return Reply::status(503, &json!({}));
                }
                "/late" if counts[1].fetch_add(1, Ordering::Relaxed) == 0 => std::future::pending().await,
                "/held" => gate.acquire().await.unwrap().forget(),
                _ => {}
            }
            Reply::json(&json!({"good": true}))
        }
    })
    .await;
    let table = r#"
[platforms.http]
[upstreams.shaky]
base_url = "http://UPSTREAM"
retry = { attempts = 2, backoff = "400ms", on = ["5xx"] }
[upstreams.late]
base_url = "http://UPSTREAM"
hedge_after = "200ms"
[upstreams.held]
base_url = "http://UPSTREAM"
limit = { concurrency = 1, wait = "200ms" }
[routes.shaky]
upstream = "shaky"
request.path = "/shaky"
[routes.late]
upstream = "late"
request.path = "/late"
[routes.held]
upstream = "held"
request.path = "/held"
[routes.limited]
upstream = "shaky"
request.path = "/held"
limit = { concurrency = 1, wait = "200ms" }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let ask = async |route: &str| proxy.post(&format!("/http/{route}"), &json!({})).await.json();
    for route in ["shaky", "late"] {
        assert_eq!(ask(route).await, json!({"data": {}}), "{route}");
    }
    upstream.take();
    tokio::join!(ask("held"), ask("limited"), async {
        upstream.arrived(2).await;
        for route in ["held", "limited"] {
            assert_eq!(ask(route).await["error"]["kind"], "refused", "{route}");
        }
        gate.add_permits(2);
    });
    let records = proxy.ask_admin("/records", &[]).await.json()["records"].take();
    let records = records.as_array().unwrap();
    assert_eq!(records.len(), 6);
    // The backoff pauses are at least half of the configured backoff.
    for record in records {
        let elsewhere = record["ms"].as_f64().unwrap() - record["overhead_ms"].as_f64().unwrap();
        assert!(elsewhere >= 199.0, "{elsewhere} ms: {record}");
    }
    let own: f64 = records.iter().map(|record| record["overhead_ms"].as_f64().unwrap() / 1000.0).sum();
    let counted = Scrape::of(&proxy).await.get("proxy_overhead_seconds_sum{platform=\"http\"}");
    assert!((own - counted).abs() < 0.000_1, "{own} {counted}");
}

#[tokio::test]
async fn events_and_functions_of_the_same_name_are_counted_separately() {
    let proxy = Proxy::start(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.voicedock]\n\
         [routes.assistant_request]\nreply.text = \"Hello.\"\n\
         [events.voicedock.assistant_request]\nreply.data = { assistantId = \"a\" }\n",
    )
    .await;
    let event = json!({"message": {"type": "assistant-request", "call": {"id": "c-1"}}});
    assert_eq!(proxy.post("/voicedock", &event).await.status, 200);
    let scrape = Scrape::of(&proxy).await;
    let calls = |route: &str| {
        let key =
            format!("jackfield_calls_total{{platform=\"voicedock\",route=\"{route}\",outcome=\"answered\"}}");
        scrape.samples.get(&key).copied()
    };
    assert_eq!((calls("event:assistant_request"), calls("assistant_request")), (Some(1.0), None));
}

#[tokio::test]
async fn metrics_require_the_admin_listeners_authentication() {
    let proxy = Proxy::start(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nadmin_auth.bearer = { token = \"pw\" }\n\
         [platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n",
    )
    .await;
    assert_eq!(proxy.ask_admin("/metrics", &[]).await.status, 401);
    assert_eq!(proxy.ask_admin("/metrics", &[("authorization", "Bearer pw")]).await.status, 200);
}
