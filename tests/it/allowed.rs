//! Arguments whose allowed values come from the platform.

use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

fn table(upstream: &Upstream, platforms: &str) -> String {
    r#"
[server]
listen = "127.0.0.1:0"
PLATFORMS
[upstreams.orders]
base_url = "http://UPSTREAM"
[routes.cancel_order]
upstream = "orders"
args.order_id = { type = "string", allowed = "{{call.global.order_ids}}" }
args.number = { type = "integer", allowed = "{{call.global.numbers}}" }
args.ids = { type = "array", items = { type = "string" }, allowed = "{{call.global.order_ids}}" }
request = { method = "POST", path = "/cancel", body = { id = "{{args.order_id}}" } }
reply.text = "It is cancelled."
"#
    .replace("PLATFORMS", platforms)
    .replace("UPSTREAM", &upstream.address.to_string())
}

fn call(args: &Value, global: &Value) -> Value {
    json!({
        "function": "cancel_order",
        "argument": {"parsed": [args], "raw": args.to_string()},
        "call_id": "c-1",
        "global_data": global,
    })
}

const OPEN: &str = "[platforms.swaig]\n";
const LISTED: &str = "must be one of the values of this caller. Fix the";
const UNCHECKED: &str = "cannot be checked for this caller. Do not call it again.";

#[tokio::test]
async fn only_values_listed_by_the_platform_are_allowed() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::start(&table(&upstream, OPEN)).await;
    let ids = json!({"order_ids": ["A-7", "B-12", 5], "numbers": [5, 7.0, "9"]});
    for (args, global, refused) in [
        (json!({"order_id": "A-7"}), &ids, None),
        (json!({"order_id": "B-12", "number": 5}), &ids, None),
        (json!({"number": 7}), &ids, None),
        (json!({"number": "5"}), &ids, None),
        (json!({"ids": ["B-12", "A-7"]}), &ids, None),
        (json!({"ids": []}), &ids, None),
        // A missing argument is not checked.
        (json!({}), &json!({}), None),
        (json!({"order_id": null}), &json!({}), None),
        (json!({"order_id": "A-8"}), &ids, Some(LISTED)),
        (json!({"order_id": "a-7"}), &ids, Some(LISTED)),
        (json!({"order_id": "A-7 "}), &ids, Some(LISTED)),
        (json!({"order_id": ""}), &ids, Some(LISTED)),
        (json!({"order_id": "5"}), &ids, Some(LISTED)),
        (json!({"number": 9}), &ids, Some(LISTED)),
        (json!({"ids": ["A-7", "A-8"]}), &ids, Some(LISTED)),
        (json!({"order_id": "A-7", "number": 6}), &ids, Some(LISTED)),
        (json!({"order_id": "A-7"}), &json!({"order_ids": []}), Some(LISTED)),
        // The model cannot supply the list itself.
        (
            json!({"order_id": "A-7", "order_ids": ["A-7"], "global": {"order_ids": ["A-7"]}}),
            &json!({}),
            Some(UNCHECKED),
        ),
        (json!({"order_id": "A-7"}), &json!({"order_ids": null}), Some(UNCHECKED)),
        (json!({"order_id": "A-7"}), &json!({"order_ids": "A-7"}), Some(UNCHECKED)),
        (json!({"order_id": "A-7"}), &json!({"order_ids": {"A-7": true}}), Some(UNCHECKED)),
        (json!({"order_id": "A-7"}), &json!(null), Some(UNCHECKED)),
        (json!({"order_id": "A-7"}), &json!(["A-7"]), Some(UNCHECKED)),
    ] {
        let reply = proxy.post("/swaig", &call(&args, global)).await.json();
        let text = reply["response"].as_str().unwrap();
        match refused {
            None => {
                assert_eq!(text, "It is cancelled.", "{args} {global}");
                upstream.one();
            }
            Some(reason) => {
                assert!(
                    text.starts_with("The function was not called: argument `") && text.contains(reason),
                    "{args} {global}: {text}"
                );
                assert!(!text.contains("B-12"), "{text}");
                assert!(upstream.take().is_empty(), "{args} {global}");
            }
        }
    }
    for reason in ["is missing", "is not a list", "not among the allowed ones"] {
        let line = proxy.logged(reason).await;
        assert!(line.contains("invalid_args") && !line.contains("A-7"), "{line}");
    }
}

#[tokio::test]
async fn values_from_an_unauthenticated_platform_are_not_trusted() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let ask = call(&json!({"order_id": "A-7"}), &json!({"order_ids": ["A-7"]}));
    let public = "public_url = \"https://tools.example.com\"\n";

    let mut proxy = Proxy::start(&table(&upstream, &format!("{public}{OPEN}auth.none = {{}}\n"))).await;
    proxy.logged("allowed-not-believed").await;
    let reply = proxy.post("/swaig", &ask).await.json();
    assert!(reply["response"].as_str().unwrap().ends_with(UNCHECKED), "{reply}");
    proxy.logged("does not authenticate itself").await;
    assert!(upstream.take().is_empty());

    let login = format!("{public}{OPEN}auth.bearer = {{ token = \"right\" }}\n");
    let proxy = Proxy::start(&table(&upstream, &login)).await;
    assert!(!proxy.log().contains("allowed-not-believed"));
    let headers = [("authorization", "Bearer right")];
    let sent = request(http::Method::POST, &proxy.url("/swaig"), &headers, ask.to_string());
    assert_eq!(proxy.client.send(sent).await.json()["response"], "It is cancelled.");
    upstream.one();
}

#[tokio::test]
async fn platforms_that_mix_model_and_platform_data_are_not_trusted() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let table = table(&upstream, "[platforms.millis]\nauth.bearer = { token = \"right\" }\n");
    // Millis has neither integers nor lists.
    let lines =
        table.lines().filter(|line| !line.starts_with("args.number") && !line.starts_with("args.ids"));
    let table = lines.collect::<Vec<_>>().join("\n").replace("call.global", "call.metadata");
    let mut proxy = Proxy::start(&table).await;
    let line = proxy.logged("allowed values from `millis` are not trusted").await;
    assert!(line.contains("allowed-not-believed"), "{line}");
    let headers = [("authorization", "Bearer right")];
    let ask = json!({"order_id": "A-7", "order_ids": ["A-7"]}).to_string();
    let reply = proxy.send(http::Method::POST, "/millis/cancel_order", &headers, ask).await.json();
    assert!(reply["error"].as_str().unwrap().ends_with(UNCHECKED), "{reply}");
    assert!(upstream.take().is_empty());
}
