//! The listener for platforms: the requests that each platform may send and the responses it gets, against the running
//! binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Barrier;

use crate::support::proxy::{GUARD, LISTENERS, Proxy};
use crate::support::upstream::{Reply, Upstream};

const ROUTES: &str = r#"
[upstreams.api]
base_url = "http://UPSTREAM"

[routes.weather]
upstream = "api"
args.city = { type = "string", required = true, max_length = 20 }
request = { path = "/weather", query = { city = "{{args.city}}" } }
extract = { temp = "$.temp" }
reply = { text = "{{temp}} degrees", data = { temp = "{{temp}}" } }

[routes.say]
reply = { text = "Hello." }
[routes.give]
args.d = { type = "object" }
reply = { data = "{{args.d}}" }
[routes.list]
reply = { data = [1, "two"] }
[routes.nothing]
reply = {}
[routes.hang_up]
reply.text = "Bye."
reply.data = { left = true }
reply.swaig.action = [{ hangup = true }]
[routes.only_http]
platforms = ["http"]
reply = { text = "For http." }
"#;

async fn warm() -> Upstream {
    Upstream::new(|seen| match seen.raw_city() {
        Some("nowhere") => Reply::status(500, &json!({"error": "secret detail"})),
        _ => Reply::json(&json!({"temp": 7.5})),
    })
    .await
}

impl crate::support::upstream::Seen {
    fn raw_city(&self) -> Option<&str> {
        self.target.split_once("city=").map(|(_, city)| city)
    }
}

async fn open(upstream: &Upstream) -> Proxy {
    Proxy::over(upstream, &format!("[platforms.swaig]\n[platforms.voicedock]\n[platforms.http]\n{ROUTES}"))
        .await
}

fn swaig(function: &str, args: &Value) -> Value {
    json!({"function": function, "argument": {"parsed": [args], "raw": args.to_string()}, "call_id": "c-1"})
}

#[tokio::test]
async fn swaig_always_answers_200() {
    let upstream = warm().await;
    let proxy = open(&upstream).await;
    let oslo = json!({"city": "Oslo"});
    let unreadable = |problem: &str| {
        json!({"response": format!(
            "The function call could not be read: {problem}. Apologise and go on without it."
        )})
    };
    let none = json!({"response": "There is no such function. Go on without it."});
    for (path, body, expected, sent) in [
        ("/swaig", swaig("weather", &oslo).to_string(), json!({"response": "7.5 degrees"}), 1),
        ("/swaig/", swaig("weather", &oslo).to_string(), json!({"response": "7.5 degrees"}), 1),
        ("/swaig/weather", swaig("weather", &oslo).to_string(), json!({"response": "7.5 degrees"}), 1),
        // The URL names the function; the body may omit it.
        (
            "/swaig/weather",
            json!({"argument": {"parsed": [oslo]}}).to_string(),
            json!({"response": "7.5 degrees"}),
            1,
        ),
        ("/swaig/we%61ther", swaig("weather", &oslo).to_string(), json!({"response": "7.5 degrees"}), 1),
        (
            "/swaig",
            swaig("weather", &json!({"city": "nowhere"})).to_string(),
            json!({"response": "The system gave an answer that could not be used. Apologise and offer to try again later."}),
            1,
        ),
        (
            "/swaig",
            swaig("weather", &json!({})).to_string(),
            json!({"response": "The function was not called: argument `city` is required. Fix the argument and call the function again."}),
            0,
        ),
        (
            "/swaig",
            swaig("hang_up", &json!({})).to_string(),
            json!({"response": "Bye.", "action": [{"hangup": true}]}),
            0,
        ),
        ("/swaig", swaig("give", &json!({"d": {"a": 1}})).to_string(), json!({"response": "{\"a\":1}"}), 0),
        ("/swaig", swaig("nothing", &json!({})).to_string(), json!({"response": ""}), 0),
        ("/swaig", swaig("unknown", &json!({})).to_string(), none.clone(), 0),
        ("/swaig", swaig("only_http", &json!({})).to_string(), none.clone(), 0),
        ("/swaig/unknown", swaig("unknown", &json!({})).to_string(), none.clone(), 0),
        ("/swaig", json!({"action": "get_signature"}).to_string(), json!([]), 0),
        (
            "/swaig/weather",
            swaig("say", &json!({})).to_string(),
            unreadable("the function name in the body differs from the one in the URL"),
            0,
        ),
        ("/swaig", "{}".into(), unreadable("it has no function name"), 0),
        ("/swaig", "{\"function\": ".into(), unreadable("the body is not valid JSON (line 1, column 13)"), 0),
        ("/swaig", String::new(), unreadable("the body is not valid JSON (line 1, column 0)"), 0),
        ("/swaig", "[]".into(), unreadable("the body is not a JSON object"), 0),
        ("/swaig", "[".repeat(10_000), unreadable("the body is not valid JSON (line 1, column 128)"), 0),
        (
            "/swaig/%ff",
            swaig("weather", &oslo).to_string(),
            unreadable("the function name in the body differs from the one in the URL"),
            0,
        ),
    ] {
        let shown = &body[..body.len().min(100)];
        let answer = proxy.send(Method::POST, path, &[], body.clone()).await;
        assert_eq!(answer.status, 200, "{path} {shown}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json", "{path} {shown}");
        assert_eq!(answer.json(), expected, "{path} {shown}");
        assert_eq!(upstream.take().len(), sent, "{path} {shown}");
    }
    // The details of an upstream's error are not shown to the caller.
    assert!(!proxy.log().contains("secret detail"));
}

