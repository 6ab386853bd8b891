//! `jackfield test` from outside: which tests pass, which fail and how that is shown; and that tests never change how a
//! table runs.

use std::path::Path;
use std::process::{Command, Output};

use futures_util::future::join_all;
use jackfield::load::{load, load_with_tests, process_environment};
use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.http]
[platforms.swaig]
auth.basic = { username = "sw", password = "${DOOR_THAT_IS_NOT_SET}" }
[platforms.dailybots]
headers = ["x-session"]

[upstreams.crm]
base_url = "https://crm.example.com/v1"
auth.oauth2 = { token_url = "https://login.example.com/token", client_id = "us", client_secret = "hunter2" }
retry = { attempts = 3, backoff = "5m" }
breaker = { min_calls = 1 }
limit = { rate = "1/h", burst = 1 }

[routes.ticket]
upstream = "crm"
limit = { rate = "1/h", burst = 1 }
args.id = { type = "string", required = true }
args.pin = { type = "string", sensitive = true }
request = { method = "POST", path = "/tickets/{{args.id}}", body = { at = "{{now}}", who = "{{call.caller}}", pin = "{{args.pin}}", session = "{{call.headers.x-session}}" } }
extract = { state = "$.state", tags = { path = "$.tags[*]", all = true } }

[[routes.ticket.reply]]
when.status = 404
text = "There is no ticket {{args.id}}."

[[routes.ticket.reply]]
when.failure = "timeout"
text = "Too slow."

[[routes.ticket.reply]]
text = "It is {{state}}."
data = { state = "{{state}}", tags = "{{tags}}" }

[routes.both]
upstream = "crm"
steps = [
  { name = "one", group = "g", request = { path = "/one" }, extract = { x = "$.x" } },
  { name = "two", group = "g", request = { path = "/two" }, extract = { x = "$.x" } },
  { name = "three", when.failed = "two", request = { path = "/three" }, extract = { x = "$.x" } },
]
reply.text = "{{one.x}} {{default two.x three.x}}"

[routes.language]
streaming = true
dailybots.before = [{ action = "tts:say", arguments = { text = "One moment." } }]
reply.text = "Done."

[routes.swaig_only]
platforms = ["swaig"]
reply = { text = "For SWAIG.", swaig.action = [{ stop = true }] }
"#;

fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
    command.arg("test").args(words).current_dir(folder).env_clear().output().unwrap()
}

/// The output of a run, and its exit code.
fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let code = output.status.code().unwrap();
    format!(
        "{stdout}{}{stderr}--- exit code {code} ---",
        if stderr.is_empty() { "" } else { "--- stderr ---\n" }
    )
}

