//! `jackfield serve`: runs the proxy.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::Level;

use crate::diagnostic::{self, JsonDiagnostic};
use crate::flow::{self, Cache};
use crate::live::Live;
use crate::load::{Dependencies, Kept, ListenerOptions, Loaded, default_last_good};
use crate::observe::log::{self, LogWriter};
use crate::plan::Plan;
use crate::reload::{ConfigSource, Reloadable, Reloader, save_last_good};
use crate::server::{self, Listeners, Process, descriptors};
use crate::upstream::http::HttpTransport;

use super::shared::{start_demo, summary, unreadable};

/// The options of `serve`.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Serve {
    /// Start a small sample API and point `[upstreams.demo]` at it; for `serve`, `call` and `check`.
    #[arg(long)]
    pub(super) demo: bool,
    /// The address and port of the listener for platforms; overrides `server.listen`; for `serve`.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The address and port of the admin listener; overrides `server.admin`; for `serve`.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl Serve {
    /// Whether an option is given that only `serve` has.
    pub(super) fn is_given(self) -> bool {
        self.listen.is_some() || self.admin.is_some()
    }

    /// These options, and those of `other` that are not given here.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            demo: self.demo || other.demo,
            listen: self.listen.or(other.listen),
            admin: self.admin.or(other.admin),
        }
    }
}

pub(super) fn run(path: PathBuf, command: Serve) -> anyhow::Result<ExitCode> {
    let log = log::start().context("cannot start the log")?;
    // One thread per core. Work that may block a thread for long, such as parsing a huge response, first moves the
    // thread's other tasks to another one.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(serve(path, command, &log));
    // A system call that hangs, such as a DNS lookup, must not keep the process alive.
    runtime.shutdown_background();
    log.flush();
    code
}

