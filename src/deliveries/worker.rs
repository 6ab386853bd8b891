//! The worker: leases the calls that are due, runs them concurrently, and renews their leases.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::sleep;

use crate::dispatch::{Dispatcher, poll_caught};
use crate::state::{Job, JobId, JobLease, JobOutcome, LeaseState, Store};

use super::attempt;

/// The maximum number of calls that an instance delivers at the same time.
const MAX_ATTEMPTS: usize = 64;
/// How often leases are renewed.
const RENEWAL: Duration = Duration::from_millis(1500);
/// How long a lease lasts. If it is not renewed within this time, another instance may run the call.
const LEASE: Duration = Duration::from_secs(5);
/// How often deliveries are counted, and how often expired ones are deleted.
const COUNTING: Duration = Duration::from_secs(5);
const PURGING: Duration = Duration::from_secs(60);
/// The pause after an operation of the store that failed.
const PAUSE: Duration = Duration::from_millis(500);
/// How long delivered calls are kept if the running table has no state any more.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// Delivers accepted calls until it is stopped.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    dispatcher: Arc<Dispatcher>,
    attempts: Mutex<HashMap<JobId, Running>>,
    /// An attempt has ended, so another call may be leased.
    freed: Notify,
}

/// An attempt that is running.
#[derive(Debug)]
struct Running {
    lease: JobLease,
    task: AbortHandle,
}