fn one(function: &str, args: &Value) -> Value {
    voicedock(&[("tool_1", function, args)])
}

fn voicedock(calls: &[(&str, &str, &Value)]) -> Value {
    let calls = calls.iter().map(|(id, function, args)| {
        json!({"id": id, "type": "function", "function": {"name": function, "arguments": args}})
    });
    json!({"message": {"type": "tool-calls", "call": {"id": "c-1"}, "tool_call_list": calls.collect::<Vec<_>>()}})
}

#[tokio::test]
async fn voicedock_uses_the_configured_response_format() {
    let upstream = warm().await;
    let results = |result: Value| json!({"results": [{"tool_call_id": "tool_1", "result": result}]});
    let error = |text: &str| results(json!({"error": text}));
    for reply in ["results", "result", "direct"] {
        let platform = format!("[platforms.voicedock]\nreply = \"{reply}\"\n");
        let proxy = Proxy::over(&upstream, &format!("{platform}{ROUTES}")).await;
        let oslo = json!({"city": "Oslo"});
        let nothing = json!({});
        let short = |data: Value| match reply {
            "results" => results(data),
            "result" => json!({"result": data}),
            _ => data,
        };
        for (body, expected) in [
            (one("weather", &oslo), short(json!({"temp": 7.5}))),
            (one("give", &json!({"d": {"a": {"b": null}}})), short(json!({"a": {"b": null}}))),
            (one("hang_up", &nothing), short(json!({"left": true}))),
            // Results that are no object, that could be mistaken for another format, or that are failures use the long
            // format.
            (one("say", &nothing), results(json!("Hello."))),
            (one("list", &nothing), results(json!([1, "two"]))),
            (one("nothing", &nothing), results(json!(null))),
            (one("give", &json!({"d": {"result": 1}})), results(json!({"result": 1}))),
            (one("give", &json!({"d": {"results": []}})), results(json!({"results": []}))),
            (one("give", &json!({"d": {"error": ""}})), results(json!({"error": ""}))),
            (one("unknown", &nothing), error("There is no such function. Go on without it.")),
            (
                one("weather", &json!({"city": "nowhere"})),
                error(
                    "The system gave an answer that could not be used. Apologise and offer to try again later.",
                ),
            ),
            (
                one("weather", &json!("not JSON")),
                error(
                    "The function was not called: the arguments must be a JSON object. Fix the argument and call the function again.",
                ),
            ),
            // Arguments encoded as a JSON string are accepted too.
            (one("weather", &json!("{\"city\": \"Oslo\"}")), short(json!({"temp": 7.5}))),
            (
                voicedock(&[
                    ("a", "weather", &oslo),
                    ("b", "unknown", &nothing),
                    ("c", "say", &nothing),
                    ("a", "list", &nothing),
                ]),
                json!({"results": [
                    {"tool_call_id": "a", "result": {"temp": 7.5}},
                    {"tool_call_id": "b", "result": {"error": "There is no such function. Go on without it."}},
                    {"tool_call_id": "c", "result": "Hello."},
                    {"tool_call_id": "a", "result": [1, "two"]},
                ]}),
            ),
            (json!({"message": {"type": "status-update", "status": "ended"}}), json!({})),
            (json!({"message": {"type": "end-of-call-report"}}), json!({})),
            (json!({"message": {"type": "something-new"}}), json!({})),
            (
                json!({}),
                json!({"error": "The webhook could not be read: it has neither `message` nor `tasksInitiated`."}),
            ),
        ] {
            let answer = proxy.post("/voicedock", &body).await;
            assert_eq!(answer.status, 200, "{reply} {body}");
            assert_eq!(answer.json(), expected, "{reply} {body}");
        }
    }
}

