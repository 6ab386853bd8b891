//! The rules of HTTP on the wire of the listener for platforms, where they leave a choice, and what becomes of requests
//! that break them.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::proxy::{GUARD, Proxy};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.ask]
upstream = "api"
request.path = "/"
reply.text = "asked"
[routes.book]
upstream = "api"
request = { method = "POST", path = "/" }
reply.text = "booked"
[routes.say]
reply.text = "Hello."
"#;

/// Sends bytes and returns everything received until the proxy closes the connection.
async fn exchange(proxy: &Proxy, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = TcpStream::connect(proxy.listen).await.unwrap().into_split();
    // A proxy that has rejected the request need not read the rest.
    let write = async { drop(writer.write_all(bytes).await) };
    let mut answer = Vec::new();
    let read = async { drop(reader.read_to_end(&mut answer).await) };
    let both = async { tokio::join!(write, read) };
    tokio::time::timeout(GUARD, both).await.expect("the connection was not closed");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn requests_that_http_rejects_are_logged_and_counted() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    let line = "GET /http/say HTTP/1.1\r\nhost: localhost\r\n";
    for (bytes, status, logged) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400, "the request line does not begin with a method"),
        ("GET /http/say\r\n\r\n".to_owned(), 400, "the request line has no valid URL"),
        ("GET /http/say HTTP/3.0\r\n\r\n".to_owned(), 400, "the request line does not end with HTTP/1.1"),
        (format!("{line}no colon\r\n\r\n"), 400, "a header does not begin with a valid name"),
        (format!("{line}a: \0\r\n\r\n"), 400, "the value of a header has a forbidden character"),
        (format!("{line}content-length: x\r\n\r\n"), 400, "`content-length` is not a valid number"),
        (format!("{line}a: {}\r\n\r\n", "x".repeat(70_000)), 431, "more than 64 KiB or 100 headers"),
        (format!("{line}{}\r\n", "a: b\r\n".repeat(200)), 431, "more than 64 KiB or 100 headers"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 431, "more than 64 KiB or 100 headers"),
    ] {
        let from = proxy.log_lines();
        let answer = exchange(&proxy, bytes.as_bytes()).await;
        let shown = &bytes[..bytes.len().min(80)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
        let line = proxy.logged_from(from, "rejected: the head of the request").await;
        assert!(line.contains(logged) && line.contains("client=127.0.0.1"), "{shown}: {line}");
    }
    // Neither an idle connection, a cut-off head, nor a wrong body is a bad head.
    for bytes in ["", "GET /http/say HT"] {
        let mut stream = TcpStream::connect(proxy.listen).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
    let chunked = format!("{line}transfer-encoding: chunked\r\n\r\nx\r\n");
    assert!(exchange(&proxy, chunked.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    let rejected = proxy.status().await["rejected_requests"].take();
    let counts =
        ["malformed", "head_too_large", "body_lost"].map(|reason| rejected[reason].as_u64().unwrap());
    assert_eq!(counts, [6, 3, 1], "{rejected}");
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    for sample in ["malformed\"} 6\n", "head_too_large\"} 3\n"] {
        let sample = format!("jackfield_rejected_requests_total{{reason=\"{sample}");
        assert!(metrics.text().contains(&sample), "{sample}");
    }
}

/// RFC 9112, section 2.2: a recipient may take a single LF as the end of a line.
#[tokio::test]
async fn lines_of_a_head_may_end_in_lf() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    let head = "GET /http/say HTTP/1.1\nhost: localhost\nconnection: close\n\n";
    let answer = exchange(&proxy, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Hello."), "{answer}");
    // In the lines of a chunked body, another reader might see another end of the body.
    let head = "POST /http/say HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = exchange(&proxy, format!("{head}2\n{{}}\n0\n\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// A client that closes its side has disconnected: what changes nothing is cancelled, and a write is finished.
#[tokio::test]
async fn a_client_that_closes_its_side_has_disconnected() {
    let (upstream, gate) = Upstream::gated(|_| Reply::json(&json!({}))).await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    for (count, route) in [(1, "ask"), (2, "book")] {
        let mut stream = TcpStream::connect(proxy.listen).await.unwrap();
        let head = format!("GET /http/{route} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        upstream.arrived(count).await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let closed = tokio::time::timeout(GUARD, stream.read_to_string(&mut answer)).await;
        closed.expect("the connection was not closed").unwrap();
        assert_eq!(answer, "", "{route}");
    }
    gate.add_permits(2);
    until("the write is not finished", async || {
        let records = proxy.ask_admin("/records?route=book", &[]).await.json();
        records["records"][0]["outcome"] == "answered"
    })
    .await;
}
