//! Webhooks that are no function calls: answered by their entry, and with a neutral response if there is none or it
//! fails.

use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.voicedock]
deadline = "3s"
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"

[events.voicedock.assistant_request]
upstream = "api"
request  = { path = "/callers", query = { number = "{{event.customer.number}}", same = "{{event.message.customer.number}}", call = "{{call.conversation}}" } }
extract  = { name = "$.name" }
reply    = { data = { assistant_id = "a-1", assistant_override = { first_message = "Hello {{name}}" } } }

[events.voicedock.end_of_call_report]
upstream = "api"
request  = { method = "POST", path = "/reports", body = "{{event.message}}" }

[events.swaig.post_prompt]
reply = { data = { conversation_summary = "{{event.conversation_id}}" } }

[routes.hangup_hook]
reply.text = "a route goes first"

[events.swaig.hangup_hook]
reply.data = { from = "the event" }

[events.swaig.startup_hook]
reply.data = { from = "{{event.function}}" }
"#;

fn message(kind: &str) -> Value {
    json!({"message": {"type": kind, "call": {"id": "c1"}, "customer": {"number": "+3160"}, "summary": "s"}})
}

#[tokio::test]
async fn voicedock_assistant_requests_are_answered_and_reports_forwarded() {
    let upstream = Upstream::new(|_| Reply::json(&json!({"name": "Ada"}))).await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    let answer = proxy.post("/voicedock", &message("assistant-request")).await.json();
    assert_eq!(answer, json!({"assistant_id": "a-1", "assistant_override": {"first_message": "Hello Ada"}}));
    let query: Vec<String> = upstream.one().query().into_iter().map(|(_, value)| value).collect();
    assert_eq!(query, ["+3160", "+3160", "c1"]);

    let report = message("end-of-call-report");
    assert_eq!(proxy.post("/voicedock", &report).await.json(), json!({}));
    assert_eq!(upstream.one().json(), report["message"]);
    // Without an entry, no request is sent.
    assert_eq!(proxy.post("/voicedock", &message("status-update")).await.json(), json!({}));
    assert_eq!(upstream.take().len(), 0);
}

#[tokio::test]
async fn failed_and_late_events_get_the_neutral_response() {
    for hangs in [false, true] {
        let upstream = Upstream::with(move |_| async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Reply::status(500, &json!({}))
        })
        .await;
        let proxy = Proxy::over(&upstream, TABLE).await;
        let answer = proxy.post("/voicedock", &message("assistant-request")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})), "{hangs}");
    }
}

#[tokio::test]
async fn swaig_reports_and_hooks_are_events() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    for (path, body, expected) in [
        (
            "/swaig/post-prompt",
            json!({"action": "fetch_conversation", "conversation_id": "k1"}),
            json!({"conversation_summary": "k1"}),
        ),
        ("/swaig", json!({"function": "startup_hook"}), json!({"from": "startup_hook"})),
        ("/swaig", json!({"function": "hangup_hook"}), json!({"response": "a route goes first"})),
        ("/swaig", json!({"function": "check_for_input"}), json!({})),
    ] {
        assert_eq!(proxy.post(path, &body).await.json(), expected, "{body}");
    }
}