#[tokio::test]
async fn voicedock_answers_each_request_generation_in_its_own_format() {
    let upstream = warm().await;
    let proxy = open(&upstream).await;
    let camel = json!({"message": {"type": "tool-calls", "toolCallList": [
        {"id": "t", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    ]}});
    let oldest = json!({"tasksInitiated": [
        {"taskId": "t", "taskName": "weather", "taskPayload": {"city": "Oslo"}}
    ]});
    for body in [camel, oldest] {
        let answer = proxy.post("/voicedock", &body).await;
        assert_eq!(
            answer.json(),
            json!({"results": [{"toolCallId": "t", "result": {"temp": 7.5}}]}),
            "{body}"
        );
    }
}

/// The upstream answers only after all requests have arrived, so sequential calls would never finish.
#[tokio::test]
async fn calls_of_one_request_run_concurrently() {
    let barrier = Arc::new(Barrier::new(3));
    let upstream = Upstream::with(move |seen| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            Reply::json(&json!({"temp": seen.raw_city().unwrap()}))
        }
    })
    .await;
    let proxy = open(&upstream).await;
    let [a, b, c] = ["a", "b", "c"].map(|city| json!({"city": city}));
    let body = voicedock(&[("1", "weather", &a), ("2", "weather", &b), ("3", "weather", &c)]);
    let answer = tokio::time::timeout(GUARD, proxy.post("/voicedock", &body)).await.unwrap();
    let expected = json!({"results": [
        {"tool_call_id": "1", "result": {"temp": "a"}},
        {"tool_call_id": "2", "result": {"temp": "b"}},
        {"tool_call_id": "3", "result": {"temp": "c"}},
    ]});
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn http_returns_plain_json() {
    let upstream = warm().await;
    let proxy = open(&upstream).await;
    let error = |kind: &str, text: &str| json!({"error": {"kind": kind, "text": text}});
    let required = "The function was not called: argument `city` is required. Fix the argument and call the function again.";
    let unusable =
        "The system gave an answer that could not be used. Apologise and offer to try again later.";
    let none = error("unknown_function", "There is no such function. Go on without it.");
    let good = json!({"text": "7.5 degrees", "data": {"temp": 7.5}});
    for (method, path, body, status, expected) in [
        ("POST", "/http/weather", "{\"city\": \"Oslo\"}", 200, good.clone()),
        ("PUT", "/http/weather", "{\"city\": \"Oslo\"}", 200, good.clone()),
        ("GET", "/http/weather?city=Oslo", "", 200, good.clone()),
        (
            "GET",
            "/http/weather?city=Oslo&city=Bergen",
            "",
            200,
            error(
                "invalid_args",
                "The function was not called: argument `city` must be a string. Fix the argument and call the function again.",
            ),
        ),
        ("GET", "/http/weather", "", 200, error("invalid_args", required)),
        // If there is a body, it holds the arguments, and the query is ignored.
        ("POST", "/http/weather?city=Oslo", "{}", 200, error("invalid_args", required)),
        ("POST", "/http/say", "", 200, json!({"text": "Hello."})),
        ("POST", "/http/list", "{}", 200, json!({"data": [1, "two"]})),
        ("POST", "/http/nothing", "{}", 200, json!({})),
        ("POST", "/http/hang_up", "{}", 200, json!({"text": "Bye.", "data": {"left": true}})),
        ("POST", "/http/only_http", "{}", 200, json!({"text": "For http."})),
        ("POST", "/http/weather", "{\"city\": \"nowhere\"}", 200, error("bad_response", unusable)),
        ("POST", "/http/unknown", "{}", 404, none.clone()),
        ("GET", "/http/Weather?city=Oslo", "", 404, none.clone()),
        ("GET", "/http/%ff", "", 404, none),
        (
            "POST",
            "/http/weather",
            "{",
            400,
            error("bad_request", "the body is not valid JSON (line 1, column 1)"),
        ),
        ("POST", "/http/weather", "[]", 400, error("bad_request", "the body is not a JSON object")),
        (
            "POST",
            "/http/weather",
            "city=Oslo",
            400,
            error("bad_request", "the body is not valid JSON (line 1, column 1)"),
        ),
        (
            "POST",
            "/http",
            "{}",
            400,
            error("bad_request", "the URL has no function name: use `/http/<function>`"),
        ),
        (
            "POST",
            "/http/",
            "{}",
            400,
            error("bad_request", "the URL has no function name: use `/http/<function>`"),
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = proxy.send(method.clone(), path, &[], body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, expected), "{method} {path} {body}");
    }
    let head = proxy.send(Method::HEAD, "/http/say", &[], "").await;
    assert_eq!((head.status.as_u16(), head.text()), (200, ""));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_rejected_and_logged() {
    let upstream = warm().await;
    let table = format!("[platforms.swaig]\n[platforms.http]\n{ROUTES}");
    let mut proxy = Proxy::over(&upstream, &table).await;
    for (method, path, status, allow) in [
        (Method::GET, "/swaig", 405, "POST"),
        (Method::PUT, "/swaig/weather", 405, "POST"),
        (Method::DELETE, "/swaig", 405, "POST"),
        // Platforms that the table does not serve, and paths of no platform.
        (Method::POST, "/voicedock", 404, ""),
        (Method::POST, "/dailybots/say", 404, ""),
        (Method::POST, "/", 404, ""),
        (Method::POST, "/swaig/a/b", 404, ""),
        (Method::POST, "/http/a/b/c", 404, ""),
        (Method::GET, "/healthz", 404, ""),
        (Method::GET, "/status", 404, ""),
        (Method::POST, "/SWAIG", 404, ""),
        (Method::POST, "/%2e%2e/swaig", 404, ""),
    ] {
        let answer = proxy.send(method.clone(), path, &[], swaig("say", &json!({})).to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (status, allow), "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{method} {path}");
    }
    proxy.logged("rejected: only POST is allowed here").await;
    proxy.logged("rejected: the table serves no platform at this path").await;
    // Each of them counts.
    assert_eq!(proxy.status().await["rejected_requests"]["not_served"], 9);
    assert!(upstream.take().is_empty());
}

#[tokio::test]
async fn requests_answered_without_a_call_are_logged_and_counted() {
    let upstream = warm().await;
    let table = format!(
        "[platforms.swaig]\n[platforms.voicedock]\n{ROUTES}\
         [routes.declared]\nreply.text = \"Hi.\"\ndeclare.swaig = {{}}\n"
    );
    let mut proxy = Proxy::over(&upstream, &table).await;
    for (path, body, line) in [
        ("/swaig", json!({"action": "get_signature"}), "the declarations of 1 function"),
        ("/swaig", json!({"function": "startup_hook"}), "the table has no `[events.swaig.startup_hook]`"),
        ("/swaig", json!({"action": "post_conversation"}), "the table has no `[events.swaig.post_prompt]`"),
        ("/swaig", json!({"function": "check_for_input"}), "no entry can answer `check_for_input`"),
        ("/voicedock", json!({"message": {"type": "status-update"}}), "`[events.voicedock.status_update]`"),
        ("/voicedock", json!({"message": {"type": "so new\n"}}), "no entry can answer `so new"),
    ] {
        let answer = proxy.send(Method::POST, path, &[], body.to_string()).await;
        assert_eq!(answer.status, 200, "{body}");
        let logged = proxy.logged(line).await;
        assert!(logged.contains("answered without a call: "), "{logged}");
    }
    proxy.send(Method::POST, "/swaig", &[], "{}".to_owned()).await;
    proxy.logged("rejected: unreadable request: it has no function name").await;
    assert_eq!(proxy.status().await["rejected_requests"]["unreadable"], 1);
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    for (reason, count) in [("declarations", 1), ("no_entry", 3), ("ignored", 2)] {
        let sample = format!("jackfield_requests_without_call_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.text().contains(&sample), "{sample}");
    }
}

/// An endpoint without auth accepts calls from this machine only, but any web page can make a browser on it send
/// requests.
#[tokio::test]
async fn endpoints_without_auth_reject_cross_site_requests() {
    let upstream = warm().await;
    let open = format!("[platforms.swaig]\n[platforms.http]\n{ROUTES}");
    let meant = open.replace("[platforms.http]", "[platforms.http]\nauth.none = {}");
    let locked = open.replace("[platforms.http]", "[platforms.http]\nauth.bearer = { token = \"t\" }");
    let foreign: [&[(&str, &str)]; 4] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "http://localhost"), ("sec-fetch-site", "cross-site")],
    ];
    let mut proxy = Proxy::over(&upstream, &open).await;
    for headers in foreign {
        for (method, path) in [
            (Method::GET, "/http/weather?city=Oslo"),
            (Method::POST, "/http/weather?city=Oslo"),
            // A preflight request is no call either.
            (Method::OPTIONS, "/http/weather?city=Oslo"),
            (Method::POST, "/swaig"),
        ] {
            let body = if path == "/swaig" {
                swaig("weather", &json!({"city": "Oslo"})).to_string()
            } else {
                String::new()
            };
            let answer = proxy.send(method.clone(), path, headers, body).await;
            assert_eq!(answer.status, 403, "{method} {path} {headers:?}");
            assert_eq!(
                answer.json(),
                json!({"error": "web pages of other sites may not call this listener"})
            );
        }
    }
    assert!(upstream.take().is_empty());
    let line = proxy.logged("rejected: a web page of another site").await;
    assert!(line.contains("platform=http"), "{line}");
    assert_eq!(proxy.status().await["rejected_requests"]["cross_site"], 16);
    for headers in [&[][..], &[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")]] {
        let answer = proxy.send(Method::GET, "/http/weather?city=Oslo", headers, "").await;
        assert_eq!(answer.status, 200, "{headers:?}");
    }

    for (table, login) in [(meant, &[][..]), (locked, &[("authorization", "Bearer t")])] {
        let proxy = Proxy::over(&upstream, &table).await;
        for headers in foreign {
            let headers = [headers, login].concat();
            let answer = proxy.send(Method::GET, "/http/weather?city=Oslo", &headers, "").await;
            assert_eq!(answer.status, 200, "{headers:?}");
        }
    }
}

