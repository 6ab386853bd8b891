//! The transport against an upstream that sends raw bytes, valid HTTP or not.

mod connections;
mod failures;
mod redirects;

use super::super::Response;
use super::*;
use crate::http1::response_headers::ResponseHeaders;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http::{HeaderValue, Method};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use url::Url;

/// What the upstream does after it has sent its response.
#[derive(Clone, Copy)]
enum Then {
    /// Reads the next request.
    Listen,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Sends nothing more and keeps the connection open.
    Hang,
    /// Sends these bytes repeatedly until the connection ends.
    Repeat(&'static [u8]),
}

/// An upstream that sends raw bytes, valid HTTP or not.
struct RawUpstream {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// The received requests. An empty one means that a connection ended without another complete request.
    requests: UnboundedReceiver<String>,
}

impl RawUpstream {
    async fn responding(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer = answer.into();
        Self::with(move |_| answer.clone(), then).await
    }

    async fn with(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (sender, requests) = unbounded_channel();
        let (answer, count) = (Arc::new(answer), accepted.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (answer, sender) = (answer.clone(), sender.clone());
                tokio::spawn(async move {
                    loop {
                        let request = read_request(&mut stream).await;
                        let _ = sender.send(request.clone());
                        if request.is_empty() || stream.write_all(&answer(&request)).await.is_err() {
                            return;
                        }
                        match then {
                            Then::Listen => {}
                            Then::Close => return,
                            Then::Reset => return stream.set_zero_linger().unwrap(),
                            Then::Hang => std::future::pending().await,
                            Then::Repeat(bytes) => while stream.write_all(bytes).await.is_ok() {},
                        }
                    }
                });
            }
        });
        Self { address, accepted, requests }
    }

    fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        if read == 0 {
            return String::new();
        }
    }
}

fn target() -> Target {
    let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
    Target {
        name: "raw".to_owned(),
        timeout: None,
        max_body: 1024,
        root: String::new(),
        redirects,
        tls,
        network,
        proxy: None,
    }
}

fn get(url: Url, target: Target) -> Request {
    let target = Arc::new(target);
    Request {
        target,
        step: None,
        method: Method::GET,
        url: url.into(),
        headers: HeaderMap::new(),
        body: None,
    }
}

/// A deadline that no test reaches.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A deadline that a test can wait for.
fn near() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

async fn send(request: Request) -> Result<Response, TransportError> {
    HttpTransport::new().unwrap().send(&request, Times::by(far())).await
}

/// Sends a GET to an upstream with this response.
async fn send_to(answer: impl Into<Vec<u8>>, then: Then) -> Result<Response, TransportError> {
    let upstream = RawUpstream::responding(answer, then).await;
    send(get(upstream.url("/?key=hidden"), target())).await
}

fn compressed(encoding: &str, hex: &str) -> Vec<u8> {
    let body = hex::decode(hex).unwrap();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

/// `{"ok":true}`.
const GZIP: &str = "1f8b0800000000000203ab56cacf56b22a292a4dad0500905fd4a70b000000";
const BROTLI: &str = "0b05807b226f6b223a747275657d03";
/// 64 KiB of zeros in 96 bytes.
const GZIP_BOMB: &str = "1f8b0800000000000203edc101010000008090feafee080a0000000000000000000000000000000000\
     000000000000000000000000000000000000000000000000000000000000000000006aeb8e97d700000100";
/// 64 MiB of zeros in 53 bytes.
const BROTLI_BOMB: &str = "cfffff7ff82700e2b14020f7fe9ffffffff04f00c4610180eefd3fffffffe19f0088c32200ddfbff\
     fcffffc73f0110870500baf7ff";
const OK: &str = "HTTP/1.1 200 OK\r\nx-from: raw\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_and_its_response_are_transferred() {
    let mut upstream = RawUpstream::responding(OK, Then::Listen).await;
    let mut request = get(upstream.url("/orders?id=7"), target());
    request.method = Method::POST;
    request.headers.insert("x-key", HeaderValue::from_static("k"));
    request.body = Some(Bytes::from_static(b"{}"));

    let response = send(request).await.unwrap();

    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
    assert_eq!(response.headers.get("x-from"), Some(&b"raw"[..]));
    let address = upstream.address;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        upstream.requests.recv().await.unwrap(),
        format!(
            "POST /orders?id=7 HTTP/1.1\r\nx-key: k\r\naccept: */*\r\nuser-agent: jackfield/{version}\r\n\
             accept-encoding: gzip,br\r\nhost: {address}\r\ncontent-length: 2\r\n\r\n{{}}"
        )
    );
}

#[tokio::test]
async fn request_headers_override_client_defaults() {
    let mut upstream = RawUpstream::responding(OK, Then::Listen).await;
    let mut request = get(upstream.url("/"), target());
    request.method = Method::POST;
    request.body = Some(Bytes::new());
    request.headers.insert(header::USER_AGENT, HeaderValue::from_static("mine"));
    request.headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
    request.headers.insert(header::HOST, HeaderValue::from_static("elsewhere"));

    send(request).await.unwrap();

    assert_eq!(
        upstream.requests.recv().await.unwrap(),
        "POST / HTTP/1.1\r\nuser-agent: mine\r\naccept: text/plain\r\nhost: elsewhere\r\n\
         accept-encoding: gzip,br\r\ncontent-length: 0\r\n\r\n"
    );
}

#[tokio::test]
async fn configured_body_lengths_are_replaced_by_the_actual_one() {
    for (name, value) in [("content-length", "1"), ("content-length", "9"), ("transfer-encoding", "chunked")]
    {
        let mut upstream = RawUpstream::responding(OK, Then::Listen).await;
        let mut request = get(upstream.url("/"), target());
        request.method = Method::POST;
        request.headers.insert(name, HeaderValue::from_static(value));
        request.body = Some(Bytes::from_static(b"{}"));

        send(request).await.unwrap();

        let sent = upstream.requests.recv().await.unwrap();
        assert!(sent.contains("content-length: 2\r\n") && sent.ends_with("\r\n\r\n{}"), "{sent}");
        assert!(!sent.contains("transfer-encoding"), "{sent}");
    }
}

#[tokio::test]
async fn compressed_bodies_are_decompressed() {
    for (encoding, hex) in [("gzip", GZIP), ("GZIP", GZIP), ("X-Gzip", GZIP), ("br", BROTLI), ("Br", BROTLI)]
    {
        let response = send_to(compressed(encoding, hex), Then::Listen).await.unwrap();
        assert_eq!(response.body, r#"{"ok":true}"#, "{encoding}");
        assert_eq!(response.headers, ResponseHeaders::default(), "{encoding}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_rejected() {
    let big = [b'x'; 1025];
    let chunked = [&b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n401\r\n"[..], &big].concat();
    for (name, answer, then) in [
        ("gzip bomb", compressed("gzip", GZIP_BOMB), Then::Listen),
        ("brotli bomb", compressed("br", BROTLI_BOMB), Then::Listen),
        ("declared", b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n".to_vec(), Then::Hang),
        ("one chunk", chunked, Then::Hang),
        ("endless", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Then::Repeat(b"more and more")),
        (
            "endless chunks",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
            Then::Repeat(b"1\r\nx\r\n"),
        ),
    ] {
        let error = send_to(answer, then).await.unwrap_err();
        assert!(matches!(error.cause(), TransportError::TooLarge { limit: 1024 }), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_accepted() {
    let body = "x".repeat(1024);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{body}");
    assert_eq!(send_to(answer, Then::Listen).await.unwrap().body, body);
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    assert_eq!(send_to(answer, Then::Close).await.unwrap().body, body);
}