fn with_tests(tests: &str) -> Folder {
    Folder::with(&[
        ("routes.toml", TABLE),
        ("crm.test.toml", tests),
        ("ticket.json", r#"{"state": null, "tags": [null]}"#),
        (
            "request.json",
            r#"{"function": "ticket", "argument": {"parsed": [{"id": "T-7"}]}, "caller_id_num": "+4712345678"}"#,
        ),
    ])
}

const GOOD: &str = r#"
[[tests]]
route = "ticket"
name = "all that can be given and expected"
args = { id = "a/b", pin = "4711" }
call = { caller = "+4711111111", headers = { X-Session = "s-1" } }
now = 2026-06-19T21:30:00+02:00
upstream = { status = 201, headers = { content-type = "application/vnd.crm+json" }, body = '{"state": "open", "tags": ["x", 1]}' }
[tests.expect]
request = { method = "POST", url = "https://crm.example.com/v1/tickets/a%2Fb", headers = { authorization = "Bearer canned" }, body = { at = "2026-06-19T19:30:00Z", who = "+4711111111", pin = "4711", session = "s-1" } }
text = "It is open."
data = { tags = ["x", 1.0], state = "open" }
as.http = { text = "It is open.", data = { state = "open", tags = ["x", 1] } }
as.swaig = { response = "It is open." }
as.dailybots = { state = "open", tags = ["x", 1] }

[[tests]]
route = "ticket"
name = "the time is fixed"
args = { id = "1" }
upstream.body_file = "ticket.json"
expect.request = { url = "/tickets/1", body.at = "2026-01-01T12:00:00Z" }
expect.text = "It is ."

[[tests]]
route = "ticket"
name = "a failure with a case"
args = { id = "1" }
upstream.failure = "timeout"
expect = { failure = "timeout", text = "Too slow." }

[[tests]]
route = "ticket"
name = "a failure without a case"
args = { id = "1" }
upstream.failure = "unreachable"
expect.failure = "unreachable"

[[tests]]
route = "ticket"
name = "a platform's whole request"
platform = "swaig"
request_file = "request.json"
upstream = { status = 404 }
expect.request.body.who = "+4712345678"
expect.request.body.at = "2026-01-01T12:00:00Z"
expect.as.swaig.response = "There is no ticket T-7."

[[tests]]
route = "both"
name = "each step has its reply"
upstreams = { one.body = { x = 1 }, two.failure = "unreachable", three.body = { x = 3 } }
expect.requests.three.url = "/three"
expect.text = "1 3"

[[tests]]
route = "language"
name = "a stream"
expect.as.dailybots = [
  { service = "tts", action = "say", arguments = [{ name = "text", value = "One moment." }] },
  { service = "llm", action = "function_result", arguments = [{ name = "function_name", value = "language" }, { name = "tool_call_id", value = "example-call" }, { name = "arguments", value = {} }, { name = "result", value = { result = "Done." } }] },
  {},
]

[[tests]]
route = "swaig_only"
name = "it is called as who may call it"
expect.text = "For SWAIG."
"#;

const BAD: &str = r#"
[[tests]]
route = "ticket"
name = "everything is different"
args = { id = "T-1", pin = "4711" }
upstream.body = { state = "open", tags = ["x"] }
[tests.expect]
failure = "timeout"
text = "It is closed."
data = { state = "closed", tags = ["x", "y"], more = true }
request.method = "GET"
request.url = "/tickets/T-2"
request.headers = { authorization = "Bearer other", x-none = "1" }
request.body = { at = "2026-01-01T12:00:00Z", pin = "4712" }
[tests.expect.as]
http.text = "It is open."
swaig = { response = "It is closed." }

[[tests]]
route = "ticket"
name = "a request without a reply"
args = { id = "T-1" }
expect.text = "It is open."

[[tests]]
route = "ticket"
name = "a failure that is not expected"
args = { id = "T-1" }
upstream.status = 500
expect.request.method = "POST"

[[tests]]
route = "ticket"
name = "a value that is no text"
args = { id = "T-1" }
upstream.body = "<html>"
expect.failure = "bad_response"
expect.text = """
One line
and another"""

[[tests]]
route = "both"
name = "a step that is not asked"
upstreams = { one.body = { x = 1 }, two.body = { x = 2 } }
expect.requests.three.url = "/three"

[[tests]]
route = "ticket"
name = "a request that is for another"
platform = "http"
request_file = "request.json"
expect.text = "It is open."

[[tests]]
route = "swaig_only"
name = "who may not call it"
platform = "http"
expect.text = "For SWAIG."

[[tests]]
route = "swaig_only"
name = "a request that is none"
platform = "swaig"
request_file = "crm.test.toml"
expect.text = "For SWAIG."
"#;

#[test]
fn a_test_passes_if_the_reply_is_as_expected() {
    let folder = with_tests(GOOD);
    let output = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    insta::assert_snapshot!("test_good", shown(&output));
}

#[test]
fn differences_are_shown_with_their_location_and_without_secrets() {
    let folder = with_tests(BAD);
    for (name, words) in [
        ("test_bad", &[][..]),
        ("test_bad_json", &["--format", "json"]),
        ("test_bad_junit", &["--format", "junit"]),
        ("test_filtered", &["--filter", "both: a step"]),
        ("test_filtered_by_nothing", &["--filter", "nothing"]),
    ] {
        let shown = without_times(&shown(&run(folder.path(), words)));
        insta::assert_snapshot!(name, shown);
        assert!(!shown.contains("hunter2") && !shown.contains("Bearer canned"), "{shown}");
    }
}

#[test]
fn sensitive_values_written_in_a_test_are_shown_but_secrets_are_not() {
    let folder = with_tests(
        r#"
[[tests]]
route = "ticket"
name = "a value of its own"
args = { id = "T-1", pin = "4711" }
upstream.body = { state = "4711" }
expect.text = "It is ***."

[[tests]]
route = "ticket"
name = "a secret of the table"
args = { id = "T-1" }
upstream.body = { state = "hunter2" }
expect.text = "It is ***."
"#,
    );
    let shown = shown(&run(folder.path(), &[]));
    assert!(shown.contains("expected  It is \\*\\*\\*.\n        found     It is 4711.\n"), "{shown}");
    // The stars of the test are not those of the secret.
    let hidden =
        "expected  It is \\*\\*\\*.\n        found     It is ***.\n        `***` stands for a secret\n";
    assert!(shown.contains(hidden) && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn update_writes_actual_results_and_keeps_the_rest() {
    let tests = r#"# Tests of the CRM.
[[tests]]
route = "ticket"   # the function
name = "what came"
args = { id = "T-1", pin = "4711" }
upstream.body = { state = "open", tags = ["x"] }
[tests.expect]
# What the caller hears:
text = ""          # at once
data = { state = "closed", more = true }
request.url = "/"
request.headers = { authorization = "Bearer other" }
request.body = { at = "2026-01-01T12:00:00Z" } # all of it
as.swaig.response = "It is closed."

[[tests]]
route = "ticket"
name = "what cannot be written"
args = { id = "T-1" }
upstream.body_file = "ticket.json"
expect.data = {}
"#;
    let folder = with_tests(tests);
    let output = run(folder.path(), &["--update"]);
    insta::assert_snapshot!("test_update", shown(&output));
    let written = std::fs::read_to_string(folder.path().join("crm.test.toml")).unwrap();
    insta::assert_snapshot!("test_update_file", written);
    // The credential is not written, and neither is a null, which TOML does not have.
    assert!(written.contains("Bearer other") && written.contains("expect.data = {}"));
    assert_eq!(run(folder.path(), &["--update"]).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(folder.path().join("crm.test.toml")).unwrap(), written);

    // Passing tests are left unchanged.
    let folder = with_tests(GOOD);
    assert_eq!(run(folder.path(), &["--update"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(folder.path().join("crm.test.toml")).unwrap(), GOOD);

    let table = "[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\" # greets\n[[routes.hello.tests]]\nname = \"x\"\nexpect.text = \"\" # here\n";
    let folder = Folder::with(&[("routes.toml", table)]);
    assert_eq!(run(folder.path(), &["--update"]).status.code(), Some(0));
    let written = std::fs::read_to_string(folder.path().join("routes.toml")).unwrap();
    assert_eq!(written, table.replace("\"\" # here", "\"Hello.\" # here"));
}

/// JUnit XML without durations.
fn without_times(text: &str) -> String {
    regex::Regex::new(r#"time="\d+\.\d{3}""#).unwrap().replace_all(text, "time=\"N\"").into_owned()
}

/// The attributes that the schemas of Jenkins' xUnit plugin and of other tools allow and require.
#[test]
fn junit_has_the_attributes_that_the_schemas_allow() {
    let folder = with_tests(BAD);
    let report = run(folder.path(), &["--format", "junit"]);
    let report = String::from_utf8(report.stdout).unwrap();
    let names = |element: &str| {
        let tags = regex::Regex::new(&format!("<{element} [^>]*>")).unwrap();
        let attribute = regex::Regex::new(r#" ([a-z]+)=""#).unwrap();
        let of_tag = |tag: regex::Match<'_>| {
            let mut names: Vec<String> =
                attribute.captures_iter(tag.as_str()).map(|name| name[1].to_owned()).collect();
            names.sort();
            names.join(" ")
        };
        let mut found: Vec<String> = tags.find_iter(&report).map(of_tag).collect();
        found.dedup();
        found
    };
    assert_eq!(names("testsuites"), ["errors failures tests time"]);
    assert_eq!(names("testsuite"), ["errors failures file name skipped tests time"]);
    assert_eq!(names("testcase"), ["classname name time"]);
    assert_eq!(names("failure"), ["message"]);
}

#[test]
fn a_table_without_tests_passes_only_if_that_is_allowed() {
    let hello = "[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\"\n";
    let test = "[[routes.hello.tests]]\nname = \"x\"\nexpect.text = \"Hello.\"\n";
    let more = "[routes.more]\nreply.text = \"More.\"\n";
    let code = |table: &str, words: &[&str]| {
        // The tests of another table do not count.
        let other = "[[tests]]\nroute = \"hello\"\nname = \"x\"\nexpect.text = \"\"\n";
        let folder =
            Folder::with(&[("canary.toml", table), ("routes.toml", hello), ("routes.test.toml", other)]);
        run(folder.path(), &[&["--config", "canary.toml"], words].concat()).status.code()
    };
    for (tests, words, expected) in [
        ("", &[][..], 2),
        ("", &["--format", "json"], 2),
        ("", &["--format", "junit"], 2),
        ("", &["--update"], 2),
        ("", &["--allow-none"], 0),
        ("", &["--allow-none", "--require-coverage"], 1),
        (test, &[], 0),
        (test, &["--require-coverage"], 0),
        (&format!("{test}{more}"), &[], 0),
        (&format!("{test}{more}"), &["--require-coverage"], 1),
    ] {
        assert_eq!(code(&format!("{hello}{tests}"), words), Some(expected), "{tests} {words:?}");
    }
}

#[test]
fn parts_of_a_request_can_be_expected_and_secrets_are_hidden() {
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "https://api.example.com/v1"
auth.query = { name = "key", value = "${KEY}" }
[upstreams.other]
base_url = "https://other.example.com"
auth.bearer = { token = "${KEY}" }
headers = { x-key = "key ${KEY}" }
[routes.find]
upstream = "api"
args.q = { type = "string" }
request = { path = "/find/{{args.q}}", query = { page = "2", tag = ["a", "b"], at = "{{now}}" } }
reply.text = "Found."
[routes.send]
upstream = "other"
request = { method = "POST", path = "/", body = { n = 1 } }
reply.text = "Sent."
"#;
    let find = |expected: &str| {
        format!(
            "[[tests]]\nroute = \"find\"\nname = \"x\"\nargs.q = \"a b\"\nupstream.status = 200\nexpect.request = {expected}\n"
        )
    };
    let send = |expected: &str| {
        format!(
            "[[tests]]\nroute = \"send\"\nname = \"x\"\nupstream.status = 200\nexpect.request = {expected}\n"
        )
    };
    for (test, passes) in [
        (find(r#"{ path = "/find/a%20b" }"#), true),
        (find(r#"{ path = "/find/a" }"#), false),
        (find(r#"{ query = { page = 2 } }"#), true),
        (find(r#"{ query = { page = "2", tag = ["a", "b"], key = "***" } }"#), true),
        (find(r#"{ query = { page = 3 } }"#), false),
        (find(r#"{ query = { tag = "a" } }"#), false),
        (find(r#"{ query = { none = "" } }"#), false),
        // Only a secret is a secret.
        (find(r#"{ query = { page = "***" } }"#), false),
        (find(r#"{ url = "/find/a%20b?page=2&tag=a&tag=b&at=2026-01-01T12%3A00%3A00Z&key=***" }"#), true),
        (find(r#"{ url = "/find/***?page=2&tag=a&tag=b&at=2026-01-01T12%3A00%3A00Z&key=***" }"#), false),
        (send(r#"{ headers = { authorization = "Bearer ***" } }"#), true),
        (send(r#"{ headers = { authorization = "***" } }"#), true),
        (send(r#"{ headers = { authorization = "Basic ***" } }"#), false),
        (send(r#"{ headers = { content-type = "***" } }"#), false),
        (send(r#"{ headers = { x-key = "key ***" } }"#), true),
        (send(r#"{ headers = { x-key = "no ***" } }"#), false),
        (send(r#"{ body = { n = "***" } }"#), false),
    ] {
        let folder = Folder::with(&[("routes.toml", table), ("routes.test.toml", &test)]);
        // The secret may be set or not.
        for key in [None, Some("k3y-of-production")] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
            command.arg("test").current_dir(folder.path()).env_clear().envs(key.map(|key| ("KEY", key)));
            let output = command.output().unwrap();
            assert_eq!(output.status.success(), passes, "{test}{}", shown(&output));
            assert!(!shown(&output).contains("k3y-of"), "{test}{}", shown(&output));
        }
    }
    let folder =
        Folder::with(&[("routes.toml", table), ("routes.test.toml", &find("{ query = { a = { b = 1 } } }"))]);
    assert!(shown(&run(folder.path(), &[])).contains("wrong-type"));
}

#[test]
fn invalid_tables_and_tables_without_tests_are_reported() {
    let none =
        Folder::with(&[("routes.toml", "[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\"\n")]);
    insta::assert_snapshot!("test_none", shown(&run(none.path(), &[])));
    insta::assert_snapshot!("test_none_allowed", shown(&run(none.path(), &["--allow-none"])));
    insta::assert_snapshot!("test_no_table", shown(&run(none.path(), &["--config", "other.toml"])));
    let faulty = with_tests("[[tests]]\nroute = \"tickt\"\nname = \"x\"\nexpect.txt = \"\"\n");
    insta::assert_snapshot!("test_faulty", shown(&run(faulty.path(), &[])));
    let report = run(faulty.path(), &["--format", "json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["diagnostics"][0]["code"], "unknown-route");
    // Tools that show JUnit reports read nothing else, so the report holds the error too.
    insta::assert_snapshot!("test_faulty_junit", shown(&run(faulty.path(), &["--format", "junit"])));
    for words in [["--config", "other.toml"], ["--filter", "nothing"]] {
        let report = shown(&run(none.path(), &[&words[..], &["--format", "junit"]].concat()));
        assert!(report.contains("errors=\"1\"") && report.contains("<error message=\"error: "), "{report}");
        assert!(report.ends_with("--- exit code 2 ---"), "{report}");
    }
}

#[test]
fn the_shipped_tests_pass_and_cover_every_route_and_case() {
    let output = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["--format", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["failed"]), (Some(0), &json!(0)), "{report:#}");
    assert!(report["passed"].as_u64().unwrap() >= 28);
    let coverage = &report["coverage"];
    assert_eq!(coverage["missed"], json!([]));
    assert_eq!((&coverage["routes_reached"], &coverage["routes"]), (&json!(12), &json!(12)));
}

#[test]
fn tests_change_neither_the_revision_nor_the_routes() {
    let plain = "[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\"\n";
    let folder = Folder::with(&[("routes.toml", plain)]);
    let table = folder.path().join("routes.toml");
    let read = || load(&table, &process_environment()).unwrap();
    let before = read().plan.unwrap();
    folder.write("routes.test.toml", "[[tests]\nnothing = good");
    let beside = read();
    assert!(beside.diagnostics.is_empty(), "{:?}", beside.diagnostics);
    assert!(beside.dependencies.into_paths().all(|path| !path.ends_with("routes.test.toml")));
    assert_eq!(beside.plan.unwrap().revision, before.revision);
    assert!(load_with_tests(&table, &process_environment()).unwrap().0.plan.is_none());

    // A test in the table that names something unknown is reported by `check`, but the table still runs.
    folder.write(
        "routes.toml",
        &format!("{plain}tests = [{{ name = \"x\", expect.text = \"\", upstream = {{}} }}]\n"),
    );
    let inside = read().plan.unwrap();
    assert_eq!(inside.changes_since(&before).changed, [""; 0]);
    assert!(load_with_tests(&table, &process_environment()).unwrap().0.plan.is_none());
}

const LATE: &str = r#"
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
timeout = "1s"
retry = { backoff = "10ms" }

[routes.read]
upstream = "api"
request = { path = "/never" }

[routes.write]
upstream = "api"
request = { method = "POST", path = "/never" }

[routes.keyed]
upstream = "api"
idempotency_key = "x-key"
request = { method = "POST", path = "/never" }

[routes.once]
upstream = "once"
idempotency_key = "x-key"
request = { method = "POST", path = "/never" }

[routes.made_good]
upstream = "api"
steps = [
  { name = "slow", request = { method = "POST", path = "/never" } },
  { name = "other", when.failed = "slow", request = { method = "POST", path = "/at-once" } },
]
reply.text = "Done by the other."

[routes.not_made_good]
upstream = "api"
args.unit = { type = "string", default = "c" }
steps = [
  { name = "slow", request = { method = "POST", path = "/never" } },
  { name = "other", when = { failed = "slow", equals = { "args.unit" = "f" } }, request = { path = "/at-once" } },
]

[routes.made_worse]
upstream = "api"
steps = [
  { name = "slow", request = { method = "POST", path = "/never" } },
  { name = "other", when.failed = "slow", request = { path = "/never" } },
]

[routes.beside]
upstream = "api"
steps = [
  { name = "other", group = "g", request = { path = "/never" } },
  { name = "slow", group = "g", request = { method = "POST", path = "/never" } },
]

[routes.own_text]
upstream = "api"
request = { method = "POST", path = "/never" }
failure.timeout = "Say that it takes long."

[upstreams.once]
base_url = "http://UPSTREAM"
timeout = "1s"
retry.attempts = 1
"#;

#[tokio::test]
async fn simulated_timeouts_match_served_timeouts() {
    let api = Upstream::with(|seen| async move {
        match seen.path() {
            "/never" => std::future::pending().await,
            _ => Reply::json(&json!({})),
        }
    })
    .await;
    let proxy = Proxy::over(&api, LATE).await;
    let (again, confirmed) = ("offer to try again", "may still do it");
    let rows = [
        ("read", &[""][..], again),
        ("write", &[""], confirmed),
        ("keyed", &[""], confirmed),
        ("once", &[""], confirmed),
        ("made_good", &["slow"], "Done by the other."),
        ("not_made_good", &["slow"], confirmed),
        ("made_worse", &["slow", "other"], confirmed),
        ("beside", &["slow", "other"], confirmed),
        ("own_text", &[""], "Say that it takes long."),
    ];
    let served = rows.map(|(route, ..)| {
        let proxy = &proxy;
        async move { proxy.post(&format!("/swaig/{route}"), &json!({})).await.json() }
    });
    let mut tests = String::new();
    for ((route, steps, said), served) in rows.into_iter().zip(join_all(served).await) {
        let served = served["response"].as_str().unwrap();
        assert!(served.contains(said), "{route}: {served}");
        let late = |step: &&str| match *step {
            "" => "upstream.failure = \"timeout\"\n".to_owned(),
            step => format!("upstreams.{step}.failure = \"timeout\"\n"),
        };
        let late: String = steps.iter().map(late).collect();
        let other = if route == "made_good" { "upstreams.other.status = 200\n" } else { "" };
        tests += &format!(
            "[[tests]]\nroute = \"{route}\"\nname = \"late\"\n{late}{other}expect.text = \"{served}\"\n\n"
        );
    }
    proxy.folder.write("late.test.toml", &tests);
    let output = run(proxy.folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn simulated_timeouts_report_no_elapsed_time() {
    let folder = with_tests(
        "[[tests]]\nroute = \"ticket\"\nname = \"late\"\nargs = { id = \"T-1\" }\n\
         upstream.failure = \"timeout\"\nexpect.text = \"In time.\"\n",
    );
    let shown = shown(&run(folder.path(), &[]));
    assert!(shown.contains("the call failed: timeout: no answer in time (waiting for"), "{shown}");
}

#[tokio::test]
async fn the_proxy_ignores_broken_test_files() {
    let table = "include = [\"*.test.toml\"]\n[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\"\n";
    let proxy =
        Proxy::with(&[("routes.toml", table), ("a.test.toml", "[[tests]\nnothing = good")], &[]).await;
    let status = proxy.status().await;
    assert_eq!(status["rejected"], Value::Null);
}

const EVENTS: &str = r#"
[platforms.voicedock]
[platforms.millis]
[platforms.swaig]
[upstreams.crm]
base_url = "https://crm.example.com"
retry = { attempts = 3, backoff = "5m" }

[events.voicedock.assistant_request]
upstream = "crm"
request  = { path = "/callers", query.number = "{{event.customer.number}}" }
extract  = { name = "$.name" }
reply    = { data = { assistant_id = "a-1", assistant_override = { first_message = "Hello {{name}}" } } }

[events.millis.prefetch]
reply.data = { from = "{{event.from}}" }

[routes.hello]
reply.text = "Hello."
"#;

#[test]
fn events_are_tested_with_their_request() {
    let request = r#"{"message": {"type": "assistant-request", "call": {"id": "c-1"}, "customer": {"number": "+47 1"}}}"#;
    let tests = r#"
[[tests]]
event = "voicedock.assistant_request"
name = "who answers"
request_file = "asked.json"
upstream.body = { name = "Ada" }
expect.request.url = "/callers?number=%2B47%201"
expect.data = { assistant_id = "a-1", assistant_override = { first_message = "Hello Ada" } }
expect.as.voicedock = { assistant_id = "a-1", assistant_override = { first_message = "Hello Ada" } }

[[tests]]
event = "voicedock.assistant_request"
name = "nobody knows"
request_file = "asked.json"
upstream.failure = "unreachable"
expect.failure = "unreachable"
expect.as.voicedock = {}

[[tests]]
event = "millis.prefetch"
name = "who calls"
request_file = "prefetch.json"
expect.data = { from = "+47" }
"#;
    let files = |tests: &str| {
        Folder::with(&[
            ("routes.toml", EVENTS),
            ("routes.test.toml", tests),
            ("asked.json", request),
            ("prefetch.json", r#"{"from": "+47"}"#),
        ])
    };
    let good = run(files(tests).path(), &[]);
    assert_eq!(good.status.code(), Some(0), "{}", shown(&good));
    insta::assert_snapshot!("test_events", shown(&good));
    // A request for another event, and an invalid one.
    let bad = tests.replacen("asked.json", "prefetch.json", 1).replace("from = \"+47\"", "from = \"+48\"");
    insta::assert_snapshot!("test_events_bad", shown(&run(files(&bad).path(), &[])));
    let faulty = r#"
[[tests]]
event = "voicedock.assistant_reqest"
name = "x"
request_file = "asked.json"
expect.data = {}

[[tests]]
event = "millis.prefetch"
name = "x"
route = "hello"
platform = "millis"
args = { a = 1 }
upstream.status = 200
expect.data = {}

[[tests]]
name = "y"
expect.data = {}
"#;
    insta::assert_snapshot!("test_events_faulty", shown(&run(files(faulty).path(), &[])));
}

#[test]
fn test_files_of_other_tables_are_ignored() {
    let hello = "[platforms.http]\n[routes.hello]\nreply.text = \"Hello.\"\n";
    let test = "[[tests]]\nroute = \"ROUTE\"\nname = \"x\"\nargs = {}\nexpect.text = \"Hello.\"\n";
    let folder = Folder::with(&[
        ("first.toml", hello),
        ("first.more.test.toml", &test.replace("ROUTE", "hello")),
        ("routes.toml", &hello.replace("hello", "other")),
        ("routes.test.toml", &test.replace("ROUTE", "other")),
        ("routes.more.test.toml", &test.replace("ROUTE", "other")),
        ("alone.test.toml", &test.replace("ROUTE", "hello").replace("\"x\"", "\"y\"")),
    ]);
    let output = run(folder.path(), &["--config", "first.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let shown = shown(&output);
    let run: Vec<_> = shown.lines().filter(|line| line.starts_with("ok")).collect();
    assert_eq!(run.len(), 2, "{shown}");
}
