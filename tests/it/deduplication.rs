//! Calls that a platform retries: a write reaches the upstream once, even if it outlives its call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::faulty_upstream::{FaultyUpstream, Script};
use crate::support::proxy::{GUARD, Proxy};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

/// An upstream that sends one response per permit and numbers its responses.
async fn gated() -> (Upstream, Arc<Semaphore>) {
    let count = AtomicUsize::new(0);
    Upstream::gated(move |_| Reply::json(&json!({"id": count.fetch_add(1, Ordering::SeqCst) + 1}))).await
}

/// Two routes that write. Duplicates of the first are detected by call id only, those of the second also within a time
/// window.
const TABLE: &str = r#"
[platforms.http]
deadline = "4s"
[platforms.swaig]
[platforms.voicedock]
deadline = "4s"
[platforms.dailybots]

[upstreams.api]
base_url = "http://UPSTREAM"

[routes.order]
upstream = "api"
args.what = { type = "string" }
request = { method = "POST", path = "/orders", body = { what = "{{args.what}}" } }
failure.timeout = "Still working on {{args.what}}."
reply.text = "Order {{response.body.id}}."

[routes.window]
upstream = "api"
args.what = { type = "string" }
repeat_window = "30s"
request = { method = "POST", path = "/orders", body = { what = "{{args.what}}" } }
failure.timeout = "Still working on {{args.what}}."
reply.text = "Order {{response.body.id}}."
"#;

/// A route with an idempotency key, so that the upstream can detect duplicates.
const KEYED: &str = r#"
[routes.keyed]
upstream = "api"
idempotency_key = "x-key"
request = { method = "POST", path = "/orders" }
"#;

fn table(more: &str) -> String {
    format!("{TABLE}{more}")
}

fn voicedock(conversation: &str, id: &str, function: &str, what: &str) -> Value {
    let function = json!({"name": function, "arguments": {"what": what}});
    let call = json!({"id": id, "type": "function", "function": function});
    json!({"message": {
        "type": "tool-calls", "call": {"id": conversation},
        "tool_calls": [call], "tool_call_list": [call], "toolCallList": [call],
    }})
}

/// The single result in a VoiceDock response.
fn result(answer: &Value) -> String {
    answer["results"][0]["result"].to_string()
}

#[tokio::test]
async fn fifty_concurrent_retries_of_a_write_send_one_request() {
    let (api, gate) = gated().await;
    let proxy = Proxy::over(&api, &table("")).await;
    let call = voicedock("c1", "t1", "order", "tea");
    let calls = join_all((0..50).map(|_| proxy.post("/voicedock", &call)));
    let open = async {
        // The first request is in flight before its duplicates finish.
        api.arrived(1).await;
        gate.add_permits(50);
    };
    let (answers, ()) = tokio::join!(calls, open);
    let results: Vec<String> = answers.iter().map(|answer| result(&answer.json())).collect();
    assert_eq!(results, vec!["\"Order 1.\""; 50]);
    assert_eq!(api.take().len(), 1);
    // A later retry gets the stored result.
    assert_eq!(result(&proxy.post("/voicedock", &call).await.json()), "\"Order 1.\"");
    assert_eq!(api.take().len(), 0);
}

#[tokio::test]
async fn calls_that_differ_in_any_part_of_their_key_are_not_duplicates() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let proxy = Proxy::over(&api, &table("")).await;
    for (conversation, id, function, what) in [
        ("c1", "t1", "order", "tea"),
        ("c1", "t2", "order", "tea"),
        ("c2", "t1", "order", "tea"),
        ("c1", "t1", "window", "tea"),
        ("c1", "t1", "order", "milk"),
    ] {
        proxy.post("/voicedock", &voicedock(conversation, id, function, what)).await;
        assert_eq!(api.take().len(), 1, "{conversation} {id} {function} {what}");
    }
}

