//! Tests made from calls that happened: from a record, and from a response that was pasted into a file.

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.http]
[platforms.swaig]
[upstreams.crm]
base_url = "http://UPSTREAM/v1"
auth.bearer = { token = "${TOKEN}" }
[routes.ticket]
upstream = "crm"
args.id = { type = "string", required = true }
args.pin = { type = "string", pattern = "^[0-9]{4}$", sensitive = true }
request = { path = "/tickets/{{args.id}}", query = { at = "{{now}}" } }
extract = { state = "$.state" }
[[routes.ticket.reply]]
when.status = 404
text = "There is no ticket {{args.id}}."
[[routes.ticket.reply]]
text = "Ticket {{args.id}} is {{state}}."
[routes.both]
upstream = "crm"
steps = [
  { name = "one", request.path = "/one", extract = { x = "$.x" } },
  { name = "two", request.path = "/two", extract = { y = "$.y" } },
]
reply.text = "{{one.x}} {{two.y}}"
"#;

async fn upstream() -> Upstream {
    Upstream::new(|seen| match seen.path() {
        "/v1/tickets/T-1" => Reply::json(&json!({"state": "open", "price": 19.10})),
        "/v1/tickets/T-2" => Reply::raw(200, "text/html", "<h1>Maintenance</h1>"),
        "/v1/one" => Reply::json(&json!({"x": "a"})),
        "/v1/two" => Reply::json(&json!({"y": "b"})),
        _ => Reply::status(404, &json!({})),
    })
    .await
}

/// Runs a command; returns its exit code and both outputs.
async fn output(folder: &Folder, words: &[&str]) -> (i32, String) {
    let mut command = jackfield(folder.path());
    command.args(words);
    let output = run(command).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
}

#[tokio::test]
async fn a_record_becomes_a_test() {
    let upstream = upstream().await;
    let table = format!("{LISTENERS}{TABLE}").replace("UPSTREAM", &upstream.address.to_string());
    let proxy = Proxy::with(&[("routes.toml", &table)], &[("TOKEN", "t0k3n-secret")]).await;
    proxy.post("/http/ticket", &json!({"id": "T-1"})).await;
    proxy.post("/http/ticket", &json!({"id": "T-2"})).await;
    let swaig = json!({"function": "both", "call_id": "c-1", "argument": {"parsed": [{}]}});
    proxy.post("/swaig", &swaig).await;
    proxy.post("/http/ticket", &json!({"id": "T-1", "pin": "4711"})).await;
    let records = proxy.ask_admin("/records", &[]).await.json();
    let ids: Vec<&str> = records["records"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|record| record["id"].as_str().unwrap())
        .collect();
    upstream.take();

    let url = |id: &str| format!("http://{}/records/{id}", proxy.admin.unwrap());
    // From its URL.
    let (code, shown) = output(&proxy.folder, &["test", "--from-record", &url(ids[0])]).await;
    assert!(code == 0 && shown.contains(&format!("added test `record {}`", ids[0])), "{shown}");
    // From a file, and with a name of its own. A failure is a test like any other.
    let page = proxy.ask_admin(&format!("/records/{}", ids[1]), &[]).await;
    proxy.folder.write("page.json", page.text());
    let words = ["test", "--from-record", "page.json", "--name", "maintenance"];
    let (code, shown) = output(&proxy.folder, &words).await;
    assert!(code == 0 && shown.contains("added test `maintenance`"), "{shown}");
    // With steps, on another platform.
    let (code, shown) =
        output(&proxy.folder, &["test", "--from-record", &url(ids[2]), "--name", "both"]).await;
    assert_eq!(code, 0, "{shown}");
    // A sensitive argument is not in the record.
    let words = ["test", "--from-record", &url(ids[3]), "--name", "with a pin"];
    let (code, shown) = output(&proxy.folder, &words).await;
    assert!(code == 2 && shown.contains("`pin`") && shown.contains("--args"), "{shown}");
    let (code, shown) =
        output(&proxy.folder, &[&words[..], &["--args", "{\"pin\": \"1234\"}"]].concat()).await;
    assert_eq!(code, 0, "{shown}");

    let (code, shown) = output(&proxy.folder, &["test"]).await;
    assert!(code == 0 && shown.contains("4 passed, 0 failed"), "{shown}");
    let saved = std::fs::read_to_string(proxy.folder.path().join("routes.test.toml")).unwrap();
    for part in [
        "price = 19.1",
        "Maintenance",
        "expect.failure = \"bad_response\"",
        "expect.text = \"a b\"",
        "platform = \"swaig\"",
        "call.conversation = \"c-1\"",
    ] {
        assert!(saved.contains(part), "{part}: {saved}");
    }
    assert!(!saved.contains("t0k3n") && !saved.contains("4711"), "{saved}");
    assert!(upstream.take().is_empty());

    // The table has changed since: the note says so, and the test is what the table does now.
    proxy.folder.write("routes.toml", &table.replace("$.state", "$.gone"));
    let (_, shown) = output(&proxy.folder, &["test", "--from-record", &url(ids[0]), "--name", "again"]).await;
    assert!(shown.contains("came to `answered`") && shown.contains("now gives `bad_response`"), "{shown}");

    for (source, problem) in [
        ("missing.json", "cannot read"),
        (url("0000000000-1").as_str(), "may have been dropped"),
        (url("").trim_end_matches('/'), "not a record"),
        ("routes.toml", "not JSON"),
    ] {
        let (code, shown) = output(&proxy.folder, &["test", "--from-record", source, "--name", "x"]).await;
        assert!(code == 2 && shown.contains(problem), "{source}: {shown}");
    }
}

