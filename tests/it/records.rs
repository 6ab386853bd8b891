//! Records of recent calls on the admin listener: as a list, one at a time and as a stream, all masked.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::proxy::{GUARD, LISTENERS, Proxy};
use crate::support::upstream::{Reply, Upstream};

const SECRET: &str = "s3cret\"key";
const PIN: &str = "9 4\"1";

const TABLE: &str = r#"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
auth.bearer = { token = "${TOKEN}" }
retry = { attempts = 1 }
[routes.say]
reply.text = "Hello."
[routes.book]
upstream = "api"
args.pin = { type = "string", sensitive = true }
args.city = { type = "string" }
request = { method = "POST", path = "/book", query = { pin = "{{args.pin}}" }, body = { pin = "{{args.pin}}", city = "{{args.city}}" } }
extract = { name = "$.name", came = "$.came", none = { path = "$.none", default = 1 } }
reply.text = "{{name}} in {{args.city}}, {{args.pin}}"
[routes.large]
upstream = "api"
request = { path = "/large" }
reply.text = "Done."
[routes.failing]
upstream = "api"
request = { path = "/failing" }
"#;

async fn upstream() -> Upstream {
    Upstream::new(|seen| match seen.path() {
        "/failing" => Reply::status(503, &json!({})),
        "/large" => Reply::json(&json!({"text": "x".repeat(100_000)})),
        _ => {
            let came = String::from_utf8_lossy(&seen.body).into_owned();
            let mut reply =
                Reply::json(&json!({"came": came, "key": seen.header("authorization"), "name": "Ada"}));
            let echo = seen.header("authorization").join(",");
            for (name, value) in
                [("x-echo", echo.as_str()), ("set-cookie", "session=1"), ("x-request-id", "r-1")]
            {
                reply.headers.push((name.to_owned(), value.to_owned()));
            }
            reply
        }
    })
    .await
}

async fn start(upstream: &Upstream, server: &str) -> Proxy {
    let table = format!("{LISTENERS}{server}{TABLE}").replace("UPSTREAM", &upstream.address.to_string());
    Proxy::with(&[("routes.toml", &table)], &[("TOKEN", SECRET)]).await
}

async fn list(proxy: &Proxy, query: &str) -> Vec<Value> {
    let answer = proxy.ask_admin(&format!("/records{query}"), &[]).await;
    assert_eq!(answer.status, 200, "{query}");
    answer.json()["records"].as_array().unwrap().clone()
}

/// The numbers of the calls in their process.
fn numbers(records: &[Value]) -> String {
    let ids = records.iter().map(|record| record["id"].as_str().unwrap().split_once('-').unwrap().1);
    ids.collect::<Vec<_>>().join(" ")
}

/// The part of every id that names the process.
async fn prefix(proxy: &Proxy) -> String {
    let id = list(proxy, "?limit=1").await[0]["id"].as_str().unwrap().to_owned();
    let (prefix, _) = id.split_once('-').unwrap();
    assert_eq!(prefix.len(), 10, "{id}");
    prefix.to_owned()
}

async fn call(proxy: &Proxy) {
    proxy.post("/http/say", &json!({})).await;
    let book = json!({"pin": PIN, "city": "Oslo"});
    assert_eq!(proxy.post("/http/book", &book).await.json()["text"], format!("Ada in Oslo, {PIN}"));
    for (function, conversation) in [("failing", "c-1"), ("say", "c-2"), ("nobody", "c-2")] {
        let call =
            json!({"function": function, "call_id": conversation, "argument": {"parsed": [{"pin": PIN}]}});
        proxy.post("/swaig", &call).await;
    }
}

