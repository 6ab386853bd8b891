//! The worker: leases the calls that are due, runs them concurrently, and renews their leases.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::dispatch::{Dispatcher, poll_caught};
use crate::plan::Plan;
use crate::printable::printable_line;
use crate::state::{Backlog, Job, JobLease, JobOutcome, LeaseState, Store, WorkKind};

use super::attempt;
use super::running::{RunningJobs, Term};
use super::verdict::Progress;

/// The maximum number of calls that an instance delivers at the same time.
const MAX_ATTEMPTS: usize = 64;
/// How often leases are renewed, and how long that may take. After one failure, there is time for another renewal.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long a lease lasts. If it is not renewed within this time, another instance may run the call.
const LEASE: Duration = Duration::from_secs(5);
/// How long an attempt may run after the lease was requested, unless it is renewed: it stops before the lease ends.
const TERM: Duration = Duration::from_secs(4);
/// The oldest lease with which an attempt starts. The lease began at some time after it was requested.
const OLDEST_LEASE: Duration = Duration::from_secs(2);
/// How often deliveries are counted, and how often expired ones are deleted.
const COUNTING: Duration = Duration::from_secs(5);
const PURGING: Duration = Duration::from_secs(60);
/// How long the check of the keys may take: it may have to read every stored value.
const KEY_CHECK: Duration = Duration::from_secs(60);
/// How often to look whether the table was reloaded.
const LOOKING: Duration = Duration::from_secs(1);
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
    running: RunningJobs,
    /// An attempt has ended, so another call may be leased.
    freed: Notify,
}

impl Worker {
    /// Starts the worker. It waits until a table needs the store.
    pub fn start(dispatcher: Arc<Dispatcher>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { dispatcher, running: RunningJobs::default(), freed: Notify::new() });
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
        let rest = self.shared.running.take_all();
        if let Some(store) = self.shared.dispatcher.state.store() {
            let store = store.within(PAUSE);
            join_all(rest.into_iter().map(|(lease, outcome)| {
                // A request may have been sent, so this counts as an attempt.
                let retry = || JobOutcome::RetryIn {
                    delay: Duration::ZERO,
                    reason: "the instance was stopped during the attempt".to_owned(),
                };
                let (store, outcome) = (&store, outcome.unwrap_or_else(retry));
                async move { store.finish(&lease, outcome).await }
            }))
            .await;
        }
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    open_if_needed(&shared.dispatcher);
    let store = shared.dispatcher.state.opened().await.clone();
    let leasing = async {
        lease(&shared, &store, &mut stopped).await;
        // Keep renewing leases until the last attempt has ended.
        std::future::pending::<()>().await;
    };
    tokio::join!(
        leasing,
        renew(&shared, &store),
        count(&shared.dispatcher, &store),
        look_for_orphans(&shared.dispatcher, &store),
        check_keys(&shared.dispatcher, &store),
        purge(&shared.dispatcher, &store)
    );
}

/// Opens the store at the start if the table needs it, so that calls which an earlier process accepted are delivered.
fn open_if_needed(dispatcher: &Dispatcher) {
    dispatcher.state.access(&dispatcher.live.plan());
}

/// Leases calls and starts their attempts, until the worker is stopped.
async fn lease(shared: &Arc<Shared>, store: &Store, stopped: &mut watch::Receiver<bool>) {
    let mut watch = store.watch_jobs();
    while !*stopped.borrow() {
        let free = MAX_ATTEMPTS.saturating_sub(shared.running.len());
        if free == 0 {
            tokio::select! {
                () = shared.freed.notified() => {}
                _ = stopped.changed() => {}
            }
            continue;
        }
        let asked = Instant::now();
        match shared.dispatcher.state.note(store.lease_jobs(free).await) {
            None => sleep(PAUSE).await,
            Some(jobs) if *stopped.borrow() => return_all(store, jobs, "the instance was stopping").await,
            Some(jobs) if asked.elapsed() > OLDEST_LEASE => {
                let (count, took) = (jobs.len(), asked.elapsed());
                tracing::warn!(
                    jobs = count,
                    ?took,
                    "the state store is slow: the leases came too late to start attempts"
                );
                return_all(store, jobs, "the state store was slow").await;
            }
            Some(jobs) => {
                let is_more = jobs.len() == free;
                jobs.into_iter().for_each(|job| start(shared, store, job, asked + TERM));
                if !is_more {
                    let freed = shared.freed.notified();
                    tokio::select! {
                        () = watch.changed() => {}
                        () = freed => {}
                        _ = stopped.changed() => {}
                    }
                }
            }
        }
    }
}

/// Hands back calls that were leased but will not be run. If that fails, they are due again when their leases end.
async fn return_all(store: &Store, jobs: Vec<Job>, reason: &str) {
    let store = store.within(RENEWAL);
    join_all(jobs.iter().map(|job| {
        let returned = JobOutcome::Returned { delay: Duration::ZERO, reason: reason.to_owned() };
        store.finish(&job.lease, returned)
    }))
    .await;
}

