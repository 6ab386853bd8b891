//! Bytes of clients, as they are, and what is answered.

mod against_hyper;
mod cases;
mod streams;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::http1::request::{Framing, MAX_HEAD};
use crate::server::graceful::GracefulShutdown;
use cases::{BAD_HEADS, REQUESTS};

/// Answers with what it understood. `/unread` does not read the body.
#[derive(Clone)]
struct Echo;

impl Endpoint for Echo {
    type Body = Full<Bytes>;

    async fn answer(self, _: Peer, request: Request<Incoming>) -> Response<Full<Bytes>> {
        echo(request).await
    }

    fn note_bad_head(&self, _: Peer, _: &BadHead) {}
}

async fn echo(request: Request<impl Body<Data = Bytes, Error: Into<BoxError>>>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {}", head.method, head.uri);
    for (name, value) in &head.headers {
        if name.as_str().starts_with("x-") {
            text.push_str(&format!(" {name}={}", value.as_bytes().escape_ascii()));
        }
    }
    let mut response = Response::default();
    if head.uri.path() != "/unread" {
        match body.collect().await {
            Ok(body) => text.push_str(&format!(" <{}>", body.to_bytes().escape_ascii())),
            Err(_) => {
                *response.status_mut() = StatusCode::BAD_REQUEST;
                text = "lost".to_owned();
            }
        }
    }
    *response.body_mut() = Full::new(Bytes::from(text));
    response
}

fn service<E>(endpoint: E, graceful: &GracefulShutdown) -> Service<E> {
    Service {
        endpoint,
        peer: Peer(([127, 0, 0, 1], 1).into()),
        head_timeout: Duration::from_secs(30),
        shutdown: graceful.watcher(),
    }
}

/// Serves a stream until it ends.
async fn serve_here(stream: impl Stream) {
    let _ = serve(stream, &service(Echo, &GracefulShutdown::new())).await;
}

/// Sends bytes, at most `piece` at once, and then nothing more. Returns what is answered until the server ends the
/// connection.
async fn send(client: impl Stream, bytes: &[u8], piece: usize) -> String {
    let (mut reader, mut writer) = tokio::io::split(client);
    let sending = async {
        // A server that has rejected the request need not read the rest.
        for piece in bytes.chunks(piece) {
            let _ = writer.write_all(piece).await;
            // The server reads the piece now.
            yield_now().await;
        }
        let _ = writer.shutdown().await;
    };
    let mut answer = Vec::new();
    let (_, read) = tokio::join!(sending, reader.read_to_end(&mut answer));
    read.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The answers without their dates.
fn undated(answers: &str) -> String {
    let lines = answers.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// The answers of a server to bytes that arrive in pieces of at most `piece` bytes.
async fn answered_by<F: Future<Output = ()>>(
    serve: impl FnOnce(DuplexStream) -> F,
    bytes: &[u8],
    piece: usize,
) -> String {
    let (client, server) = duplex(1 << 20);
    let (answers, ()) = tokio::join!(send(client, bytes, piece), serve(server));
    undated(&answers)
}

async fn answered(bytes: &[u8], piece: usize) -> String {
    answered_by(serve_here, bytes, piece).await
}

/// Bytes that arrive in small pieces must be answered in the same way.
async fn expect_in_pieces(bytes: &[u8], answers: &str) {
    for piece in [1, 7] {
        let shown = bytes.escape_ascii();
        assert_eq!(answered(bytes, piece).await, answers, "{shown}, in pieces of {piece}");
    }
}

/// The status and the body of each answer.
fn summary(answers: &str) -> String {
    let mut rest = answers;
    let mut all = Vec::new();
    while let Some((head, body)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap()).min(body.len());
        let (body, after) = body.split_at(length);
        all.push(format!("{status} {body}").trim().to_owned());
        rest = after;
    }
    assert_eq!(rest, "", "{answers}");
    all.join(", ")
}

fn on_the_wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

/// Serves a connection on a task. Returns the client's end, and the task.
fn connected(
    endpoint: impl Endpoint,
    graceful: &GracefulShutdown,
) -> (DuplexStream, JoinHandle<io::Result<()>>) {
    let (client, server) = duplex(1 << 20);
    let service = service(endpoint, graceful);
    (client, tokio::spawn(async move { serve(server, &service).await }))
}

/// Receives what is answered up to `end`.
async fn until(client: &mut DuplexStream, end: &str) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        received.push(client.read_u8().await.unwrap());
    }
    undated(&String::from_utf8(received).unwrap())
}

