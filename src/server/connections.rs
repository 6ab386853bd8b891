//! Accepts connections and runs TLS handshakes. The number of connections is limited, and timeouts end handshakes whose
//! client stalls.

use std::future::Future;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::dispatch::gate::{Gate, Permit};
use crate::http1::request::BadHead;

use super::client::Peer;
use super::connection::{self, Incoming, Service, Stream};
use super::graceful::GracefulShutdown;
use super::throttle::LogThrottle;

/// The timeout for the head of a request. It also ends connections that are idle between requests.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The timeout of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The response to a connection over the limit.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n{\"error\":\"too many connections for now\"}";

/// How many rejected connections may be closed gracefully at the same time, so that the client can read the response.
/// For any others, the response is written without waiting for the client.
const MAX_LEAVING: usize = 32;

/// How long the client of a rejected connection may take to send a request, and then to read the response.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers the requests of a listener.
pub(super) trait Endpoint: Clone + Send + Sync + 'static {
    /// The type of response bodies.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers a request from `peer`.
    fn answer(
        self,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Notes a request from `peer` that was rejected because its head breaks the rules of HTTP.
    fn note_bad_head(&self, peer: Peer, head: &BadHead);
}

/// One of the two listeners.
pub(super) struct Accepting<'a, E> {
    /// The name in the log.
    pub(super) name: &'static str,
    pub(super) listener: &'a TcpListener,
    pub(super) endpoint: E,
    /// The TLS configuration for the next connection; `None` for plain HTTP.
    pub(super) tls: &'a (dyn Fn() -> Option<Arc<ServerConfig>> + Sync),
    /// The limit of connections, read for each new connection.
    pub(super) most: &'a (dyn Fn() -> usize + Sync),
    pub(super) room: Arc<Gate>,
    /// The timeout for the head of a request, and for an idle connection.
    pub(super) head_timeout: Duration,
}

