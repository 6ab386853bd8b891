//! What is said when a call fails: each kind from a real cause, and who has the word.

use std::net::TcpListener;

use jackfield::call::FailureKind;
use jackfield::load::{load, process_environment};
use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::Proxy;
use crate::support::rude::{Rude, Script};
use crate::support::upstream::{Reply, Upstream};

/// Real causes of each kind: a name, the upstream, what of the route makes it fail, the arguments.
fn causes() -> Vec<(FailureKind, &'static str, &'static str, &'static str, Value)> {
    use FailureKind::{BadResponse, InvalidArgs, Refused, Timeout, Unreachable};
    let get = |path: &str| format!("request = {{ path = \"{path}\" }}").leak() as &str;
    let with_v = |request: &str| format!("args.v = {{ type = \"string\" }}\n{request}").leak() as &str;
    let object =
        "args.v = { type = \"object\" }\nrequest = { path = \"/ok\", query = { v = \"{{args.v}}\" } }";
    let required = "args.v = { type = \"string\", required = true }\nrequest = { path = \"/ok\" }";
    let needed = "args.v = { type = \"string\" }\nrequest = { path = \"/ok/{{args.v}}\" }";
    let extract = "extract = { id = { path = \"$.id\", required = true } }\nrequest = { path = \"/ok\" }";
    let header = "request = { path = \"/ok\", headers = { x-v = \"{{args.v}}\" } }";
    let file = "request = { method = \"POST\", path = \"/ok\", body_file = \"broken.json.hbs\" }";
    let short = "timeout = \"200ms\"\nrequest = { path = \"/never\" }";
    vec![
        (Timeout, "route", "api", short, json!({})),
        (Timeout, "upstream", "slow", get("/never"), json!({})),
        (Timeout, "body", "slow", get("/half"), json!({})),
        (Unreachable, "closed", "closed", get("/ok"), json!({})),
        (Unreachable, "dropped", "dropping", get("/ok"), json!({})),
        (BadResponse, "status", "api", get("/500"), json!({})),
        (BadResponse, "not_found", "api", get("/404"), json!({})),
        (BadResponse, "json", "api", get("/broken"), json!({})),
        (BadResponse, "large", "api", get("/large"), json!({})),
        (BadResponse, "required", "api", extract, json!({})),
        (BadResponse, "no_http", "no_http", get("/ok"), json!({})),
        (Refused, "newline", "api", with_v(header), json!({"v": "a\nb"})),
        (Refused, "empty", "api", with_v(get("/ok/{{args.v}}/x")), json!({"v": ""})),
        (Refused, "dots", "api", with_v(get("/ok/{{args.v}}")), json!({"v": ".."})),
        (Refused, "object", "api", object, json!({"v": {}})),
        (Refused, "no_json", "api", with_v(file), json!({"v": ","})),
        (InvalidArgs, "missing", "api", required, json!({})),
        (InvalidArgs, "wrong", "api", required, json!({"v": []})),
        (InvalidArgs, "needed", "api", needed, json!({})),
    ]
}

/// Upstreams that fail before they answer: one refuses connections, one closes after the request, one does not speak
/// HTTP.
struct Broken {
    closed: Rude,
    dropping: String,
    no_http: String,
}

impl Broken {
    async fn new() -> Self {
        let after_request = |answer: &'static [u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                while let Ok((mut stream, _)) = listener.accept() {
                    let mut buffer = [0; 4096];
                    let _ = stream.read(&mut buffer);
                    let _ = stream.write_all(answer);
                }
            });
            address.to_string()
        };
        Self {
            closed: Rude::new(Script::Refuse).await,
            dropping: after_request(b""),
            no_http: after_request(b"220 smtp ready\r\n\r\n"),
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
            // Announces more than it sends, and then says nothing.
            "/half" => Reply::raw(200, "application/json", "{").header("content-length", "10"),
            _ => Reply::json(&json!({})),
        }
    })
    .await
}

fn table(broken: &Broken, routes: &str) -> String {
    format!(
        r#"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
max_body = "1KiB"
[upstreams.slow]
base_url = "http://UPSTREAM"
timeout = "150ms"
[upstreams.closed]
base_url = "http://{}"
[upstreams.dropping]
base_url = "http://{}"
[upstreams.no_http]
base_url = "http://{}"
{routes}
"#,
        broken.closed.address, broken.dropping, broken.no_http
    )
}

