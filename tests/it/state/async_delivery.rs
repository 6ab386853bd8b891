//! `delivery = "async"`: the platform hears the reply at once, and the requests are sent until they succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::metrics::Scrape;
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{poll, until};

const TABLE: &str = r#"
[state]
url = "sqlite:state.db"

[platforms.http]
[platforms.voicedock]

[upstreams.api]
base_url = "http://UPSTREAM"
retry = { attempts = 1 }

[routes.log_lead]
upstream = "api"
delivery = "async"
idempotency_key = "idempotency-key"
args.name = { type = "string", required = true }
request = { method = "POST", path = "/leads", body = { name = "{{args.name}}", at = "{{now}}" } }
extract.id = "$.id"
remember = { lead = "{{id}}" }
reply.text = "I have noted that, {{args.name}}."

[routes.lead]
reply.text = "{{default memory.lead \"none\"}}"

[events.voicedock.end_of_call_report]
upstream = "api"
delivery = { mode = "async", retry_for = "1h" }
request = { method = "POST", path = "/reports", body = { reason = "{{event.endedReason}}" } }
"#;

fn table(more: &str) -> String {
    format!("{TABLE}{more}")
}

async fn log_lead(proxy: &Proxy, conversation: &str, name: &str) -> Value {
    let headers = [("x-conversation-id", conversation)];
    let body = json!({"name": name}).to_string();
    proxy.send(Method::POST, "/http/log_lead", &headers, body).await.json()
}

#[tokio::test]
async fn the_platform_hears_the_reply_before_the_request_is_answered() {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({"id": 12}))).await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    assert_eq!(log_lead(&proxy, "c", "Ada").await, json!({"text": "I have noted that, Ada."}));
    api.arrived(1).await;
    gate.add_permits(1);
    let headers = [("x-conversation-id", "c")];
    // What the delivery remembers is there once it has ended.
    until("the delivery remembers nothing", async || {
        proxy.send(Method::POST, "/http/lead", &headers, "{}").await.json()["text"] == "12"
    })
    .await;
    let seen = api.take();
    assert_eq!(seen[0].json()["name"], "Ada");
    assert_eq!(seen[0].header("idempotency-key").len(), 1);
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.get("delivery_attempts_total{route=\"log_lead\",outcome=\"delivered\"}"), 1.0);
    proxy.logged("delivered in").await;
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("delivered in")).unwrap();
    for part in ["log_lead: ", "(attempt 1)", "outcome=delivered", "conversation=c", "delivery="] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn a_failed_request_is_sent_again_with_the_same_idempotency_key_and_time() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let api = Upstream::new(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503, &json!({})),
        1 => Reply::status(429, &json!({})).header("retry-after", "1"),
        _ => Reply::json(&json!({"id": 1})),
    })
    .await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    log_lead(&proxy, "c", "Ada").await;
    api.arrived(3).await;
    proxy.logged("(attempt 3)").await;
    let seen = api.take();
    let keys: Vec<_> = seen.iter().map(|seen| seen.header("idempotency-key")).collect();
    let bodies: Vec<_> = seen.iter().map(crate::support::upstream::Seen::json).collect();
    assert!(keys[0].len() == 1 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    assert_eq!(proxy.log().matches("failed, next one in").count(), 2, "{}", proxy.log());
}

#[tokio::test]
async fn a_rejection_that_an_operator_can_fix_is_retried() {
    let api = Upstream::new(|seen| {
        let status = match seen.json()["name"].as_str() {
            Some("login") => 401,
            Some("funds") => 402,
            Some("firewall") => 403,
            _ => 409,
        };
        Reply::status(status, &json!({}))
    })
    .await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    for (name, status) in [("login", 401), ("funds", 402), ("firewall", 403), ("conflict", 409)] {
        let lines = proxy.log_lines();
        log_lead(&proxy, name, name).await;
        let line = proxy.logged_from(lines, "attempt 1 failed, next one in").await;
        let reason = format!("the upstream answered with status {status}");
        assert!(line.contains(&reason) && !line.contains("reply case"), "{line}");
    }
    let scrape = Scrape::of(&proxy).await;
    assert!(scrape.get("delivery_attempts_total{route=\"log_lead\",outcome=\"retrying\"}") >= 4.0);
}

