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
    for function in ["act", "date", FORGED] {
        let body = json!({"function": function, "call_id": FORGED, "format": BAD_FORMAT, "argument": {"parsed": [{}]}});
        assert_eq!(proxy.post("/swaig", &body).await.status, 200);
    }
    // An answer may arrive before the lines that tell of it.
    for part in ["is left out", "could not be rendered", "unknown_function"] {
        proxy.logged(part).await;
    }
    for line in proxy.log().lines() {
        assert!(!line.starts_with("2026-01-01") && !line.contains('\u{1b}') && line.len() < 2000, "{line}");
    }
}
