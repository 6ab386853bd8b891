//! The doors: the platforms' door and the admin door, over HTTP/1.1, until they are told to close.

mod admin;
mod calls;

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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::live::Live;
use crate::plan::Plan;
use crate::upstream::http::HttpTransport;

/// How long a connection may take to send the head of a request, and stay idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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
    shutdown: impl Future<Output = ()>,
) {
    let (in_flight, mut ended) = mpsc::channel(1);
    let opened = live.plan();
    let app = App { live: Arc::clone(&live), transport, opened, started_at: Timestamp::now(), in_flight };
    let graceful = GracefulShutdown::new();
    let door = accept(&listener, calls::router(app.clone()), &graceful);
    let admin_door = async {
        match &admin {
            Some(listener) => accept(listener, admin::router(app.clone()), &graceful).await,
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
    let finished = async {
        graceful.shutdown().await;
        // Ends when the last call has dropped its sender.
        ended.recv().await;
    };
    // The deadline of a call that began just now, and a little for its answer.
    if tokio::time::timeout(longest + Duration::from_millis(500), finished).await.is_err() {
        tracing::warn!("closed with calls still in flight");
    }
}

/// Accepts connections for ever.
async fn accept(listener: &TcpListener, router: Router, graceful: &GracefulShutdown) {
    let mut builder = http1::Builder::new();
    // Without a timer a half-sent head would hold its connection for ever.
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut is_full = false;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
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
        serve_connection(stream, &builder, router.clone(), graceful);
    }
}

/// Whether a failed accept is the fault of one connection, and not that the process has no more file descriptors.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn serve_connection(
    stream: TcpStream,
    builder: &http1::Builder,
    router: Router,
    graceful: &GracefulShutdown,
) {
    // An answer is one small write; waiting to fill a packet would only delay it.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(Door(router));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended early: {error}");
        }
    });
}

/// A router that takes what hyper received.
#[derive(Clone)]
struct Door(Router);

impl tower_service::Service<http::Request<Incoming>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        tower_service::Service::<http::Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        tower_service::Service::call(&mut self.0, request.map(Body::new))
    }
}