#[tokio::test]
async fn without_a_call_id_the_repeat_window_detects_duplicates_within_a_conversation() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let proxy = Proxy::over(&api, &table("")).await;
    let swaig = |function: &str, conversation: Option<&str>, what: &str| json!({"function": function, "call_id": conversation, "argument": {"parsed": [{"what": what}]}});
    for (function, conversation, what, sent) in [
        ("window", Some("c1"), "tea", 1),
        ("window", Some("c1"), "tea", 0),
        ("window", Some("c1"), "milk", 1),
        ("window", Some("c2"), "tea", 1),
        ("window", None, "tea", 1),
        ("window", None, "tea", 1),
        ("order", Some("c1"), "tea", 1),
        ("order", Some("c1"), "tea", 1),
    ] {
        proxy.post("/swaig", &swaig(function, conversation, what)).await;
        assert_eq!(api.take().len(), sent, "{function} {conversation:?} {what}");
    }
}

#[tokio::test]
async fn within_the_window_of_the_route_a_new_id_makes_no_new_call() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let proxy = Proxy::over(&api, &table("")).await;
    for (conversation, id, what, sent) in [
        ("c1", "t1", "tea", 1),
        ("c1", "t2", "tea", 0),
        // By its id it is the same, too.
        ("c1", "t2", "tea", 0),
        ("c1", "t3", "milk", 1),
        ("c2", "t4", "tea", 1),
    ] {
        proxy.post("/voicedock", &voicedock(conversation, id, "window", what)).await;
        assert_eq!(api.take().len(), sent, "{conversation} {id} {what}");
    }
}