/// Writes a raw request and returns everything received until the connection is closed.
async fn send_raw(proxy: &Proxy, head: String, body: Vec<u8>) -> String {
    let address = proxy.listen;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(GUARD)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // The proxy may respond and close the connection before it has read everything.
        let _ = stream.write_all(&body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn oversized_bodies_are_rejected() {
    let upstream = warm().await;
    let table = format!("[platforms.swaig]\n{ROUTES}").replace("UPSTREAM", &upstream.address.to_string());
    let head = "[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"2KiB\"\n";
    let mut proxy = Proxy::start(&format!("{head}{table}")).await;

    // Rejected by its `content-length`, before any of the body is read.
    let head = "POST /swaig HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2049\r\n\r\n".to_owned();
    let answer = send_raw(&proxy, head, Vec::new()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("{\"error\":\"the body is larger than 2048 bytes\"}"), "{answer}");

    // A chunked body, which announces no length.
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /swaig HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let answer = send_raw(&proxy, head, chunk.repeat(3).into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // A client that sends the whole body first can still read the response.
    for length in [3000, 3_000_000] {
        let answer = proxy.send(Method::POST, "/swaig", &[], "x".repeat(length)).await;
        assert_eq!(answer.status, 413);
    }

    // The largest body that is allowed.
    let mut body = swaig("say", &json!({})).to_string();
    body.push_str(&" ".repeat(2048 - body.len()));
    let answer = proxy.send(Method::POST, "/swaig", &[], body).await;
    assert_eq!(answer.json(), json!({"response": "Hello."}));
    proxy.logged("rejected: the body has more than").await;
}

#[tokio::test]
async fn missing_or_wrong_credentials_are_rejected_before_the_body_is_read() {
    let upstream = warm().await;
    let platforms = r#"
[platforms.swaig]
auth.basic = { username = "sw", password = ["new", "${OLD}"] }
[platforms.http]
auth.bearer = { token = ["t-new", "t-old"] }
[platforms.voicedock]
auth.header = { name = "x-key", value = "k" }
"#;
    let routes = ROUTES.replace("UPSTREAM", &upstream.address.to_string());
    let table = [LISTENERS, platforms, &routes].concat();
    let mut proxy = Proxy::with(&[("routes.toml", &table)], &[("OLD", "old:with colon")]).await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let body = swaig("weather", &json!({"city": "Oslo"})).to_string();
    for (login, status) in [
        (None, 401),
        (Some(basic("sw:new")), 200),
        (Some(basic("sw:old:with colon")), 200),
        (Some(basic("sw:old:with colon").replace("Basic", "basic")), 200),
        (Some(basic("sw:New")), 401),
        (Some(basic("sw:")), 401),
        (Some(basic("SW:new")), 401),
        (Some(basic(":new")), 401),
        (Some(basic("new")), 401),
        (Some("Basic !!!".into()), 401),
        (Some("Basic".into()), 401),
        (Some("Bearer new".into()), 401),
        (Some(String::new()), 401),
        // The name of an environment variable is not its value.
        (Some(basic("sw:${OLD}")), 401),
    ] {
        let headers: Vec<_> = login.as_deref().map(|login| ("authorization", login)).into_iter().collect();
        let answer = proxy.send(Method::POST, "/swaig", &headers, body.clone()).await;
        assert_eq!(answer.status, status, "{login:?}");
        let seen = upstream.take();
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"jackfield\", charset=\"UTF-8\"");
            assert_eq!(answer.json(), json!({"error": "the login is missing or wrong"}), "{login:?}");
            assert!(seen.is_empty(), "{login:?}");
        } else {
            // The platform's credential is not forwarded to the upstream.
            assert!(seen[0].header("authorization").is_empty(), "{seen:?}");
        }
    }
    for (login, status) in
        [(None, 401), (Some("Bearer t-new"), 200), (Some("bearer t-old"), 200), (Some("Bearer t"), 401)]
    {
        let headers: Vec<_> = login.map(|login| ("authorization", login)).into_iter().collect();
        let answer = proxy.send(Method::POST, "/http/say", &headers, "").await;
        assert_eq!(answer.status, status, "{login:?}");
        assert_eq!(answer.header("www-authenticate").starts_with("Bearer"), status == 401, "{login:?}");
    }
    for (login, status) in
        [(None, 401), (Some("k"), 200), (Some("K"), 401), (Some("k "), 200), (Some(""), 401)]
    {
        let headers: Vec<_> = login.map(|login| ("x-key", login)).into_iter().collect();
        let answer =
            proxy.send(Method::POST, "/voicedock", &headers, one("say", &json!({})).to_string()).await;
        assert_eq!(answer.status, status, "{login:?}");
    }
    // Rejected before the body is read, so a huge body that is never sent does not matter.
    let head = "POST /swaig HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
        .to_owned();
    let answer = send_raw(&proxy, head, Vec::new()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let failed = proxy.logged("failed login").await;
    assert!(failed.contains("swaig"), "{failed}");
    let counted = proxy.status().await["rejected_requests"].take();
    let expected = json!({
        "not_served": 0,
        "wrong_method": 0,
        "failed_login": 17,
        "cross_site": 0,
        "other_host": 0,
        "unclear": 0,
        "head_too_large": 0,
        "malformed": 0,
        "too_large": 0,
        "body_timeout": 0,
        "body_lost": 0, "unreadable": 0, "busy_memory": 0,
        "internal_error": 0,
        "busy_calls": 0,
        "busy_connections": 0,
    });
    assert_eq!(counted, expected);
    for secret in ["with colon", "t-new", "t-old"] {
        assert!(!proxy.log().contains(secret), "{secret}");
    }
}

fn signature(secret: &str, timestamp: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{body}").as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn voicedock_signatures_are_verified() {
    let upstream = warm().await;
    let platform = "[platforms.voicedock]\nauth.signature = { secret = [\"new secret\", \"old secret\"] }\n";
    let table = [platform, ROUTES].concat();
    let proxy = Proxy::over(&upstream, &table).await;
    let body = one("weather", &json!({"city": "Oslo"})).to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let fresh = now.to_string();
    let (old, early) = ((now - 400).to_string(), (now + 400).to_string());
    let good = signature("new secret", &fresh, &body);
    let changed = body.replace("Oslo", "Osla");
    for (what, signed, timestamp, sent, status) in [
        ("good", Some(good.clone()), Some(&fresh), &body, 200),
        ("the old secret", Some(signature("old secret", &fresh, &body)), Some(&fresh), &body, 200),
        ("without the prefix", Some(good.replace("sha256=", "")), Some(&fresh), &body, 200),
        ("another secret", Some(signature("another", &fresh, &body)), Some(&fresh), &body, 401),
        ("a changed byte", Some(good.clone()), Some(&fresh), &changed, 401),
        ("another time", Some(good.clone()), Some(&(now - 1).to_string()), &body, 401),
        ("too old", Some(signature("new secret", &old, &body)), Some(&old), &body, 401),
        ("from the future", Some(signature("new secret", &early, &body)), Some(&early), &body, 401),
        ("no signature", None, Some(&fresh), &body, 401),
        ("no time", Some(good.clone()), None, &body, 401),
        ("an empty one", Some(String::new()), Some(&fresh), &body, 401),
        ("half of one", Some(good[..39].to_owned()), Some(&fresh), &body, 401),
        ("no time in it", Some(signature("new secret", "", &body)), Some(&String::new()), &body, 401),
    ] {
        let mut headers = Vec::new();
        if let Some(signed) = &signed {
            headers.push(("x-webhook-signature", signed.as_str()));
        }
        if let Some(timestamp) = timestamp {
            headers.push(("x-webhook-timestamp", timestamp.as_str()));
        }
        let answer = proxy.send(Method::POST, "/voicedock", &headers, sent.clone()).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(upstream.take().len(), usize::from(status == 200), "{what}");
    }
    // An unauthenticated caller does not learn whether its body is valid.
    let answer = proxy.send(Method::POST, "/voicedock", &[], "{").await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn templates_can_use_each_platforms_envelope() {
    let upstream = warm().await;
    let table = r#"
[platforms.swaig]
headers = ["X-Session-Id", "x-none"]
[platforms.voicedock]
headers = ["x-session-id"]
[platforms.http]
headers = ["x-session-id"]
[routes.who]
args.a = { type = "integer" }
reply.data = { platform = "{{call.platform}}", function = "{{call.function}}", id = "{{call.id}}", conversation = "{{call.conversation}}", caller = "{{call.caller}}", called = "{{call.called}}", metadata = "{{call.metadata}}", global = "{{call.global}}", session = "{{call.headers.x-session-id}}", none = "{{call.headers.x-none}}", lang = "{{call.metadata.lang}}", raw = "{{call.raw.secret}}" }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let headers = [
        ("x-session-id", "s-1"),
        ("x-conversation-id", "conv"),
        ("x-other", "o"),
        ("authorization", "Bearer x"),
    ];

    // SWAIG sends the phone numbers under three names; the first one with a value is used.
    for (fields, caller) in [
        (json!({"caller_id_num": "+1", "caller_id": "+2", "caller_id_number": "+3"}), json!("+1")),
        (json!({"caller_id_num": "", "caller_id": "+2", "caller_id_number": "+3"}), json!("+2")),
        (json!({"caller_id_number": "+3"}), json!("+3")),
    ] {
        let mut body = swaig("who", &json!({"a": 1}));
        body["meta_data"] = json!({"lang": "no"});
        body["global_data"] = json!({"g": [1]});
        body["secret"] = json!("r");
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = proxy.send(Method::POST, "/swaig", &headers, body.to_string()).await.json();
        let data: Value = serde_json::from_str(answer["response"].as_str().unwrap()).unwrap();
        let expected = json!({
            "platform": "swaig", "function": "who", "conversation": "c-1", "caller": caller,
            "metadata": {"lang": "no"}, "global": {"g": [1]}, "session": "s-1", "lang": "no", "raw": "r"
        });
        assert_eq!(data, expected);
    }

    let current = json!({"secret": "r", "message": {
        "type": "tool-calls", "call": {"id": "c-2"}, "customer": {"number": "+4"},
        "phone_number": {"number": "+5"}, "assistant": {"metadata": {"lang": "nl"}},
        "tool_call_list": [{"id": "t-2", "function": {"name": "who", "arguments": {}}}]
    }});
    let camel = json!({"secret": "r", "message": {
        "type": "tool-calls", "call": {"id": "c-2"}, "customer": {"number": "+4"},
        "phoneNumber": {"number": "+5"}, "assistant": {"metadata": {"lang": "nl"}},
        "toolCallList": [{"id": "t-2", "function": {"name": "who", "arguments": {}}}]
    }});
    let oldest = json!({
        "secret": "r", "callId": "c-2", "fromCaller": "+4", "toAssistant": "+5", "userMetadata": {"lang": "nl"},
        "tasksInitiated": [{"taskId": "t-2", "taskName": "who", "taskPayload": {}}]
    });
    for body in [current, camel, oldest] {
        let answer = proxy.send(Method::POST, "/voicedock", &headers, body.to_string()).await.json();
        let expected = json!({
            "platform": "voicedock", "function": "who", "id": "t-2", "conversation": "c-2", "caller": "+4",
            "called": "+5", "metadata": {"lang": "nl"}, "session": "s-1", "lang": "nl", "raw": "r"
        });
        assert_eq!(answer["results"][0]["result"], expected, "{body}");
    }

    let answer = proxy.send(Method::POST, "/http/who", &headers, "{\"secret\": \"r\"}").await.json();
    let expected = json!({
        "platform": "http", "function": "who", "conversation": "conv", "session": "s-1", "raw": "r"
    });
    assert_eq!(answer["data"], expected);
    let answer = proxy.send(Method::GET, "/http/who", &[], "").await.json();
    assert_eq!(answer["data"], json!({"platform": "http", "function": "who"}));
}
