//! Carries requests over HTTP/1.1, in the clear or under TLS: one attempt, its times, one cap on the body.
//!
//! Each upstream has a pool of connections of its own. Nothing is retried here; only a request that never left,
//! because its pooled connection had just been closed, is put on another connection by the pool itself. Whatever
//! comes back is hostile input: it is read no further than its deadline and its cap.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use tokio::time::timeout_at;

use super::egress::NotPublic;
use super::phase::{self, CONNECTING, FOLLOWING, NoteConnecting, READING};
use super::resolver::PublicOnly;
use super::tls::Tls;
use super::{
    EgressPolicy, Redirects, Request, Response, ResponseFuture, Target, Times, Transport, TransportError,
};

/// The most redirects that are followed for one request; the next one is the reply.
const MAX_REDIRECTS: usize = 5;
/// The most that is set aside for a body on the word of its `content-length` alone.
const MAX_RESERVED: usize = 64 * 1024;
/// The most characters of an error's text: a certificate may list hundreds of names.
const MAX_DETAIL: usize = 300;
/// Said in place of what rustls says.
const NO_TLS: &str = "what answers there does not speak TLS; `http://` may be meant";

/// Carries requests over HTTP, from a pool of connections per upstream.
pub struct HttpTransport {
    /// For the upstreams about whose TLS nothing is particular, which share what they remember of sessions.
    tls: ClientConfig,
    pools: ArcSwap<Pools>,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built: {detail}")]
pub struct ClientError {
    /// What stood in the way.
    pub detail: String,
}

/// The clients by the name of their target.
#[derive(Clone, Default)]
struct Pools(HashMap<String, Vec<Pool>>);

/// A client with what makes it differ from others of its name; everything else about a target is applied per request.
#[derive(Clone)]
struct Pool {
    redirects: Redirects,
    tls: Tls,
    network: EgressPolicy,
    client: Client,
}

impl HttpTransport {
    /// A transport without connections, trusting the certificate authorities that are compiled in.
    pub fn new() -> Result<Self, ClientError> {
        let tls = Tls::default().client().map_err(|error| ClientError { detail: detail(&error) })?;
        Ok(Self { tls, pools: ArcSwap::default() })
    }

    /// Readies a pool for each of `targets` and drops the pools of all others.
    ///
    /// To be called after each reload: pools that are still listed keep their connections, and calls that are
    /// under way keep theirs. A call that still runs on the old plan makes a dropped pool anew if it needs it; the
    /// next `prepare` drops that again. After an error the pools are as they were.
    pub fn prepare<'a>(&self, targets: impl Iterator<Item = &'a Target>) -> Result<(), ClientError> {
        let present = self.pools.load_full();
        let mut listed = Pools::default();
        for target in targets {
            if listed.client(target).is_none() {
                let client = present.client(target).map_or_else(|| self.build(target), Ok)?;
                listed.add(target, client);
            }
        }
        self.pools.store(Arc::new(listed));
        Ok(())
    }

    fn client(&self, target: &Target) -> Result<Client, ClientError> {
        if let Some(client) = self.pools.load().client(target) {
            return Ok(client);
        }
        let built = self.build(target)?;
        self.pools.rcu(|pools| {
            let mut pools = Pools::clone(pools);
            pools.add(target, built.clone());
            pools
        });
        // When two calls build at the same time, the first to be added is the one that both use.
        Ok(self.pools.load().client(target).unwrap_or(built))
    }

