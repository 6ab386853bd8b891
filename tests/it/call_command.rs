//! `jackfield call` from outside: its output, its masking, its requests and its exit code.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};
use crate::support::timeless;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.swaig]
auth.basic = { username = "sw", password = "${DOOR}" }
[platforms.voicedock]
reply = "direct"
[platforms.http]

[upstreams.bank]
base_url = "http://UPSTREAM/v1"
auth.bearer = { token = "${TOKEN}" }
headers = { x-tenant = "tenant ${TENANT}", accept = "application/json" }

[upstreams.demo]
base_url = "http://127.0.0.1:9"

[defaults]
failure.unreachable = "{{vars.who}} is away."
[vars]
who = "Nobody"

[routes.balance]
upstream = "bank"
[routes.balance.args]
account = { type = "string", required = true }
pin = { type = "string", sensitive = true }
days = { type = "integer", default = 3 }
[routes.balance.request]
method = "POST"
path = "/accounts/{{args.account}}/{{args.pin}}"
query = { pin = "{{args.pin}}", days = "{{args.days}}" }
headers = { x-pin = "{{args.pin}}" }
body = { account = "{{args.account}}", pin = "{{args.pin}}", note = "PIN {{args.pin}} was given" }
[routes.balance.extract]
balance = "$.balance"
echo = "$.echo"
gone = "$.gone"
[[routes.balance.reply]]
text = "{{args.account}} holds {{balance}} ({{echo}})"
data = { balance = "{{balance}}" }
swaig.action = [{ set_meta_data = { account = "{{args.account}}" } }, { hold = "{{balance}}" }]

[routes.form]
upstream = "bank"
args.pin = { type = "string", sensitive = true }
request = { method = "POST", path = "/form", form = { pin = "{{args.pin}}" } }
reply = { text = "Sent." }

[routes.none]
upstream = "bank"
request.path = "/none"

[routes.say]
reply = { text = "Hello." }
[routes.only_swaig]
platforms = ["swaig"]
reply = { text = "For SWAIG." }
[routes.fails]
upstream = "bank"
args.pin = { type = "string", sensitive = true }
request = { path = "/fail/{{args.pin}}" }
failure.bad_response = "No luck with {{args.pin}}."

[routes.chain]
upstream = "bank"
args.kind = { type = "string", default = "small" }
args.when = { type = "string" }
[[routes.chain.steps]]
name = "first"
group = "g"
request.path = "/broken"
[[routes.chain.steps]]
name = "second"
group = "g"
request = { path = "/plain/second", query = { kind = ["{{args.kind}}", "x"], when = "{{args.when}}" } }
extract = { balance = "$.balance" }
[[routes.chain.steps]]
name = "instead"
when.failed = "first"
request.path = "/plain/instead"
[[routes.chain.steps]]
name = "never"
when.failed = "second"
request.path = "/never"
[[routes.chain.steps]]
name = "large"
when.equals = { "args.kind" = ["large", "huge"] }
request.path = "/plain/large"
[[routes.chain.reply]]
when.status = [404, "5xx"]
text = "status"
[[routes.chain.reply]]
when.missing = "$.balance"
text = "missing"
[[routes.chain.reply]]
when.found = "$.nothing[0]"
text = "found"
[[routes.chain.reply]]
when.equals = { "args.kind" = "large" }
text = "equals"
[[routes.chain.reply]]
when.matches = { "second.balance" = "^8" }
text = "matches"
[[routes.chain.reply]]
when.failure = ["timeout", "unreachable"]
text = "failed"
[[routes.chain.reply]]
text = """Of {{args.kind}}:
{{second.balance}}"""
[[routes.chain.reply]]
when.failure = "any"
text = "failed too"

[routes.away]
upstream = "demo"
request = { path = "/away", headers = { x-kind = "{{call.function}}" } }
extract.a = "$.a"
[[routes.away.reply]]
when.failure = "timeout"
text = "Slow."
[[routes.away.reply]]
text = "There: {{a}}"
"#;

