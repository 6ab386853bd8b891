//! Failed calls: each kind of failure with real causes, and which text is used.

use jackfield::call::FailureKind;
use jackfield::load::{load, process_environment};
use serde_json::{Value, json};

use crate::support::faulty_upstream::{Action, FaultyUpstream, Script};
use crate::support::folder::Folder;
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

/// Real causes of each kind of failure: a name, the upstream, the keys of the route that make it fail, the arguments.
fn causes() -> Vec<(FailureKind, &'static str, &'static str, &'static str, Value)> {
    use FailureKind::{BadResponse, InvalidArgs, Refused, Timeout, Unreachable};
    let get = |path: &str| format!("request.path = \"{path}\"").leak() as &str;
    let with_v = |request: &str| format!("args.v.type = \"string\"\n{request}").leak() as &str;
    let object =
        "args.v = { type = \"object\" }\nrequest = { path = \"/ok\", query = { v = \"{{args.v}}\" } }";
    let required = "args.v = { type = \"string\", required = true }\nrequest = { path = \"/ok\" }";
    let needed = "args.v = { type = \"string\" }\nrequest = { path = \"/ok/{{args.v}}\" }";
    let extract = "extract = { id = { path = \"$.id\", required = true } }\nrequest = { path = \"/ok\" }";
    let broken = "extract = { id = \"$.id\" }\nrequest = { path = \"/broken\" }";
    let header = "request = { path = \"/ok\", headers = { x-v = \"{{args.v}}\" } }";
    let file = "request = { method = \"POST\", path = \"/ok\", body_file = \"broken.json.hbs\" }";
    let short = "timeout = \"200ms\"\nrequest = { path = \"/never\" }";
    vec![
        (Timeout, "route", "api", short, json!({})),
        (Timeout, "upstream", "slow", get("/never"), json!({})),
        (Timeout, "body", "slow", get("/half"), json!({})),
        (Unreachable, "refused", "refusing", get("/ok"), json!({})),
        (Unreachable, "closed", "closing", get("/ok"), json!({})),
        (BadResponse, "status", "api", get("/500"), json!({})),
        (BadResponse, "not_found", "api", get("/404"), json!({})),
        (BadResponse, "json", "api", broken, json!({})),
        (BadResponse, "large", "api", get("/large"), json!({})),
        (BadResponse, "required", "api", extract, json!({})),
        (BadResponse, "no_http", "no_http", get("/ok"), json!({})),
        (Refused, "newline", "api", with_v(header), json!({"v": "a\nb"})),
        (Refused, "empty", "api", with_v(get("/ok/{{args.v}}/x")), json!({"v": ""})),
        (Refused, "dots", "api", with_v(get("/ok/{{args.v}}")), json!({"v": ".."})),
        (Refused, "object", "api", object, json!({"v": {"": 1}})),
        (Refused, "no_json", "api", with_v(file), json!({"v": ","})),
        (InvalidArgs, "missing", "api", required, json!({})),
        (InvalidArgs, "wrong", "api", required, json!({"v": []})),
        (InvalidArgs, "needed", "api", needed, json!({})),
    ]
}

/// Upstreams that fail before they respond.
struct Faulty {
    refusing: FaultyUpstream,
    closing: FaultyUpstream,
    no_http: FaultyUpstream,
}

impl Faulty {
    async fn new() -> Self {
        let no_http = [Action::Write(b"220 smtp ready\r\n\r\n".to_vec()), Action::Close];
        Self {
            refusing: FaultyUpstream::new(Script::Refuse).await,
            closing: FaultyUpstream::new(Script::always([Action::Close])).await,
            no_http: FaultyUpstream::new(Script::always(no_http)).await,
        }
    }
}

