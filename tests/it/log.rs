//! The log cannot be forged: no text from a caller or an upstream can add a line of its own.

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO forged \u{1b}[31m";
const BAD_FORMAT: &str = "%!\n2026-01-01T00:00:00Z  INFO forged";

#[tokio::test]
async fn callers_cannot_forge_log_lines() {
    let upstream =
        Upstream::new(|_| Reply::json(&json!({"action": {FORGED: {}}, "format": BAD_FORMAT}))).await;
    let mut proxy = Proxy::start(
        &r#"
[server]
listen = "127.0.0.1:0"
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.act]
upstream = "api"
request = { method = "GET", path = "/" }
reply = { text = "done", swaig.action = ["{{response.body.action}}"] }
[routes.date]
upstream = "api"
request = { method = "GET", path = "/" }
[[routes.date.reply]]
when.failure = "any"
text = "{{date now call.raw.format}}"
[[routes.date.reply]]
text = "{{date now response.body.format}}"
"#
        .replace("UPSTREAM", &upstream.address.to_string()),
    )
    .await;
    for function in ["act", "date", FORGED, &FORGED.repeat(5000)] {
        let body = json!({"function": function, "call_id": FORGED, "format": BAD_FORMAT, "argument": {"parsed": [{}]}});
        assert_eq!(proxy.post("/swaig", &body).await.status, 200);
    }
    assert_eq!(proxy.post(&format!("/{}", "x".repeat(5000)), &json!({})).await.status, 404);
    // A response may arrive before its log lines.
    for part in ["is left out", "could not be rendered", "unknown_function", "rejected"] {
        proxy.logged(part).await;
    }
    for line in proxy.log().lines() {
        assert!(!line.starts_with("2026-01-01") && !line.contains('\u{1b}') && line.len() < 2000, "{line}");
    }
}

#[tokio::test]
async fn a_failed_step_names_its_upstream_even_if_a_fallback_succeeds() {
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
    assert!(!line.contains("conversation"), "{line}");
    assert!(line.contains("upstream=\"main\"") && line.contains("status 503"), "{line}");
    assert_eq!(proxy.post("/http/both", &json!({})).await.json(), json!({"text": "Good."}));
    let line = proxy.logged("both: a step failed, and its fallback answered").await;
    assert!(line.contains("upstream=\"main\"") && line.contains("status 503"), "{line}");
}

/// The log lines about `function`, as JSON.
fn lines_of(proxy: &Proxy, function: &str) -> Vec<Value> {
    let log = proxy.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.filter(|line| line["function"] == function).collect()
}

#[tokio::test]
async fn log_lines_are_json_unless_on_a_terminal_or_configured_otherwise() {
    let upstream = Upstream::new(|_| Reply::status(503, &json!({}))).await;
    let table = r#"
[server]
listen = "127.0.0.1:0"
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
retry.attempts = 1
[routes.say]
reply.text = "Hello."
[routes.ask]
upstream = "api"
request = { path = "/" }
args.unused = { type = "string" }
"#
    .replace("UPSTREAM", &upstream.address.to_string());
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &[("JACKFIELD_LOG", "")]).await;
    let call = |function: &str| json!({"function": function, "call_id": "c-1", "argument": {"parsed": [{}]}});
    for function in ["say", "ask", FORGED] {
        proxy.post("/swaig", &call(function)).await;
    }
    proxy.logged("no route answers").await;
    let ready: Value =
        serde_json::from_str(proxy.log().lines().find(|line| line.contains("ready")).unwrap()).unwrap();
    let message = format!("listen={} admin=off ready", ready["listen"].as_str().unwrap());
    assert_eq!(
        (&ready["level"], &ready["message"], &ready["routes"]),
        (&json!("INFO"), &json!(message), &json!(2))
    );
    assert_eq!((&ready["tls"], &ready["admin"]), (&json!(false), &json!("off")));
    let lines = lines_of(&proxy, "say");
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys.join(" "),
        "timestamp level message platform function conversation client case ms record_id outcome"
    );
    assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
    assert!(line["message"].as_str().unwrap().starts_with("say: answered in "), "{line}");
    assert_eq!((&line["case"], &line["outcome"]), (&json!(1), &json!("answered")));
    assert!(line["ms"].is_u64(), "{line}");
    let asked = lines_of(&proxy, "ask");
    assert_eq!((&asked[0]["level"], &asked[0]["upstream"]), (&json!("WARN"), &json!("api")));
    assert_eq!(lines_of(&proxy, &FORGED.escape_debug().to_string()).len(), 1, "{}", proxy.log());
    // The table can choose the format, and a reload can change it.
    proxy.folder.write("routes.toml", &format!("[log]\nformat = \"human\"\n{table}"));
    proxy.logged(" INFO configuration reloaded").await;
    proxy.folder.write("routes.toml", &format!("[log]\nformat = \"json\"\n{table}"));
    proxy.logged("\"message\":\"configuration reloaded:").await;
}

