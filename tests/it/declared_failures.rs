//! Reply cases that declare a call a failure although the upstream answered with a successful status.

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};
use crate::support::timeless;
use crate::support::upstream::{Reply, Upstream};

/// Answers with the body that the request names.
async fn upstream() -> Upstream {
    Upstream::new(|seen| {
        let body = seen.query().iter().find(|(name, _)| name == "body").map(|(_, value)| value.clone());
        Reply::raw(200, "application/json", body.as_deref().unwrap_or("{}"))
    })
    .await
}

fn table(method: &str, route: &str) -> String {
    format!(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[routes.f]\nupstream = \"api\"\n\
         args.body = {{ type = \"string\" }}\n\
         request = {{ method = \"{method}\", path = \"/\", query = {{ body = \"{{{{args.body}}}}\" }} }}\n{route}"
    )
}

async fn said(proxy: &Proxy, body: &str) -> Value {
    proxy.post("/http/f", &json!({"body": body})).await.json()
}

const ERRORS: &str = r#"
extract.name = "$.name"
[[routes.f.reply]]
when.found = "$.errors"
failure = "bad_response"
"#;

#[tokio::test]
async fn a_reply_case_can_declare_a_failure() {
    let upstream = upstream().await;
    let built_in =
        "The system gave an answer that could not be used. Apologise and offer to try again later.";
    for (route, text) in [
        (String::new(), built_in),
        ("text = \"No luck: {{response.body.errors}}\"".to_owned(), "No luck: [1]"),
        ("[routes.f.failure]\nbad_response = \"Later.\"".to_owned(), "Later."),
        ("[defaults]\nfailure.bad_response = \"Later.\"".to_owned(), "Later."),
        ("[[routes.f.reply]]\nwhen.failure = \"bad_response\"\ntext = \"Sorry.\"".to_owned(), "Sorry."),
    ] {
        let proxy = Proxy::over(&upstream, &table("GET", &format!("{ERRORS}{route}"))).await;
        assert_eq!(
            said(&proxy, r#"{"errors":[1]}"#).await,
            json!({"error": {"kind": "bad_response", "text": text}}),
            "{route}"
        );
        // Without a case for success, the reply is every extracted value.
        assert_eq!(said(&proxy, r#"{"errors":null,"name":"Ada"}"#).await, json!({"data": {"name": "Ada"}}));
    }
}

#[tokio::test]
async fn a_declared_failure_is_counted_and_logged_as_one() {
    let upstream = upstream().await;
    let mut proxy = Proxy::over(&upstream, &table("GET", ERRORS)).await;
    said(&proxy, r#"{"errors":[1]}"#).await;
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    let counted = "jackfield_calls_total{platform=\"http\",route=\"f\",outcome=\"bad_response\"} 1";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    proxy.logged("reply case 1 is the failure `bad_response`").await;
}

#[tokio::test]
async fn every_kind_of_failure_can_be_declared() {
    let upstream = upstream().await;
    for kind in ["timeout", "unreachable", "bad_response", "refused", "invalid_args"] {
        let route = format!("[[routes.f.reply]]\nwhen.truthy = \"$.error\"\nfailure = \"{kind}\"\n");
        let proxy = Proxy::over(&upstream, &table("GET", &route)).await;
        assert_eq!(said(&proxy, r#"{"error":"x"}"#).await["error"]["kind"], kind);
    }
}

#[tokio::test]
async fn truthy_agrees_with_if() {
    let upstream = upstream().await;
    let route = r#"
[[routes.f.reply]]
when.truthy = "$.v"
text = "{{#if response.body.v}}both{{else}}only truthy{{/if}}"
[[routes.f.reply]]
text = "{{#if (lookup response.body \"v\")}}only if{{else}}neither{{/if}}"
"#;
    let proxy = Proxy::over(&upstream, &table("GET", route)).await;
    for (value, expected) in [
        ("true", "both"),
        ("false", "neither"),
        ("null", "neither"),
        ("0", "neither"),
        ("0.0", "neither"),
        ("-0e5", "neither"),
        ("1e-9", "both"),
        ("1", "both"),
        ("\"\"", "neither"),
        ("\" \"", "both"),
        ("\"false\"", "both"),
        ("[]", "neither"),
        ("[null]", "both"),
        ("{}", "both"),
        (r#"{"a":null}"#, "both"),
    ] {
        assert_eq!(said(&proxy, &format!("{{\"v\":{value}}}")).await, json!({"text": expected}), "{value}");
    }
}

#[tokio::test]
async fn truthy_looks_for_any_match_and_needs_a_readable_body() {
    let upstream = upstream().await;
    let route = "[[routes.f.reply]]\nwhen.truthy = \"$.items[*].error\"\ntext = \"Bad.\"\n\
                 [[routes.f.reply]]\ntext = \"Good.\"\n";
    let proxy = Proxy::over(&upstream, &table("GET", route)).await;
    for (body, expected) in [
        (r#"{"items":[{"error":0},{"error":"x"}]}"#, json!({"text": "Bad."})),
        (r#"{"items":[{"error":0},{}]}"#, json!({"text": "Good."})),
        ("{}", json!({"text": "Good."})),
    ] {
        assert_eq!(said(&proxy, body).await, expected, "{body}");
    }
    assert_eq!(said(&proxy, "<p>").await["error"]["kind"], "bad_response");
}

#[tokio::test]
async fn a_declared_failure_of_a_confirmed_write_never_suggests_another_try() {
    let upstream = upstream().await;
    let built_in = "The system reported a problem, so it may or may not have been done. Apologise and say so. \
                    Do not start it again unless the caller asks for that.";
    for (route, text) in [
        ("", built_in),
        ("text = \"Not booked.\"", "Not booked."),
        ("[routes.f.failure]\nbad_response = \"Try again.\"", built_in),
        ("[routes.f.failure]\nafter_write = \"Ask the desk.\"", "Ask the desk."),
        ("[[routes.f.reply]]\nwhen.failure = \"any\"\ntext = \"Try again.\"", built_in),
    ] {
        let proxy = Proxy::over(&upstream, &table("POST", &format!("{ERRORS}{route}"))).await;
        assert_eq!(
            said(&proxy, r#"{"errors":[1]}"#).await,
            json!({"error": {"kind": "bad_response", "text": text}}),
            "{route}"
        );
    }
}

#[tokio::test]
async fn tests_and_explanations_know_declared_failures() {
    let table = table("GET", ERRORS).replace("UPSTREAM", "127.0.0.1:9");
    let tests = r#"
[[routes.f.tests]]
name = "an error"
upstream.body = { errors = [1] }
expect.failure = "bad_response"
[[routes.f.tests]]
name = "none"
upstream.body = { name = "Ada" }
expect.data = { name = "Ada" }
[[routes.f.tests]]
name = "another kind"
upstream.body = { errors = [1] }
expect.failure = "timeout"
"#;
    let folder =
        Folder::with(&[("routes.toml", &format!("{table}{tests}")), ("errors.json", "{\"errors\": [1]}")]);
    let shown = async |words: &[&str]| {
        let mut command = jackfield(folder.path());
        command.args(words);
        let output = run(command).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, printed) = shown(&["test"]).await;
    assert!(code == Some(1) && printed.contains("2 passed, 1 failed"), "{printed}");
    assert!(printed.contains("expected  timeout") && printed.contains("found     bad_response"), "{printed}");
    let (code, printed) = shown(&["call", "f", "--response", "errors.json", "--explain"]).await;
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(timeless(&printed));
    let (_, printed) = shown(&["call", "f", "--response", "errors.json", "--format", "json"]).await;
    let call: Value = serde_json::from_str(&printed).unwrap();
    let call = &call["calls"][0];
    assert_eq!(
        (&call["outcome"], &call["reason"], &call["skipped"]),
        (&json!("bad_response"), &json!("declared"), &json!([])),
        "{printed}"
    );
}
