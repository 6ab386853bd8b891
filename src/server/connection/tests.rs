//! Bytes of clients, as they are, and what is answered. The same bytes are sent to hyper's server, whose rules these are
//! but for a few stricter ones.

use std::convert::Infallible;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::http1::request::{Framing, MAX_HEAD};
use crate::server::graceful::GracefulShutdown;

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

/// Serves a stream until it ends.
async fn serve_here(stream: impl Stream) {
    let graceful = GracefulShutdown::new();
    let service = Service {
        endpoint: Echo,
        peer: Peer(([127, 0, 0, 1], 1).into()),
        head_timeout: Duration::from_secs(30),
        shutdown: graceful.watcher(),
    };
    let _ = serve(stream, &service).await;
}

/// Serves a stream until it ends, with hyper's server.
async fn serve_by_hyper(stream: impl Stream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(echo(request).await) });
    let mut builder = http1::Builder::new();
    // The tests send everything at once, and then close their side.
    builder.max_buf_size(MAX_HEAD).writev(false).half_close(true);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Sends bytes, at most `piece` at once, and then nothing more. Returns what is answered until the server ends the connection.
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

/// The answers to bytes that arrive in pieces of at most `piece` bytes.
async fn answered(bytes: &[u8], piece: usize) -> String {
    let (client, server) = duplex(1 << 20);
    let (answers, ()) = tokio::join!(send(client, bytes, piece), serve_here(server));
    undated(&answers)
}

async fn answered_by_hyper(bytes: &[u8]) -> String {
    let (client, server) = duplex(1 << 20);
    let (answers, ()) = tokio::join!(send(client, bytes, usize::MAX), serve_by_hyper(server));
    undated(&answers)
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

/// Whether hyper gives the same answers, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hyper {
    Same,
    Differs,
}

use Hyper::{Differs, Same};

