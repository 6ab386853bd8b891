//! The cache: for a while, the response to a safe request is reused for identical requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

/// An upstream that numbers its responses and fails on demand.
async fn counting() -> (Upstream, Arc<AtomicUsize>) {
    let (count, status) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(200)));
    let current = Arc::clone(&status);
    let api = Upstream::new(move |_| {
        let status = u16::try_from(current.load(Ordering::SeqCst)).unwrap();
        Reply::status(status, &json!({"n": count.fetch_add(1, Ordering::SeqCst) + 1}))
    })
    .await;
    (api, status)
}

fn table(route: &str) -> String {
    r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
retry = { attempts = 1 }
[routes.ask]
upstream = "api"
args.city = { type = "string" }
ROUTE
[routes.ask.request]
path = "/ask"
query = { city = "{{args.city}}" }
[routes.ask.extract]
n = { path = "$.n", required = true }
"#
    .replace("ROUTE", route)
}

async fn ask(proxy: &Proxy, city: &str) -> Value {
    let answer = proxy.post("/http/ask", &json!({"city": city})).await.json();
    answer["data"]["n"].as_u64().map_or_else(|| answer["error"]["kind"].clone(), Value::from)
}

#[tokio::test]
async fn a_read_by_post_is_cached_by_its_body() {
    let (api, _) = counting().await;
    let table = table("cache = \"1h\"").replace(
        "query = { city = \"{{args.city}}\" }",
        "method = \"POST\"\nsafe = true\nbody = { city = \"{{args.city}}\" }",
    );
    let proxy = Proxy::over(&api, &table).await;
    let mut answers = Vec::new();
    for city in ["Oslo", "Oslo", "Bergen", "Oslo"] {
        answers.push(ask(&proxy, city).await);
    }
    assert_eq!(answers, [1, 1, 2, 1]);
    assert_eq!(api.take().len(), 2);
}

#[tokio::test]
async fn identical_requests_are_answered_from_the_cache() {
    let (api, _) = counting().await;
    let proxy = Proxy::over(&api, &table("cache = \"1h\"")).await;
    let mut answers = Vec::new();
    for city in ["Oslo", "Oslo", "Bergen", "Oslo", "Bergen"] {
        answers.push(ask(&proxy, city).await);
    }
    assert_eq!(answers, [1, 1, 2, 1, 2]);
    assert_eq!(api.take().len(), 2);
}

#[tokio::test]
async fn cached_responses_expire() {
    let (api, _) = counting().await;
    let proxy = Proxy::over(&api, &table("cache = \"1ms\"")).await;
    assert_eq!(ask(&proxy, "Oslo").await, 1);
    until("the cached response never expires", async || ask(&proxy, "Oslo").await != 1).await;
}

#[tokio::test]
async fn concurrent_calls_share_one_request() {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({"n": 1}))).await;
    let proxy = Proxy::over(&api, &table("cache = \"1h\"")).await;
    let open = async {
        api.arrived(1).await;
        gate.add_permits(50);
    };
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| ask(&proxy, "Oslo"))), open);
    assert_eq!(answers, vec![Value::from(1); 50]);
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn failures_are_not_cached() {
    let (api, status) = counting().await;
    let proxy = Proxy::over(&api, &table("cache = \"1h\"")).await;
    for failing in [500, 404, 302] {
        status.store(failing, Ordering::SeqCst);
        assert_eq!(ask(&proxy, "Oslo").await, "bad_response");
    }
    status.store(200, Ordering::SeqCst);
    assert_eq!(ask(&proxy, "Oslo").await, 4);
    assert_eq!(ask(&proxy, "Oslo").await, 4);
}