async fn upstream() -> Upstream {
    Upstream::with(|seen| async move {
        match seen.path() {
            "/never" => std::future::pending().await,
            "/500" => Reply::status(500, &json!({"code": "E7"})),
            "/404" => Reply::status(404, &json!({})),
            "/broken" => Reply::raw(200, "application/json", "{\"id\": "),
            "/large" => Reply::raw(200, "application/json", format!("\"{}\"", "x".repeat(2000))),
            // Announces more than it sends, then hangs.
            "/half" => Reply::raw(200, "application/json", "{").header("content-length", "10"),
            _ => Reply::json(&json!({})),
        }
    })
    .await
}

fn table(faulty: &Faulty, routes: &str) -> String {
    const UPSTREAMS: &str = r#"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
max_body = "1KiB"
[upstreams.slow]
base_url = "http://UPSTREAM"
timeout = "150ms"
[upstreams.refusing]
base_url = "http://REFUSING"
[upstreams.closing]
base_url = "http://CLOSING"
[upstreams.no_http]
base_url = "http://NO_HTTP"
"#;
    let upstreams = UPSTREAMS
        .replace("REFUSING", &faulty.refusing.address.to_string())
        .replace("CLOSING", &faulty.closing.address.to_string())
        .replace("NO_HTTP", &faulty.no_http.address.to_string());
    upstreams + routes
}

async fn start(upstream: &Upstream, table: &str) -> Proxy {
    let table = table.replace("UPSTREAM", &upstream.address.to_string());
    let table = format!("[server]\nlisten = \"127.0.0.1:0\"\n{table}");
    // With the value rendered into it, this is invalid JSON.
    let broken = "{\"a\": 1{{#if args.v}}, \"b\"{{/if}}}";
    Proxy::with(&[("routes.toml", &table), ("templates/broken.json.hbs", broken)], &[]).await
}

#[tokio::test]
async fn the_most_specific_failure_text_is_used() {
    let upstream = upstream().await;
    let faulty = Faulty::new().await;
    let mut routes = String::new();
    for (kind, name, to, fails, _) in causes() {
        let slug = kind.slug();
        for (level, keys) in [
            ("plain", String::new()),
            ("route", format!("failure.{slug} = \"route {slug}\"\nreply.text = \"never\"\n")),
            (
                "case",
                format!(
                    "failure.{slug} = \"route {slug}\"\n\
                     [[routes.{name}_case.reply]]\nwhen.failure = \"{slug}\"\ntext = \"case {slug}\"\n\
                     [[routes.{name}_case.reply]]\ntext = \"never\"\n"
                ),
            ),
        ] {
            routes.push_str(&format!("[routes.{name}_{level}]\nupstream = \"{to}\"\n{fails}\n{keys}"));
        }
    }
    let defaults: String =
        FailureKind::NAMED.iter().map(|kind| format!("failure.{kind} = \"default {kind}\"\n")).collect();
    let without = start(&upstream, &table(&faulty, &routes)).await;
    let with = start(&upstream, &table(&faulty, &format!("[defaults]\n{defaults}{routes}"))).await;
    for (kind, name, _, _, args) in causes() {
        // Errors that the model can fix are explained to it, unless a case says otherwise.
        let explained = kind == FailureKind::InvalidArgs;
        let own = match name {
            "missing" | "needed" => {
                "The function was not called: argument `v` is required. Fix the argument and call the function again."
            }
            "wrong" => {
                "The function was not called: argument `v` must be a string. Fix the argument and call the function again."
            }
            _ => kind.built_in_text(),
        };
        upstream.take();
        for (proxy, level, text) in [
            (&without, "plain", own.to_owned()),
            (&with, "plain", if explained { own.to_owned() } else { format!("default {kind}") }),
            (&with, "route", if explained { own.to_owned() } else { format!("route {kind}") }),
            (&with, "case", format!("case {kind}")),
        ] {
            let answer = proxy.post(&format!("/http/{name}_{level}"), &args).await;
            let expected = json!({"error": {"kind": kind.slug(), "text": text}});
            assert_eq!(
                (answer.status.as_u16(), answer.json()),
                (200, expected),
                "{name} {level}\n{}",
                proxy.log()
            );
        }
        let sent = upstream.take().len();
        if kind == FailureKind::BadResponse && name != "no_http" {
            assert_eq!(sent, 4, "{name}");
        } else if kind != FailureKind::Timeout {
            assert_eq!(sent, 0, "{name}");
        }
        let body = json!({"function": format!("{name}_case"), "argument": {"parsed": [args]}});
        let answer = with.post("/swaig", &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (200, json!({"response": format!("case {kind}")}))
        );
    }
}