/// What a client sends, and the status and body of each answer. `|` stands for CR and LF.
const REQUESTS: &[(&str, &str, Hyper)] = &[
    ("GET /a HTTP/1.1|host: x||", "200 GET /a <>", Same),
    (
        "GET /a?b=c%20d HTTP/1.1|x-a:1|x-B:\t2 \t|x-c:|x-a: \u{e9}||",
        "200 GET /a?b=c%20d x-a=1 x-a=\\xc3\\xa9 x-b=2 x-c= <>",
        Same,
    ),
    ("POST /a HTTP/1.1|content-length: 5||hello", "200 POST /a <hello>", Same),
    ("POST /a HTTP/1.1|content-length: 005|content-length: 5||hello", "200 POST /a <hello>", Same),
    ("POST /a HTTP/1.1|content-length: 0||", "200 POST /a <>", Same),
    ("Any-Thing! http://host/a HTTP/1.1||", "200 Any-Thing! http://host/a <>", Same),
    ("OPTIONS * HTTP/1.1||", "200 OPTIONS * <>", Same),
    ("HEAD /a HTTP/1.1||", "200", Same),
    // Chunks, their extensions, and trailers.
    ("POST /a HTTP/1.1|Transfer-Encoding: chunked||5|hello|0||", "200 POST /a <hello>", Same),
    ("POST /a HTTP/1.1|transfer-encoding: gzip, Chunked||5|hello|0||", "200 POST /a <hello>", Same),
    ("POST /a HTTP/1.1|transfer-encoding: gzip|transfer-encoding: chunked||0||", "200 POST /a <>", Same),
    (
        "POST /a HTTP/1.1|transfer-encoding: chunked||2;a=\"b\"|he|003 \t|llo|0;c|x-t: 1||",
        "200 POST /a <hello>",
        Same,
    ),
    ("POST /a HTTP/1.1|transfer-encoding: chunked||a|0123456789|0||", "200 POST /a <0123456789>", Same),
    // Several requests on a connection.
    ("GET /a HTTP/1.1||GET /b HTTP/1.1||", "200 GET /a <>, 200 GET /b <>", Same),
    (
        "||\nGET /a HTTP/1.1|||POST /b HTTP/1.1|content-length: 2||hi|GET /c HTTP/1.1||",
        "200 GET /a <>, 200 POST /b <hi>, 200 GET /c <>",
        Same,
    ),
    (
        "POST /a HTTP/1.1|transfer-encoding: chunked||1|x|0|t: 1||GET /b HTTP/1.1||",
        "200 POST /a <x>, 200 GET /b <>",
        Same,
    ),
    ("GET /a HTTP/1.1|connection: Close||GET /b HTTP/1.1||", "200 GET /a <>", Same),
    ("GET /a HTTP/1.1|connection: keep-alive|connection: x, close||GET /b HTTP/1.1||", "200 GET /a <>", Same),
    ("GET /a HTTP/1.0||GET /b HTTP/1.0||", "200 GET /a <>", Same),
    ("GET /a HTTP/1.0|connection: keep-alive||GET /b HTTP/1.0||", "200 GET /a <>, 200 GET /b <>", Same),
    ("GET /a HTTP/1.0|connection: keep-alive, close||GET /b HTTP/1.0||", "200 GET /a <>", Same),
    // A client that waits for 100.
    ("POST /a HTTP/1.1|expect: 100-Continue|content-length: 2||hi", "100, 200 POST /a <hi>", Same),
    (
        "POST /a HTTP/1.1|expect: 100-continue|transfer-encoding: chunked||2|hi|0||GET /b HTTP/1.1||",
        "100, 200 POST /a <hi>, 200 GET /b <>",
        Same,
    ),
    ("GET /a HTTP/1.1|expect: 100-continue||", "200 GET /a <>", Same),
    ("POST /a HTTP/1.0|expect: 100-continue|content-length: 2||hi", "200 POST /a <hi>", Same),
    ("POST /a HTTP/1.1|expect: other|content-length: 2||hi", "200 POST /a <hi>", Same),
    // A body that is not read is skipped if it is there. Without 100, it is not clear whether it follows. Hyper does not
    // always say that it closes the connection then.
    ("POST /unread HTTP/1.1|content-length: 2||hiGET /b HTTP/1.1||", "200 POST /unread, 200 GET /b <>", Same),
    (
        "POST /unread HTTP/1.1|transfer-encoding: chunked||2|hi|0||GET /b HTTP/1.1||",
        "200 POST /unread, 200 GET /b <>",
        Same,
    ),
    ("POST /unread HTTP/1.1|content-length: 3||hi", "200 POST /unread", Differs),
    (
        "POST /unread HTTP/1.1|expect: 100-continue|content-length: 2||hiGET /b HTTP/1.1||",
        "200 POST /unread",
        Differs,
    ),
    // Lines that end in LF.
    ("GET /a HTTP/1.1\nx-a: 1\n\nGET /b HTTP/1.1\n|", "200 GET /a x-a=1 <>, 200 GET /b <>", Same),
    // No request at all.
    ("", "", Same),
    ("|||", "", Same),
    ("GET /a HT", "", Same),
    ("GET /a HTTP/1.1|x-a: 1|", "", Same),
];