#[tokio::test]
async fn a_new_id_while_the_first_call_is_under_way_waits_for_it() {
    let (api, gate) = gated().await;
    let proxy = Proxy::over(&api, &table("")).await;
    let calls = ["t1", "t2", "t1", "t3"].map(|id| voicedock("c1", id, "window", "tea"));
    let calls = join_all(calls.iter().map(|call| proxy.post("/voicedock", call)));
    let open = async {
        while api.seen() == 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(4);
    };
    let (answers, ()) = tokio::join!(calls, open);
    let said: Vec<String> = answers.iter().map(|answer| result(&answer.json())).collect();
    assert_eq!(said, vec!["\"Order 1.\""; 4]);
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_call_is_the_same_by_its_values_and_not_by_their_spelling() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let route = r#"
[routes.pair]
upstream = "api"
args.a = { type = "string" }
args.n = { type = "number" }
args.d = { type = "integer", default = 3 }
args.o = { type = "object", properties = { p = { type = "number" }, q = { type = "array", items = { type = "object", properties = { x = { type = "integer" }, y = { type = "integer" } } } } } }
request = { method = "POST", path = "/orders", body = { a = "{{args.a}}", n = "{{args.n}}", d = "{{args.d}}", o = "{{args.o}}" } }
"#;
    let proxy = Proxy::over(&api, &table(route)).await;
    let call = |arguments: &str| {
        let function = json!({"name": "pair", "arguments": "ARGUMENTS"});
        let call = json!({"message": {"type": "tool-calls", "call": {"id": "c1"},
            "tool_call_list": [{"id": "t1", "type": "function", "function": function}]}});
        call.to_string().replace("\"ARGUMENTS\"", arguments)
    };
    for (arguments, sent) in [
        (r#"{"a": "x", "n": 1}"#, 1),
        (r#"{"n": 1, "a": "x"}"#, 0),
        (r#"{"n": 1.0, "a": "\u0078"}"#, 0),
        (r#"{"n": "1", "a": "x", "stranger": true}"#, 0),
        (r#"{"n": 2, "a": "x"}"#, 1),
        // A default that is filled in, and null.
        (r#"{"n": 2, "a": "x", "d": 3}"#, 0),
        (r#"{"n": 2.00, "a": "x", "d": null, "o": null}"#, 0),
        (r#"{"n": 2, "a": "x", "d": 4}"#, 1),
        // Keys of nested objects, also undeclared ones.
        (r#"{"o": {"p": 1.5, "q": [{"x": 1, "y": 2}]}}"#, 1),
        (r#"{"o": {"q": [{"y": 2, "x": 1}], "p": 1.50}}"#, 0),
        (r#"{"o": "{\"q\": [{\"y\": \"2\", \"z\": 0, \"x\": 1.0}], \"r\": 1, \"p\": 15e-1}"}"#, 0),
        (r#"{"o": {"p": 1.5, "q": [{"x": 2, "y": 1}]}}"#, 1),
    ] {
        proxy.send(Method::POST, "/voicedock", &[], call(arguments)).await;
        assert_eq!(api.take().len(), sent, "{arguments}");
    }
}

#[tokio::test]
async fn the_reply_to_a_detached_write_does_not_suggest_another_try() {
    let (api, gate) = gated().await;
    let text = table("").replace("failure.timeout", "failure.refused");
    let mut proxy = Proxy::over(&api, &text).await;
    let call = voicedock("c1", "t1", "order", "tea");
    for _ in ["the first call", "a retry while it is in flight"] {
        let text = result(&proxy.post("/voicedock", &call).await.json());
        assert!(text.contains("may still do it") && !text.contains("try again"), "{text}");
    }
    let line = proxy.logged("the request continues and may still take effect").await;
    assert!(line.contains("order: timeout after ") && line.contains("upstream=\"api\""), "{line}");
    gate.add_permits(1);
}

#[tokio::test]
async fn a_write_continues_after_its_call_times_out_and_a_retry_gets_its_result() {
    for (name, timeout) in [("the deadline", ""), ("the upstream's timeout", "timeout = \"1s\"")] {
        let (api, gate) = gated().await;
        let text = TABLE.replace("[routes.order]", &format!("{timeout}\n[routes.order]"));
        let mut proxy = Proxy::over(&api, &text).await;
        let call = voicedock("c1", "t1", "order", "tea");
        let began = Instant::now();
        let first = proxy.post("/voicedock", &call).await.json();
        assert!(began.elapsed() < GUARD, "{name}");
        assert_eq!(result(&first), "{\"error\":\"Still working on tea.\"}", "{name}");
        proxy.logged("the request continues and may still take effect").await;
        // A retry waits for the request in flight until its own deadline.
        let second = proxy.post("/voicedock", &call).await.json();
        assert_eq!(result(&second), "{\"error\":\"Still working on tea.\"}", "{name}");
        proxy.logged("the same call was still in flight").await;

        gate.add_permits(1);
        proxy.logged("after its late reply").await;
        let third = proxy.post("/voicedock", &call).await.json();
        assert_eq!(result(&third), "\"Order 1.\"", "{name}");
        assert_eq!(api.take().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_detached_call_sends_reads_but_no_further_writes() {
    let (api, gate) = gated().await;
    let steps = "[routes.chain]\nupstream = \"api\"\n\
        [[routes.chain.steps]]\nname = \"write\"\nrequest = { method = \"POST\", path = \"/write\" }\n\
        [[routes.chain.steps]]\nname = \"read\"\nrequest = { path = \"/read\" }\n\
        [[routes.chain.steps]]\nname = \"again\"\nrequest = { method = \"POST\", path = \"/again\" }\n";
    let mut proxy = Proxy::over(&api, &table(steps)).await;
    let answer = proxy.post("/http/chain", &json!({})).await.json();
    assert_eq!(answer["error"]["kind"], "timeout");
    gate.add_permits(10);
    proxy.logged("after its late reply").await;
    let paths: Vec<String> = api.take().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(paths, ["/write", "/read"]);
}

#[tokio::test]
async fn failures_before_sending_are_not_stored() {
    let (api, gate) = gated().await;
    gate.add_permits(10);
    let nobody = FaultyUpstream::new(Script::Refuse).await;
    let closed = nobody.address.to_string();
    let mut proxy = Proxy::over(&api, &table("").replace("UPSTREAM", &closed)).await;
    let call = voicedock("c1", "t1", "order", "tea");
    let first = result(&proxy.post("/voicedock", &call).await.json());
    assert!(first.contains("cannot be reached"), "{first}");
    let text = std::fs::read_to_string(proxy.folder.path().join("routes.toml")).unwrap();
    proxy.folder.write("routes.toml", &text.replace(&closed, &api.address.to_string()));
    proxy.logged("configuration reloaded").await;
    assert_eq!(result(&proxy.post("/voicedock", &call).await.json()), "\"Order 1.\"");
}

#[tokio::test]
async fn failures_after_sending_are_stored_unless_the_route_has_an_idempotency_key() {
    let api = Upstream::new(|_| Reply::status(500, &json!({}))).await;
    let proxy = Proxy::over(&api, &table(KEYED)).await;
    for (function, sent) in [("order", 1), ("order", 0), ("keyed", 1), ("keyed", 1)] {
        let answer = proxy.post("/voicedock", &voicedock("c1", "t1", function, "tea")).await.json();
        assert!(result(&answer).contains("error"), "{answer}");
        assert_eq!(api.take().len(), sent, "{function}");
    }
}

#[tokio::test]
async fn a_retry_on_a_stream_gets_the_same_result() {
    let (api, gate) = gated().await;
    gate.add_permits(10);
    let streamed = "[routes.streamed]\nupstream = \"api\"\nstreaming = true\n\
        request = { method = \"POST\", path = \"/orders\" }\nreply.text = \"Order {{response.body.id}}.\"\n";
    let proxy = Proxy::over(&api, &table(streamed)).await;
    let call = json!({"function_name": "streamed", "tool_call_id": "t1", "arguments": {}});
    let ask = async || proxy.send(Method::POST, "/dailybots", &[], call.to_string()).await.text().to_owned();
    let (first, second) = (ask().await, ask().await);
    assert!(first.contains("Order 1."), "{first}");
    assert!(second.contains("Order 1."), "{second}");
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn shutdown_waits_for_a_detached_write() {
    let (api, gate) = gated().await;
    let mut proxy = Proxy::over(&api, &table("")).await;
    let answer = proxy.post("/http/order", &json!({"what": "tea"})).await.json();
    assert_eq!(answer["error"]["kind"], "timeout");
    proxy.signal("TERM");
    proxy.logged("shutting down").await;
    gate.add_permits(1);
    assert!(proxy.ended().await.success());
    let log = proxy.log();
    assert!(log.contains("after its late reply"), "{log}");
    assert!(!log.contains("calls still in flight"), "{log}");
}

#[tokio::test]
async fn a_call_after_the_repeat_window_gets_a_new_idempotency_key() {
    let api = Upstream::new(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(&api, &table(&format!("{KEYED}repeat_window = \"1ms\"\n"))).await;
    let call = json!({"function": "keyed", "call_id": "c1", "argument": {"parsed": [{}]}});
    let mut keys = Vec::new();
    until("the window never ends", async || {
        proxy.post("/swaig", &call).await;
        keys.extend(api.take().iter().map(|seen| seen.header("x-key")));
        keys.len() >= 2
    })
    .await;
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_failed_write_keeps_its_idempotency_key_within_the_repeat_window() {
    let api = Upstream::new(|_| Reply::status(500, &json!({}))).await;
    let proxy = Proxy::over(&api, &table(&format!("{KEYED}repeat_window = \"30s\"\n"))).await;
    let call = json!({"function": "keyed", "call_id": "c1", "argument": {"parsed": [{}]}});
    for _ in 0..2 {
        proxy.post("/swaig", &call).await;
    }
    let keys: std::collections::HashSet<_> = api.take().iter().map(|seen| seen.header("x-key")).collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn results_are_never_shared_between_callers() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let text = table("").replace("[platforms.http]", "[platforms.http]\nheaders = [\"x-tenant\"]");
    let proxy = Proxy::over(&api, &text).await;
    let body = json!({"what": "tea"}).to_string();
    for (tenant, sent) in [("a", 1), ("b", 1), ("a", 0)] {
        let headers = [("x-conversation-id", "1"), ("x-tenant", tenant)];
        proxy.send(Method::POST, "/http/window", &headers, body.clone()).await;
        assert_eq!(api.take().len(), sent, "{tenant}");
    }
    let swaig = |caller: &str| json!({"function": "window", "call_id": "c1", "caller_id_num": caller, "argument": {"parsed": [{"what": "tea"}]}});
    for (caller, sent) in [("+311", 1), ("+312", 1), ("+311", 0)] {
        proxy.post("/swaig", &swaig(caller)).await;
        assert_eq!(api.take().len(), sent, "{caller}");
    }
}

#[tokio::test]
async fn a_write_rejected_for_its_credential_can_be_retried() {
    let count = AtomicUsize::new(0);
    let token = || Reply::json(&json!({"access_token": "t", "token_type": "bearer"}));
    let api = Upstream::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        // A token, a 401, a failed token request; after that everything succeeds.
        0 | 3 => token(),
        1 => Reply::status(401, &json!({})),
        2 => Reply::status(500, &json!({})),
        _ => Reply::json(&json!({"id": 1})),
    })
    .await;
    let auth = "\"http://UPSTREAM\"\nauth.oauth2 = { token_url = \"http://UPSTREAM/token\", client_id = \"a\", client_secret = \"b\" }";
    let proxy = Proxy::over(&api, &table("").replace("\"http://UPSTREAM\"", auth)).await;
    let call = voicedock("c1", "t1", "order", "tea");
    let first = result(&proxy.post("/voicedock", &call).await.json());
    assert!(first.contains("could not be sent"), "{first}");
    // A failed token request is remembered for a moment.
    until("the order is never placed", async || {
        result(&proxy.post("/voicedock", &call).await.json()) == "\"Order 1.\""
    })
    .await;
}

#[tokio::test]
async fn a_detached_write_does_not_count_against_max_calls() {
    let (api, gate) = gated().await;
    let table = format!("max_calls = 1\n{}", table("[routes.say]\nreply.text = \"Hello.\"\n"));
    let proxy = Proxy::over(&api, &table).await;
    let answer = proxy.post("/http/order", &json!({"what": "tea"})).await.json();
    assert_eq!(answer["error"]["kind"], "timeout");
    let answer = proxy.post("/http/say", &json!({})).await.json();
    assert_eq!(answer["text"], "Hello.");
    gate.add_permits(1);
}

#[tokio::test]
async fn times_are_compared_in_the_zone_of_the_call() {
    let (api, gate) = gated().await;
    gate.add_permits(100);
    let zoned = r#"
[defaults]
tz = "Europe/Oslo"
[routes.book]
upstream = "api"
args.at = { type = "string", format = "date-time" }
repeat_window = "30s"
request = { method = "POST", path = "/orders", body = { at = "{{args.at}}" } }
"#;
    let proxy = Proxy::over(&api, &table(zoned)).await;
    let headers = [("x-conversation-id", "c1"), ("content-type", "application/json")];
    for (at, sent) in [
        ("2026-07-04T15:00:00", 1),
        // Two hours later than the first.
        ("2026-07-04T15:00:00Z", 1),
        ("2026-07-04T15:00:00+02:00", 0),
    ] {
        proxy.send(Method::POST, "/http/book", &headers, json!({"at": at}).to_string()).await;
        assert_eq!(api.take().len(), sent, "{at}");
    }
}

#[tokio::test]
async fn a_failure_found_in_the_window_is_not_kept_for_the_id_if_the_upstream_detects_duplicates() {
    let api = Upstream::new(|_| Reply::status(502, &json!({}))).await;
    let route = "\n[routes.both]\nupstream = \"api\"\nrepeat_window = \"1s\"\nidempotency_key = \"x-key\"\n\
                 request = { method = \"POST\", path = \"/orders\" }\n";
    let proxy = Proxy::over(&api, &table(route)).await;
    let call = voicedock("c1", "t1", "both", "tea");
    for _ in 0..2 {
        proxy.post("/voicedock", &call).await;
    }
    api.take();
    until("the call is made again after the window", async || {
        proxy.post("/voicedock", &call).await;
        !api.take().is_empty()
    })
    .await;
}
