//! Daily Bots from outside: a bot's webhooks, the running binary, a recording upstream.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::proxy::{GUARD, Proxy};
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.dailybots]
headers = ["conversation-id"]

[upstreams.api]
base_url = "http://UPSTREAM"

[routes.get_weather]
upstream = "api"
args.city = { type = "string", required = true }
[routes.get_weather.request]
path = "/weather"
query = { city = "{{args.city}}", conversation = "{{call.headers.conversation-id}}", id = "{{call.id}}" }
[routes.get_weather.extract]
temp_c = "$.temp"

[routes.change_language]
streaming = true
upstream = "api"
args.language = { type = "string", required = true }
args.voice = { type = "string" }
request = { path = "/voices/{{args.language}}" }
extract.code = "$.code"
dailybots.before = [
  { action = "tts:say", arguments = { text = "One moment, {{args.language}}." } },
  { action = "{{default args.voice \"tts:interrupt\"}}" },
]
[[routes.change_language.reply]]
when.failure = "any"
text = "That language is not there."
dailybots.events = { action = "llm:run" }
[[routes.change_language.reply]]
data = { language = "{{args.language}}" }
dailybots.events = [
  { update_config = { tts = { language = "{{code}}" } }, interrupt = false },
  { action = "llm:append_to_messages", arguments = { messages = "{{args.voice}}" } },
]
"#;

#[tokio::test]
async fn every_request_format_is_answered_with_an_object() {
    let upstream = Upstream::new(|_| Reply::json(&json!({"temp": 17.5}))).await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    let call = |arguments: &str| {
        let mut call = json!({"function_name": "get_weather", "tool_call_id": "call_Zx81Qp"});
        call[arguments] = json!({"city": "Lyon", "units": "metric"});
        call.to_string()
    };
    let headers = [("conversation-id", "6b0d-made-up"), ("authorization", "Bearer of-the-bot")];
    for (method, path, body, id) in [
        (Method::POST, "/dailybots", call("arguments"), Some("call_Zx81Qp")),
        (Method::PUT, "/dailybots/get_weather", call("args"), Some("call_Zx81Qp")),
        (Method::POST, "/dailybots/get_weather", "{\"city\": \"Lyon\"}".into(), None),
        (Method::GET, "/dailybots/get_weather?city=Lyon", String::new(), None),
    ] {
        let answer = proxy.send(method, path, &headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"temp_c": 17.5})), "{path}");
        let seen = upstream.one();
        let query = seen.query();
        let value = |key: &str| query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        assert_eq!(
            (value("city"), value("conversation"), value("id")),
            (Some("Lyon"), Some("6b0d-made-up"), id)
        );
        assert_eq!(seen.header("authorization"), [""; 0]);
    }
    for (path, body, expected) in [
        (
            "/dailybots",
            json!({"function_name": "get_weather", "arguments": {}}),
            "argument `city` is required",
        ),
        ("/dailybots/get_time", json!({}), "There is no such function."),
        (
            "/dailybots/get_weather",
            json!({"function_name": "get_time"}),
            "the function name in the request differs from the one in the URL",
        ),
        ("/dailybots", json!({"city": "Lyon"}), "it has no function name"),
    ] {
        let answer = proxy.post(path, &body).await;
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 200);
        assert!(error.contains(expected), "{error}");
    }
    assert!(upstream.take().is_empty());
}

/// The result in a stream, and the names of its events.
fn result_of(stream: &str) -> (Value, Vec<&str>) {
    let names = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let result = stream
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .find(|data| data["action"] == "function_result")
        .unwrap_or_else(|| panic!("no result: {stream}"));
    (result["arguments"].clone(), names)
}

#[tokio::test]
async fn a_stream_starts_before_the_upstream_responds() {
    let (release, held) = watch::channel(false);
    let upstream = Upstream::with(move |_| {
        let mut held = held.clone();
        async move {
            held.wait_for(|released| *released).await.unwrap();
            Reply::json(&json!({"code": "fr\r\n\r\nevent: close"}))
        }
    })
    .await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    let call = json!({
        "function_name": "change_language",
        "tool_call_id": "call_Ab12Cd",
        "arguments": {"language": "french", "other": 1},
    });
    let body = call.to_string();
    let mut stream = TcpStream::connect(proxy.listen).await.unwrap();
    let head = format!(
        "POST /dailybots HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 1024];
    let before = "event: action\ndata: {\"service\":\"tts\",\"action\":\"say\",\
                  \"arguments\":[{\"name\":\"text\",\"value\":\"One moment, french.\"}]}\n\n\
                  event: action\ndata: {\"service\":\"tts\",\"action\":\"interrupt\"}\n\n";
    while !text.contains(before) {
        let read = timeout(GUARD, stream.read(&mut buffer)).await.expect(&text).unwrap();
        assert!(read > 0, "ended early: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    assert!(text.contains("200 OK") && text.contains("content-type: text/event-stream"), "{text}");
    assert!(!text.contains("function_result"), "{text}");

    release.send(true).unwrap();
    timeout(GUARD, stream.read_to_string(&mut text)).await.expect("the stream ends").unwrap();
    let (result, names) = result_of(&text);
    let expected = json!([
        {"name": "function_name", "value": "change_language"},
        {"name": "tool_call_id", "value": "call_Ab12Cd"},
        {"name": "arguments", "value": {"language": "french", "other": 1}},
        {"name": "result", "value": {"language": "french"}},
    ]);
    assert_eq!(result, expected);
    assert_eq!(names, ["action", "action", "update-config", "action", "close"]);
    let config = "data: {\"config\":[{\"service\":\"tts\",\"options\":[\
                  {\"name\":\"language\",\"value\":\"fr\\r\\n\\r\\nevent: close\"}]}],\"interrupt\":false}\n\n";
    assert!(text.contains(config), "{text}");
    assert!(text.contains("event: close\ndata: {}\n\n"), "{text}");
    // Without the optional argument, an event lacked a required value.
    proxy.logged("event 2 is left out").await;
}

#[tokio::test]
async fn failures_and_invalid_events_do_not_break_the_stream() {
    let upstream = Upstream::new(|_| Reply::status(500, &json!({}))).await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    let call = |arguments: Value| json!({"function_name": "change_language", "arguments": arguments});

    let answer = proxy.post("/dailybots", &call(json!({"language": "french", "voice": "tts:shout"}))).await;
    let (result, names) = result_of(answer.text());
    let expected = json!({"name": "result", "value": {"error": "That language is not there."}});
    assert_eq!(result.as_array().unwrap().last(), Some(&expected));
    assert_eq!(names, ["action", "action", "action", "close"]);
    assert!(answer.text().contains("\"action\":\"run\""), "{}", answer.text());
    assert!(!answer.text().contains("\"action\":\"shout\""), "{}", answer.text());
    let dropped = proxy.logged("event 2 is left out").await;
    assert!(dropped.contains("unknown action name"), "{dropped}");

    // An invalid argument is reported in the stream too, with no event before it.
    upstream.take();
    let answer = proxy.post("/dailybots", &call(json!({}))).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!((answer.header("cache-control"), answer.header("x-accel-buffering")), ("no-cache", "no"));
    let (_, names) = result_of(answer.text());
    assert_eq!(names, ["action", "action", "close"]);
    assert!(!answer.text().contains("One moment"), "{}", answer.text());
    assert!(upstream.take().is_empty());
}
