//! `jackfield call --save-test` and `--request` from outside: saved tests pass and hold no secrets.

use std::fs;

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};
use crate::support::timeless;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.http]
[platforms.swaig]
[platforms.voicedock]
headers = ["x-session"]
[platforms.dailybots]

[upstreams.crm]
base_url = "http://UPSTREAM/v1"
auth.bearer = { token = "${TOKEN}" }

[upstreams.away]
base_url = "http://127.0.0.1:9"

[upstreams.slow]
base_url = "http://UPSTREAM"
timeout = "50ms"

[upstreams.keyed]
base_url = "http://UPSTREAM"
auth.query = { name = "key", value = "${TOKEN}" }

[routes.ticket]
upstream = "crm"
args.id = { type = "string", required = true }
request = { path = "/tickets/{{args.id}}", query = { at = "{{now}}", session = "{{call.headers.x-session}}" } }
extract = { state = "$.state" }
[[routes.ticket.reply]]
when.status = 404
text = "There is no ticket {{args.id}}."
[[routes.ticket.reply]]
text = "Ticket {{args.id}} is {{state}}."
data = { state = "{{state}}" }

[routes.close] # in the table
upstream = "crm"
args.id = { type = "string" }
args.pin = { type = "string", pattern = "^[0-9]{4}$", sensitive = true }
request = { method = "POST", path = "/close", body = { id = "{{args.id}}", pin = "{{args.pin}}", caller = "{{call.caller}}" } }
reply.text = "Closed with {{args.pin}} for {{response.body.by}}."
[[routes.close.tests]]
name = "the first" # stays
upstream.body = { by = "me" }
args = { pin = "0000" }
expect.text = "Closed with 0000 for me."

[routes.both]
upstream = "crm"
steps = [
  { name = "one", group = "g", request = { path = "/one" }, extract = { x = "$.x" } },
  { name = "two", group = "g", request = { path = "/fail" } },
  { name = "three", when.failed = "two", request = { path = "/headers" } },
]
reply.text = "{{one.x}} {{three.response.headers.x-left}}"

[routes.away]
upstream = "away"
request = { method = "POST", path = "/", form = { a = "1", b = ["2", "3"] } }
reply.text = "Here."

[routes.slow]
upstream = "slow"
request.path = "/slow"
reply.text = "Here."

[routes.keyed]
upstream = "keyed"
request.path = "/v1/tickets/1"
reply.text = "{{response.body.state}}"

[routes.language]
streaming = true
dailybots.before = [{ action = "tts:say", arguments = { text = "One moment." } }]
reply.text = "Done."

[events.voicedock.assistant_request]
upstream = "crm"
request.path = "/callers/{{event.customer.number}}"
extract.state = "$.state"
reply.data = { greeting = "It is {{state}}" }

[routes.odd]
upstream = "crm"
request.path = "/odd"
reply.data = { n = "{{response.body.n}}", s = "{{response.body.s}}" }
"#;

const TOKEN: &str = "tok.en~secret";

const REQUEST: &str = r#"{"message": {"type": "tool-calls", "call": {"id": "c-9"}, "customer": {"number": "+47123"},
  "tool_call_list": [
    {"id": "t-1", "type": "function", "function": {"name": "ticket", "arguments": {"id": "T 1"}}},
    {"id": "t-2", "type": "function", "function": {"name": "close", "arguments": "{\"id\": \"T-2\", \"pin\": \"4711\"}"}}
  ]}}"#;

const SINGLE: &str = r#"{"message": {"type": "tool-calls", "tool_call_list": [
  {"id": "t-1", "type": "function", "function": {"name": "ticket", "arguments": {"id": "T 1"}}}]}}"#;

const ONE: &str =
    r#"{"function": "ticket", "argument": {"parsed": [{"id": "T-7"}]}, "caller_id_num": "+4712345678"}"#;

async fn crm() -> Upstream {
    Upstream::with(|seen| async move {
        match seen.path() {
            "/v1/tickets/T-404" => Reply::status(404, &json!({"error": null})),
            "/v1/close" => {
                Reply::json(&json!({"by": seen.header("authorization").concat(), "seen": seen.json()}))
            }
            "/v1/fail" => Reply::status(500, &json!({})),
            "/v1/headers" => {
                Reply::raw(200, "text/plain", "x\ny").header("x-left", "7").header("set-cookie", "s=cookie-1")
            }
            "/v1/odd" => Reply::json(&json!({"n": null, "s": u64::MAX})),
            "/slow" => std::future::pending().await,
            _ => Reply::json(&json!({"state": "open", "x": 1.50, "tags": [1, "a"]})),
        }
    })
    .await
}