#[tokio::test]
async fn failure_cases_match_a_kind_a_list_or_any() {
    let upstream = upstream().await;
    let faulty = Faulty::new().await;
    let cases = r#"
[routes.NAME]
upstream = "TO"
args.who = { type = "string", max_length = 5 }
request.path = "PATH"
[[routes.NAME.reply]]
when = { failure = "any", equals = { "args.who" = "vip" } }
text = "Sorry, {{args.who}}."
[[routes.NAME.reply]]
when = { failure = "bad_response", status = "5xx" }
text = "{{response.status}} {{response.body.code}}"
[[routes.NAME.reply]]
when.failure = ["timeout", "unreachable"]
text = "Later."
data = { retry = true }
swaig.action = [{ stop = true }]
[[routes.NAME.reply]]
when.failure = "any"
text = "No luck."
[[routes.NAME.reply]]
text = "Fine."
"#;
    let mut routes = String::new();
    for (name, to, path) in [
        ("good", "api", "/ok"),
        ("late", "slow", "/never"),
        ("gone", "refusing", "/ok"),
        ("five", "api", "/500"),
        ("four", "api", "/404"),
    ] {
        routes.push_str(&cases.replace("NAME", name).replace("TO", to).replace("PATH", path));
    }
    let proxy = start(&upstream, &table(&faulty, &routes)).await;
    let error = |kind: &str, text: &str| json!({"error": {"kind": kind, "text": text}});
    for (name, args, expected) in [
        ("good", json!({"who": "vip"}), json!({"text": "Fine."})),
        ("late", json!({}), error("timeout", "Later.")),
        ("gone", json!({}), error("unreachable", "Later.")),
        ("gone", json!({"who": "vip"}), error("unreachable", "Sorry, vip.")),
        ("five", json!({}), error("bad_response", "500 E7")),
        ("four", json!({}), error("bad_response", "No luck.")),
        ("good", json!({"who": "too long"}), error("invalid_args", "No luck.")),
    ] {
        let answer = proxy.post(&format!("/http/{name}"), &args).await.json();
        assert_eq!(answer, expected, "{name} {args}");
    }
    let answer = proxy.post("/swaig/late", &json!({})).await.json();
    assert_eq!(answer, json!({"response": "Later.", "action": [{"stop": true}]}));
}

#[tokio::test]
async fn errors_while_building_a_reply_are_failures() {
    let upstream = upstream().await;
    let faulty = Faulty::new().await;
    let routes = r#"
[defaults]
failure.bad_response = "Default."
[routes.missing]
upstream = "api"
request = { path = "/ok" }
extract = { a = "$.a" }
reply = { text = "It is {{a}}." }
[routes.helper]
upstream = "api"
args.v = { type = "string" }
request = { path = "/ok" }
reply = { text = "It is {{round args.v}}." }
[routes.none]
upstream = "api"
request = { path = "/ok" }
reply = [{ when.status = 201, text = "201" }]
[routes.worse]
upstream = "api"
args.v = { type = "string" }
request = { path = "/500" }
failure.bad_response = "Also without {{args.v}}"
reply = [{ when.failure = "any", text = "Without {{args.v}}" }]
"#;
    let mut proxy = start(&upstream, &table(&faulty, routes)).await;
    for (name, args, text) in [
        ("missing", json!({}), "Default."),
        ("helper", json!({"v": "soon"}), "Default."),
        ("none", json!({}), "Default."),
        // If a text needs a missing value, the next text is used.
        ("worse", json!({}), "Default."),
        ("worse", json!({"v": "x"}), "Without x"),
    ] {
        let answer = proxy.post(&format!("/http/{name}"), &args).await.json();
        assert_eq!(answer, json!({"error": {"kind": "bad_response", "text": text}}), "{name}");
    }
    for line in ["`a` is missing", "no reply case matches", "`round` needs a number", "could not be rendered"]
    {
        proxy.logged(line).await;
    }
}

