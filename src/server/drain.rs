//! The shutdown of the listener for platforms: it announces itself, waits for load balancers, and drains the calls in
//! flight.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout_at};

use crate::deliveries::Worker;
use crate::upstream::delivery::DETACHED_TIMEOUT;

use super::graceful::GracefulShutdown;
use super::{App, LAST_ADMIN, LAST_SPANS, accept_platforms};

/// The time to send a reply that was finished at its deadline.
const LAST_REPLIES: Duration = Duration::from_millis(500);

/// How long a drain may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DrainTimes {
    /// Until the last reply is sent.
    replies: Duration,
    /// Until the process ends at the latest: a request that was sent before its deadline may still get a response.
    most: Duration,
}

impl DrainTimes {
    /// The times of a drain of calls that have at most `budget`.
    fn of(budget: Duration, has_spans: bool) -> Self {
        let replies = budget + LAST_REPLIES;
        let spans = if has_spans { LAST_SPANS } else { Duration::ZERO };
        Self { replies, most: replies + DETACHED_TIMEOUT + LAST_ADMIN + spans }
    }
}

/// Serves the listener for platforms until `shutdown` ends, and for `server.drain_delay` after that. Then closes it and
/// waits for the calls in flight. Returns whether all of them ended in time.
pub(super) async fn serve_platforms(
    listener: TcpListener,
    app: &App,
    worker: &Worker,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let connections = GracefulShutdown::new();
    tokio::select! {
        () = accept_platforms(&listener, app, &connections) => {}
        () = announce(app, worker, shutdown) => {}
    }
    drop(listener);
    drain(app, connections).await
}

/// Waits for `shutdown`. From then on, the proxy is not ready, but it still accepts calls until load balancers have
/// noticed.
async fn announce(app: &App, worker: &Worker, shutdown: impl Future<Output = ()>) {
    shutdown.await;
    worker.stop_leasing();
    app.shutting_down.store(true, Ordering::Relaxed);
    let delay = app.dispatcher.live.plan().server.drain_delay;
    if !delay.is_zero() {
        let seconds = delay.as_secs_f64();
        tracing::info!(
            delay_ms = delay.as_millis(),
            "not ready: calls are still accepted for {seconds} s (`server.drain_delay`)"
        );
        sleep(delay).await;
    }
}

async fn drain(app: &App, connections: GracefulShutdown) -> bool {
    let plan = app.dispatcher.live.plan();
    let longest = plan.platforms.iter().map(|served| served.budget).max().unwrap_or_default();
    let times = DrainTimes::of(longest, plan.traces.is_some());
    let in_flight = app.dispatcher.in_flight();
    let (replies, most) = (times.replies.as_secs_f64(), times.most.as_secs_f64());
    tracing::info!(
        in_flight,
        replies_within_ms = times.replies.as_millis(),
        within_ms = times.most.as_millis(),
        "shutting down: draining {in_flight} calls in flight (replies within {replies} s, detached calls within {most} s)"
    );
    let in_time = Instant::now() + times.replies;
    let replied = timeout_at(in_time, connections.shutdown()).await;
    let ended = timeout_at(in_time + DETACHED_TIMEOUT, app.dispatcher.drained()).await;
    replied.is_ok() && ended.is_ok()
}