#[tokio::test]
async fn recent_calls_can_be_listed_and_filtered() {
    let upstream = upstream().await;
    let proxy = start(&upstream, "records = 2\n").await;
    assert_eq!(list(&proxy, "").await, Vec::<Value>::new());
    call(&proxy).await;
    let before = jiff::Timestamp::now().to_string();
    // The first call is the third one that was answered, and two are kept. Failures are kept separately.
    for (query, expected) in [
        ("", "5 4 3 2"),
        ("?limit=2", "5 4"),
        ("?limit=0", ""),
        ("?platform=swaig", "5 4 3"),
        ("?platform=millis", ""),
        ("?route=say", "4"),
        ("?route=large", ""),
        ("?outcome=answered", "4 2"),
        ("?outcome=failed", "5 3"),
        ("?outcome=unknown_function", "5"),
        ("?outcome=timeout", ""),
        ("?conversation=c-2", "5 4"),
        ("?conversation=c-3", ""),
        ("?conversation=c-2&outcome=answered&limit=9", "4"),
        ("?since=1h", "5 4 3 2"),
        ("?since=2026-01-01T00:00:00Z&outcome=failed", "5 3"),
        (&format!("?since={before}"), ""),
    ] {
        assert_eq!(numbers(&list(&proxy, query).await), expected, "{query}");
    }
    for (query, known) in [
        ("?limit=many", "`limit`"),
        ("?rout=say", "`route`"),
        ("?route=none", "`book`, `failing`, `large`, `say`"),
        ("?route=nobody", "`say`"),
        ("?outcome=bogus", "`answered`, `failed`, `timeout`"),
        ("?outcome=", "`unknown_function`"),
        ("?platform=vapi", "`swaig`"),
        ("?since=yesterday", "`15m`"),
    ] {
        for (path, headers) in
            [("/records", &[][..]), ("/records/stream", &[("accept", "text/event-stream")])]
        {
            let answer = proxy.ask_admin(&format!("{path}{query}"), headers).await;
            assert_eq!(answer.status, 400, "{path}{query}");
            assert!(answer.json()["error"].as_str().unwrap().contains(known), "{}", answer.text());
        }
    }
    let failing = &list(&proxy, "?route=failing").await[0];
    assert_eq!((&failing["outcome"], &failing["upstreams"]), (&json!("bad_response"), &json!("api")));
    assert!(failing["error"].as_str().unwrap().contains("status 503"), "{failing}");
    assert!(
        failing["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok() && failing["ms"].is_f64(),
        "{failing}"
    );
    assert_eq!((&failing["client"], &failing["function"]), (&json!("127.0.0.1"), &json!("failing")));
    let prefix = prefix(&proxy).await;
    for id in [format!("{prefix}-1"), format!("{prefix}-6"), "5".to_owned(), "0000000000-5".to_owned()] {
        assert_eq!(proxy.ask_admin(&format!("/records/{id}"), &[]).await.status, 404, "{id}");
    }
}

#[tokio::test]
async fn records_show_every_step_and_no_masked_values() {
    let upstream = upstream().await;
    let proxy = start(&upstream, "").await;
    call(&proxy).await;
    proxy.post("/http/large", &json!({})).await;
    proxy.post("/http/book", &json!({"pin": 1, "city": {"pin": PIN}})).await;
    let prefix = prefix(&proxy).await;
    let one = async |id: usize| proxy.ask_admin(&format!("/records/{prefix}-{id}"), &[]).await;
    let book = one(2).await.json();
    assert_eq!(book["arguments"]["values"], json!({"pin": "***", "city": "Oslo"}));
    let step = &book["steps"][0];
    assert_eq!((&step["upstream"], &step["attempt_count"]), (&json!("api"), &json!(1)));
    assert_eq!(step["request"]["method"], "POST");
    assert!(step["request"]["url"].as_str().unwrap().ends_with("/book?pin=***"), "{step}");
    assert_eq!(step["request"]["body"], json!({"pin": "***", "city": "Oslo"}));
    assert!(step["request"]["headers"].to_string().contains("[\"authorization\",\"***\"]"), "{step}");
    let response = &step["response"];
    assert_eq!((&response["status"], &response["content_type"]), (&json!(200), &json!("application/json")));
    assert_eq!(response["body"]["key"], json!(["***"]));
    // Headers are shown, without secrets and cookies.
    let headers = json!([["content-type", "application/json"], ["x-echo", "***"], ["x-request-id", "r-1"]]);
    let shown = response["headers"].as_array().unwrap().iter().filter(|header| header[0] != "content-length");
    assert_eq!(json!(shown.collect::<Vec<_>>()), headers);
    assert_eq!((&step["extracted"]["name"], &step["extracted"]["none"]), (&json!("Ada"), &json!(1)));
    assert!(step["upstream_ms"].is_f64(), "{step}");
    assert_eq!((&book["case"], &book["reply"]["text"]), (&json!(1), &json!("Ada in Oslo, ***")));
    // Arguments that no route declares may be sensitive, so they are all masked.
    assert_eq!(one(5).await.json()["arguments"]["values"], "***");
    assert_eq!(one(6).await.json()["steps"][0]["response"]["body"], json!({"omitted_bytes": 100_011}));
    let mut all = proxy.ask_admin("/records", &[]).await.text().to_owned();
    for id in 1..=7 {
        let record = one(id).await;
        assert_eq!(record.status, 200, "{id}");
        all.push_str(record.text());
    }
    for hidden in ["s3cret", "9%204", "9+4"] {
        assert!(!all.contains(hidden), "{hidden}: {all}");
    }
    assert!(!all.replace("\"city\":{\"pin\":\"9 4", "").contains("9 4"), "{all}");
}

#[tokio::test]
async fn log_lines_records_and_traces_refer_to_each_other() {
    let upstream = upstream().await;
    let mut proxy = start(&upstream, "").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let caller = format!("00-{trace}-00f067aa0ba902b7-01");
    for function in ["say", "failing"] {
        let (path, headers) = (format!("/http/{function}"), [("traceparent", caller.as_str())]);
        proxy.send(http::Method::POST, &path, &headers, "{}").await;
        let line = proxy.logged(&format!("{function}: ")).await;
        assert!(line.contains(&format!("trace=\"{trace}\"")), "{line}");
        let id = line.split("record_id=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let record = proxy.ask_admin(&format!("/records/{id}"), &[]).await.json();
        assert_eq!((&record["route"], &record["trace"]), (&json!(function), &json!(trace)), "{line}");
    }
    assert_eq!(list(&proxy, "?route=say").await[0]["trace"], trace);
    call(&proxy).await;
    assert_eq!(list(&proxy, "?limit=1").await[0]["trace"], Value::Null);
}

/// Reads from the admin listener until `text` or the end of the stream.
async fn read_until(stream: &mut TcpStream, text: Option<&str>) -> String {
    let (mut read, mut piece) = (Vec::new(), [0; 4096]);
    let reading = async {
        loop {
            let so_far = String::from_utf8_lossy(&read).into_owned();
            if text.is_some_and(|text| so_far.contains(text)) {
                return so_far;
            }
            match stream.read(&mut piece).await.unwrap() {
                0 if text.is_none() => return so_far,
                0 => panic!("ended before {text:?}: {so_far}"),
                count => read.extend_from_slice(&piece[..count]),
            }
        }
    };
    // One limit for all of it: comments that keep the stream alive do not extend it.
    timeout(GUARD, reading).await.unwrap_or_else(|_| panic!("{text:?} does not arrive"))
}

async fn listen(admin: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, Some("as they end\n\n")).await;
    for header in ["content-type: text/event-stream\r\n", "x-accel-buffering: no\r\n"] {
        assert!(head.contains(header), "{head}");
    }
    stream
}

#[tokio::test]
async fn records_are_streamed_as_calls_end_until_shutdown() {
    let upstream = upstream().await;
    let mut proxy = start(&upstream, "").await;
    let admin = proxy.admin.unwrap();
    let mut all = listen(admin, "/records/stream", "").await;
    let mut some = listen(admin, "/records?outcome=bad_response", "accept: text/event-stream\r\n").await;
    call(&proxy).await;
    let prefix = prefix(&proxy).await;
    let streamed = read_until(&mut all, Some("-5\n")).await;
    for id in 1..=5 {
        let id = format!("{prefix}-{id}");
        assert!(
            streamed.contains(&format!("event: record\nid: {id}\ndata: {{\"id\":\"{id}\",")),
            "{streamed}"
        );
    }
    let streamed = read_until(&mut some, Some("\n\n\r\n")).await;
    assert!(streamed.contains("-3\n") && streamed.matches("event: ").count() == 1, "{streamed}");
    // Open streams do not delay the shutdown.
    proxy.signal("TERM");
    read_until(&mut all, None).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(!proxy.log().contains("still in flight"), "{}", proxy.log());
}

#[tokio::test]
async fn records_can_be_turned_off_by_a_reload() {
    let upstream = upstream().await;
    let mut proxy = start(&upstream, "records = 0\n").await;
    call(&proxy).await;
    assert_eq!(list(&proxy, "").await, Vec::<Value>::new());
    let rewrite = |proxy: &Proxy, records: usize| {
        let table = format!("{LISTENERS}records = {records}\n{TABLE}");
        proxy.folder.write("routes.toml", &table.replace("UPSTREAM", &upstream.address.to_string()));
    };
    assert!(!proxy.log().contains("record_id"), "{}", proxy.log());
    rewrite(&proxy, 1);
    proxy.logged("configuration reloaded").await;
    call(&proxy).await;
    assert_eq!(numbers(&list(&proxy, "").await), "5 4");
}

#[tokio::test]
async fn records_require_authentication() {
    let upstream = upstream().await;
    let open = start(&upstream, "").await;
    let locked = start(&upstream, "admin_auth.bearer = { token = \"pw\" }\n").await;
    for path in ["/records", "/records/1", "/records/stream"] {
        for headers in [
            &[("origin", "https://evil.example")][..],
            &[("sec-fetch-site", "cross-site")],
            &[("host", "evil.example")],
            &[("host", "evil.example:80")],
        ] {
            let answer = open.ask_admin(path, headers).await;
            assert_eq!(answer.status, 403, "{path} {headers:?}");
            assert!(answer.json()["error"].as_str().unwrap().contains("`server.admin_auth`"), "{path}");
        }
        assert_eq!(locked.ask_admin(path, &[]).await.status, 401, "{path}");
    }
    assert_eq!(open.ask_admin("/records", &[("host", "localhost:1")]).await.status, 200);
    let login = ("authorization", "Bearer pw");
    assert_eq!(locked.ask_admin("/records", &[login, ("host", "ops.example")]).await.status, 200);
}

/// Last night's failure is still there in the morning, and its id names no other call.
#[tokio::test]
async fn failures_outlive_answered_calls_and_ids_restarts() {
    let upstream = upstream().await;
    let proxy = start(&upstream, "records = 3\n").await;
    proxy.post("/http/failing", &json!({})).await;
    for _ in 0..10 {
        proxy.post("/http/say", &json!({})).await;
    }
    let failed = list(&proxy, "?outcome=failed").await;
    assert_eq!((failed.len(), &failed[0]["route"]), (1, &json!("failing")));
    let id = failed[0]["id"].as_str().unwrap();
    assert_eq!(proxy.ask_admin(&format!("/records/{id}"), &[]).await.status, 200);

    let other = start(&upstream, "").await;
    other.post("/http/say", &json!({})).await;
    assert_eq!(other.ask_admin(&format!("/records/{id}"), &[]).await.status, 404);
    assert_ne!(prefix(&proxy).await, prefix(&other).await);
}

const SKIPPING: &str = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.weather]
upstream = "api"
args.day = { type = "string" }
request = { path = "/weather" }
extract = { summary = { path = "$.summary", default = "none" }, gone = { path = "$.gone", default = "" } }
[[routes.weather.reply]]
when.matches = { summary = "thunder|storm" }
text = "Storm."
[[routes.weather.reply]]
when.matches = { "args.day" = "x" }
text = "x"
[[routes.weather.reply]]
when.matches = { "call.caller" = "47" }
text = "Norway."
[[routes.weather.reply]]
when.equals = { summary = ["fog", "mist"] }
text = "Fog."
[[routes.weather.reply]]
when.status = 404
text = "None."
[[routes.weather.reply]]
when.equals = { "response.body.kind" = "text" }
text = "Text."
[[routes.weather.reply]]
text = "{{summary}} {{response.body.wind}}"
"#;