/// Heads that break the rules, in the same form. The connection ends after them.
const BAD_HEADS: &[(&str, &str, Hyper)] = &[
    ("GARBAGE||", "400", Same),
    ("GET||", "400", Same),
    ("GET /a||", "400", Same),
    ("GET /a HTTP/1.2||", "400", Same),
    ("GET /a HTTP/2.0||", "400", Same),
    ("GET /a HTTP/0.9||", "400", Same),
    ("GET /a HTTP/1.1x||", "400", Same),
    ("GET /a http/1.1||", "400", Same),
    ("GET /a HTTP/1.1 ||", "400", Same),
    ("GET  /a HTTP/1.1||", "400", Same),
    ("GET /a  HTTP/1.1||", "400", Same),
    ("GET\t/a HTTP/1.1||", "400", Same),
    (" GET /a HTTP/1.1||", "400", Same),
    ("G(T /a HTTP/1.1||", "400", Same),
    ("GET /a\u{1} HTTP/1.1||", "400", Same),
    ("GET /\0 HTTP/1.1||", "400", Same),
    ("GET /a\r HTTP/1.1||", "400", Same),
    ("GET a HTTP/1.1||", "200 GET a <>", Same),
    ("GET http:// HTTP/1.1||", "400", Same),
    ("GET /a HTTP/1.1\rx-a: 1||", "400", Same),
    ("\rGET /a HTTP/1.1||", "400", Same),
    ("GET /a HTTP/1.1|no colon||", "400", Same),
    ("GET /a HTTP/1.1|: x||", "400", Same),
    ("GET /a HTTP/1.1|x-a : 1||", "400", Same),
    ("GET /a HTTP/1.1|x-a\t: 1||", "400", Same),
    ("GET /a HTTP/1.1| x-a: 1||", "400", Same),
    ("GET /a HTTP/1.1|x-a: 1| folded||", "400", Same),
    ("GET /a HTTP/1.1|x-a: 1|\tfolded: 2||", "400", Same),
    ("GET /a HTTP/1.1|x-a: 1\r2||", "400", Same),
    ("GET /a HTTP/1.1|x-a: 1\rx-b: 2||", "400", Same),
    ("GET /a HTTP/1.1|x-a: \0||", "400", Same),
    ("GET /a HTTP/1.1|x-a: \u{7f}||", "400", Same),
    ("GET /a HTTP/1.1|x\0a: 1||", "400", Same),
    ("GET /a HTTP/1.1|x\u{e9}: 1||", "400", Same),
    ("GET /a HTTP/1.1|x(a): 1||", "400", Same),
    ("POST /a HTTP/1.1|content-length: 5|content-length: 6||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: 5, 5||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: +5||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: -5||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: 0x5||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: 5 5||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: five||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length:||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: 5;||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: \u{ff15}||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length: 99999999999999999999||hello", "400", Same),
    ("POST /a HTTP/1.1|content-length : 5||hello", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: gzip||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: identity||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding:||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: chunked, gzip||0||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: chunked|transfer-encoding: gzip||0||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: xchunked||0||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: chunked;q=1||0||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding: \u{b}chunked||0||", "400", Same),
    ("POST /a HTTP/1.1|transfer-encoding : chunked||0||", "400", Same),
    ("POST /a HTTP/1.0|transfer-encoding: chunked||0||", "400", Same),
    // Hyper ignores the length.
    ("POST /a HTTP/1.1|content-length: 5|transfer-encoding: chunked||0||", "400", Differs),
    ("POST /a HTTP/1.1|transfer-encoding: chunked|content-length: 5||0||", "400", Differs),
    ("POST /a HTTP/1.1|transfer-encoding: chunked|content-length: x||0||", "400", Differs),
    // The start of another protocol. In HTTP/2 there is no answer that the client could read.
    ("\u{16}\u{3}\u{1}", "400", Same),
    ("SSH-2.0-x|", "400", Same),
    ("PRI * HTTP/2.0||SM||", "", Same),
    // The request before it is answered.
    ("GET /a HTTP/1.1||GARBAGE||", "200 GET /a <>, 400", Same),
    ("GET /a HTTP/1.1||x: y||GET /b HTTP/1.1||", "200 GET /a <>, 400", Same),
];

/// Bodies that break the rules, or end too early. The connection ends after them.
const BAD_BODIES: &[&str] = &[
    "content-length: 6||hello",
    "transfer-encoding: chunked||",
    "transfer-encoding: chunked||5|hell",
    "transfer-encoding: chunked||5|hello",
    "transfer-encoding: chunked||5|hello|",
    "transfer-encoding: chunked||5|hello|0|",
    "transfer-encoding: chunked||5|hello|0|a: b|",
    "transfer-encoding: chunked|||5|hello|0||",
    "transfer-encoding: chunked||x|hello|0||",
    "transfer-encoding: chunked|| 5|hello|0||",
    "transfer-encoding: chunked||+5|hello|0||",
    "transfer-encoding: chunked||-5|hello|0||",
    "transfer-encoding: chunked||0x5|hello|0||",
    "transfer-encoding: chunked||5 5|hello|0||",
    "transfer-encoding: chunked||5,|hello|0||",
    "transfer-encoding: chunked||\u{ff15}|hello|0||",
    "transfer-encoding: chunked||4|hello|0||",
    "transfer-encoding: chunked||6|hello|0||",
    "transfer-encoding: chunked||5\nhello|0||",
    "transfer-encoding: chunked||5|hello\n0||",
    "transfer-encoding: chunked||5|hello|0\n|",
    "transfer-encoding: chunked||5|hello|0|\n",
    "transfer-encoding: chunked||5\rhello|0||",
    "transfer-encoding: chunked||5\r\r\nhello|0||",
    "transfer-encoding: chunked||5;a\nb|hello|0||",
    "transfer-encoding: chunked||5;a\rb|hello|0||",
    "transfer-encoding: chunked||5|hello|0|no colon||",
    "transfer-encoding: chunked||5|hello|0|a : b||",
    "transfer-encoding: chunked||5|hello|0|a: \0||",
    "transfer-encoding: chunked||5|hello|0|a: b\n|",
    "transfer-encoding: chunked||ffffffffffffffff1|hello|0||",
    "transfer-encoding: chunked||fffffffffffffff|hello|0||",
];

fn on_the_wire(text: &str) -> Vec<u8> {
    text.replace('|', "\r\n").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn requests_are_answered_as_hyper_answers_them() {
    let mut wrong = Vec::new();
    for (text, expected, hyper) in REQUESTS.iter().chain(BAD_HEADS) {
        let bytes = on_the_wire(text);
        let answers = answered(&bytes, 1 << 20).await;
        assert_eq!(summary(&answers), *expected, "{text}");
        // An answer that does not wait for the body depends on how much of it has arrived.
        // Another protocol is recognized by the first piece.
        let is_early = text.contains("/unread") || text.starts_with("SSH") || text.starts_with("PRI");
        for piece in [1, 7].into_iter().filter(|_| !is_early) {
            assert_eq!(answered(&bytes, piece).await, answers, "{text}, in pieces of {piece}");
        }
        let by_hyper = answered_by_hyper(&bytes).await;
        if (by_hyper == answers) != (*hyper == Same) {
            wrong.push(format!("{text}\n{answers}\nhyper: {by_hyper}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_the_rules_ends_the_connection() {
    for text in BAD_BODIES {
        let bytes = on_the_wire(&format!("POST /a HTTP/1.1|{text}"));
        let answers = answered(&bytes, 1 << 20).await;
        assert_eq!(summary(&answers), "400 lost", "{text}");
        assert!(answers.contains("\r\nconnection: close\r\n"), "{text}: {answers}");
        for piece in [1, 7] {
            assert_eq!(answered(&bytes, piece).await, answers, "{text}, in pieces of {piece}");
        }
        assert_eq!(summary(&answered_by_hyper(&bytes).await), "400 lost", "{text}");
    }
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

/// Whatever a client sends, no request is understood that hyper would reject or understand differently.
#[tokio::test(start_paused = true)]
async fn mutated_requests_are_never_read_more_loosely_than_by_hyper() {
    let bodies = BAD_BODIES.iter().map(|body| format!("POST /a HTTP/1.1|{body}"));
    let texts = REQUESTS.iter().chain(BAD_HEADS).map(|(text, ..)| (*text).to_owned()).chain(bodies);
    let corpus: Vec<_> = texts.map(|text| on_the_wire(&text)).collect();
    let mut random = Rng::with_seed(7);
    let rounds = std::env::var("JACKFIELD_FUZZ_ROUNDS").map_or(3000, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        let mut bytes = random.choice(&corpus).unwrap().clone();
        for _ in 0..random.usize(1..4) {
            let other = random.choice(&corpus).unwrap();
            let at = random.usize(0..=bytes.len());
            let until = random.usize(at..=bytes.len().min(at + 3));
            let from = random.usize(0..=other.len());
            let to = random.usize(from..=other.len().min(from + 20));
            let piece = match random.usize(0..3) {
                0 => other[from..to].to_vec(),
                1 => vec![*random.choice(b"\r\n\0 \t:;,05aZ\x7f\xff").unwrap()],
                _ => Vec::new(),
            };
            bytes.splice(at..until, piece);
        }
        let ours = answered(&bytes, 1 << 20).await;
        let theirs = answered_by_hyper(&bytes).await;
        let (ours, theirs) = (understood(&ours), understood(&theirs));
        let shown = bytes.escape_ascii().to_string();
        let is_same = ours.iter().zip(&theirs).all(|(one, other)| one == other);
        // Hyper gives up a connection after a chunked body that nobody has read.
        let is_further = theirs.len() < ours.len() && !shown.contains("/unread");
        assert!(is_same && !is_further, "{shown}\n{ours:#?}\n{theirs:#?}");
    }
}

/// The answers to requests that were understood, up to the first that was not.
fn understood(answers: &str) -> Vec<String> {
    let all = summary(answers);
    all.split(", ")
        .filter(|one| *one != "100")
        .take_while(|one| one.starts_with("200"))
        .map(str::to_owned)
        .collect()
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

/// Answers each request with the pieces that a test sends.
#[derive(Clone)]
struct Pieces(Arc<Mutex<Option<UnboundedReceiver<Bytes>>>>);

impl Endpoint for Pieces {
    type Body = UnsyncBoxBody<Bytes, Infallible>;

    async fn answer(self, _: Peer, _: Request<Incoming>) -> Response<Self::Body> {
        let pieces = self.0.lock().take().unwrap();
        let pieces = stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(piece)), pieces))
        });
        Response::new(StreamBody::new(pieces).boxed_unsync())
    }

    fn note_bad_head(&self, _: Peer, _: &BadHead) {}
}

/// Serves a connection on a task. Returns the client's end, and the task.
fn connected(
    endpoint: impl Endpoint,
    graceful: &GracefulShutdown,
) -> (DuplexStream, JoinHandle<io::Result<()>>) {
    let (client, server) = duplex(1 << 20);
    let service = Service {
        endpoint,
        peer: Peer(([127, 0, 0, 1], 1).into()),
        head_timeout: Duration::from_secs(30),
        shutdown: graceful.watcher(),
    };
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
async fn a_stream_is_sent_piece_by_piece() {
    let graceful = GracefulShutdown::new();
    for (version, ended) in [("1.1", "0\r\n\r\n"), ("1.0", "")] {
        let (pieces, receiver) = unbounded_channel();
        let endpoint = Pieces(Arc::new(Mutex::new(Some(receiver))));
        let (mut client, serving) = connected(endpoint, &graceful);
        client.write_all(format!("GET /a HTTP/{version}\r\n\r\n").as_bytes()).await.unwrap();
        // The head does not wait for the first piece.
        let head = until(&mut client, "\r\n\r\n").await;
        assert_eq!(head.contains("transfer-encoding: chunked"), version == "1.1", "{head}");
        for piece in ["one", "two"] {
            pieces.send(Bytes::from(piece)).unwrap();
            let chunk = if version == "1.1" { format!("3\r\n{piece}\r\n") } else { piece.to_owned() };
            assert_eq!(until(&mut client, &chunk).await, chunk);
        }
        // An empty piece is not the end.
        pieces.send(Bytes::new()).unwrap();
        pieces.send(Bytes::from("x".repeat(100_000))).unwrap();
        until(&mut client, &"x".repeat(90_000)).await;
        drop(pieces);
        until(&mut client, if ended.is_empty() { "x" } else { ended }).await;
        drop(client);
        serving.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_client() {
    let graceful = GracefulShutdown::new();
    let (pieces, receiver) = unbounded_channel();
    let (mut client, serving) = connected(Pieces(Arc::new(Mutex::new(Some(receiver)))), &graceful);
    client.write_all(b"GET /a HTTP/1.1\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    drop(client);
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert!(pieces.send(Bytes::from("late")).is_err());
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
