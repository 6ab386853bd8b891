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
            Reply::json(&json!({"came": came, "key": seen.header("authorization"), "name": "Ada"}))
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

fn ids(records: &[Value]) -> String {
    let ids = records.iter().map(|record| record["id"].as_str().unwrap());
    ids.collect::<Vec<_>>().join(" ")
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
    let proxy = start(&upstream, "records = 4\n").await;
    assert_eq!(list(&proxy, "").await, Vec::<Value>::new());
    call(&proxy).await;
    for (query, expected) in [
        ("", "5 4 3 2"),
        ("?limit=2", "5 4"),
        ("?limit=0", ""),
        ("?platform=swaig", "5 4 3"),
        ("?route=say", "4"),
        ("?outcome=answered", "4 2"),
        ("?outcome=unknown_function", "5"),
        ("?conversation=c-2", "5 4"),
        ("?conversation=c-2&outcome=answered&limit=9", "4"),
        ("?route=none", ""),
    ] {
        assert_eq!(ids(&list(&proxy, query).await), expected, "{query}");
    }
    for query in ["?limit=many", "?rout=say"] {
        let answer = proxy.ask_admin(&format!("/records{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json()["error"].as_str().unwrap().contains("`limit`"), "{query}");
    }
    let failing = &list(&proxy, "?route=failing").await[0];
    assert_eq!((&failing["outcome"], &failing["upstreams"]), (&json!("bad_response"), &json!("api")));
    assert!(failing["error"].as_str().unwrap().contains("status 503"), "{failing}");
    assert!(
        failing["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok() && failing["ms"].is_f64(),
        "{failing}"
    );
    assert_eq!((&failing["client"], &failing["function"]), (&json!("127.0.0.1"), &json!("failing")));
    for id in ["1", "6", "x"] {
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
    let one = async |id: usize| proxy.ask_admin(&format!("/records/{id}"), &[]).await;
    let book = one(2).await.json();
    assert_eq!(book["arguments"]["values"], json!({"pin": "***", "city": "Oslo"}));
    let step = &book["steps"][0];
    assert_eq!((&step["upstream"], &step["attempts"]), (&json!("api"), &json!(1)));
    assert_eq!(step["request"]["method"], "POST");
    assert!(step["request"]["url"].as_str().unwrap().ends_with("/book?pin=***"), "{step}");
    assert_eq!(step["request"]["body"], json!({"pin": "***", "city": "Oslo"}));
    assert!(step["request"]["headers"].to_string().contains("[\"authorization\",\"***\"]"), "{step}");
    assert_eq!(step["reply"]["status"], 200);
    assert_eq!(step["reply"]["body"]["key"], json!(["***"]));
    assert_eq!((&step["extracted"]["name"], &step["extracted"]["none"]), (&json!("Ada"), &json!(1)));
    assert!(step["upstream_ms"].is_f64(), "{step}");
    assert_eq!((&book["case"], &book["reply"]["text"]), (&json!(1), &json!("Ada in Oslo, ***")));
    // Arguments that no route declares may be sensitive, so they are all masked.
    assert_eq!(one(5).await.json()["arguments"]["values"], "***");
    assert_eq!(one(6).await.json()["steps"][0]["reply"]["body"], json!({"left_out_bytes": 100_011}));
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
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
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
    let streamed = read_until(&mut all, Some("id: 5\n")).await;
    for id in 1..=5 {
        assert!(
            streamed.contains(&format!("event: record\nid: {id}\ndata: {{\"id\":\"{id}\",")),
            "{streamed}"
        );
    }
    let streamed = read_until(&mut some, Some("\n\n\r\n")).await;
    assert!(streamed.contains("id: 3\n") && streamed.matches("event: ").count() == 1, "{streamed}");
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
    rewrite(&proxy, 2);
    proxy.logged("configuration reloaded").await;
    call(&proxy).await;
    assert_eq!(ids(&list(&proxy, "").await), "5 4");
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