#[tokio::test]
async fn environment_variables_override_the_table() {
    let good =
        "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n";
    let table = format!("[log]\nformat = \"json\"\n{good}");
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &[("JACKFIELD_LOG", "human")]).await;
    proxy.logged(" INFO ready").await;
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &[("JACKFIELD_LOG", "jsno")]).await;
    proxy.logged("`JACKFIELD_LOG` is `jsno` and is ignored: set it to").await;
    proxy.logged("admin=off ready\",\"listen\":\"127.0.0.1:").await;
    // The errors of a table are one line too.
    let folder = Folder::with(&[("routes.toml", &format!("{good}more = 1\n"))]);
    let mut command = jackfield(folder.path());
    command.env("JACKFIELD_LOG", "json");
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(1));
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("unknown-key"), "{line}");
}

/// A secret that is sent, and comes back, in several encodings.
const SECRET: &str = "s3cret\"key";
const PIN: &str = "9 4\"1";

#[tokio::test]
async fn bodies_are_logged_only_if_enabled_and_are_masked() {
    let upstream = Upstream::new(|seen| {
        let came = String::from_utf8_lossy(&seen.body).into_owned();
        let key = seen.header("authorization").pop();
        Reply::json(&json!({"came": came, "key": key, "target": seen.target, "name": "Ada"}))
    })
    .await;
    let table = r#"
[server]
listen = "127.0.0.1:0"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
auth.bearer = { token = "${TOKEN}" }
[routes.book]
upstream = "api"
args.pin = { type = "string", sensitive = true }
args.city = { type = "string" }
request = { method = "POST", path = "/book", query = { pin = "{{args.pin}}" }, body = { pin = "{{args.pin}}", city = "{{args.city}}" } }
extract = { came = "$.came", name = "$.name" }
reply.text = "{{name}} in {{args.city}}, {{args.pin}}"
"#.replace("UPSTREAM", &upstream.address.to_string());
    let variables = [("TOKEN", SECRET), ("JACKFIELD_LOG", "json")];
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &variables).await;
    let call = json!({"pin": PIN, "city": "Oslo"});
    assert_eq!(proxy.post("/http/book", &call).await.json()["text"], format!("Ada in Oslo, {PIN}"));
    proxy.logged("book: answered").await;
    proxy.folder.write("routes.toml", &format!("[log]\nbodies = true\n{table}"));
    proxy.logged("configuration reloaded").await;
    assert!(!proxy.log().contains("Oslo"), "{}", proxy.log());
    proxy.post("/http/book", &call).await;
    proxy.logged("the whole record").await;
    let lines = lines_of(&proxy, "book");
    let line = lines.last().unwrap();
    assert!(lines.iter().all(|line| line.get("conversation").is_none()), "{lines:?}");
    assert!(line["record_id"].as_str().is_some_and(|id| id.ends_with("-2")), "{line}");
    assert_eq!(line["record_id"], lines[lines.len() - 2]["record_id"]);
    let record = &line["record"];
    assert_eq!(record["arguments"]["values"], json!({"pin": "***", "city": "Oslo"}));
    let step = &record["steps"][0];
    assert_eq!(step["request"]["body"], json!({"pin": "***", "city": "Oslo"}));
    assert!(step["request"]["url"].as_str().unwrap().ends_with("/book?pin=***"), "{step}");
    assert!(step["request"]["headers"].to_string().contains("[\"authorization\",\"***\"]"), "{step}");
    assert_eq!((&step["response"]["status"], &step["response"]["body"]["key"]), (&json!(200), &json!("***")));
    assert_eq!(step["extracted"]["name"], "Ada");
    assert_eq!(record["reply"]["text"], "Ada in Oslo, ***");
    for hidden in ["s3cret", "9 4", "9+4", "9%204"] {
        assert!(!proxy.log().contains(hidden), "{hidden}: {}", proxy.log());
    }
}