/// The reasons tell a missing value from a different one. A value that the record has lost is not called missing.
#[tokio::test]
async fn records_say_why_cases_were_skipped() {
    let upstream = Upstream::new(|_| Reply::json(&json!({"summary": "light rain"}))).await;
    let proxy = Proxy::over(&upstream, SKIPPING).await;
    proxy.post("/http/weather", &json!({})).await;
    let id = list(&proxy, "").await[0]["id"].as_str().unwrap().to_owned();
    let record = proxy.ask_admin(&format!("/records/{id}"), &[]).await.json();
    let reasons: Vec<_> = record["skipped"].as_array().unwrap().iter().map(|case| &case["reason"]).collect();
    assert_eq!(
        json!(reasons),
        json!([
            "`summary` is \"light rain\", which does not match `thunder|storm`",
            "`args.day` is missing",
            "`call.caller` does not match `47`",
            "`summary` is \"light rain\", not \"fog\" or \"mist\"",
            "the status is 200, not 404",
            "`response.body.kind` is missing",
        ])
    );
    // The last case matched, but it could not be rendered. That is in the error.
    assert_eq!(record["error"], "reply case 7: text: `response.body.wind` is missing");
}

#[tokio::test]
async fn a_web_page_instead_of_json_is_named() {
    let page = "<html><body>Down for maintenance</body></html>";
    let upstream = Upstream::new(move |_| Reply::raw(200, "text/html; charset=utf-8", page)).await;
    let proxy = Proxy::over(&upstream, SKIPPING).await;
    proxy.post("/http/weather", &json!({})).await;
    let record = &list(&proxy, "?outcome=failed").await[0];
    assert!(record["error"].as_str().unwrap().contains("the body is text/html, not JSON"), "{record}");
    let id = record["id"].as_str().unwrap();
    let record = proxy.ask_admin(&format!("/records/{id}"), &[]).await.json();
    let response = &record["steps"][0]["response"];
    assert_eq!(response["content_type"], "text/html; charset=utf-8");
    assert!(response["problem"].as_str().unwrap().contains("text/html, not JSON"), "{response}");
    assert_eq!(response["body"], page);
}