/// Accepts connections forever.
pub(super) async fn accept(accepting: Accepting<'_, impl Endpoint>, graceful: &GracefulShutdown) {
    let Accepting { name, listener, endpoint, tls, most, room, head_timeout } = accepting;
    let service =
        |peer| Service { endpoint: endpoint.clone(), peer, head_timeout, shutdown: graceful.watcher() };
    // Handshakes run on tasks of their own, so that a slow one does not delay others. They are aborted when this loop
    // ends.
    let mut handshakes = JoinSet::new();
    let leaving = Arc::new(Gate::default());
    let (mut out_of_descriptors, mut crowded) = (LogThrottle::default(), LogThrottle::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(handshake) = handshakes.join_next() => {
                if let Ok(Some((stream, peer, place))) = handshake {
                    serve(stream, service(peer), place);
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_lost(&error) => continue,
            Err(error) => {
                if out_of_descriptors.begins(Instant::now()) {
                    tracing::error!("{name}: no connection can be accepted: {error}");
                }
                // Accepting again at once would spin until a file descriptor is free.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, most) = (tls(), most());
        let Some(place) = room.enter(most) else {
            if crowded.begins(Instant::now()) {
                tracing::warn!(most, "{name}: more than {most} connections are rejected");
            }
            if tls.is_none() {
                reject_connection(stream, &leaving);
            }
            continue;
        };
        // A response is one small write. Nagle's algorithm would only delay it.
        let _ = stream.set_nodelay(true);
        let peer = Peer(peer);
        match tls {
            Some(config) => drop(handshakes.spawn(accept_tls(stream, config, peer, place))),
            None => serve(stream, service(peer), place),
        }
    }
}

/// Whether a failed accept concerns only one connection. Otherwise the process is out of file descriptors or similar.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Rejects a connection over the limit with [`BUSY`].
fn reject_connection(stream: TcpStream, leaving: &Arc<Gate>) {
    match leaving.enter(MAX_LEAVING) {
        Some(place) => {
            tokio::spawn(async move {
                // Wait for the request: many clients treat a response that arrives before their request as a connection
                // error.
                let _ = timeout(LEAVING_TIMEOUT, stream.peek(&mut [0])).await;
                let _ = timeout(LEAVING_TIMEOUT, send_rejection(stream)).await;
                drop(place);
            });
        }
        None => {
            // The response fits into the empty send buffer of a new connection, so this write does not block.
            if let Ok(mut stream) = stream.into_std() {
                let _ = stream.write(BUSY);
            }
        }
    }
}

/// Sends [`BUSY`] and discards the request. A client that is still sending would otherwise see a connection error.
async fn send_rejection(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(BUSY).await?;
    stream.shutdown().await?;
    let mut thrown_away = [0; 1024];
    while stream.read(&mut thrown_away).await? > 0 {}
    Ok(())
}

/// Runs a TLS handshake. Logs a failure and returns `None`.
async fn accept_tls(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    peer: Peer,
    place: Permit,
) -> Option<(TlsStream<TcpStream>, Peer, Permit)> {
    let client = peer.0.ip().to_canonical();
    let shaking = TlsAcceptor::from(config).accept(stream);
    match timeout(HANDSHAKE_TIMEOUT, shaking).await {
        Ok(Ok(stream)) => return Some((stream, peer, place)),
        // TCP health checks of load balancers connect and disconnect.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%client, "the client disconnected during the TLS handshake");
        }
        Ok(Err(error)) => {
            let source = error.get_ref().and_then(|source| source.downcast_ref());
            let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
            let hint = if source == Some(&not_tls) {
                " (the client does not use TLS; it may use plain HTTP)"
            } else {
                ""
            };
            tracing::warn!(%client, "rejected: the TLS handshake failed: {error}{hint}");
        }
        Err(_) => tracing::warn!(%client, "rejected: the TLS handshake took too long"),
    }
    None
}

/// Serves a connection on a task of its own. The permit `place` is released when the connection ends.
fn serve(stream: impl Stream, service: Service<impl Endpoint>, place: Permit) {
    tokio::spawn(async move {
        if let Err(error) = connection::serve(stream, &service).await {
            tracing::debug!("a connection ended early: {error}");
        }
        drop(place);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::MAX_HEAD;
    use crate::server::connection::WRITE_TIMEOUT;
    use http_body_util::Full;
    use tokio::io::DuplexStream;

    /// Responds to every request with the same text.
    #[derive(Clone)]
    struct FixedAnswer(Bytes);

    impl Endpoint for FixedAnswer {
        type Body = Full<Bytes>;

        async fn answer(self, _: Peer, _: Request<Incoming>) -> Response<Full<Bytes>> {
            Response::new(Full::new(self.0))
        }

        fn note_bad_head(&self, _: Peer, _: &BadHead) {}
    }

    /// Serves one connection. Returns the client's end, the gate with its permit, and the handle that would shut it
    /// down.
    fn connected(text: impl Into<Bytes>) -> (DuplexStream, Arc<Gate>, GracefulShutdown) {
        let (client, server) = tokio::io::duplex(1024);
        let room = Arc::new(Gate::default());
        let graceful = GracefulShutdown::new();
        let service = Service {
            endpoint: FixedAnswer(text.into()),
            peer: Peer(([127, 0, 0, 1], 1).into()),
            head_timeout: HEAD_TIMEOUT,
            shutdown: graceful.watcher(),
        };
        serve(server, service, room.enter(1).unwrap());
        (client, room, graceful)
    }

    /// Waits until the permit is released.
    async fn released(room: &Gate) {
        while room.held() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn read_response(mut stream: DuplexStream) -> String {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_head_times_out() {
        for head in
            ["", "POST / HTTP/1.1\r\nhost: localhost\r\n", "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"]
        {
            let (mut stream, room, _graceful) = connected("hello");
            stream.write_all(head.as_bytes()).await.unwrap();
            let started = tokio::time::Instant::now();
            let answer = read_response(stream).await;
            assert_eq!(answer.ends_with("hello"), head.ends_with("\r\n\r\n"), "{head} {answer}");
            assert_eq!(started.elapsed().as_secs(), HEAD_TIMEOUT.as_secs(), "{head}");
            released(&room).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_is_disconnected() {
        let (mut stream, room, _graceful) = connected("x".repeat(1_000_000));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let started = tokio::time::Instant::now();
        // A client that reads a little from time to time is only slow.
        for _ in 0..3 {
            tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
            stream.read_exact(&mut [0; 1024]).await.unwrap();
        }
        released(&room).await;
        let slow = (WRITE_TIMEOUT - Duration::from_secs(1)) * 3;
        assert_eq!(started.elapsed().as_secs(), (slow + WRITE_TIMEOUT).as_secs());
    }

    #[tokio::test]
    async fn a_head_has_limits() {
        let headers = |count: usize| "a: b\r\n".repeat(count);
        let long = "x".repeat(MAX_HEAD);
        for (head, status) in [
            (format!("GET / HTTP/1.1\r\n{}connection: close\r\n\r\n", headers(99)), "200 OK"),
            (format!("GET / HTTP/1.1\r\n{}\r\n", headers(101)), "431 Request Header Fields Too Large"),
            (format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), "431 Request Header Fields Too Large"),
            (format!("GET /{long} HTTP/1.1\r\n\r\n"), "431 Request Header Fields Too Large"),
            ("\u{1}\u{2}\r\n\r\n".to_owned(), "400 Bad Request"),
        ] {
            let (stream, room, _graceful) = connected("hello");
            let (read, mut write) = tokio::io::split(stream);
            let sent = async { drop(write.write_all(head.as_bytes()).await) };
            let mut answer = Vec::new();
            let mut read = read;
            // Ends when the server closes the connection.
            let (_, read) = tokio::join!(sent, read.read_to_end(&mut answer));
            read.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            released(&room).await;
        }
    }

    #[test]
    fn the_busy_response_has_the_right_content_length() {
        let (head, body) = std::str::from_utf8(BUSY).unwrap().split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"].is_string());
    }
}
