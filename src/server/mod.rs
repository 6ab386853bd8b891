//! HTTP in: the listener for platforms and the admin listener, over HTTP/1.1. The listener for platforms may use TLS;
//! the admin listener does not.

mod admin;
mod admin_thread;
mod body;
mod calls;
mod client;
mod connection;
mod connections;
mod deliveries;
pub mod descriptors;
mod drain;
mod graceful;
mod origin;
mod record_filter;
mod records;
mod refusal;
mod scrape;
mod throttle;
mod without_call;

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::deliveries::Worker;
use crate::dispatch::Dispatcher;
use crate::dispatch::gate::Gate;
use crate::flow::Cache;
use crate::live::Live;
use crate::observe::spans::Spans;
use crate::plan::Plan;
use crate::upstream::http::HttpTransport;

use admin_thread::AdminThread;
use calls::Platforms;
use connections::{Accepting, HEAD_TIMEOUT, accept};
use graceful::GracefulShutdown;
use refusal::RejectedRequests;
use without_call::UnroutedRequests;

/// The maximum number of connections to the admin listener. It has its own limit, so that operators can reach it while
/// the listener for platforms is full.
const MAX_ADMIN_CONNECTIONS: usize = 128;

/// The timeout for the head of a request to the admin listener: silent connections must not keep health probes out.
const ADMIN_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last requests to the admin listener may take after all calls have ended.
const LAST_ADMIN: Duration = Duration::from_secs(1);

/// How long the shutdown waits for the last spans to be exported.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The bound listeners.
#[derive(Debug)]
pub struct Listeners {
    /// The listener for platforms.
    pub platforms: TcpListener,
    /// The admin listener, if `server.admin` is set.
    pub admin: Option<TcpListener>,
}

/// Facts about the process.
#[derive(Debug, Clone)]
pub struct Process {
    /// The limit of file descriptors.
    pub descriptors: u64,
    /// How many log lines have been dropped so far.
    pub lost_lines: Arc<AtomicU64>,
}

/// What both listeners share.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// What both listeners share.
pub struct Shared {
    /// Runs the calls.
    pub dispatcher: Arc<Dispatcher>,
    /// The plan that opened the listeners.
    pub opened: Arc<Plan>,
    /// When the proxy started.
    pub started_at: Timestamp,
    process: Process,
    rejected: RejectedRequests,
    unrouted: UnroutedRequests,
    /// The connections to the listener for platforms.
    connections: Arc<Gate>,
    /// The open streams of records.
    streams: Arc<Gate>,
    /// Whether the proxy is shutting down.
    shutting_down: AtomicBool,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    fn new(dispatcher: Arc<Dispatcher>, process: Process) -> Self {
        Self(Arc::new(Shared {
            opened: dispatcher.live.plan(),
            dispatcher,
            started_at: Timestamp::now(),
            process,
            rejected: RejectedRequests::default(),
            unrouted: UnroutedRequests::default(),
            connections: Arc::default(),
            streams: Arc::default(),
            shutting_down: AtomicBool::new(false),
        }))
    }
}

impl Shared {
    /// How many requests were rejected before dispatch, by reason.
    fn rejected_requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let no_room = [
            ("busy_calls", self.dispatcher.calls.refused()),
            ("busy_connections", self.connections.refused()),
        ];
        self.rejected.by_reason().into_iter().chain(no_room)
    }

    /// Whether the proxy is shutting down: it is no longer ready for new callers.
    fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// The limit of connections to the listener for platforms: the lower of the plan's limit and the system's.
    fn most_connections(&self) -> usize {
        let most = self.dispatcher.live.plan().server.max_connections;
        most.min(descriptors::most_connections(self.process.descriptors))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Serves both listeners until `shutdown` ends, then drains the calls in flight. The admin listener closes last.
///
/// # Errors
/// The admin listener cannot be served.
pub async fn serve(
    listeners: Listeners,
    live: Arc<Live>,
    transport: Arc<HttpTransport>,
    cache: Arc<Cache>,
    process: Process,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (spans, exporter) = Spans::over(Arc::clone(&transport) as _);
    // The exporter ends after the last call has ended and all spans are sent.
    let exporting = tokio::spawn(exporter.run());
    let app = App::new(Dispatcher::new(live, transport, cache, spans), process);
    let worker = Worker::start(Arc::clone(&app.dispatcher));
    let Listeners { platforms, admin } = listeners;
    let mut admin = admin.map(|listener| AdminThread::start(listener, app.clone())).transpose()?;
    let is_drained = tokio::select! {
        is_drained = drain::serve_platforms(platforms, &app, &worker, shutdown) => is_drained,
        error = failed(&mut admin) => return Err(error),
    };
    worker.hand_back().await;
    app.dispatcher.observers.history.close();
    drop(app);
    let is_admin_closed = match admin {
        Some(admin) => admin.stop().await,
        None => true,
    };
    if !is_drained {
        tracing::warn!("shut down with calls still in flight");
    } else if is_admin_closed && timeout(LAST_SPANS, exporting).await.is_err() {
        tracing::warn!("shut down with spans that were not sent");
    }
    Ok(())
}

/// Waits for a failure of the admin listener. Never ends without one.
async fn failed(admin: &mut Option<AdminThread>) -> io::Error {
    match admin {
        Some(admin) => admin.failed().await,
        None => pending().await,
    }
}

/// Accepts connections to the listener for platforms. Never ends.
async fn accept_platforms(listener: &TcpListener, app: &App, graceful: &GracefulShutdown) {
    // Read for each connection, so that a reload applies to the next one.
    let tls = || app.dispatcher.live.plan().server.tls.as_ref().map(|tls| Arc::clone(&tls.config));
    let accepting = Accepting {
        name: "the listener for platforms",
        listener,
        endpoint: Platforms(app.clone()),
        tls: &tls,
        most: &|| app.most_connections(),
        room: Arc::clone(&app.connections),
        head_timeout: HEAD_TIMEOUT,
    };
    accept(accepting, graceful).await;
}

#[cfg(test)]
impl App {
    /// A server over this table.
    fn over(table: &str) -> Self {
        Self::over_changed(table, |_| {})
    }

    /// A server over the table's plan after `change`.
    fn over_changed(table: &str, change: impl FnOnce(&mut Plan)) -> Self {
        let process = Process { descriptors: u64::MAX, lost_lines: Arc::default() };
        Self::new(Dispatcher::over(table, change), process)
    }
}