#[tokio::test]
async fn a_pasted_response_needs_no_upstream() {
    let upstream = upstream().await;
    let table = TABLE.replace("UPSTREAM", &upstream.address.to_string()).replace("${TOKEN}", "t");
    let folder = Folder::with(&[
        ("routes.toml", &table),
        ("reply.json", "{\"state\": \"closed\"}"),
        ("none.json", "{}"),
        ("page", "\n<html>Down</html>"),
        ("one.json", "{\"x\": 1}"),
        ("two.json", "{\"y\": 2}"),
    ]);
    let call = async |words: &[&str]| output(&folder, &[&["call"][..], words].concat()).await;
    let args = ["ticket", "--args", "{\"id\": \"T-9\"}"];
    let ticket = async |words: &[&str]| call(&[&args[..], words].concat()).await;

    let (code, shown) = ticket(&["--response", "reply.json", "--save-test", "a closed ticket"]).await;
    assert!(code == 0 && shown.contains("Ticket T-9 is closed.") && shown.contains("added test"), "{shown}");
    let (code, shown) =
        ticket(&["--response", "none.json", "--response-status", "404", "--save-test", "none"]).await;
    assert!(code == 0 && shown.contains("There is no ticket T-9."), "{shown}");
    let (code, shown) = ticket(&["--response", "page"]).await;
    assert!(code == 1 && shown.contains("text/html, not JSON"), "{shown}");
    let (code, shown) = call(&["both", "--response", "one=one.json", "--response", "two=two.json"]).await;
    assert!(code == 0 && shown.contains("\"1 2\""), "{shown}");
    for (words, problem) in [
        (&["ticket", "--response", "missing.json"][..], "missing.json"),
        (&["both", "--response", "on=one.json"], "the route has no step `on`: did you mean `one`?"),
        (&["both", "--response", "three=one.json"], "known here: `one`, `two`"),
        (&["both", "--response", "one.json"], "write `--response STEP=FILE`, with `one`, `two`"),
        (&["both", "--response", "one=one.json", "--response", "one=two.json"], "for the step `one`"),
        (&["ticket", "--response", "one=one.json"], "the route has no step `one`: write `--response FILE`"),
        (&["ticket", "--response", "one.json", "--response", "two.json"], "two `--response` options"),
    ] {
        let (code, shown) = call(words).await;
        assert!(code == 2 && shown.contains(problem), "{words:?}: {shown}");
    }
    let (code, shown) = output(&folder, &["test", "--format", "json"]).await;
    let results: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &results["passed"], &results["failed"]), (0, &json!(2), &json!(0)), "{shown}");
    assert!(upstream.take().is_empty());
}
