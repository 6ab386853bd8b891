//! Routes with several steps: order, groups, conditions, fallbacks, and the values that the reply can use.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

/// An upstream that responds to `/a/<status>` with that status and the requested path.
async fn echoing() -> Upstream {
    Upstream::new(|seen| {
        let status = seen.path().rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(200);
        Reply::status(status, &json!({"at": seen.path(), "query": seen.target}))
    })
    .await
}

fn paths(upstream: &Upstream) -> Vec<String> {
    upstream.take().iter().map(|seen| seen.path().to_owned()).collect()
}

#[tokio::test]
async fn steps_can_use_values_of_earlier_steps() {
    let upstream = echoing().await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
args.id = { type = "string", required = true }
[[routes.f.steps]]
name = "one"
request = { path = "/one/{{args.id}}" }
extract = { at = "$.at" }
[[routes.f.steps]]
name = "two"
request = { path = "/two", query = { of = "{{one.at}}", status = "{{one.response.status}}" } }
extract = { query = "$.query" }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let answer = proxy.post("/http/f", &json!({"id": "x"})).await.json();
    let query = "/two?of=%2Fone%2Fx&status=200";
    assert_eq!(answer, json!({"data": {"one": {"at": "/one/x"}, "two": {"query": query}}}));
}

#[tokio::test]
async fn steps_of_a_group_run_concurrently() {
    // No request is answered until all three have arrived.
    let barrier = Arc::new(Barrier::new(3));
    let upstream = Upstream::with(move |seen| {
        let barrier = Arc::clone(&barrier);
        async move {
            if seen.path() != "/last" {
                barrier.wait().await;
            }
            Reply::json(&json!({"at": seen.path()}))
        }
    })
    .await;
    let mut table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
reply.text = "{{a.at}}{{b.at}}{{c.at}}{{last.at}}"
"#
    .to_owned();
    for (name, group) in
        [("a", "group = \"g\""), ("b", "group = \"g\""), ("c", "group = \"g\""), ("last", "")]
    {
        table.push_str(&format!(
            "[[routes.f.steps]]\nname = \"{name}\"\n{group}\nrequest.path = \"/{name}\"\nextract.at = \"$.at\"\n"
        ));
    }
    let proxy = Proxy::over(&upstream, &table).await;
    assert_eq!(proxy.post("/http/f", &json!({})).await.json(), json!({"text": "/a/b/c/last"}));
    assert_eq!(paths(&upstream).last().map(String::as_str), Some("/last"));
}

/// Runs `first`, and `second` under a condition; the reply shows their results.
async fn two(first: &str, condition: &str, second: &str, replies: &str) -> (Value, Vec<String>) {
    let upstream = echoing().await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
args.unit = { type = "string" }
[[routes.f.steps]]
name = "first"
request = { path = "FIRST" }
extract = { at = "$.at" }
[[routes.f.steps]]
name = "second"
CONDITION
request = { path = "SECOND" }
extract = { at = "$.at" }
REPLIES
[[routes.f.reply]]
text = "{{default first.at 'nothing'}} {{default second.at 'nothing'}} {{response.status}}"
"#
    .replace("FIRST", first)
    .replace("CONDITION", condition)
    .replace("SECOND", second)
    .replace("REPLIES", replies);
    let proxy = Proxy::over(&upstream, &table).await;
    let answer = proxy.post("/http/f", &json!({"unit": "c"})).await.json();
    (answer, paths(&upstream))
}

#[tokio::test]
async fn a_fallback_runs_only_if_its_step_failed() {
    let failed = "when.failed = \"first\"";
    let (answer, asked) = two("/a", failed, "/b", "").await;
    assert_eq!((answer["text"].as_str(), asked), (Some("/a nothing 200"), vec!["/a".to_owned()]));

    let (answer, asked) = two("/a/500", failed, "/b", "").await;
    assert_eq!(answer["text"], "nothing /b 200");
    assert_eq!(asked, ["/a/500", "/b"]);

    // If the fallback fails too, the call fails. A failure without a fallback ends the steps.
    let (answer, _) = two("/a/500", failed, "/b/503", "").await;
    assert_eq!(answer["error"]["kind"], "bad_response");
    let (answer, asked) = two("/a/500", "", "/b", "").await;
    assert_eq!(answer["error"]["kind"], "bad_response");
    assert_eq!(asked, ["/a/500"]);

    // A fallback that is skipped because of its other conditions leaves the failure as it is.
    let unwanted = "when = { failed = \"first\", equals = { \"args.unit\" = \"f\" } }";
    let (answer, asked) = two("/a/500", unwanted, "/b", "").await;
    assert_eq!(answer["error"]["kind"], "bad_response");
    assert_eq!(asked, ["/a/500"]);
}

#[tokio::test]
async fn conditions_decide_which_steps_run() {
    for (condition, asked) in [
        ("when.equals = { \"args.unit\" = \"c\" }", true),
        ("when.equals = { \"args.unit\" = \"f\" }", false),
        ("when.matches = { \"first.at\" = \"^/a\" }", true),
        ("when.found = \"$.nothing\"", false),
        ("when.missing = \"$.nothing\"", true),
        ("when.status = \"2xx\"", true),
    ] {
        let (answer, paths) = two("/a", condition, "/b", "").await;
        let expected = if asked { "/a /b 200" } else { "/a nothing 200" };
        assert_eq!(answer["text"], expected, "{condition}");
        assert_eq!(paths.len(), 1 + usize::from(asked), "{condition}");
    }
}

#[tokio::test]
async fn a_status_named_by_a_case_ends_the_steps() {
    let replies = "[[routes.f.reply]]\nwhen.status = 404\ntext = \"unknown: {{first.response.body.at}}\"";
    let (answer, asked) = two("/a/404", "", "/b", replies).await;
    assert_eq!(answer, json!({"text": "unknown: /a/404"}));
    assert_eq!(asked, ["/a/404"]);
    // If the step has a fallback, that runs first.
    let (answer, asked) = two("/a/404", "when.failed = \"first\"", "/b", replies).await;
    assert_eq!(answer["text"], "nothing /b 200");
    assert_eq!(asked, ["/a/404", "/b"]);
}
