//! The memory for large bodies: who finds none waits for it, and no longer than the call may take.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::proxy::{GUARD, LISTENERS, Proxy};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

/// More than a body may have that needs no memory of its own.
const LARGE: usize = 70_000;

/// All memory for bodies of one direction.
const ALL: usize = 128 * 1024 * 1024;

#[tokio::test]
async fn a_large_response_waits_for_memory_and_fails_in_time() {
    let upstream = Upstream::new(|seen| {
        let reply = Reply::json(&json!("x".repeat(LARGE)));
        // The rest of this body never arrives.
        if seen.path() == "/endless" { reply.header("content-length", &ALL.to_string()) } else { reply }
    })
    .await;
    let table = r#"
[platforms.http]
[upstreams.endless]
base_url = "http://UPSTREAM"
max_body = "128MiB"
[upstreams.api]
base_url = "http://UPSTREAM"
timeout = "300ms"
[routes.endless]
upstream = "endless"
request.path = "/endless"
extract.all = "$"
reply.text = "x"
[routes.large]
upstream = "api"
request.path = "/large"
extract.all = "$"
reply.text = "large"
[routes.small]
reply.text = "small"
"#;
    let mut proxy = Proxy::over(&upstream, table).await;
    let mut endless = TcpStream::connect(proxy.listen).await.unwrap();
    endless.write_all(b"GET /http/endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let large = async || proxy.post("/http/large", &json!({})).await.json();
    until("there is always memory", async || large().await["error"]["kind"] == "bad_response").await;
    assert_eq!(proxy.post("/http/small", &json!({})).await.json()["text"], "small");
    // The client leaves, and with it the response that holds all memory.
    drop(endless);
    until("there is no memory any more", async || large().await["text"] == "large").await;
    let line = proxy.logged("no memory for a large body became free in time").await;
    assert!(line.contains("reason=too_large"), "{line}");
}

#[tokio::test]
async fn a_large_request_is_answered_when_memory_becomes_free() {
    let table = LISTENERS.to_owned()
        + "max_body = \"128MiB\"\n[platforms.http]\n[routes.say]\nargs.a.type = \"string\"\nreply.text = \"Hello.\"\n";
    let proxy = Proxy::start(&table).await;
    let begin = async |length: usize, body: String| {
        let mut stream = TcpStream::connect(proxy.listen).await.unwrap();
        let head = format!(
            "POST /http/say HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    };
    let endless = begin(ALL, "x".repeat(LARGE)).await;
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(LARGE));
    let mut waiting = begin(body.len(), body).await;
    assert_eq!(proxy.post("/http/say", &json!({})).await.json()["text"], "Hello.");
    drop(endless);
    let mut answer = String::new();
    let answered = tokio::time::timeout(GUARD, waiting.read_to_string(&mut answer)).await;
    answered.expect("no answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Hello."), "{answer}");
}