impl Worker {
    /// Starts the worker. It waits until a table needs the store.
    pub fn start(dispatcher: Arc<Dispatcher>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { dispatcher, attempts: Mutex::default(), freed: Notify::new() });
        let task = tokio::spawn(run(Arc::clone(&shared), stopped));
        Self { shared, stop, task }
    }

    /// Leases no more calls. Those that are running continue.
    pub fn stop_leasing(&self) {
        let _ = self.stop.send(true);
    }

    /// Ends the worker, and hands back the calls that are still running, for other instances.
    pub async fn hand_back(self) {
        self.stop_leasing();
        let rest: Vec<Running> = self.shared.attempts.lock().drain().map(|(_, running)| running).collect();
        if let Some(store) = self.shared.dispatcher.state.store() {
            for Running { lease, task } in rest {
                task.abort();
                // A request may have been sent, so this counts as an attempt.
                let reason = "the instance was stopped during the attempt".to_owned();
                let outcome = JobOutcome::RetryIn { delay: Duration::ZERO, reason };
                let _ = store.within(PAUSE).finish(&lease, outcome).await;
            }
        }
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    open_if_needed(&shared.dispatcher);
    let store = shared.dispatcher.state.opened().await.clone();
    let leasing = async {
        tokio::select! {
            () = lease(&shared, &store) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        // Keep renewing leases until the last attempt has ended.
        std::future::pending::<()>().await;
    };
    tokio::join!(
        leasing,
        renew(&shared, &store),
        count(&shared.dispatcher, &store),
        purge(&shared.dispatcher, &store)
    );
}

/// Opens the store at the start if the table needs it, so that calls which an earlier process accepted are delivered.
fn open_if_needed(dispatcher: &Dispatcher) {
    dispatcher.state.access(&dispatcher.live.plan());
}

/// Leases calls and starts their attempts. Never ends.
async fn lease(shared: &Arc<Shared>, store: &Store) {
    let mut watch = store.watch_jobs();
    loop {
        let free = MAX_ATTEMPTS.saturating_sub(shared.attempts.lock().len());
        if free == 0 {
            shared.freed.notified().await;
            continue;
        }
        match shared.dispatcher.state.note(store.lease_jobs(free).await) {
            None => sleep(PAUSE).await,
            Some(jobs) => {
                let is_more = jobs.len() == free;
                jobs.into_iter().for_each(|job| start(shared, store, job));
                if !is_more {
                    let freed = shared.freed.notified();
                    tokio::select! {
                        () = watch.changed() => {}
                        () = freed => {}
                    }
                }
            }
        }
    }
}

/// Starts an attempt as a task of its own, so that a panic ends only this attempt.
fn start(shared: &Arc<Shared>, store: &Store, job: Job) {
    let (lease, id) = (job.lease.clone(), job.lease.id);
    let Some(permit) = shared.dispatcher.deliveries.enter(usize::MAX) else { return };
    let (of_task, store, lease_of_task) = (Arc::clone(shared), store.clone(), lease.clone());
    let mut attempts = shared.attempts.lock();
    let task = tokio::spawn(async move {
        let outcome = attempt_caught(&of_task.dispatcher, job).await;
        finish(&store, &lease_of_task, outcome).await;
        of_task.attempts.lock().remove(&id);
        of_task.freed.notify_one();
        drop(permit);
    });
    attempts.insert(id, Running { lease, task: task.abort_handle() });
}

async fn attempt_caught(dispatcher: &Arc<Dispatcher>, job: Job) -> JobOutcome {
    let (attempt, retry_left) = (job.attempt, job.retry_left);
    let mut running = pin!(attempt::run(dispatcher, job));
    let caught = poll_fn(|context| poll_caught(running.as_mut(), context)).await;
    caught.unwrap_or_else(|_| {
        let reason = "bad_response: the attempt ended in an internal error".to_owned();
        super::verdict::retry(reason, attempt, retry_left, None, fastrand::f64())
    })
}

/// Stores the outcome of an attempt. While the store is unavailable, this retries until the lease has certainly ended:
/// another instance then runs the call.
async fn finish(store: &Store, lease: &JobLease, outcome: JobOutcome) {
    let began = Instant::now();
    loop {
        match store.finish(lease, outcome.clone()).await {
            Ok(LeaseState::Held) => return,
            Ok(LeaseState::Lost) => {
                let delivery = lease.id;
                tracing::warn!(%delivery, "an attempt ended after its lease: the call may be delivered twice");
                return;
            }
            Err(_) if began.elapsed() < 12 * LEASE => sleep(PAUSE).await,
            Err(error) => {
                let delivery = lease.id;
                tracing::error!(%delivery, "{error}: the result of an attempt is lost, and the call is delivered again");
                return;
            }
        }
    }
}

/// Renews the leases of the running attempts. An attempt whose lease is lost is stopped: another instance runs the call.
/// Never ends.
async fn renew(shared: &Shared, store: &Store) {
    let mut renewed = Instant::now();
    loop {
        sleep(RENEWAL).await;
        let leases: Vec<JobLease> =
            shared.attempts.lock().values().map(|running| running.lease.clone()).collect();
        if leases.is_empty() {
            renewed = Instant::now();
            continue;
        }
        match shared.dispatcher.state.note(store.within(RENEWAL).renew_jobs(&leases).await) {
            Some(lost) => {
                renewed = Instant::now();
                lost.iter().for_each(|id| shared.stop(id));
            }
            None if renewed.elapsed() > LEASE => leases.iter().for_each(|lease| shared.stop(&lease.id)),
            None => {}
        }
    }
}

impl Shared {
    /// Stops an attempt whose lease has ended.
    fn stop(&self, id: &JobId) {
        if let Some(running) = self.attempts.lock().remove(id) {
            running.task.abort();
            tracing::warn!(delivery = %id, "the lease of an attempt has ended: stopped it");
            self.freed.notify_one();
        }
    }
}

/// Counts the deliveries for metrics. Never ends.
async fn count(dispatcher: &Dispatcher, store: &Store) {
    loop {
        if let Some(counts) = dispatcher.state.note(store.counts().await) {
            dispatcher.state.set_counts(counts);
        }
        sleep(COUNTING).await;
    }
}

/// Deletes expired rows: deliveries, memory and claimed calls. Never ends.
async fn purge(dispatcher: &Dispatcher, store: &Store) {
    loop {
        let keep = dispatcher.live.plan().state.as_ref().map_or(KEEP, |state| state.keep);
        let mut deleted = 1;
        while deleted > 0 {
            deleted = dispatcher.state.note(store.purge(keep).await).unwrap_or_default();
        }
        sleep(PURGING).await;
    }
}