/// The log, the metrics and the record agree on what the caller was told.
#[tokio::test]
async fn an_overdue_write_is_a_timeout_everywhere() {
    let (go, gate) = tokio::sync::mpsc::channel::<()>(1);
    let gate = std::sync::Arc::new(tokio::sync::Mutex::new(gate));
    let upstream = Upstream::with(move |_| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            gate.lock().await.recv().await;
            Reply::json(&json!({}))
        }
    })
    .await;
    let table = "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\ntimeout = \"50ms\"\n\
                 [routes.book]\nupstream = \"api\"\nrequest = { method = \"POST\", path = \"/\" }\n\
                 reply.text = \"Booked.\"\n";
    let mut proxy = Proxy::over(&upstream, table).await;
    assert_eq!(proxy.post("/http/book", &json!({})).await.json()["error"]["kind"], "timeout");
    let told = proxy.logged("outcome=timeout").await;
    go.send(()).await.unwrap();
    let ended = proxy.logged("after its late reply").await;
    assert!(ended.contains("late_outcome=answered") && !ended.contains(" outcome="), "{ended}");
    let id = |line: &str| line.split("record_id=").nth(1).map(|id| id.split(' ').next().unwrap().to_owned());
    assert_eq!(id(&told), id(&ended));
    let record = &list(&proxy, "?outcome=timeout").await[0];
    assert_eq!(record["id"].as_str(), id(&told).as_deref());
    assert_eq!((&record["outcome"], &record["late_outcome"]), (&json!("timeout"), &json!("answered")));
    assert_eq!(record["overdue"], true);
    assert!(record["error"].as_str().unwrap().contains("deadline"), "{record}");
    assert_eq!(list(&proxy, "?outcome=answered").await, Vec::<Value>::new());
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    for series in [
        "jackfield_calls_total{platform=\"http\",route=\"book\",outcome=\"timeout\"} 1",
        "jackfield_upstream_failures_total{upstream=\"api\",kind=\"timeout\",reason=\"timeout\"} 1",
    ] {
        assert!(metrics.text().lines().any(|line| line == series), "{series}: {}", metrics.text());
    }
}