#[tokio::test]
async fn the_table_sets_the_level_and_a_reload_changes_it() {
    let table = |level: &str| {
        let log = if level.is_empty() { String::new() } else { format!("[log]\nlevel = \"{level}\"\n") };
        format!("{LISTENERS}[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n{log}")
    };
    let mut proxy = Proxy::start(&table("error")).await;
    for (level, answered, unknown) in [
        ("error", false, false),
        ("warn", false, true),
        ("", true, true),
        ("debug", true, true),
        ("error", false, false),
    ] {
        let revision = proxy.status().await["plan"]["revision"].clone();
        let text = table(level);
        if std::fs::read_to_string(proxy.folder.path().join("routes.toml")).unwrap() != text {
            proxy.folder.write("routes.toml", &text);
            proxy.status_when("a reload", |status| status["plan"]["revision"] != revision).await;
        }
        // An error line is written at every level, after the line about the level.
        proxy.folder.write("routes.toml", "[platforms.http]\n[routes.say]\nreply.txet = \"\"\n");
        proxy.status_when("a rejection", |status| !status["rejected"].is_null()).await;
        let from = proxy.log_lines();
        proxy.post("/http/say", &json!({})).await;
        proxy.post("/http/nobody", &json!({})).await;
        proxy.folder.write("routes.toml", &format!("{text}\n[nonsense]\n"));
        proxy.logged_from(from, "nonsense").await;
        let log = proxy.log_from(from);
        assert_eq!(log.contains("say: answered"), answered, "{level}: {log}");
        assert_eq!(log.contains("no route answers"), unknown, "{level}: {log}");
        proxy.folder.write("routes.toml", &text);
        proxy.status_when("the fix", |status| status["rejected"].is_null()).await;
    }
    // The environment overrides the table.
    let mut proxy = Proxy::with(&[("routes.toml", &table("error"))], &[("RUST_LOG", "jackfield=info")]).await;
    proxy.post("/http/say", &json!({})).await;
    proxy.logged("say: answered").await;
}

/// Collectors read fields, not pictures.
#[tokio::test]
async fn reloads_have_fields_and_every_line_of_the_demo_is_json() {
    let table = format!(
        "{LISTENERS}[platforms.http]\nauth.bearer = {{ token = \"${{file:token}}\" }}\n\
         [routes.say]\nreply.text = \"Hello.\"\n[upstreams.demo]\nbase_url = \"http://127.0.0.1:1\"\n"
    );
    let folder = Folder::with(&[("routes.toml", &table), ("token", "one"), ("more", "x")]);
    let mut command = jackfield(folder.path());
    command.arg("--demo").env("JACKFIELD_LOG", "");
    let mut proxy = Proxy::run(folder, command).await;
    proxy.folder.write("token", "two");
    proxy.logged("configuration reloaded").await;
    proxy.folder.write("routes.toml", &table.replace("reply.text", "reply.txet"));
    proxy.logged("configuration rejected").await;
    let log = proxy.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |text: &str| {
        lines
            .iter()
            .find(|line| line["message"].as_str().is_some_and(|message| message.contains(text)))
            .unwrap()
    };
    assert!(line("sample API started")["address"].is_string());
    let reloaded = line("configuration reloaded");
    assert!(reloaded["message"].as_str().unwrap().ends_with("0 changed (secret files: token)"), "{reloaded}");
    assert_eq!(reloaded["secret_files"], "token");
    let rejected = line("configuration rejected");
    assert_eq!(
        json!([rejected["code"], rejected["file"], rejected["line"], rejected["errors"]]),
        json!(["unknown-key", "routes.toml", 7, 1])
    );
    assert!(!log.contains("\"one\"") && !log.contains("\"two\""), "{log}");
}
