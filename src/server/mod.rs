//! The doors: the platforms' door and the admin door, over HTTP/1.1, until they are told to close. The platforms'
//! door may be secured by TLS; the admin door is plain.

mod admin;
mod answering;
mod calls;
mod client;
mod connections;
pub mod descriptors;
mod origin;
mod records;
mod refusal;
mod room;
mod scrape;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{timeout, timeout_at};

use crate::flow::Cache;
use crate::live::Live;
use crate::observe::history::History;
use crate::observe::metrics::Metrics;
use crate::observe::spans::Spans;
use crate::plan::Plan;
use crate::repeats::{self, DedupLedger};
use crate::upstream::delivery::DETACHED_TIMEOUT;
use crate::upstream::http::HttpTransport;

use connections::{Doorway, accept};
use refusal::TurnedAway;
use room::Gate;

/// The most connections to the admin door, which has room of its own: whoever runs the proxy must be able to look
/// while the platforms' door is full.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// How long the end waits for the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// The doors, open.
#[derive(Debug)]
pub struct Listeners {
    /// The platforms' door.
    pub platforms: TcpListener,
    /// The admin door, if there is one.
    pub admin: Option<TcpListener>,
}

/// What the process has, and what became of its log.
#[derive(Debug, Clone)]
pub struct Process {
    /// The limit of file descriptors.
    pub descriptors: u64,
    /// How many lines of the log were never written, as it counts on.
    pub lost_lines: Arc<AtomicU64>,
}

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
    repeats: Arc<DedupLedger>,
    process: Process,
    metrics: Arc<Metrics>,
    spans: Arc<Spans>,
    history: Arc<History>,
    turned_away: Arc<TurnedAway>,
    /// The calls in flight.
    calls: Arc<Gate>,
    /// Those that have been answered while what they sent goes on.
    overdue: Arc<Gate>,
    /// The connections to the platforms' door.
    connections: Arc<Gate>,
    /// Held by each call until it ends, also when nobody waits for its answer any more.
    in_flight: mpsc::Sender<Infallible>,
}

impl App {
    fn new(
        live: Arc<Live>,
        transport: Arc<HttpTransport>,
        cache: Arc<Cache>,
        process: Process,
        in_flight: mpsc::Sender<Infallible>,
        spans: Spans,
    ) -> Self {
        Self {
            opened: live.plan(),
            live,
            transport,
            started_at: Timestamp::now(),
            cache,
            repeats: Arc::new(DedupLedger::new(repeats::MAX_BYTES)),
            process,
            metrics: Arc::default(),
            spans: Arc::new(spans),
            history: Arc::default(),
            turned_away: Arc::default(),
            calls: Arc::default(),
            overdue: Arc::default(),
            connections: Arc::default(),
            in_flight,
        }
    }

    /// How often something was turned away at the platforms' door, by the reason.
    fn turned_away(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let no_room =
            [("busy_calls", self.calls.turned_away()), ("busy_connections", self.connections.turned_away())];
        self.turned_away.by_reason().into_iter().chain(no_room)
    }

    /// How many connections there may be to the platforms' door, as the running plan and the system have it.
    fn most_connections(&self) -> usize {
        self.live.plan().server.max_connections.min(descriptors::most_connections(self.process.descriptors))
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Serves both doors until `shutdown` ends; then stops accepting and lets calls in flight finish, up to their
/// deadline.
pub async fn serve(
    doors: Listeners,
    live: Arc<Live>,
    transport: Arc<HttpTransport>,
    cache: Arc<Cache>,
    process: Process,
    shutdown: impl Future<Output = ()>,
) {
    let (in_flight, mut ended) = mpsc::channel(1);
    let (spans, exporter) = Spans::over(Arc::clone(&transport) as _);
    // It ends when all spans are sent, after the last call has dropped its end of their way.
    let exporting = tokio::spawn(exporter.run());
    let app = App::new(Arc::clone(&live), transport, cache, process, in_flight, spans);
    let graceful = GracefulShutdown::new();
    // Both are asked anew for each connection, so that a reload holds for the next one.
    let tls = || live.plan().server.tls.as_ref().map(|tls| Arc::clone(&tls.config));
    let most = || app.most_connections();
    let door = accept(
        Doorway {
            name: "the platforms' door",
            listener: &doors.platforms,
            router: calls::router(app.clone()),
            tls: &tls,
            most: &most,
            room: Arc::clone(&app.connections),
        },
        &graceful,
    );
    let admin_door = async {
        let Some(listener) = &doors.admin else { return std::future::pending().await };
        let doorway = Doorway {
            name: "the admin door",
            listener,
            router: admin::router(app.clone()),
            tls: &|| None,
            most: &|| MAX_ADMIN_CONNECTIONS,
            room: Arc::default(),
        };
        accept(doorway, &graceful).await;
    };
    tokio::select! {
        () = door => {}
        () = admin_door => {}
        () = shutdown => {}
    }
    app.history.close();
    drop((doors, app));
    let longest = live.plan().platforms.iter().map(|served| served.budget).max().unwrap_or_default();
    tracing::info!(within_ms = longest.as_millis(), "closing: calls in flight may finish");
    let in_time = tokio::time::Instant::now() + longest + Duration::from_millis(500);
    // The deadline of a call that began just now, and a little for its answer.
    let answered = timeout_at(in_time, graceful.shutdown()).await;
    // Ends when the last call has dropped its sender: a write may outlive the deadline of its call.
    let ended = timeout_at(in_time + DETACHED_TIMEOUT, ended.recv()).await;
    if answered.is_err() || ended.is_err() {
        tracing::warn!("closed with calls still in flight");
    } else if timeout(LAST_SPANS, exporting).await.is_err() {
        tracing::warn!("closed with spans that were not sent");
    }
}

#[cfg(test)]
impl App {
    /// What a door over this table needs.
    fn over(table: &str) -> Self {
        Self::over_changed(table, |_| {})
    }

    /// The same, over a plan that no table says.
    fn over_changed(table: &str, change: impl FnOnce(&mut Plan)) -> Self {
        use crate::flow;
        use crate::load::{load, process_environment};
        use std::sync::atomic::{AtomicUsize, Ordering};

        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jackfield-app-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, table).unwrap();
        let loaded = load(&path, &process_environment()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        change(&mut plan);
        let process = Process { descriptors: u64::MAX, lost_lines: Arc::default() };
        let transport = Arc::new(HttpTransport::new().unwrap());
        let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
        let (spans, _) = Spans::over(Arc::clone(&transport) as _);
        Self::new(Arc::new(Live::new(plan)), transport, cache, process, mpsc::channel(1).0, spans)
    }
}
