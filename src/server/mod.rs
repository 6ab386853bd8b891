//! The doors: the platforms' door and the admin door, over HTTP/1.1, until they are told to close. The platforms'
//! door may be secured by TLS; the admin door is plain.

mod admin;
mod answering;
mod calls;
mod client;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::flow::Cache;
use crate::live::Live;
use crate::plan::Plan;
use crate::repeats::{self, Repeats};
use crate::upstream::delivery::GOES_ON;
use crate::upstream::http::HttpTransport;

use client::Peer;

/// How long a connection may take to send the head of a request, and stay idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What both doors share.
#[derive(Clone)]
pub struct App {
    /// The running plan.
    pub live: Arc<Live>,
    /// The way to upstreams.
    pub transport: Arc<HttpTransport>,
    /// The plan that opened the doors.
    pub opened: Arc<Plan>,
    /// When the proxy started.
    pub started_at: Timestamp,
    /// What upstreams answered lately.
    pub cache: Arc<Cache>,
    /// The answers of calls that may have changed something.
    repeats: Arc<Repeats>,
    turned_away: Arc<calls::TurnedAway>,
    /// Held by each call until it ends, also when nobody waits for its answer any more.
    in_flight: mpsc::Sender<Infallible>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Serves both doors until `shutdown` ends; then stops accepting and lets calls in flight finish, up to their
/// deadline.
pub async fn serve(
    listener: TcpListener,
    admin: Option<TcpListener>,
    live: Arc<Live>,
    transport: Arc<HttpTransport>,
    cache: Arc<Cache>,
    shutdown: impl Future<Output = ()>,
) {
    let (in_flight, mut ended) = mpsc::channel(1);
    let opened = live.plan();
    let app = App {
        live: Arc::clone(&live),
        transport,
        opened,
        started_at: Timestamp::now(),
        cache,
        repeats: Arc::new(Repeats::new(repeats::MAX_BYTES)),
        turned_away: Arc::default(),
        in_flight,
    };
    let graceful = GracefulShutdown::new();
    // Asked anew for each connection, so that a reload holds for the next one.
    let tls = || live.plan().server.tls.as_ref().map(|tls| Arc::clone(&tls.config));
    let door = accept(&listener, calls::router(app.clone()), tls, &graceful);
    let admin_door = async {
        match &admin {
            Some(listener) => accept(listener, admin::router(app.clone()), || None, &graceful).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = door => {}
        () = admin_door => {}
        () = shutdown => {}
    }
    drop((listener, admin, app));
    let longest = live.plan().platforms.iter().map(|served| served.budget).max().unwrap_or_default();
    tracing::info!(within_ms = longest.as_millis(), "closing: calls in flight may finish");
    let in_time = tokio::time::Instant::now() + longest + Duration::from_millis(500);
    // The deadline of a call that began just now, and a little for its answer.
    let answered = timeout_at(in_time, graceful.shutdown()).await;
    // Ends when the last call has dropped its sender: a write may outlive the deadline of its call.
    let ended = timeout_at(in_time + GOES_ON, ended.recv()).await;
    if answered.is_err() || ended.is_err() {
        tracing::warn!("closed with calls still in flight");
    }
}

/// Accepts connections for ever; `tls` says what the next one is secured with.
async fn accept(
    listener: &TcpListener,
    router: Router,
    tls: impl Fn() -> Option<Arc<ServerConfig>>,
    graceful: &GracefulShutdown,
) {
    let mut builder = http1::Builder::new();
    // Without a timer a half-sent head would hold its connection for ever.
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    // On tasks of their own, so that none holds up the others; they end with this loop.
    let mut handshakes = JoinSet::new();
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(shaken) = handshakes.join_next() => {
                if let Ok(Some((stream, door))) = shaken {
                    serve_connection(stream, &builder, door, graceful);
                }
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_lost(&error) => continue,
            Err(error) => {
                // Said once, not with each try.
                if !is_full {
                    tracing::error!("no connection can be accepted: {error}");
                }
                is_full = true;
                // Accepting again at once would only spin until a descriptor is free.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        is_full = false;
        // An answer is one small write; waiting to fill a packet would only delay it.
        let _ = stream.set_nodelay(true);
        let door = Door { router: router.clone(), peer: Peer(peer) };
        match tls() {
            Some(config) => drop(handshakes.spawn(shake_hands(stream, config, door))),
            None => serve_connection(stream, &builder, door, graceful),
        }
    }
}

/// A TLS handshake; `None` when it comes to nothing, which has been logged.
async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    door: Door,
) -> Option<(TlsStream<TcpStream>, Door)> {
    let client = door.peer.0.ip().to_canonical();
    let shaking = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaking).await {
        Ok(Ok(stream)) => return Some((stream, door)),
        // A load balancer that looks whether somebody listens connects and leaves.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%client, "left before the TLS handshake was done");
        }
        Ok(Err(error)) => {
            let source = error.get_ref().and_then(|source| source.downcast_ref());
            let not_tls = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
            let hint = if source == Some(&not_tls) { " (it is not TLS: plain HTTP, perhaps)" } else { "" };
            tracing::warn!(%client, "turned away: the TLS handshake failed: {error}{hint}");
        }
        Err(_) => tracing::warn!(%client, "turned away: the TLS handshake took too long"),
    }
    None
}

/// Whether a failed accept is the fault of one connection, and not that the process has no more file descriptors.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    builder: &http1::Builder,
    door: Door,
    graceful: &GracefulShutdown,
) {
    let service = TowerToHyperService::new(door);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended early: {error}");
        }
    });
}

/// A router that takes what hyper received over one connection.
#[derive(Clone)]
struct Door {
    router: Router,
    peer: Peer,
}

impl tower_service::Service<http::Request<Incoming>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        tower_service::Service::<http::Request<Body>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: http::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        tower_service::Service::call(&mut self.router, request.map(Body::new))
    }
}