#[tokio::test(start_paused = true)]
async fn limits_are_exact() {
    let filled = |length: usize| {
        let start = "GET /a HTTP/1.1\r\nx: ";
        format!("{start}{}\r\n\r\n", "y".repeat(length - start.len() - 4))
    };
    let headers = |count: usize| format!("GET /a HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    let extended = |length: usize| {
        format!("POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0{}\r\n\r\n", ";".repeat(length))
    };
    let (fits, too_large) = ("200 GET /a <>", "431");
    for (text, expected) in [
        (filled(MAX_HEAD), fits),
        (filled(MAX_HEAD + 1), too_large),
        (format!("\r\n\r\n{}", filled(MAX_HEAD - 4)), fits),
        (format!("\r\n\r\n{}", filled(MAX_HEAD - 3)), too_large),
        ("\r\n".repeat(MAX_HEAD), too_large),
        ("x".repeat(MAX_HEAD + 10), too_large),
        (headers(100), fits),
        (headers(101), too_large),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD)), too_large),
        (extended(16 * 1024), "200 POST /a <>"),
        (extended(16 * 1024 + 1), "400 lost"),
    ] {
        let shown = &text[..text.len().min(50)];
        for piece in [1 << 20, 4099, 64] {
            assert_eq!(summary(&answered(text.as_bytes(), piece).await), expected, "{shown} {piece}");
        }
    }
}

#[tokio::test]
async fn sockets_are_served_like_streams_in_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (text, expected, _) in REQUESTS.iter().chain(BAD_HEADS) {
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let bytes = on_the_wire(text);
        let (answers, ()) = tokio::join!(send(client, &bytes, usize::MAX), serve_here(server));
        assert_eq!(summary(&undated(&answers)), *expected, "{text}");
    }
}

/// A client that sends a large request as a whole before it reads can read why it was rejected.
#[tokio::test]
async fn a_rejected_request_is_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let large = "x".repeat(3_000_000);
    for (text, expected) in [
        (format!("POST /unread HTTP/1.1\r\ncontent-length: 3000000\r\n\r\n{large}"), "200 POST /unread"),
        (format!("GET /{large} HTTP/1.1\r\n\r\n"), "431"),
        (format!("GARBAGE\r\n\r\n{large}"), "400"),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let asking = async {
            client.write_all(text.as_bytes()).await.unwrap();
            let mut answers = String::new();
            client.read_to_string(&mut answers).await.unwrap();
            drop(client);
            answers
        };
        let (answers, ()) = tokio::join!(asking, serve_here(server));
        assert_eq!(summary(&undated(&answers)), expected);
        assert!(answers.contains("connection: close\r\n"), "{answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_100_gets_it_when_its_body_is_read() {
    let graceful = GracefulShutdown::new();
    let (mut client, _serving) = connected(Echo, &graceful);
    let head = "POST /a HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"hi").await.unwrap();
    assert!(until(&mut client, "<hi>").await.starts_with("HTTP/1.1 200 OK\r\n"));
    // The body is not asked for if it is not read.
    client.write_all(head.replace("/a", "/unread").as_bytes()).await.unwrap();
    let answer = until(&mut client, "POST /unread").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_connections_that_carry_no_request() {
    let graceful = GracefulShutdown::new();
    let (new, serving_new) = connected(Echo, &graceful);
    let (mut kept, serving_kept) = connected(Echo, &graceful);
    kept.write_all(b"GET /a HTTP/1.1\r\n\r\n").await.unwrap();
    until(&mut kept, "<>").await;
    let (mut half, serving_half) = connected(Echo, &graceful);
    half.write_all(b"POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\n").await.unwrap();
    let (mut leaving, serving_leaving) = connected(Echo, &graceful);
    leaving.write_all(b"GARBAGE\r\n\r\n").await.unwrap();
    until(&mut leaving, "\r\n\r\n").await;
    let started = Instant::now();
    let ended = tokio::spawn(graceful.shutdown());
    for serving in [serving_new, serving_kept, serving_leaving] {
        serving.await.unwrap().unwrap();
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert!(!ended.is_finished());
    half.write_all(b"hi").await.unwrap();
    let answer = until(&mut half, "<hi>").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"), "{answer}");
    serving_half.await.unwrap().unwrap();
    ended.await.unwrap();
    drop(new);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_holds_no_bytes() {
    let (mut client, server) = duplex(1 << 20);
    let mut wire = Wire::new(server);
    client.write_all(&[b'x'; 5000]).await.unwrap();
    assert!(wire.begin_body(Framing::Length(4000), false));
    let first = poll_fn(|context| wire.poll_data(context)).await.unwrap().unwrap();
    assert_eq!((first.len(), wire.received.len()), (4000, 1000));
    assert!(wire.begin_body(Framing::Length(1000), false));
    let second = poll_fn(|context| wire.poll_data(context)).await.unwrap().unwrap();
    assert_eq!(second.len(), 1000);
    assert!(wire.received.is_empty());
    drop(first);
    assert!(second.is_unique(), "the connection holds the buffer");
}