/// Starts an attempt as a task of its own, so that a panic ends only this attempt.
fn start(shared: &Arc<Shared>, store: &Store, job: Job, until: Instant) {
    let Some(permit) = shared.dispatcher.deliveries.enter(usize::MAX) else { return };
    let Some((job, term)) = shared.running.add(job, until) else { return };
    let (shared, store, id) = (Arc::clone(shared), store.clone(), job.lease.id);
    tokio::spawn(async move {
        run_job(&shared, &store, job, term).await;
        if let Some((job, until)) = shared.running.remove(id) {
            start(&shared, &store, job, until);
        }
        shared.freed.notify_one();
        drop(permit);
    });
}

/// Runs an attempt, and stores its outcome. It is stopped before its lease ends, because another instance then runs the
/// call; an outcome that is known is stored in any case.
async fn run_job(shared: &Shared, store: &Store, job: Job, term: Term) {
    let lease = job.lease.clone();
    tokio::select! {
        biased;
        outcome = attempt_caught(&shared.dispatcher, job) => {
            if shared.running.note_outcome(lease.id, &outcome) {
                finish(shared, store, lease, outcome).await;
            }
        }
        () = term.ended() => {
            if shared.running.contains(lease.id) {
                tracing::warn!(delivery = %lease.id, "the lease of an attempt has ended: stopped it");
            }
        }
    }
}

async fn attempt_caught(dispatcher: &Arc<Dispatcher>, job: Job) -> JobOutcome {
    let progress = Progress::of(&job);
    let mut running = pin!(attempt::run(dispatcher, job));
    let caught = poll_fn(|context| poll_caught(running.as_mut(), context)).await;
    caught.unwrap_or_else(|_| {
        let reason = "bad_response: the attempt ended in an internal error".to_owned();
        progress.retry(reason, None)
    })
}

/// Stores the outcome of an attempt. While the store is unavailable, this retries until the lease has certainly ended:
/// another instance then runs the call.
async fn finish(shared: &Shared, store: &Store, mut lease: JobLease, outcome: JobOutcome) {
    let (began, delivery) = (Instant::now(), lease.id);
    loop {
        match store.finish(&lease, outcome.clone()).await {
            Ok(LeaseState::Held) => return,
            Ok(LeaseState::Lost) => match shared.running.take_newer_lease(delivery) {
                Some(newer) => lease = newer,
                None => {
                    tracing::warn!(%delivery, "an attempt ended after its lease: the call may be delivered twice");
                    return;
                }
            },
            Err(_) if began.elapsed() < 12 * LEASE => sleep(PAUSE).await,
            Err(error) => {
                tracing::error!(%delivery, "{error}: the result of an attempt is lost, and the call is delivered again");
                return;
            }
        }
    }
}

/// Renews the leases of the running attempts. If an attempt's lease is lost, another instance runs the call. Never ends.
async fn renew(shared: &Shared, store: &Store) {
    loop {
        sleep(RENEWAL).await;
        let leases = shared.running.leases();
        if leases.is_empty() {
            continue;
        }
        let asked = Instant::now();
        if let Some(lost) = shared.dispatcher.state.note(store.within(RENEWAL).renew_jobs(&leases).await) {
            shared.running.note_renewed(&leases, &lost, asked + TERM);
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

/// Checks that the configured keys decrypt what is stored. Never ends: another instance may have other keys.
async fn check_keys(dispatcher: &Dispatcher, store: &Store) {
    let store = store.within(KEY_CHECK);
    loop {
        let is_known = dispatcher.state.note_keys(store.check_keys().await).is_some();
        sleep(if is_known { PURGING } else { COUNTING }).await;
    }
}

/// After the start and after each reload, warns of deliveries whose route or event is not in the running table. They are
/// handed back again and again, which one line of the log shows better than the lines of all attempts. Never ends.
async fn look_for_orphans(dispatcher: &Dispatcher, store: &Store) {
    let mut seen = None;
    loop {
        let plan = dispatcher.live.plan();
        if seen.as_ref() != Some(&plan.revision)
            && let Some(backlog) = dispatcher.state.note(store.backlog().await)
        {
            backlog.iter().filter(|backlog| !is_known(&plan, backlog)).for_each(warn_of_orphans);
            seen = Some(plan.revision.clone());
        }
        sleep(LOOKING).await;
    }
}

fn is_known(plan: &Plan, Backlog { work, platform, .. }: &Backlog) -> bool {
    match work.kind {
        WorkKind::Route => plan.routes.contains_key(&work.name),
        WorkKind::Event => plan.event(platform, &work.name).is_some(),
    }
}

fn warn_of_orphans(Backlog { work, platform, count }: &Backlog) {
    let (kind, name) = (work.kind.as_str(), printable_line(&work.name));
    tracing::warn!(
        %name, platform, deliveries = count,
        "the table has no {kind} `{name}`, but {count} of its deliveries wait: they are given up when their `retry_for` \
         has passed. Add the {kind} again, let an instance that has it deliver them, or drop them with \
         `jackfield deliveries drop --route {name} --status retrying`"
    );
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