    fn build(&self, target: &Target) -> Result<Client, ClientError> {
        let tls = if target.tls == Tls::default() { Ok(self.tls.clone()) } else { target.tls.client() };
        let tls = tls.map_err(|error| ClientError { detail: detail(&error) })?;
        let builder = match target.network {
            EgressPolicy::Any => Client::builder(),
            EgressPolicy::Public => Client::builder().dns_resolver(PublicOnly),
        };
        builder
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("jackfield/", env!("CARGO_PKG_VERSION")))
            .redirect(match target.redirects {
                Redirects::None => Policy::none(),
                Redirects::SameOrigin => Policy::custom(|attempt| {
                    let asked = attempt.previous();
                    let stays = asked.first().is_some_and(|first| first.origin() == attempt.url().origin());
                    if !stays || asked.len() > MAX_REDIRECTS {
                        return attempt.stop();
                    }
                    phase::note(FOLLOWING);
                    attempt.follow()
                }),
            })
            // A `referer` would carry the query of a URL, and with it perhaps a key.
            .referer(false)
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .connector_layer(NoteConnecting)
            .build()
            .map_err(|error| ClientError { detail: detail(&error.without_url()) })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request, times: Times) -> ResponseFuture<'_> {
        Box::pin(async move {
            let started = Instant::now();
            let client = self
                .client(&request.target)
                .map_err(|error| TransportError::Unsendable { detail: error.detail })?;
            if times.sent_by <= started {
                return Err(TransportError::Timeout { after_ms: 0, phase: CONNECTING });
            }
            phase::scope(async {
                let mut attempt = pin!(attempt(&client, request));
                let mut ended = timeout_at(times.sent_by.into(), &mut attempt).await;
                // What is on a connection by now has been sent, and may have more time than what is not.
                if ended.is_err() && phase::current() != CONNECTING {
                    ended = timeout_at(times.answered_by.into(), &mut attempt).await;
                }
                ended.unwrap_or_else(|_| {
                    let after_ms = started.elapsed().as_millis();
                    Err(TransportError::Timeout { after_ms, phase: phase::current() })
                })
            })
            .await
        })
    }
}

async fn attempt(client: &Client, request: Request) -> Result<Response, TransportError> {
    let limit = request.target.max_body;
    // No resolver is asked about an address. A redirect that is followed stays on this host.
    request.target.network.admit(&request.url)?;
    let mut outbound = reqwest::Request::new(request.method, request.url);
    *outbound.headers_mut() = request.headers;
    frame(&mut outbound, request.body.unwrap_or_default());
    let mut inbound =
        phase::waiting(client.execute(outbound)).await.map_err(|error| match failure(error) {
            // It arrived before it was redirected: only what it was redirected to was not sent.
            TransportError::Connect { detail } | TransportError::Unsendable { detail }
                if phase::current() == FOLLOWING =>
            {
                TransportError::Lost { detail: format!("{FOLLOWING}: {detail}") }
            }
            error => error,
        })?;

    phase::note(READING);
    let body = read_body(&mut inbound, limit).await?;
    Ok(Response { status: inbound.status(), headers: std::mem::take(inbound.headers_mut()), body })
}