/// Awkward on purpose: its encodings in URL, form and JSON all differ.
const PIN: &str = "p-1 n\"2&ø.~_";

async fn bank() -> Upstream {
    Upstream::new(|seen| match seen.path() {
        "/v1/broken" => Reply::status(503, &json!({})).header("retry-after", "0"),
        "/v1/none" => Reply::status(404, &json!({})),
        path if path.starts_with("/v1/plain") => Reply::json(&json!({"balance": 7})),
        path if path.starts_with("/v1/fail") => Reply::status(500, &json!({"error": format!("not {PIN}")})),
        _ => {
            let echo = format!("{PIN} with {}", seen.header("authorization").concat());
            Reply::json(&json!({"balance": 7, "echo": echo, "seen": [seen.target]}))
        }
    })
    .await
}

/// Calls with these arguments on the command line, and removes everything that differs from run to run.
async fn call(upstream: &Upstream, words: &[&str]) -> (i32, String) {
    let folder = Folder::with(&[("routes.toml", &TABLE.replace("UPSTREAM", &upstream.address.to_string()))]);
    let mut command = jackfield(folder.path());
    command.arg("call").args(words);
    command.envs([("DOOR", "door-secret"), ("TOKEN", "tok.en~secret"), ("TENANT", "tenant-secret")]);
    let output = run(command).await;
    (output.status.code().unwrap(), stable(&output, &upstream.address.to_string()))
}

fn stable(output: &Output, address: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let both = if stderr.is_empty() { stdout } else { format!("{stdout}\n--- stderr ---\n{stderr}") };
    let both = both.replace(address, "UPSTREAM");
    timeless(&both)
}

fn args() -> String {
    json!({"account": "NO-1", "pin": PIN, "other": "x"}).to_string()
}