async fn start(upstream: &Upstream, table: &str) -> Proxy {
    let table = table.replace("UPSTREAM", &upstream.address.to_string());
    let table = format!("[server]\nlisten = \"127.0.0.1:0\"\n{table}");
    // Rendered with the value, this is no JSON any more.
    let broken = "{\"a\": 1{{#if args.v}}, \"b\"{{/if}}}";
    Proxy::with(&[("routes.toml", &table), ("templates/broken.json.hbs", broken)], &[]).await
}

#[tokio::test]
async fn each_kind_of_failure_is_told_by_the_nearest_text() {
    let upstream = upstream().await;
    let broken = Broken::new().await;
    let mut routes = String::new();
    for (kind, name, to, fails, _) in causes() {
        let slug = kind.slug();
        for (level, said) in [
            ("plain", String::new()),
            ("route", format!("failure.{slug} = \"route {slug}\"\nreply = {{ text = \"never\" }}\n")),
            (
                "case",
                format!(
                    "failure.{slug} = \"route {slug}\"\n\
                     [[routes.{name}_case.reply]]\nwhen.failure = \"{slug}\"\ntext = \"case {slug}\"\n\
                     [[routes.{name}_case.reply]]\ntext = \"never\"\n"
                ),
            ),
        ] {
            routes.push_str(&format!("[routes.{name}_{level}]\nupstream = \"{to}\"\n{fails}\n{said}"));
        }
    }
    let defaults: String =
        FailureKind::NAMED.iter().map(|kind| format!("failure.{kind} = \"default {kind}\"\n")).collect();
    let without = start(&upstream, &table(&broken, &routes)).await;
    let with = start(&upstream, &table(&broken, &format!("[defaults]\n{defaults}{routes}"))).await;
    for (kind, name, _, _, args) in causes() {
        // What the model can mend is explained to it, unless a case says otherwise.
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
async fn cases_for_failures_name_kinds_lists_and_any() {
    let upstream = upstream().await;
    let broken = Broken::new().await;
    let cases = r#"
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
        ("gone", "closed", "/ok"),
        ("five", "api", "/500"),
        ("four", "api", "/404"),
    ] {
        routes.push_str(&format!(
            "[routes.{name}]\nupstream = \"{to}\"\nargs.who = {{ type = \"string\", max_length = 5 }}\nrequest = {{ path = \"{path}\" }}\n{}",
            cases.replace("NAME", name)
        ));
    }
    let proxy = start(&upstream, &table(&broken, &routes)).await;
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
async fn what_goes_wrong_while_a_reply_is_made_is_a_failure_too() {
    let upstream = upstream().await;
    let broken = Broken::new().await;
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
    let mut proxy = start(&upstream, &table(&broken, routes)).await;
    for (name, args, text) in [
        ("missing", json!({}), "Default."),
        ("helper", json!({"v": "soon"}), "Default."),
        ("none", json!({}), "Default."),
        // A text that needs what is not there leaves the word to the next.
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

/// The log says for each call what happened, once, and nothing of what was in it.
#[tokio::test]
async fn the_log_tells_of_each_call_once_and_holds_no_values() {
    let upstream = upstream().await;
    let broken = Broken::new().await;
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
    let mut proxy = start(&upstream, &table(&broken, routes)).await;
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

/// Half a second or a quarter of the deadline, whichever is less, is kept for the way back.
#[test]
fn calls_end_before_the_platform_gives_up() {
    let folder = Folder::with(&[]);
    for (deadline, budget_ms) in [
        ("", 9500),
        ("deadline = \"1s\"", 750),
        ("deadline = \"400ms\"", 300),
        ("deadline = \"2s\"", 1500),
        ("deadline = \"30s\"", 29_500),
    ] {
        let table = format!("[platforms.http]\n{deadline}\n[routes.say]\nreply = {{ text = \"Hi.\" }}\n");
        folder.write("routes.toml", &table);
        let loaded = load(&folder.path().join("routes.toml"), &process_environment()).unwrap();
        let plan = loaded.plan.unwrap();
        assert_eq!(plan.served("http").unwrap().budget.as_millis(), budget_ms, "{deadline}");
    }
}

/// The upstream never answers, the platform would not wait for ever: the model is told before that.
#[tokio::test]
async fn the_deadline_of_the_platform_ends_each_call() {
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