/// Each call is logged once, without any of its values.
#[tokio::test]
async fn each_call_is_logged_once_and_without_values() {
    let upstream = upstream().await;
    let faulty = Faulty::new().await;
    let routes = r#"
[routes.ok]
upstream = "api"
args.v = { type = "string", max_length = 12 }
request = { path = "/ok/{{args.v}}", headers = { x-v = "{{args.v}}" } }
reply = { text = "{{args.v}}" }
[routes.late]
upstream = "slow"
args.v = { type = "string" }
request = { path = "/never", query = { v = "{{args.v}}" } }
"#;
    let mut proxy = start(&upstream, &table(&faulty, routes)).await;
    for (path, args) in [
        ("/http/ok", json!({"v": "private"})),
        ("/http/ok", json!({"v": "private\n"})),
        ("/http/ok", json!({"v": "private and long"})),
        ("/http/late", json!({"v": "private"})),
        ("/http/no%0Asuch%1b[31m", json!({"v": "private"})),
    ] {
        proxy.post(path, &args).await;
    }
    proxy.logged(r"no\nsuch\u{1b}").await;
    let log = proxy.log();
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("platform=http")).collect();
    assert_eq!(calls.len(), 5, "{log}");
    for (line, outcome) in
        calls.iter().zip(["answered", "refused", "invalid_args", "timeout", "unknown_function"])
    {
        assert!(line.contains(&format!("outcome={outcome}")), "{line}");
    }
    assert!(calls[3].contains("no answer within"), "{}", calls[3]);
    assert!(!log.contains("private") && !log.contains('\u{1b}'), "{log}");
}

/// The call keeps half a second or a quarter of the deadline, whichever is less, for the way back.
#[test]
fn the_call_budget_ends_before_the_platforms_deadline() {
    let folder = Folder::with(&[]);
    for (deadline, budget_ms) in [
        ("", 9500),
        ("deadline = \"1s\"", 750),
        ("deadline = \"400ms\"", 300),
        ("deadline = \"2s\"", 1500),
        ("deadline = \"30s\"", 29_500),
    ] {
        let table = format!("[platforms.http]\n{deadline}\n[routes.say]\nreply.text = \"Hi.\"\n");
        folder.write("routes.toml", &table);
        let loaded = load(&folder.path().join("routes.toml"), &process_environment()).unwrap();
        let plan = loaded.plan.unwrap();
        assert_eq!(plan.served("http").unwrap().budget.as_millis(), budget_ms, "{deadline}");
    }
}

/// The upstream never responds and the platform waits only until its deadline, so the model gets a reply before that.
#[tokio::test]
async fn the_platforms_deadline_ends_each_call() {
    let upstream = upstream().await;
    let table = r#"
[platforms.voicedock]
deadline = "1s"
[platforms.swaig]
deadline = "1s"
[upstreams.api]
base_url = "http://UPSTREAM"
timeout = "10m"
[routes.late]
upstream = "api"
timeout = "10m"
request = { path = "/never" }
"#;
    let mut proxy = Proxy::over(&upstream, table).await;
    let text = "The system did not answer in time. Apologise and offer to try again.";
    assert_eq!(proxy.post("/swaig/late", &json!({})).await.json(), json!({"response": text}));
    let call = |id: &str| json!({"id": id, "function": {"name": "late", "arguments": {}}});
    let body = json!({"message": {"type": "tool-calls", "tool_call_list": [call("a"), call("b")]}});
    let result = |id: &str| json!({"tool_call_id": id, "result": {"error": text}});
    assert_eq!(proxy.post("/voicedock", &body).await.json(), json!({"results": [result("a"), result("b")]}));
    proxy.logged("no answer within").await;
}
