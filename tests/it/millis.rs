//! Millis from outside: an agent's webhooks, the running binary, a recording upstream.

use http::Method;
use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.millis]

[upstreams.crm]
base_url = "http://UPSTREAM"

[routes.getUserInfo]
upstream = "crm"
args.email = { type = "string", required = true }
args.visits = { type = "integer" }
[routes.getUserInfo.request]
method = "POST"
path = "/users"
body = { email = "{{args.email}}", visits = "{{args.visits}}", session = "{{call.conversation}}", tier = "{{call.metadata.customer_tier}}" }
[routes.getUserInfo.extract]
name = "$.name"

[routes.end]
reply.text = "Goodbye."

[forms.open_email_form]
description = "Ask for the email in a web form."
args.email = { type = "string", description = "User's email.", required = true }

[events.millis.prefetch]
upstream = "crm"
request = { path = "/callers/{{event.from}}" }
extract.tier = "$.tier"
reply.data = { metadata = { customer_tier = "{{tier}}" }, extra_prompt = "The caller is a {{tier}} customer." }

[events.millis.session_data]
upstream = "crm"
request = { method = "POST", path = "/sessions/{{call.conversation}}", body = { status = "{{event.call_status}}", tier = "{{call.metadata.customer_tier}}" } }
"#;

async fn crm() -> Upstream {
    Upstream::new(|seen| match seen.path() {
        "/users" if seen.json()["email"] == "nobody@example.com" => Reply::status(500, &json!({})),
        "/users" => Reply::json(&json!({"name": "Example Customer", "secret": 1})),
        _ => Reply::json(&json!({"tier": "gold"})),
    })
    .await
}

#[tokio::test]
async fn declared_parameters_become_arguments_and_the_rest_metadata() {
    let crm = crm().await;
    let proxy = Proxy::over(&crm, TABLE).await;
    let path = "/millis/getUserInfo";
    let json_body =
        json!({"email": "a@example.com", "visits": 2, "session_id": "s1", "customer_tier": "gold"});
    let form = "email=a%40example.com&visits=2&session_id=s1&customer_tier=gold";
    let url = format!("{path}?{form}");
    for (method, path, headers, body) in [
        (Method::POST, path, &[("content-type", "application/json")][..], json_body.to_string()),
        (Method::POST, path, &[], json_body.to_string()),
        (Method::POST, path, &[("content-type", "application/x-www-form-urlencoded")], form.to_owned()),
        (Method::PUT, path, &[("content-type", "application/json")], form.to_owned()),
        (Method::GET, &*url, &[], String::new()),
    ] {
        let answer = proxy.send(method, path, headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"name": "Example Customer"})));
        let expected = json!({"email": "a@example.com", "visits": 2, "session": "s1", "tier": "gold"});
        assert_eq!(crm.one().json(), expected);
    }
    // Without metadata and a session id, neither can be sent.
    proxy.post(path, &json!({"email": "a@example.com"})).await;
    assert_eq!(crm.one().json(), json!({"email": "a@example.com"}));
    let proxy = &proxy;
    let failed = |body: Value| async move { proxy.post(path, &body).await.json()["error"].is_string() };
    assert!(failed(json!({"email": "nobody@example.com"})).await);
    assert_eq!(crm.take().len(), 1);
    assert!(failed(json!({"session_id": "s1"})).await);
    assert!(failed(json!([1])).await);
    assert!(crm.take().is_empty());
}

#[tokio::test]
async fn conversation_webhooks_are_events() {
    let crm = crm().await;
    let proxy = Proxy::over(&crm, TABLE).await;
    let prefetch = "/millis/prefetch?session_id=s1&agent_id=a1&from=%2B15550100042&to=%2B15550100001";
    let answer = proxy.send(Method::GET, prefetch, &[], "").await;
    let expected =
        json!({"metadata": {"customer_tier": "gold"}, "extra_prompt": "The caller is a gold customer."});
    assert_eq!(answer.json(), expected);
    assert_eq!(crm.one().path(), "/callers/%2B15550100042");

    let end = json!({"session_id": "s1", "call_status": "user-ended", "metadata": {"customer_tier": "gold"}});
    assert_eq!(proxy.post("/millis/session_data", &end).await.status, 200);
    let seen = crm.one();
    assert_eq!((seen.path(), seen.json()), ("/sessions/s1", json!({"status": "user-ended", "tier": "gold"})));
    // Here a route has the second endpoint of the event.
    assert_eq!(proxy.post("/millis/end", &end).await.json(), json!({"result": "Goodbye."}));
    assert!(crm.take().is_empty());

    let bare = Proxy::over(&crm, "[platforms.millis]\n[routes.a]\nreply.text = \"A.\"\n").await;
    for path in ["/millis/prefetch", "/millis/session_data", "/millis/end"] {
        let answer = bare.post(path, &end).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({})), "{path}");
    }
}

#[tokio::test]
async fn a_call_to_a_form_is_answered() {
    let crm = crm().await;
    let proxy = Proxy::over(&crm, TABLE).await;
    for body in [json!({}), json!({"email": "a@example.com", "session_id": "s1"})] {
        let answer = proxy.post("/millis/open_email_form", &body).await.json();
        let text = answer["result"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert!(text.contains("shown to the user in the browser"), "{text}");
    }
    assert!(crm.take().is_empty());
}

#[tokio::test]
async fn forms_from_included_files_are_merged() {
    let main = "include = [\"more.toml\"]\n[platforms.millis]\n[defaults]\nallow = [\"route-untested\"]\n[routes.a]\ndescription = \"A.\"\nreply.text = \"A.\"\n[forms.mail]\nargs.mail = { type = \"string\" }\n";
    for (more, code, faults) in [
        ("[forms.phone]\nargs.phone = { type = \"string\" }\n", Some(0), vec![]),
        ("[forms.mail]\nargs.mail = { type = \"string\" }\n", Some(1), vec!["duplicate-name"]),
        ("[routes.mail]\nreply.text = \"B.\"\n", Some(1), vec!["duplicate-name"]),
    ] {
        let folder = Folder::with(&[("routes.toml", main), ("more.toml", more)]);
        let mut command = jackfield(folder.path());
        command.args(["check", "--format", "json"]);
        let output = run(command).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let report = report["diagnostics"].as_array().unwrap().iter();
        let report: Vec<&str> = report.map(|fault| fault["code"].as_str().unwrap()).collect();
        assert_eq!((output.status.code(), report), (code, faults), "{more}");
    }
}