#[tokio::test]
async fn sensitive_extracts_are_masked_wherever_a_call_is_shown() {
    let upstream = Upstream::new(|seen| match seen.path() {
        "/cards" => Reply::json(
            &json!({"card": {"number": "4000 1234", "cvc": 8123456789_u64, "on": true}, "of": "Ada"}),
        ),
        "/gone" => Reply::status(404, &json!({"card": {"number": "5000 9876"}})),
        "/part" => Reply::json(&json!({"card": {"number": "6000 1111"}})),
        _ => Reply::json(&json!({"paid": seen.json()})),
    })
    .await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
args.path = { type = "string", enum = ["cards", "gone", "part"] }
[[routes.f.steps]]
name = "look"
request = { path = "/{{args.path}}" }
extract.number = { path = "$.card.number", sensitive = true }
extract.cvc = { path = "$.card.cvc", sensitive = true }
extract.on = { path = "$.card.on", sensitive = true, default = false }
extract.of = { path = "$.of", required = true }
[[routes.f.steps]]
name = "pay"
request = { method = "POST", path = "/pay", query = { n = "{{look.number}}" }, body = { card = "{{look.number}}", cvc = "{{look.cvc}}" } }
[[routes.f.reply]]
text = "{{look.of}} paid with {{look.number}}"
"#;
    let mut proxy = Proxy::over(&upstream, &format!("[log]\nbodies = true\n{table}")).await;
    for (path, text) in [("cards", "Ada paid with 4000 1234"), ("gone", ""), ("part", "")] {
        let answer = proxy.post("/http/f", &json!({"path": path})).await.json();
        assert_eq!(answer["text"].as_str().unwrap_or_default(), text);
    }
    proxy.logged("f: bad_response").await;
    let records = list(&proxy, "").await;
    assert_eq!(records.len(), 3);
    let mut shown = vec![proxy.log()];
    for record in &records {
        let path = format!("/records/{}", record["id"].as_str().unwrap());
        shown.push(proxy.ask_admin(&path, &[]).await.text().to_owned());
    }
    let last: Value = serde_json::from_str(&shown[3]).unwrap();
    assert_eq!(
        last["steps"][0]["extracted"],
        json!({"number": "***", "cvc": "***", "on": "***", "of": "Ada"})
    );
    assert_eq!(
        last["steps"][0]["response"]["body"]["card"],
        json!({"number": "***", "cvc": "***", "on": true})
    );
    assert_eq!(last["steps"][1]["request"]["body"], json!({"card": "***", "cvc": "***"}));
    assert_eq!(last["reply"]["text"], "Ada paid with ***");
    for text in shown {
        for hidden in ["4000 1", "8123456789", "5000 9", "6000 1"] {
            assert!(!text.contains(hidden), "{hidden} in {text}");
        }
    }
}

#[tokio::test]
async fn stars_in_a_value_do_not_look_hidden() {
    let upstream = upstream().await;
    let proxy = start(&upstream, "").await;
    let book = json!({"pin": PIN, "city": "*** (4 stars: ****)"});
    proxy.post("/http/book", &book).await;
    let id = list(&proxy, "").await[0]["id"].as_str().unwrap().to_owned();
    let record = proxy.ask_admin(&format!("/records/{id}"), &[]).await.json();
    let escaped = r"\*\*\* (4 stars: \*\*\*\*)";
    assert_eq!(record["arguments"]["values"], json!({"pin": "***", "city": escaped}));
    assert_eq!(record["steps"][0]["request"]["body"], json!({"pin": "***", "city": escaped}));
    assert_eq!(record["reply"]["text"], format!("Ada in {escaped}, ***"));
}
