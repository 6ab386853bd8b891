//! The cache: a reply to a request that changes nothing stands for a new one, for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::proxy::{GUARD, Proxy};
use crate::support::upstream::{Reply, Upstream};

/// An upstream that counts its answers, and fails while it is told to.
async fn counting() -> (Upstream, Arc<AtomicUsize>) {
    let (count, status) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(200)));
    let told = Arc::clone(&status);
    let api = Upstream::new(move |_| {
        let status = u16::try_from(told.load(Ordering::SeqCst)).unwrap();
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
async fn the_same_request_is_answered_from_the_cache() {
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
async fn a_reply_is_fresh_for_as_long_as_the_table_says() {
    let (api, _) = counting().await;
    let proxy = Proxy::over(&api, &table("cache = \"1ms\"")).await;
    assert_eq!(ask(&proxy, "Oslo").await, 1);
    let began = Instant::now();
    while ask(&proxy, "Oslo").await == 1 {
        assert!(began.elapsed() < GUARD);
    }
}

#[tokio::test]
async fn calls_at_the_same_time_ask_once() {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({"n": 1}))).await;
    let proxy = Proxy::over(&api, &table("cache = \"1h\"")).await;
    let open = async {
        while api.seen() == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(50);
    };
    let (answers, ()) = tokio::join!(join_all((0..50).map(|_| ask(&proxy, "Oslo"))), open);
    assert_eq!(answers, vec![Value::from(1); 50]);
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn failures_are_not_kept_but_shared_by_those_that_wait() {
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
async fn an_older_reply_is_used_when_the_upstream_fails_and_the_table_allows_it() {
    for (route, expected) in
        [("cache = \"1ms\"\nstale_if_error = \"1h\"", json!(1)), ("cache = \"1ms\"", json!("bad_response"))]
    {
        let (api, status) = counting().await;
        let mut proxy = Proxy::over(&api, &table(route)).await;
        assert_eq!(ask(&proxy, "Oslo").await, 1);
        status.store(500, Ordering::SeqCst);
        // It may still be fresh; when the upstream is asked, that comes first.
        let began = Instant::now();
        while api.seen() < 2 {
            assert!(began.elapsed() < GUARD);
            let answer = ask(&proxy, "Oslo").await;
            assert!(answer == expected || (answer == 1 && api.seen() < 2), "{answer}");
        }
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
async fn what_the_upstream_says_is_gone_is_not_answered_with_an_older_reply() {
    for (said, expected) in
        [(404, json!("bad_response")), (403, json!("bad_response")), (429, json!(1)), (503, json!(1))]
    {
        let (api, status) = counting().await;
        let proxy = Proxy::over(&api, &table("cache = \"1ms\"\nstale_if_error = \"1h\"")).await;
        assert_eq!(ask(&proxy, "Oslo").await, 1);
        status.store(said, Ordering::SeqCst);
        let (began, mut last) = (Instant::now(), Value::Null);
        while api.seen() < 2 {
            assert!(began.elapsed() < GUARD);
            last = ask(&proxy, "Oslo").await;
        }
        assert_eq!(last, expected, "{said}");
    }
}

#[tokio::test]
async fn a_reload_drops_the_replies_of_routes_that_changed() {
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
    // Also when it is as it was before.
    proxy.folder.write("routes.toml", &format!("{text}\n[routes.last]\nreply.text = \"Last.\"\n"));
    proxy.logged("added=last").await;
    assert_eq!(ask(&proxy, "Oslo").await, 3);
}

#[tokio::test]
async fn another_credential_is_another_reply() {
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
