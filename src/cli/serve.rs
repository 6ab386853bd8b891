//! `jackfield serve`: the proxy itself.

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::Level;

use crate::flow::{self, Cache};
use crate::live::Live;
use crate::reload::{ConfigSource, Reloader};
use crate::server::{self, Listeners, Process, descriptors};
use crate::upstream::http::HttpTransport;
use crate::upstream::keep::Carried;
use crate::{demo, diagnostic, load::Loaded};

use crate::observe::log::{self, LogWriter};

/// The least number of threads that carry calls.
const MIN_WORKERS: usize = 8;

pub(super) fn run(path: PathBuf, demo: bool) -> anyhow::Result<ExitCode> {
    let log = log::start().context("cannot start the log")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build()?;
    let code = runtime.block_on(serve(path, demo, &log));
    // A call to a system function that hangs, such as a look-up of a name, must not hold the process.
    runtime.shutdown_background();
    log.flush();
    code
}

/// How many threads carry calls. One may be held for milliseconds by a huge reply, or by an upstream that floods it with
/// interim responses; where there are more of them than cores, the system sees to it that the others go on.
fn workers() -> usize {
    thread::available_parallelism().map_or(MIN_WORKERS, NonZero::get).max(MIN_WORKERS)
}

async fn serve(path: PathBuf, demo: bool, log: &LogWriter) -> anyhow::Result<ExitCode> {
    let demo = if demo { Some(start_demo().await?) } else { None };
    let origin = ConfigSource { path, demo, carried: Carried::default() };
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            log.print(Level::ERROR, &super::check::unreadable(&origin.path, &error.source));
            return Ok(ExitCode::from(2));
        }
    };
    let Loaded { plan, diagnostics, sources, dependencies } = loaded;
    let found = diagnostic::to_json(&diagnostics, &sources);
    let routes = plan.as_ref().map(|plan| plan.routes.len());
    let live = plan.map(|plan| Arc::new(Live::new(plan)));
    if let Some(live) = &live {
        log.follow(Arc::clone(live));
    }
    if !diagnostics.is_empty() {
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = diagnostic::to_text(&diagnostics, &sources, color);
        let level = if live.is_some() { Level::WARN } else { Level::ERROR };
        log.print(level, &format!("{text}{}", super::check::summary(&origin.path, &diagnostics, routes)));
    }
    let Some(live) = live else { return Ok(ExitCode::FAILURE) };
    let plan = live.plan();

    let transport = Arc::new(HttpTransport::new()?);
    transport.prepare(plan.targets())?;
    let process = Process { descriptors: descriptor_limit(), lost_lines: log.lost() };
    let platforms = bind(plan.server.listen, "server.listen").await?;
    let admin = match plan.server.admin {
        Some(address) => Some(bind(address, "server.admin").await?),
        None => None,
    };
    let doors = Listeners { platforms, admin };
    let listen = doors.platforms.local_addr()?;
    let admin_address = match &doors.admin {
        Some(listener) => listener.local_addr()?.to_string(),
        None => "off".to_owned(),
    };
    let (revision, routes) = (plan.revision.clone(), plan.routes.len());
    let tls = plan.server.tls.is_some();
    let most = descriptors::most_connections(process.descriptors);
    if plan.server.max_connections > most {
        let limit = process.descriptors;
        tracing::warn!(
            "no more than {most} connections are accepted, since the limit of file descriptors is {limit} (`ulimit -Hn`)"
        );
    }
    let mut told = told_to_close()?;
    let (ask, asked) = mpsc::channel(1);
    let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
    let (for_reload, pools) = (Arc::clone(&live), Arc::clone(&transport));
    let reloader = Reloader::new(origin, for_reload, pools, Arc::clone(&cache), dependencies, found);
    tokio::spawn(reloader.run(asked));
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("asked to reload by SIGHUP");
            // A full channel means that a reload is due anyway.
            let _ = ask.try_send(());
        }
    });
    tracing::info!(%listen, admin = %admin_address, %revision, routes, tls, "ready");
    let (close, closing) = oneshot::channel();
    let impatience = async {
        told.recv().await;
        let _ = close.send(());
        told.recv().await;
    };
    let shutdown = async {
        let _ = closing.await;
    };
    tokio::select! {
        () = server::serve(doors, live, transport, cache, process, shutdown) => tracing::info!("closed"),
        () = impatience => tracing::warn!("second signal received: exiting with calls still in flight"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Hears of each SIGTERM and Ctrl-C. The first one asks to close, the second one not to wait any longer.
fn told_to_close() -> anyhow::Result<mpsc::Receiver<()>> {
    let (tell, told) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, tell) = (signal(kind)?, tell.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let _ = tell.try_send(());
            }
        });
    }
    Ok(told)
}

/// The limit of file descriptors, raised as far as it goes. Where it cannot be known, none is counted with.
fn descriptor_limit() -> u64 {
    descriptors::raise_limit().unwrap_or_else(|error| {
        tracing::warn!("the limit of file descriptors cannot be raised: {error}");
        u64::MAX
    })
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} (`{key}`)"))
}

/// Starts the sample API and gives its address.
pub(super) async fn start_demo() -> anyhow::Result<url::Url> {
    let (address, api) = demo::start().await.context("cannot start the sample API")?;
    tokio::spawn(async move {
        if let Err(error) = api.await {
            tracing::error!("the sample API stopped: {error}");
        }
    });
    tracing::info!(%address, "the sample API is started: [upstreams.demo] points at it");
    Ok(url::Url::parse(&format!("http://{address}"))?)
}
