//! What stands in the log is ours: nobody whose words are in it can write a line of his own.

use serde_json::json;

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO forged \u{1b}[31m";
const BAD_FORMAT: &str = "%!\n2026-01-01T00:00:00Z  INFO forged";

#[tokio::test]
async fn nobody_forges_a_line() {
    let upstream =
        Upstream::new(|_| Reply::json(&json!({"action": {FORGED: {}}, "format": BAD_FORMAT}))).await;
    let mut proxy = Proxy::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.swaig]\n[upstreams.api]\nbase_url = \"http://{}\"\n\
         [routes.act]\nupstream = \"api\"\nrequest = {{ method = \"GET\", path = \"/\" }}\n\
         reply = {{ text = \"done\", swaig.action = [\"{{{{response.body.action}}}}\"] }}\n\
         [routes.date]\nupstream = \"api\"\nrequest = {{ method = \"GET\", path = \"/\" }}\n\
         [[routes.date.reply]]\nwhen.failure = \"any\"\ntext = \"{{{{date now call.raw.format}}}}\"\n\
         [[routes.date.reply]]\ntext = \"{{{{date now response.body.format}}}}\"\n",
        upstream.address
    ))
    .await;
    for function in ["act", "date", FORGED, &FORGED.repeat(5000)] {
        let body = json!({"function": function, "call_id": FORGED, "format": BAD_FORMAT, "argument": {"parsed": [{}]}});
        assert_eq!(proxy.post("/swaig", &body).await.status, 200);
    }
    assert_eq!(proxy.post(&format!("/{}", "x".repeat(5000)), &json!({})).await.status, 404);
    // An answer may arrive before the lines that tell of it.
    for part in ["is left out", "could not be rendered", "unknown_function", "turned away"] {
        proxy.logged(part).await;
    }
    for line in proxy.log().lines() {
        assert!(!line.starts_with("2026-01-01") && !line.contains('\u{1b}') && line.len() < 2000, "{line}");
    }
}

#[tokio::test]
async fn a_failure_names_its_upstream_also_when_a_fallback_made_it_good() {
    let upstream =
        Upstream::new(|seen| Reply::status(if seen.path() == "/b" { 200 } else { 503 }, &json!({}))).await;
    let mut proxy = Proxy::over(
        &upstream,
        "[platforms.http]\n[upstreams.main]\nbase_url = \"http://UPSTREAM\"\n\
         [upstreams.spare]\nbase_url = \"http://UPSTREAM\"\n\
         [routes.alone]\nupstream = \"main\"\nrequest = { path = \"/a\" }\n\
         [routes.both]\nreply.text = \"Good.\"\n\
         [[routes.both.steps]]\nname = \"one\"\nupstream = \"main\"\nrequest = { path = \"/a\" }\n\
         [[routes.both.steps]]\nname = \"two\"\nupstream = \"spare\"\nwhen.failed = \"one\"\nrequest = { path = \"/b\" }\n",
    )
    .await;
    proxy.post("/http/alone", &json!({})).await;
    let line = proxy.logged("alone: bad_response").await;
    assert!(line.contains("upstream=\"main\"") && line.contains("status 503"), "{line}");
    assert_eq!(proxy.post("/http/both", &json!({})).await.json(), json!({"text": "Good."}));
    let line = proxy.logged("both: a step failed, and its fall-back answered").await;
    assert!(line.contains("upstream=\"main\"") && line.contains("status 503"), "{line}");
}