/// Gives a request its body, and the length of that body whatever the headers say: a wrong one would make the upstream
/// take the rest for another request.
fn frame(outbound: &mut reqwest::Request, body: Bytes) {
    outbound.headers_mut().remove(TRANSFER_ENCODING);
    outbound.headers_mut().remove(CONTENT_LENGTH);
    if !body.is_empty() {
        *outbound.body_mut() = Some(body.into());
    } else if matches!(*outbound.method(), Method::POST | Method::PUT | Method::PATCH) {
        // The client leaves it out, and some servers insist on it (411).
        outbound.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

async fn read_body(inbound: &mut reqwest::Response, limit: usize) -> Result<Bytes, TransportError> {
    // Unknown when the body is compressed: the cap is on what comes out of the decoder.
    let declared = usize::try_from(inbound.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(TransportError::TooLarge { limit });
    }
    let mut body = BytesMut::with_capacity(declared.min(MAX_RESERVED));
    while let Some(chunk) = inbound.chunk().await.map_err(failure)? {
        if chunk.len() > limit - body.len() {
            return Err(TransportError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Sorts an error of the client by what it says about the request: not sent, perhaps sent, or answered badly.
fn failure(error: reqwest::Error) -> TransportError {
    let detail = detail(&error);
    if error.is_builder() {
        return TransportError::Unsendable { detail };
    }
    if let Some(refused) = causes(&error).find_map(|cause| cause.downcast_ref::<NotPublic>()) {
        return TransportError::Forbidden(*refused);
    }
    if error.is_connect() || error.is_dns() {
        return TransportError::Connect { detail };
    }
    let malformed = causes(&error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        // So hyper calls bad chunks, the decoders bad input, and rustls a record that makes no sense.
        matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) && !is_alert(cause)
    });
    match causes(&error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        Some(hyper) if hyper.is_user() => TransportError::Unsendable { detail },
        Some(hyper) if hyper.is_parse() || malformed => TransportError::Invalid { detail },
        Some(_) => TransportError::Lost { detail },
        // Without the connection in it, the error is the pool's about the request, or a decoder's about the body.
        None if error.is_request() => TransportError::Unsendable { detail },
        None => TransportError::Invalid { detail },
    }
}

/// Whether the upstream closed the connection in words of TLS. It refuses a client certificate only after the client
/// takes the connection for made (TLS 1.3), so that this is met while waiting for the response.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Whether the upstream answered the handshake with something else, such as plain HTTP.
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_no_tls(wrapped);
    }
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
    )
}

/// The causes of an error in one line, without the layers that only wrap (and of which one would show the URL).
fn detail(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::once(error).chain(causes(error)) {
        let wraps = cause.is::<reqwest::Error>() || cause.is::<hyper_util::client::legacy::Error>();
        let text = if is_no_tls(cause) { NO_TLS.to_owned() } else { cause.to_string() };
        // Some causes repeat their own cause.
        if !wraps && !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        texts.push("the cause is not known".to_owned());
    }
    let mut line = String::new();
    for character in texts.join(": ").chars().take(MAX_DETAIL) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(error.source(), |&cause| cause.source())
}

impl Pools {
    fn client(&self, target: &Target) -> Option<Client> {
        let pool = self.0.get(&target.name)?.iter().find(|pool| pool.serves(target))?;
        Some(pool.client.clone())
    }

    fn add(&mut self, target: &Target, client: Client) {
        let pools = self.0.entry(target.name.clone()).or_default();
        if !pools.iter().any(|pool| pool.serves(target)) {
            let (redirects, tls, network) = (target.redirects, target.tls.clone(), target.network);
            pools.push(Pool { redirects, tls, network, client });
        }
    }
}

impl Pool {
    fn serves(&self, target: &Target) -> bool {
        self.redirects == target.redirects && self.tls == target.tls && self.network == target.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode, header};
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use url::Url;

    /// What an upstream does once it has written its answer.
    #[derive(Clone, Copy)]
    enum Then {
        /// Reads the next request.
        Listen,
        /// Closes the connection.
        Close,
        /// Breaks the connection.
        Reset,
        /// Says nothing more and keeps the connection open.
        Hang,
        /// Writes this again and again.
        Repeat(&'static [u8]),
    }

    /// An upstream without manners.
    struct Rude {
        address: SocketAddr,
        accepted: Arc<AtomicUsize>,
        /// The requests as they came, and an empty one when a connection ended between two requests.
        requests: UnboundedReceiver<String>,
    }

    impl Rude {
        async fn answering(answer: impl Into<Vec<u8>>, then: Then) -> Self {
            let answer = answer.into();
            Self::with(move |_| answer.clone(), then).await
        }

        async fn with(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, then: Then) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let accepted = Arc::new(AtomicUsize::new(0));
            let (seen, requests) = unbounded_channel();
            let (answer, count) = (Arc::new(answer), accepted.clone());
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    count.fetch_add(1, Ordering::SeqCst);
                    let (answer, seen) = (answer.clone(), seen.clone());
                    tokio::spawn(async move {
                        loop {
                            let request = read_request(&mut stream).await;
                            let _ = seen.send(request.clone());
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
        Target { name: "rude".to_owned(), timeout: None, max_body: 1024, redirects, tls, network }
    }

    fn get(url: Url, target: Target) -> Request {
        let target = Arc::new(target);
        Request { target, step: None, method: Method::GET, url, headers: HeaderMap::new(), body: None }
    }

    /// Far enough that it is never what ends a test.
    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn near() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    async fn ask(request: Request) -> Result<Response, TransportError> {
        HttpTransport::new().unwrap().send(request, Times::by(far())).await
    }

    async fn ask_rude(answer: impl Into<Vec<u8>>, then: Then) -> Result<Response, TransportError> {
        let rude = Rude::answering(answer, then).await;
        ask(get(rude.url("/?key=hidden"), target())).await
    }

    fn compressed(encoding: &str, hex: &str) -> Vec<u8> {
        let body = hex::decode(hex).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
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
    const OK: &str = "HTTP/1.1 200 OK\r\nx-from: rude\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn carries_a_request_and_its_reply() {
        let mut rude = Rude::answering(OK, Then::Listen).await;
        let mut request = get(rude.url("/orders?id=7"), target());
        request.method = Method::POST;
        request.headers.insert("x-key", HeaderValue::from_static("k"));
        request.body = Some(Bytes::from_static(b"{}"));

        let response = ask(request).await.unwrap();

        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
        assert_eq!(response.headers["x-from"], "rude");
        let address = rude.address;
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            rude.requests.recv().await.unwrap(),
            format!(
                "POST /orders?id=7 HTTP/1.1\r\nx-key: k\r\naccept: */*\r\nuser-agent: jackfield/{version}\r\n\
                 accept-encoding: gzip,br\r\nhost: {address}\r\ncontent-length: 2\r\n\r\n{{}}"
            )
        );
    }

    #[tokio::test]
    async fn the_headers_of_a_request_go_before_those_of_the_client() {
        let mut rude = Rude::answering(OK, Then::Listen).await;
        let mut request = get(rude.url("/"), target());
        request.method = Method::POST;
        request.body = Some(Bytes::new());
        request.headers.insert(header::USER_AGENT, HeaderValue::from_static("mine"));
        request.headers.insert(header::ACCEPT, HeaderValue::from_static("text/plain"));
        request.headers.insert(header::HOST, HeaderValue::from_static("elsewhere"));

        ask(request).await.unwrap();

        assert_eq!(
            rude.requests.recv().await.unwrap(),
            "POST / HTTP/1.1\r\nuser-agent: mine\r\naccept: text/plain\r\nhost: elsewhere\r\n\
             content-length: 0\r\naccept-encoding: gzip,br\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn the_length_of_a_body_is_its_own() {
        for (name, value) in
            [("content-length", "1"), ("content-length", "9"), ("transfer-encoding", "chunked")]
        {
            let mut rude = Rude::answering(OK, Then::Listen).await;
            let mut request = get(rude.url("/"), target());
            request.method = Method::POST;
            request.headers.insert(name, HeaderValue::from_static(value));
            request.body = Some(Bytes::from_static(b"{}"));

            ask(request).await.unwrap();

            let sent = rude.requests.recv().await.unwrap();
            assert!(sent.contains("content-length: 2\r\n") && sent.ends_with("\r\n\r\n{}"), "{sent}");
            assert!(!sent.contains("transfer-encoding"), "{sent}");
        }
    }

    #[tokio::test]
    async fn decompresses() {
        for (encoding, hex) in [("gzip", GZIP), ("br", BROTLI)] {
            let response = ask_rude(compressed(encoding, hex), Then::Listen).await.unwrap();
            assert_eq!(response.body, r#"{"ok":true}"#, "{encoding}");
            assert_eq!(response.headers, HeaderMap::new(), "{encoding}");
        }
    }

    #[tokio::test]
    async fn stops_at_the_cap() {
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
            let error = ask_rude(answer, then).await.unwrap_err();
            assert!(matches!(error, TransportError::TooLarge { limit: 1024 }), "{name}: {error}");
        }
    }

    #[tokio::test]
    async fn takes_a_body_that_is_as_large_as_the_cap() {
        let body = "x".repeat(1024);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{body}");
        assert_eq!(ask_rude(answer, Then::Listen).await.unwrap().body, body);
        let answer = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        assert_eq!(ask_rude(answer, Then::Close).await.unwrap().body, body);
    }

    #[tokio::test]
    async fn tells_when_nothing_was_sent() {
        // Bound but not listening: the port is nobody else's, and refuses.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/?key=hidden", socket.local_addr().unwrap()).parse().unwrap();
        let error = ask(get(url, target())).await.unwrap_err();
        assert!(matches!(error, TransportError::Connect { .. }), "{error}");
        assert!(
            error.to_string().starts_with("cannot connect: tcp connect error: Connection refused"),
            "{error}"
        );

        let error = ask(get("ftp://127.0.0.1/?key=hidden".parse().unwrap(), target())).await.unwrap_err();
        assert_eq!(error.to_string(), "the request could not be sent: URL scheme is not allowed");
    }

    #[tokio::test]
    async fn a_failed_handshake_is_a_failed_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/?key=hidden", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });

        let error = ask(get(url, target())).await.unwrap_err();

        assert_eq!(
            error.to_string(),
            "cannot connect: what answers there does not speak TLS; `http://` may be meant"
        );
    }

    #[tokio::test]
    async fn tells_lost_connections_from_bad_responses() {
        let ok = "HTTP/1.1 200 OK\r\n";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let gzip = compressed("gzip", GZIP);
        let early = "connection closed before message completed";
        let cut = "error reading a body from connection: end of file before message length reached";
        for (answer, lost, text) in [
            (Vec::new(), true, early),
            (b"HTTP/1.1 20".into(), true, early),
            (format!("{ok}content-length: 9\r\n\r\nhalf").into(), true, cut),
            (format!("{chunked}9\r\nhalf").into(), true, cut),
            (gzip[..gzip.len() - 20].into(), true, cut),
            (b"SSH-2.0-OpenSSH\r\n\r\n".into(), false, "invalid HTTP version parsed"),
            (format!("{ok}bad header\r\n\r\n").into(), false, "invalid HTTP header parsed"),
            (format!("{ok}content-length: many\r\n\r\n").into(), false, "invalid content-length parsed"),
            (
                format!("{chunked}zz\r\n").into(),
                false,
                "error reading a body from connection: Invalid chunk size line: missing size digit",
            ),
            (compressed("gzip", &GZIP[..40]), false, "unexpected end of file"),
            (compressed("gzip", &GZIP.replace("ab56", "ffff")), false, "deflate decompression error"),
            (compressed("gzip", &hex::encode("plain")), false, "Invalid gzip header"),
        ] {
            let shown = String::from_utf8_lossy(&answer).into_owned();
            match ask_rude(answer, Then::Close).await.unwrap_err() {
                TransportError::Lost { detail } if lost => assert_eq!(detail, text, "{shown}"),
                TransportError::Invalid { detail } if !lost => assert_eq!(detail, text, "{shown}"),
                error => panic!("{shown}: {error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_reset_connection_is_lost() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
            let error = ask_rude(answer, Then::Reset).await.unwrap_err();
            assert!(matches!(error, TransportError::Lost { .. }), "{error}");
            assert!(error.to_string().contains("Connection reset by peer"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_timeout_says_what_was_waited_for() {
        let transport = HttpTransport::new().unwrap();
        let phase = async |answer: &str, target, deadline| {
            let rude = Rude::answering(answer, Then::Hang).await;
            match transport.send(get(rude.url("/"), target), Times::by(deadline)).await.unwrap_err() {
                TransportError::Timeout { phase, .. } => phase,
                error => panic!("{error}"),
            }
        };
        let own = Target { timeout: Some(Duration::from_millis(50)), ..target() };
        let long = Target { timeout: Some(Duration::MAX), ..target() };

        assert_eq!(phase("", target(), near()).await, "waiting for the response");
        assert_eq!(phase("HTTP/1.1 200", target(), near()).await, "waiting for the response");
        assert_eq!(phase("", own, far()).await, "waiting for the response");
        assert_eq!(phase("", long, near()).await, "waiting for the response");
        // Longer than the others, for the head has to arrive in time.
        let deadline = Instant::now() + Duration::from_millis(500);
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        assert_eq!(phase(half, target(), deadline).await, "reading the body");
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_deadline() {
        let rude = Rude::answering(OK, Then::Listen).await;
        let transport = HttpTransport::new().unwrap();

        let error =
            transport.send(get(rude.url("/"), target()), Times::by(Instant::now())).await.unwrap_err();

        assert_eq!(error.to_string(), "no answer in time (connecting)");
        assert_eq!(rude.accepted(), 0);
    }

    /// Linux lets connections hang when nobody accepts them; other systems refuse them.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_timeout_tells_connecting_from_waiting() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        let wait = Duration::from_millis(50);
        while let Ok(connected) = tokio::time::timeout(wait, TcpStream::connect(address)).await {
            queued.push(connected.unwrap());
        }

        let url = format!("http://{address}/").parse().unwrap();
        let error =
            HttpTransport::new().unwrap().send(get(url, target()), Times::by(near())).await.unwrap_err();

        assert!(matches!(error, TransportError::Timeout { phase: "connecting", .. }), "{error}");
    }

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn a_redirect_is_the_reply() {
        let response = ask_rude(redirect("/there"), Then::Listen).await.unwrap();

        assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.headers["location"], "/there");
    }

    #[tokio::test]
    async fn follows_a_redirect_to_the_same_origin() {
        let answer = |request: &str| match request.starts_with("POST /here?key=hidden") {
            true => redirect("/there").into_bytes(),
            false => OK.as_bytes().to_vec(),
        };
        let mut rude = Rude::with(answer, Then::Listen).await;
        let same = Target { redirects: Redirects::SameOrigin, ..target() };
        let mut request = get(rude.url("/here?key=hidden"), same);
        request.method = Method::POST;
        request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        request.body = Some(Bytes::from_static(b"{}"));

        let response = ask(request).await.unwrap();

        assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
        let first = rude.requests.recv().await.unwrap();
        let second = rude.requests.recv().await.unwrap();
        assert_eq!(second, first.replace("/here?key=hidden", "/there"));
        assert!(second.contains("authorization: Bearer t\r\n") && second.ends_with("{}"), "{second}");
    }

    #[tokio::test]
    async fn does_not_follow_a_redirect_to_another_origin() {
        let other = Rude::answering(OK, Then::Listen).await;
        let same = Target { redirects: Redirects::SameOrigin, ..target() };
        let port = other.address.port();
        let elsewhere = [other.url("/").to_string(), format!("//localhost:{port}/")];
        let nowhere = ["https:", "http://1.2.3.4.5/", "mailto:a@b", "a:80", "//[", ""].map(str::to_owned);
        for to in elsewhere.into_iter().chain(nowhere) {
            let rude = Rude::answering(redirect(&to), Then::Listen).await;
            let response = ask(get(rude.url("/"), same.clone())).await.unwrap();
            assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT, "{to}");
        }
        assert_eq!(other.accepted(), 0);
    }

    #[tokio::test]
    async fn gives_up_on_endless_redirects() {
        let mut rude = Rude::answering(redirect("/"), Then::Listen).await;
        let same = Target { redirects: Redirects::SameOrigin, ..target() };

        let response = ask(get(rude.url("/"), same)).await.unwrap();

        assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
        let mut asked = 0;
        while rude.requests.recv().await.is_some_and(|request| !request.is_empty()) {
            asked += 1;
        }
        assert_eq!(asked, 1 + MAX_REDIRECTS);
    }

    #[tokio::test]
    async fn a_request_whose_redirect_leads_to_no_connection_has_arrived_all_the_same() {
        for is_deaf in [false, true] {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                read_request(&mut stream).await;
                // From now on a connection is refused, or never made since no more can wait.
                let mut waiting = Vec::new();
                let mut held = Some(listener);
                if is_deaf {
                    let full = Duration::from_millis(100);
                    while let Ok(more) = tokio::time::timeout(full, TcpStream::connect(address)).await {
                        waiting.push(more.unwrap());
                    }
                } else {
                    held = None;
                }
                let answer = "HTTP/1.1 303 See Other\r\nlocation: /there\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
                drop(stream);
                std::future::pending::<()>().await;
                drop((held, waiting));
            });
            let same = Target { redirects: Redirects::SameOrigin, ..target() };
            let mut request = get(format!("http://{address}/").parse().unwrap(), same);
            request.method = Method::POST;
            let transport = HttpTransport::new().unwrap();
            let by = Instant::now() + Duration::from_secs(1);

            let error = transport.send(request, Times::by(by)).await.unwrap_err();

            assert!(error.may_have_arrived(), "{error}");
        }
    }

    #[tokio::test]
    async fn connections_are_reused_within_an_upstream() {
        let rude = Rude::answering(OK, Then::Listen).await;
        let transport = HttpTransport::new().unwrap();
        let send = async |target| transport.send(get(rude.url("/"), target), Times::by(far())).await.unwrap();

        send(target()).await;
        send(Target { max_body: 100, ..target() }).await;
        assert_eq!(rude.accepted(), 1);

        send(Target { name: "another".to_owned(), ..target() }).await;
        assert_eq!(rude.accepted(), 2);
    }

    #[tokio::test]
    async fn connections_live_as_long_as_their_target_is_listed() {
        let mut rude = Rude::answering(OK, Then::Listen).await;
        let transport = HttpTransport::new().unwrap();
        let other = Target { name: "other".to_owned(), ..target() };

        transport.prepare([&target()].into_iter()).unwrap();
        transport.send(get(rude.url("/"), target()), Times::by(far())).await.unwrap();
        transport.prepare([&other, &target()].into_iter()).unwrap();
        transport.send(get(rude.url("/"), target()), Times::by(far())).await.unwrap();
        assert_eq!(rude.accepted(), 1);

        transport.prepare([&other].into_iter()).unwrap();
        let seen = [rude.requests.recv().await, rude.requests.recv().await, rude.requests.recv().await];
        assert_eq!(seen.map(|request| request.unwrap().is_empty()), [false, false, true]);

        transport.send(get(rude.url("/"), target()), Times::by(far())).await.unwrap();
        assert_eq!(rude.accepted(), 2);
    }

    #[test]
    fn the_text_of_an_error_is_one_short_line() {
        let inner = io::Error::other(format!("a\r\nb\u{1b}[31m{}", "x".repeat(1000)));
        let text = detail(&inner);
        assert!(text.starts_with("a\\r\\nb\\u{1b}[31mxx"), "{text}");
        assert!(text.len() < 400, "{text}");
    }
}
