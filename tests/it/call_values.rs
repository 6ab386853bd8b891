//! Values of a call in JSONPaths and in defaults: they are compared and checked, and never become syntax.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

fn table(route: &str) -> String {
    format!(
        "[platforms.http]\n[platforms.dailybots]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[vars]\nday = \"mon\"\n\
         [routes.f]\nupstream = \"api\"\n{route}"
    )
}

async fn orders() -> Upstream {
    let list = json!({"orders": [
        {"id": "A-1", "day": "mon", "pieces": 1, "state": "open"},
        {"id": "O'Brien \"x\"] || true", "day": "tue", "pieces": 2, "state": "sent"},
        {"id": "'", "day": "mon", "pieces": 2.5, "state": "lost"},
        {"day": "mon", "state": "nameless"},
    ]});
    Upstream::new(move |_| Reply::json(&list)).await
}

const FILTERED: &str = r#"
args.id     = { type = "string" }
args.pieces = { type = "number" }
request     = { path = "/orders" }
extract.state = "$.orders[?@.id == '{{args.id}}'].state"
extract.more  = { path = "$.orders[?@.pieces > {{default args.pieces 99}}].id", all = true }
[[routes.f.reply]]
when.missing = "$.orders[?@.id == {{args.id}}]"
text = "none"
[[routes.f.reply]]
when.found = "$.orders[?@.day == '{{vars.day}}' && @.id == {{args.id}}]"
text = "monday {{state}} {{join more}}"
[[routes.f.reply]]
text = "{{state}}"
"#;

#[tokio::test]
async fn a_filter_compares_with_a_value_of_the_call() {
    let upstream = orders().await;
    let proxy = Proxy::over(&upstream, &table(FILTERED)).await;
    for (args, expected) in [
        (json!({"id": "A-1"}), "monday open "),
        (json!({"id": "A-1", "pieces": 1}), "monday open O'Brien \"x\"] || true, '"),
        (json!({"id": "O'Brien \"x\"] || true"}), "sent"),
        (json!({"id": "'"}), "monday lost "),
        (json!({"id": "' || @.id != '"}), "none"),
        (json!({"id": ""}), "none"),
    ] {
        let answer = proxy.post("/http/f", &args).await.json();
        assert_eq!(answer, json!({"text": expected}), "{args}");
    }
}

#[tokio::test]
async fn without_the_value_that_a_filter_needs_nothing_is_sent() {
    let upstream = orders().await;
    let proxy = Proxy::over(&upstream, &table(FILTERED)).await;
    let answer = proxy.post("/http/f", &json!({})).await.json();
    assert_eq!(answer["error"]["kind"], "invalid_args");
    assert!(answer["error"]["text"].as_str().unwrap().contains("argument `id` is required"), "{answer}");
    assert_eq!(upstream.seen(), 0);
}

#[tokio::test]
async fn a_condition_whose_value_is_missing_does_not_hold() {
    let upstream = orders().await;
    let route = r#"
args.id = { type = "string" }
request = { path = "/orders" }
[[routes.f.reply]]
when.found = "$.orders[?@.id == {{args.id}}]"
text = "found"
[[routes.f.reply]]
when.missing = "$.orders[?@.id == {{args.id}}]"
text = "missing"
[[routes.f.reply]]
when.truthy = "$.orders[?@.id == {{args.id}}].state"
text = "truthy"
[[routes.f.reply]]
text = "none of them"
"#;
    let proxy = Proxy::over(&upstream, &table(route)).await;
    assert_eq!(proxy.post("/http/f", &json!({})).await.json(), json!({"text": "none of them"}));
    assert_eq!(proxy.post("/http/f", &json!({"id": "A-1"})).await.json(), json!({"text": "found"}));
    assert_eq!(proxy.post("/http/f", &json!({"id": "x"})).await.json(), json!({"text": "missing"}));
    let records = proxy.ask_admin("/records", &[]).await.json();
    let id = records["records"][2]["id"].as_str().unwrap();
    let record = proxy.ask_admin(&format!("/records/{id}"), &[]).await.json();
    let reason = record["skipped"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("`args.id` is missing"), "{reason}");
}