#[tokio::test]
async fn a_request_that_the_upstream_rejects_is_given_up_with_the_reason() {
    let api = Upstream::new(|_| Reply::status(422, &json!({}))).await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    log_lead(&proxy, "c", "Ada").await;
    let line = proxy.logged("not delivered, given up").await;
    assert!(line.contains("WARN") && line.contains("status 422") && line.contains("outcome=dead"), "{line}");
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_change_that_the_upstream_confirmed_is_not_sent_again() {
    for (kind, body) in [("not JSON", "Created"), ("no id", "{}")] {
        let api = Upstream::new(move |_| Reply::raw(201, "application/json", body)).await;
        let required = "extract.id = { path = \"$.id\", required = true }";
        let table = table("").replace("extract.id = \"$.id\"", required);
        let mut proxy = Proxy::over(&api, &table).await;
        log_lead(&proxy, "c", "Ada").await;
        let line = proxy.logged("attempt 1").await;
        assert!(
            line.contains("outcome=dead") && line.contains("the upstream confirmed the change"),
            "{kind}: {line}"
        );
        assert_eq!(api.take().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_valid_is_not_accepted() {
    let api = Upstream::new(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(&api, &table("")).await;
    let answer = proxy.post("/http/log_lead", &json!({})).await.json();
    assert_eq!(answer["error"]["kind"], "invalid_args");
    assert_eq!(Scrape::of(&proxy).await.get("deliveries{status=\"waiting\"}"), 0.0);
    assert_eq!(api.take().len(), 0);
}

#[tokio::test]
async fn an_event_is_delivered_too() {
    let api = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    let event =
        json!({"message": {"type": "end-of-call-report", "endedReason": "hangup", "call": {"id": "c"}}});
    assert_eq!(proxy.post("/voicedock", &event).await.status, 200);
    proxy.logged("delivered in").await;
    assert_eq!(api.take()[0].json(), json!({"reason": "hangup"}));
}

#[tokio::test]
async fn deliveries_of_a_conversation_can_run_in_order() {
    let gate = Arc::new(Semaphore::new(0));
    let let_go = Arc::clone(&gate);
    let api = Upstream::with(move |_| {
        let let_go = Arc::clone(&let_go);
        async move {
            let_go.acquire().await.unwrap().forget();
            Reply::json(&json!({}))
        }
    })
    .await;
    let ordered =
        table("").replace("delivery = \"async\"", "delivery = { mode = \"async\", ordered = true }");
    let mut proxy = Proxy::over(&api, &ordered).await;
    for name in ["1", "2", "3"] {
        log_lead(&proxy, "c", name).await;
    }
    // Another conversation does not wait for this one.
    log_lead(&proxy, "d", "other").await;
    api.arrived(2).await;
    gate.add_permits(4);
    poll(
        || format!("not all are delivered:\n{}", proxy.log()),
        async || (proxy.log().matches("delivered in").count() == 4).then_some(()),
    )
    .await;
    proxy.logged("delivered in").await;
    let names: Vec<String> =
        api.take().iter().map(|seen| seen.json()["name"].as_str().unwrap().to_owned()).collect();
    let of_c: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "other").collect();
    assert_eq!(of_c, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_call_whose_route_is_gone_is_handed_back_until_its_time_is_over() {
    let api = Upstream::new(|_| Reply::status(503, &json!({}))).await;
    let brief = "delivery = { mode = \"async\", retry_for = \"3s\" }";
    let before = table("").replace("delivery = \"async\"", brief);
    let mut proxy = Proxy::over(&api, &before).await;
    log_lead(&proxy, "c", "Ada").await;
    proxy.logged("attempt 1 failed").await;
    let listeners = crate::support::proxy::LISTENERS;
    let without = before.replace("log_lead", "other").replace("UPSTREAM", &api.address.to_string());
    proxy.folder.write("routes.toml", &format!("{listeners}{without}"));
    let line = proxy.logged("this instance cannot deliver the call now").await;
    assert!(line.contains("has no route `log_lead`") && line.contains("outcome=returned"), "{line}");
    let line = proxy.logged("its deliveries wait").await;
    assert!(line.contains("has no route `log_lead`, but 1 of") && line.contains("deliveries=1"), "{line}");
    let line = proxy.logged("not delivered, given up").await;
    assert!(line.contains("has no route `log_lead`"), "{line}");
}

#[tokio::test]
async fn shutdown_waits_for_an_attempt_in_flight() {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    log_lead(&proxy, "c", "Ada").await;
    api.arrived(1).await;
    proxy.signal("TERM");
    proxy.logged("draining 1 calls in flight").await;
    gate.add_permits(1);
    assert!(proxy.ended().await.success());
    proxy.logged("log_lead: delivered in").await;
}