fn folder(upstream: &Upstream) -> Folder {
    let table = TABLE.replace("UPSTREAM", &upstream.address.to_string());
    Folder::with(&[
        ("routes.toml", &table),
        ("requests/many.json", REQUEST),
        ("one.json", ONE),
        ("single.json", SINGLE),
    ])
}

/// Runs a command with these arguments and returns its exit code and what it printed to both streams.
async fn run_jackfield(folder: &Folder, words: &[&str]) -> (i32, String, String) {
    let mut command = jackfield(folder.path());
    command.args(words).env("TOKEN", TOKEN);
    let output = run(command).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn read(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

/// Removes everything that differs from run to run.
fn stable(text: &str) -> String {
    let time = regex::Regex::new(r"20\d\d-\d\d-\d\dT\d\d(:|%3A)\d\d(:|%3A)\d\dZ").unwrap();
    timeless(&time.replace_all(text, "NOW"))
}

#[tokio::test]
async fn saved_tests_pass_and_are_written_beside_the_others() {
    let upstream = crm().await;
    let folder = folder(&upstream);
    let table = read(&folder, "routes.toml");
    let mut notes = String::new();
    for (name, words, expected) in [
        ("a read", &["ticket", "--args", r#"{"id": "a/b"}"#][..], 0),
        ("not found", &["ticket", "--args", r#"{"id": "T-404"}"#, "--as", "swaig"], 0),
        ("invalid_args", &["ticket"], 1),
        ("a write", &["close", "--args", r#"{"id": "T-1", "pin": "4711"}"#, "--as", "voicedock"], 0),
        ("steps", &["both"], 0),
        ("away", &["away", "--as", "millis"], 1),
        ("slow", &["slow"], 1),
        ("a key in the URL", &["keyed"], 0),
        ("a stream", &["language", "--as", "dailybots"], 0),
        ("what TOML cannot hold", &["odd"], 0),
        (
            "a header",
            &["ticket", "--args", r#"{"id": "1"}"#, "--as", "voicedock", "--header", "x-session: s-1"],
            0,
        ),
        (
            "one request with a header",
            &["--request", "single.json", "--as", "voicedock", "--header", "x-session: s-2"],
            0,
        ),
        ("one request", &["--request", "one.json", "--as", "swaig"], 0),
        ("one of several", &["close", "--request", "requests/many.json", "--as", "voicedock"], 0),
        ("the other one", &["ticket", "--request", "requests/many.json", "--as", "voicedock"], 0),
    ] {
        let words = [&["call", "--save-test", name], words].concat();
        let (code, stdout, stderr) = run_jackfield(&folder, &words).await;
        assert_eq!(code, expected, "{name}: {stdout}{stderr}");
        notes.push_str(&format!("--- {name} ---\n{stderr}"));
    }
    // A saved test no longer depends on its upstream.
    drop(upstream);
    let (code, stdout, stderr) = run_jackfield(&folder, &["test"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("\n16 passed, 0 failed"), "{stdout}");

    let (saved, in_table) = (read(&folder, "routes.test.toml"), read(&folder, "routes.toml"));
    insta::assert_snapshot!("saved", stable(&saved));
    insta::assert_snapshot!("saved_notes", stable(&notes));
    let (before, rest) = table.split_at(table.find("\n[routes.both]").unwrap());
    let added = in_table.strip_prefix(before).unwrap().strip_suffix(rest).unwrap();
    insta::assert_snapshot!("saved_in_table", stable(added));
    for text in [&saved, added, &notes] {
        for secret in [TOKEN, "cookie-1", "4711"] {
            assert!(!text.contains(secret), "`{secret}` in\n{text}");
        }
    }
}

#[tokio::test]
async fn a_test_that_cannot_be_saved_changes_nothing_and_gives_the_reason() {
    let upstream = crm().await;
    let folder = folder(&upstream);
    for (name, words, sends) in [
        ("duplicate_name", &["close", "--save-test", "the first"][..], 0),
        ("nameless", &["ticket", "--save-test", " "], 0),
        ("dry", &["ticket", "--save-test", "x", "--dry-run"], 0),
        ("unknown", &["tickets", "--save-test", "x"], 0),
        ("several", &["--request", "requests/many.json", "--as", "voicedock", "--save-test", "x"], 0),
        (
            "function_not_in_request",
            &["away", "--request", "requests/many.json", "--as", "voicedock", "--save-test", "x"],
            0,
        ),
        ("no_platform", &["--request", "one.json"], 0),
        ("no_file", &["--request", "none.json", "--as", "swaig"], 0),
        ("not_a_request", &["--request", "routes.toml", "--as", "swaig"], 0),
        ("no_function", &["--request", "one.json", "--as", "http"], 0),
        ("bad_header", &["ticket", "--header", "x-session"], 0),
    ] {
        let (code, _, stderr) = run_jackfield(&folder, &[&["call"], words].concat()).await;
        assert_ne!(code, 0, "{name}: {stderr}");
        assert_eq!(upstream.take().len(), sends, "{name}");
        insta::assert_snapshot!(format!("unsaved_{name}"), stable(&stderr));
        assert!(!folder.path().join("routes.test.toml").exists(), "{name}");
    }
}

#[tokio::test]
async fn tests_are_appended_in_any_existing_layout() {
    let upstream = crm().await;
    let folder = folder(&upstream);
    folder.write("a.test.toml", "tests = [\n  { route = \"away\", name = \"x\", upstream.failure = \"timeout\", expect.failure = \"timeout\" }, # why\n]\n# the end\n");
    let words = |name: &'static str, function: &'static str| ["call", function, "--save-test", name];
    assert_eq!(run_jackfield(&folder, &words("y", "away")).await.0, 1);
    let listed = read(&folder, "a.test.toml");
    assert!(listed.contains("# why") && listed.ends_with("# the end\n"), "{listed}");
    assert!(listed.contains("name = \"y\""), "{listed}");
    // If there is a test file named after the table, the test is appended to it, and an open table at its end is
    // continued.
    folder.write(
        "routes.test.toml",
        "# Ours.\n\n[[tests]]\nroute = \"language\"\nname = \"x\"\nexpect.text = \"Done.\"\n# the end",
    );
    assert_eq!(run_jackfield(&folder, &words("y", "ticket")).await.0, 1);
    let own = read(&folder, "routes.test.toml");
    assert!(
        own.starts_with("# Ours.\n\n[[tests]]\nroute = \"language\"")
            && own.contains("# the end\n\n[[tests]]\nroute = \"ticket\""),
        "{own}"
    );
    let (code, stdout, stderr) = run_jackfield(&folder, &["test"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[tokio::test]
async fn a_whole_request_can_be_replayed() {
    let upstream = crm().await;
    let folder = folder(&upstream);
    let words = ["call", "--request", "requests/many.json", "--as", "voicedock"];
    let (code, stdout, stderr) = run_jackfield(&folder, &words).await;
    assert_eq!(code, 0, "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"tool_call_id": "t-1", "result": {"state": "open"}}));
    assert_eq!(results[1]["tool_call_id"], "t-2");
    assert_eq!(upstream.take()[1].json(), json!({"id": "T-2", "pin": "4711", "caller": "+47123"}));

    let (_, stdout, _) = run_jackfield(&folder, &[&words[..], &["--format", "json"]].concat()).await;
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["calls"].as_array().unwrap().len(), 2);
    assert_eq!(shown["calls"][1]["arguments"]["values"]["pin"], "***");
    assert_eq!(shown["answer"]["status"], 200);
    assert_eq!(shown["answer"]["body"]["results"][0], results[0]);
    assert!(!stdout.contains("4711") && !stdout.contains(TOKEN), "{stdout}");

    upstream.take();
    let (code, stdout, _) =
        run_jackfield(&folder, &[&words[..], &["--format", "json", "--dry-run"]].concat()).await;
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &shown["answer"], upstream.seen()), (0, &Value::Null, 0));
    assert_eq!(shown["calls"][0]["steps"][0]["request"]["method"], "GET");
}

#[tokio::test]
async fn events_can_be_replayed_and_explained() {
    let upstream = crm().await;
    let folder = folder(&upstream);
    let event = |kind: &str| {
        json!({"message": {"type": kind, "call": {"id": "c-9"}, "customer": {"number": "+47"}}}).to_string()
    };
    folder.write("asked.json", &event("assistant-request"));
    folder.write("ended.json", &event("end-of-call-report"));
    let mut shown = String::new();
    for file in ["asked.json", "ended.json"] {
        let words = ["call", "--request", file, "--as", "voicedock", "--explain"];
        let (code, stdout, stderr) = run_jackfield(&folder, &words).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        shown.push_str(&stdout.replace(&upstream.address.to_string(), "UPSTREAM"));
    }
    insta::assert_snapshot!("event_explained", stable(&shown));
    let words = ["call", "--request", "asked.json", "--as", "voicedock", "--save-test", "x"];
    let (code, _, stderr) = run_jackfield(&folder, &words).await;
    assert_eq!(code, 2);
    insta::assert_snapshot!("unsaved_event", stderr);
}

const PEOPLE: &str = r#"
[platforms.http]
[platforms.voicedock]
[upstreams.crm]
base_url = "http://UPSTREAM"
[routes.find]
upstream = "crm"
args.name = { type = "string" }
args.phone = { type = "string", pattern = '^\+47[0-9]{8}$' }
request = { path = "/people", query = { name = "{{args.name}}", caller = "{{call.caller}}" } }
extract.email = "$.people[?@.phone == {{args.phone}}].email"
reply.text = "Write to {{email}} for {{args.name}}, on {{call.caller}}."
"#;

#[tokio::test]
async fn an_anonymized_test_passes_and_contains_no_personal_data() {
    let upstream = Upstream::new(|_| {
        Reply::json(&json!({"people": [
            {"firstName": "Kari", "lastName": "Nordmann", "phone": "+4791234567", "email": "kari@nordmann.no"},
            {"firstName": "Ola", "lastName": "Nordmann", "phone": "+4798765432", "email": "Ola.N@firma.no"},
        ], "note": "Call KARI on 912 34 567 or +47 912 34 567."}))
    })
    .await;
    let folder = Folder::with(&[("routes.toml", &PEOPLE.replace("UPSTREAM", &upstream.address.to_string()))]);
    folder.write(
        "posted.json",
        r#"{"message": {"type": "tool-calls", "customer": {"number": "+4791234567"}, "tool_call_list": [
        {"id": "t-1", "type": "function", "function": {"name": "find", "arguments": {"name": "Ola Nordmann", "phone": "+4798765432"}}}]}}"#,
    );
    let args = r#"{"name": "Kari Nordmann", "phone": "+4791234567"}"#;
    let save = ["--anonymize", "--save-test"];
    let (code, stdout, stderr) =
        run_jackfield(&folder, &[&["call", "find", "--args", args], &save[..], &["one"]].concat()).await;
    assert_eq!(code, 1, "a caller is missing: {stdout}{stderr}");
    let posted = ["call", "--request", "posted.json", "--as", "voicedock"];
    let (code, stdout, stderr) = run_jackfield(&folder, &[&posted[..], &save, &["two"]].concat()).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stderr.contains("3 words of names, 2 e-mail addresses, 2 phone numbers"), "{stderr}");
    let (_, record, _) = run_jackfield(&folder, &[&posted[..], &["--format", "json"]].concat()).await;
    folder.write("record.json", &record);
    let (code, stdout, stderr) =
        run_jackfield(&folder, &["test", "--from-record", "record.json", "--name", "three", "--anonymize"])
            .await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    drop(upstream);
    let (code, stdout, stderr) = run_jackfield(&folder, &["test"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let saved = read(&folder, "routes.test.toml");
    insta::assert_snapshot!("anonymized", stable(&saved));
    for personal in ["Kari", "KARI", "Nordmann", "Ola", "9123", "9876", "firma"] {
        assert!(!saved.contains(personal), "`{personal}` in\n{saved}");
    }
}

const REMEMBERED: &str = r#"
[platforms.voicedock]
[routes.sign_in]
args.customer_name = { type = "string" }
remember.customer_name = "{{args.customer_name}}"
reply.text = "Signed in."
[routes.greet]
reply.text = "Hello {{memory.customer_name}}."
"#;

#[tokio::test]
async fn an_anonymized_test_contains_no_personal_data_that_was_remembered() {
    let folder = Folder::with(&[("routes.toml", REMEMBERED)]);
    folder.write(
        "posted.json",
        r#"{"message": {"type": "tool-calls", "call": {"id": "c-1"}, "tool_call_list": [
        {"id": "t-1", "type": "function", "function": {"name": "sign_in", "arguments": {"customer_name": "Kari Nordmann"}}},
        {"id": "t-2", "type": "function", "function": {"name": "greet", "arguments": {}}}]}}"#,
    );
    let posted = ["call", "greet", "--request", "posted.json", "--as", "voicedock"];
    let save = ["--anonymize", "--save-test", "one"];
    let (code, stdout, stderr) = run_jackfield(&folder, &[&posted[..], &save].concat()).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let saved = read(&folder, "routes.test.toml");
    assert!(saved.contains(r#""Hello Robin Bergdal.""#), "{saved}");
    assert!(!saved.contains("Kari") && !saved.contains("Nordmann"), "{saved}");
    let (code, stdout, stderr) = run_jackfield(&folder, &["test"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
}