#[tokio::test]
async fn a_filter_uses_what_an_earlier_step_extracted() {
    let upstream = Upstream::new(|seen| match seen.path() {
        "/me" => Reply::json(&json!({"room": 7})),
        _ => Reply::json(&json!({"rooms": [{"id": 6, "name": "six"}, {"id": 7, "name": "seven"}]})),
    })
    .await;
    let route = r#"
[[routes.f.steps]]
name    = "me"
request = { path = "/me" }
extract.room = "$.room"
[[routes.f.steps]]
name    = "rooms"
when.found = "$[?@ == {{call.function}} || @ == {{me.room}}]"
request = { path = "/rooms" }
extract.name  = "$.rooms[?@.id == {{me.room}}].name"
extract.other = { path = "$.rooms[?@.id == -1].name", default = "not {{me.room}}" }
[routes.f.reply]
text = "{{rooms.name}}, {{rooms.other}}"
"#;
    let proxy = Proxy::over(&upstream, &table(route)).await;
    assert_eq!(proxy.post("/http/f", &json!({})).await.json(), json!({"text": "seven, not 7"}));
}

#[tokio::test]
async fn a_default_depends_on_the_call() {
    let upstream = Upstream::new(|seen| Reply::json(&seen.json())).await;
    let route = r#"
request = { method = "POST", path = "/", safe = true, body = { all = "{{args}}" } }
reply.data = { all = "{{response.body.all}}" }
args.city = { type = "string", default = "{{call.headers.x-city}}", max_length = 6 }
args.day  = { type = "string", default = "on {{vars.day}}" }
args.n    = { type = "integer", default = "{{call.headers.x-n}}" }
args.at   = { type = "string", format = "date-time", default = "{{now}}" }
args.tags = { type = "array", items = { type = "string" }, default = ["a", "{{vars.day}}"] }
args.who  = { type = "object", properties = { day = { type = "string", default = "{{vars.day}}" } } }
args.list = { type = "array", items = { type = "object", properties = { day = { type = "string", default = "{{vars.day}}" } } } }
"#;
    let table = table(route).replace("[platforms.http]", "[platforms.http]\nheaders = [\"x-city\", \"x-n\"]");
    let proxy = Proxy::over(&upstream, &table).await;
    let send = async |headers: &[(&str, &str)], args: Value| {
        let answer = proxy.send(http::Method::POST, "/http/f", headers, args.to_string()).await.json();
        let mut answer = answer["data"]["all"].as_object().cloned().ok_or(answer);
        if let Ok(args) = &mut answer {
            assert!(args.remove("at").unwrap().as_str().unwrap().starts_with("20"));
        }
        answer.map(Value::Object)
    };
    let oslo = [("x-city", "Oslo"), ("x-n", "5")];
    assert_eq!(
        send(&oslo, json!({})).await,
        Ok(json!({"city": "Oslo", "day": "on mon", "n": 5, "tags": ["a", "mon"]}))
    );
    assert_eq!(
        send(
            &oslo,
            json!({"city": "Ås", "n": null, "day": "x", "tags": [], "who": {}, "list": [{}, {"day": "y"}]})
        )
        .await,
        Ok(json!({
            "city": "Ås", "n": 5, "day": "x", "tags": [], "who": {"day": "mon"}, "list": [{"day": "mon"}, {"day": "y"}],
        }))
    );
    // A default that is missing is none.
    assert_eq!(send(&[], json!({"day": "x"})).await, Ok(json!({"day": "x", "tags": ["a", "mon"]})));
    // A default is checked like a value that was given.
    for (headers, problem) in [
        ([("x-city", "Drammen")], "argument `city` must have at most 6 characters"),
        ([("x-n", "many")], "argument `n` must be a whole number"),
    ] {
        let answer = send(&headers, json!({})).await.unwrap_err();
        assert!(answer["error"]["text"].as_str().unwrap().contains(problem), "{answer}");
    }
}

#[tokio::test]
async fn a_default_that_is_the_time_hides_no_retry() {
    let count = AtomicUsize::new(0);
    let upstream =
        Upstream::new(move |_| Reply::json(&json!({"id": count.fetch_add(1, Ordering::SeqCst) + 1}))).await;
    let route = r#"
args.at    = { type = "string", default = "{{now}}" }
request    = { method = "POST", path = "/", body = { at = "{{args.at}}" } }
reply.text = "{{response.body.id}}"
"#;
    let proxy = Proxy::over(&upstream, &table(route)).await;
    let call = json!({"function_name": "f", "tool_call_id": "t-1", "arguments": {}});
    for _ in 0..2 {
        let answer = proxy.post("/dailybots/f", &call).await;
        assert!(answer.text().contains('1'), "{}", answer.text());
    }
    assert!(upstream.one().json()["at"].as_str().unwrap().starts_with("20"));
}