async fn serve(path: PathBuf, command: Serve, log: &LogWriter) -> anyhow::Result<ExitCode> {
    let demo = if command.demo { Some(start_demo().await?) } else { None };
    let options = ListenerOptions { listen: command.listen, admin: command.admin };
    let source = ConfigSource { path, demo, options };
    let Started { live, dependencies, found, kept } = match start(&source, log) {
        Ok(started) => started,
        Err(code) => return Ok(code),
    };
    if let Some(address) = &source.demo {
        // Only now does the log have the format of the table.
        tracing::info!(%address, "sample API started: [upstreams.demo] points at it");
    }
    let plan = live.plan();
    let transport = Arc::new(HttpTransport::new()?);
    transport.prepare(plan.targets())?;
    let process = Process { descriptors: descriptor_limit(), lost_lines: log.lost() };
    let listeners = listen(&plan).await?;
    warn_of_few_descriptors(&plan, process.descriptors);
    let mut signals = shutdown_signals()?;
    let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
    let running =
        Reloadable { live: Arc::clone(&live), transport: Arc::clone(&transport), cache: Arc::clone(&cache) };
    let reloader = Reloader::new(source, running, dependencies, found, kept);
    tokio::spawn(reloader.run(reload_requests()?));
    log_ready(&plan, &listeners)?;
    // The lines up to here appear at every level.
    log::set_level(plan.log.level);
    let (close, closing) = oneshot::channel();
    let second_signal = async {
        signals.recv().await;
        let _ = close.send(());
        signals.recv().await;
    };
    let shutdown = async {
        let _ = closing.await;
    };
    tokio::select! {
        served = server::serve(listeners, live, transport, cache, process, shutdown) => {
            served.context("cannot serve the admin listener (`server.admin`)")?;
            tracing::info!("shut down");
        }
        () = second_signal => tracing::warn!("second signal received: exiting without waiting for calls"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The results of the first load.
struct Started {
    live: Arc<Live>,
    dependencies: Dependencies,
    found: Vec<JsonDiagnostic>,
    kept: Kept,
}

/// Loads the table and logs its diagnostics. If it has errors and there is no earlier one, returns the exit code.
fn start(source: &ConfigSource, log: &LogWriter) -> Result<Started, ExitCode> {
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            log.print(Level::ERROR, &unreadable(&source.path, &error.source));
            let dependencies =
                Dependencies { files: [source.path.clone()].into(), ..Dependencies::default() };
            let found = vec![JsonDiagnostic::unreadable(&source.path, &error.source)];
            let folder = Some(default_last_good(&source.path));
            return start_last_good(source, log, folder, (dependencies, found)).ok_or(ExitCode::from(2));
        }
    };
    let Loaded { plan, diagnostics, sources, dependencies, kept, last_good } = loaded;
    let found = diagnostic::to_json(&diagnostics, &sources);
    let routes = plan.as_ref().map(|plan| plan.routes.len());
    let live = plan.map(|plan| Arc::new(Live::new(plan)));
    if let Some(live) = &live {
        log.follow(Arc::clone(live));
        save_last_good(&live.plan(), &sources);
    }
    if !diagnostics.is_empty() {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = diagnostic::to_text(&diagnostics, &sources, color);
        let level = if live.is_some() { Level::WARN } else { Level::ERROR };
        log.print(level, &format!("{text}{}", summary(&source.path, &diagnostics, routes)));
    }
    match live {
        Some(live) => Ok(Started { live, dependencies, found, kept }),
        None => start_last_good(source, log, last_good, (dependencies, found)).ok_or(ExitCode::FAILURE),
    }
}

/// Starts with the last accepted table instead of one with errors, if there is a copy of it.
fn start_last_good(
    source: &ConfigSource,
    log: &LogWriter,
    folder: Option<PathBuf>,
    (dependencies, found): (Dependencies, Vec<JsonDiagnostic>),
) -> Option<Started> {
    let (plan, saved_at) = source.load_last_good(&folder?)?;
    let live = Arc::new(Live::saved(plan, Some(saved_at)));
    log.follow(Arc::clone(&live));
    live.reject(found.clone());
    let (revision, file) = (live.plan().revision.clone(), source.path.display());
    tracing::error!(
        %revision, %saved_at, %file,
        "serving the last accepted table, saved at {saved_at:.0}: `{file}` has errors; fix them to reload"
    );
    Some(Started { live, dependencies, found, kept: Kept::default() })
}

async fn listen(plan: &Plan) -> anyhow::Result<Listeners> {
    let platforms = bind(plan.server.listen, "server.listen").await?;
    let admin = match plan.server.admin {
        Some(address) => Some(bind(address, "server.admin").await?),
        None => None,
    };
    Ok(Listeners { platforms, admin })
}

fn warn_of_few_descriptors(plan: &Plan, limit: u64) {
    let most = descriptors::most_connections(limit);
    if plan.server.max_connections > most {
        tracing::warn!(
            "`server.max_connections` reduced to {most}: the limit of file descriptors is {limit} (`ulimit -Hn`)"
        );
    }
}

fn log_ready(plan: &Plan, listeners: &Listeners) -> anyhow::Result<()> {
    let listen = listeners.platforms.local_addr()?;
    let admin = match &listeners.admin {
        Some(listener) => listener.local_addr()?.to_string(),
        None => "off".to_owned(),
    };
    let (revision, routes, tls) = (&plan.revision, plan.routes.len(), plan.server.tls.is_some());
    tracing::info!(%listen, %admin, %revision, routes, tls, "ready");
    Ok(())
}

/// Receives a message for each SIGHUP.
fn reload_requests() -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, requests) = mpsc::channel(1);
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP received: reloading");
            // A full channel means that a reload is due anyway.
            let _ = sender.try_send(());
        }
    });
    Ok(requests)
}

/// Receives a message for each SIGTERM and Ctrl-C. The first starts the shutdown, the second ends it at once.
fn shutdown_signals() -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, signals_received) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = sender.try_send(());
            }
        });
    }
    Ok(signals_received)
}

/// Raises the limit of file descriptors as far as possible and returns it; without a known limit, the maximum.
fn descriptor_limit() -> u64 {
    descriptors::raise_limit().unwrap_or_else(|error| {
        tracing::warn!("cannot raise the limit of file descriptors: {error}");
        u64::MAX
    })
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (`{key}`)"))
}