#[tokio::test]
async fn stale_if_error_serves_a_stale_response_when_the_upstream_fails() {
    for (route, expected) in
        [("cache = \"1ms\"\nstale_if_error = \"1h\"", json!(1)), ("cache = \"1ms\"", json!("bad_response"))]
    {
        let (api, status) = counting().await;
        let mut proxy = Proxy::over(&api, &table(route)).await;
        assert_eq!(ask(&proxy, "Oslo").await, 1);
        status.store(500, Ordering::SeqCst);
        // The cached response may still be fresh. Once it is not, the upstream is asked first.
        until("the upstream is not asked again", async || {
            let answer = ask(&proxy, "Oslo").await;
            assert!(answer == expected || (answer == 1 && api.seen() < 2), "{answer}");
            api.seen() >= 2
        })
        .await;
        if expected == 1 {
            proxy
                .logged(
                    "an older response was used (`stale_if_error`): the upstream answered with status 500",
                )
                .await;
        }
        api.take();
        status.store(200, Ordering::SeqCst);
        assert_eq!(ask(&proxy, "Oslo").await, 3, "it is asked again");
    }
}

#[tokio::test]
async fn stale_if_error_covers_transient_failures_only() {
    for (failure, expected) in
        [(404, json!("bad_response")), (403, json!("bad_response")), (429, json!(1)), (503, json!(1))]
    {
        let (api, status) = counting().await;
        let proxy = Proxy::over(&api, &table("cache = \"1ms\"\nstale_if_error = \"1h\"")).await;
        assert_eq!(ask(&proxy, "Oslo").await, 1);
        status.store(failure, Ordering::SeqCst);
        let mut last = Value::Null;
        until("the upstream is not asked again", async || {
            last = ask(&proxy, "Oslo").await;
            api.seen() >= 2
        })
        .await;
        assert_eq!(last, expected, "{failure}");
    }
}

#[tokio::test]
async fn a_reload_drops_the_cached_responses_of_changed_routes() {
    let (api, _) = counting().await;
    let mut proxy = Proxy::over(&api, &table("cache = \"1h\"")).await;
    assert_eq!(ask(&proxy, "Oslo").await, 1);
    let path = proxy.folder.path().join("routes.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    proxy.folder.write("routes.toml", &format!("{text}\n[routes.more]\nreply.text = \"More.\"\n"));
    proxy.logged("added=more").await;
    assert_eq!(ask(&proxy, "Oslo").await, 1, "another route changed");
    proxy.folder.write("routes.toml", &text.replace("cache = \"1h\"", "cache = \"2h\""));
    proxy.logged("changed=ask").await;
    assert_eq!(ask(&proxy, "Oslo").await, 2);
    // The old entry does not return when the route is changed back.
    proxy.folder.write("routes.toml", &format!("{text}\n[routes.last]\nreply.text = \"Last.\"\n"));
    proxy.logged("added=last").await;
    assert_eq!(ask(&proxy, "Oslo").await, 3);
}

#[tokio::test]
async fn a_changed_credential_misses_the_cache() {
    let (api, _) = counting().await;
    let with = |token: &str| {
        table("cache = \"1h\"").replace("retry", &format!("auth.bearer = {{ token = \"{token}\" }}\nretry"))
    };
    let mut proxy = Proxy::over(&api, &with("one")).await;
    assert_eq!(ask(&proxy, "Oslo").await, 1);
    let path = proxy.folder.path().join("routes.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    proxy.folder.write("routes.toml", &text.replace("\"one\"", "\"two\""));
    proxy.logged("configuration reloaded").await;
    assert_eq!(ask(&proxy, "Oslo").await, 2);
}

#[tokio::test]
async fn responses_that_a_case_declares_a_failure_are_not_cached() {
    let count = AtomicUsize::new(0);
    let api = Upstream::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(&json!({"n": 1, "errors": ["busy"]})),
        n => Reply::json(&json!({"n": n + 1})),
    })
    .await;
    for (reply, expected) in [
        ("[{ when.truthy = \"$.errors\", failure = \"bad_response\" }]", json!(["bad_response", 2, 2])),
        (
            "[{ when = { found = \"$.n\", equals = { \"args.city\" = \"Oslo\" } }, data = { n = \"{{n}}\" } }, { failure = \"bad_response\" }]",
            json!([3, 3, 3]),
        ),
        (
            "[{ when.status = 201, text = \"\" }, { failure = \"timeout\" }]",
            json!(["timeout", "timeout", "timeout"]),
        ),
    ] {
        let proxy = Proxy::over(&api, &table(&format!("cache = \"1h\"\nreply = {reply}"))).await;
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(ask(&proxy, "Oslo").await);
        }
        assert_eq!(Value::from(answers), expected, "{reply}");
    }
}