#[tokio::test]
async fn masking_leaves_the_surrounding_text_readable() {
    let upstream = Upstream::new(|_| Reply::status(500, &json!({"text": "pin 2, not 22, for t"}))).await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
auth.bearer = { token = "${TOKEN}" }
retry.attempts = 1
[routes.ra]
upstream = "api"
args.pin = { type = "integer", sensitive = true }
args.ok = { type = "boolean", sensitive = true }
request = { path = "/x/{{args.pin}}", query = { ok = "{{args.ok}}" } }
"#
    .replace("UPSTREAM", &upstream.address.to_string());
    let folder = Folder::with(&[("routes.toml", &table)]);
    let explain = async |format: &str| {
        let mut command = jackfield(folder.path());
        command.args(["call", "ra", "--explain", "--format", format, "--args"]);
        command.arg(r#"{"pin": 2, "ok": true}"#).env("TOKEN", "t");
        String::from_utf8(run(command).await.stdout).unwrap()
    };
    let shown = explain("human").await;
    for part in [
        "call       ra as http",
        "request    GET http://127.0.0.1:",
        "/x/***?ok=true\n",
        "response   status 500, after",
        "ok = \"***\"\n",
        "\"text\": \"pin ***, not 22, for ***\"",
        "bad_response",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown: Value = serde_json::from_str(&explain("json").await).unwrap();
    let call = &shown["calls"][0];
    assert_eq!(call["arguments"]["values"], json!({"pin": "***", "ok": "***"}));
    assert_eq!(call["steps"][0]["response"]["body"], json!({"text": "pin ***, not 22, for ***"}));
    assert!(call["steps"][0]["request"]["url"].as_str().unwrap().ends_with("/x/***?ok=true"), "{shown}");
}

#[tokio::test]
async fn the_answer_is_printed_in_the_platforms_format() {
    let upstream = bank().await;
    for (words, expected) in [
        (&["say"][..], json!({"text": "Hello."})),
        (&["say", "--as", "http"], json!({"text": "Hello."})),
        (&["say", "--as", "swaig"], json!({"response": "Hello."})),
        (
            &["say", "--as", "voicedock"],
            json!({"results": [{"tool_call_id": "tool_example", "result": "Hello."}]}),
        ),
        // Without `--as`, a route that is limited to some platforms is called as one of them.
        (&["only_swaig"], json!({"response": "For SWAIG."})),
        (&["balance", "--as", "voicedock", "--args", &args()], json!({"balance": 7})),
    ] {
        let (code, printed) = call(&upstream, words).await;
        let answer: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{words:?}: {printed}"));
        assert_eq!((code, answer), (0, expected), "{words:?}");
    }
    assert_eq!(upstream.one().header("x-pin").len(), 1);
}

#[tokio::test]
async fn explain_shows_every_step_and_no_secrets() {
    let upstream = bank().await;
    for (name, words) in [
        ("good", &["balance", "--explain", "--args", &args()][..]),
        ("as_swaig", &["balance", "--explain", "--as", "swaig", "--args", &args()]),
        ("form", &["form", "--explain", "--args", &json!({"pin": PIN}).to_string()]),
        ("failed", &["fails", "--explain", "--args", &json!({"pin": PIN}).to_string()]),
        (
            "invalid_args",
            &["balance", "--explain", "--args", &json!({"pin": PIN, "days": "soon"}).to_string()],
        ),
        ("static", &["say", "--explain"]),
        ("unknown", &["nothing", "--explain"]),
        ("steps", &["chain", "--explain"]),
    ] {
        let (_, printed) = call(&upstream, words).await;
        insta::assert_snapshot!(format!("explain_{name}"), printed);
        assert_hidden(&printed, name);
    }
}

/// Fails if the output contains a secret, or any encoding of the sensitive argument.
fn assert_hidden(printed: &str, about: &str) {
    for secret in ["secret", "p-1", "p%2D1", "n\"2", "n\\\"2", "%22", "ø", "%C3%B8"] {
        assert!(!printed.contains(secret), "{about}: `{secret}` in\n{printed}");
    }
}

#[tokio::test]
async fn a_dry_run_sends_nothing() {
    let upstream = bank().await;
    for (name, words, expected) in [
        ("good", &["balance", "--dry-run", "--args", &args()][..], 0),
        ("explained", &["balance", "--dry-run", "--explain", "--args", &args()], 0),
        ("invalid_args", &["balance", "--dry-run"], 1),
        ("static", &["say", "--dry-run"], 0),
    ] {
        let (code, printed) = call(&upstream, words).await;
        assert_eq!(code, expected, "{name}: {printed}");
        insta::assert_snapshot!(format!("dry_run_{name}"), printed);
        assert_hidden(&printed, name);
    }
    assert!(upstream.take().is_empty());
}

#[tokio::test]
async fn errors_set_the_exit_code() {
    let upstream = bank().await;
    for (name, words, expected) in [
        ("failed", &["fails", "--args", "{\"pin\": \"1\"}"][..], 1),
        ("unknown_function", &["nothing"], 1),
        ("status", &["none"], 1),
        ("without_demo", &["away", "--explain"], 1),
        ("misspelled_function", &["ballance"], 1),
        ("wrong_platform", &["only_swaig", "--as", "http"], 1),
        ("bad_json", &["say", "--args", "{city: Oslo}"], 2),
        ("no_object", &["balance", "--args", "[1]"], 2),
        ("null", &["balance", "--args", "null"], 2),
        ("unknown_platform", &["say", "--as", "phone"], 2),
        ("no_table", &["say", "--config", "other.toml"], 2),
        ("no_function", &[], 2),
        ("help", &["--help"], 0),
    ] {
        let (code, printed) = call(&upstream, words).await;
        assert_eq!(code, expected, "{name}: {printed}");
        insta::assert_snapshot!(format!("call_{name}"), printed);
    }
}
