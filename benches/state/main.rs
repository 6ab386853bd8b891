//! What the store costs: accepted jobs in a second and how long each takes, how soon a job starts, and what a claim, a
//! read and a write of memory cost, on SQLite and on a PostgreSQL server that this benchmark starts. Then the same
//! through the whole proxy.
//!
//! `cargo bench --bench state` measures everything in about four minutes; `-- --only accept` measures the parts with
//! this in their name, and `-- --seconds 20` takes longer for each. `-- --waiting 1000000` is the number of waiting jobs in
//! the last part. Both engines flush to the disk of the temporary folder (`TMPDIR`), so the figures are about that disk.

#![expect(clippy::print_stdout, reason = "a benchmark shows its figures")]

mod proxy;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/state/server.rs"]
mod server;
#[expect(dead_code, reason = "the other benchmarks use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jackfield::state::{
    CallClaim, CallTerms, Conversation, EncryptionKeys, JobOutcome, NewJob, Payload, Remembered, Settings,
    StateUrl, Store, Work, WorkKind,
};
use server::Server;
use support::figures::Times;
use tempfile::TempDir;

/// Callers at the same time.
const CALLERS: usize = 64;

/// How often a part without concurrency is repeated.
const REPEATED: usize = 300;

const HOUR: Duration = Duration::from_secs(3600);

/// Where the stores of one engine are.
struct Engine {
    name: &'static str,
    url: StateUrl,
    /// The URL as a table has it.
    written: String,
    _folder: Option<TempDir>,
}

impl Engine {
    fn at(name: &'static str, written: String) -> Self {
        let url = StateUrl::parse(&written).expect("a URL");
        Self { name, url, written, _folder: None }
    }

    fn open(&self) -> Store {
        Store::open(&Settings { keys: EncryptionKeys::default(), ..Settings::new(self.url.clone()) })
            .within(Duration::from_secs(30))
    }
}

fn main() {
    if !support::is_meant("state") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seconds = support::option("--seconds", 5).expect("--seconds");
    let only: String = support::option("--only", String::new()).expect("--only");
    let waiting = support::option("--waiting", 1_000_000).expect("--waiting");
    runtime.block_on(async {
        let server = Server::own("fsync = on\nshared_buffers = 256MB\n").await;
        println!(
            "{:<42} {:>9} {:>9} {:>9} {:>9} {:>10}",
            "", "p50 ms", "p99 ms", "max ms", "count", "per second"
        );
        for part in ["accept", "start", "deliver", "memory", "claim"] {
            if !part.contains(&only) {
                continue;
            }
            for engine in [sqlite(), postgres(&server).await] {
                measure(part, &engine, &server, Duration::from_secs(seconds)).await;
            }
        }
        if "proxy".contains(&only) {
            for engine in [sqlite(), postgres(&server).await] {
                proxy::measure(&engine, Duration::from_secs(seconds)).await;
            }
        }
        if "waiting".contains(&only) {
            for engine in [sqlite(), postgres(&server).await] {
                waiting::measure(&engine, &server, waiting).await;
            }
        }
    });
}

fn sqlite() -> Engine {
    let folder = tempfile::tempdir().expect("a folder");
    let written = format!("sqlite:{}", folder.path().join("state.db").display());
    Engine { _folder: Some(folder), ..Engine::at("SQLite", written) }
}

async fn postgres(server: &Server) -> Engine {
    Engine::at("PostgreSQL", server.url(&server.database().await))
}

async fn measure(part: &str, engine: &Engine, server: &Server, time: Duration) {
    let store = engine.open();
    store.check().await.expect("a store");
    match part {
        "accept" => {
            if engine.name == "PostgreSQL" {
                server_commits(engine, server).await;
            }
            let one = callers(&store, 1, time).await;
            show(engine, "accept, 1 caller", &one, Some(time));
            let many = callers(&store, CALLERS, time).await;
            show(engine, "accept, 64 callers", &many, Some(time));
        }
        "start" => {
            show(engine, "accept to start, same instance", &starts(&store, &store).await, None);
            if engine.name == "PostgreSQL" {
                let other = engine.open();
                show(engine, "accept to start, other instance", &starts(&store, &other).await, None);
            }
        }
        "deliver" => deliver(engine, &store, time).await,
        "memory" => memory(engine, &store).await,
        _ => {
            claims(engine, &store, &engine.open()).await;
            let times = many_claims(&store, time).await;
            show(engine, "claim to settle, 64 callers", &times, Some(time));
        }
    }
}

fn show(engine: &Engine, part: &str, times: &[Duration], within: Option<Duration>) {
    let times = Times::of(times);
    let name = format!("{} {part}", engine.name);
    let per_second = within.map(|time| format!("{:.0}", times.count() as f64 / time.as_secs_f64()));
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
    println!(
        "{name:<42} {:>9} {:>9} {:>9} {:>9} {:>10}",
        ms(times.quantile(0.5)),
        ms(times.quantile(0.99)),
        ms(times.longest()),
        times.count(),
        per_second.unwrap_or_default()
    );
}

fn job() -> NewJob {
    NewJob {
        work: Work { kind: WorkKind::Route, name: "log_lead".to_owned() },
        platform: "vapi".to_owned(),
        conversation: Some("0199a1c2-7f3e-7d20-b1a4-3f2f5b1f8c11".to_owned()),
        revision: "22482c64".to_owned(),
        ordered: false,
        retry_for: HOUR,
        seed: [7; 32],
        payload: payload(500),
    }
}

fn payload(bytes: usize) -> Payload {
    Payload { bytes: vec![b'x'; bytes], is_sensitive: false }
}

/// What the server needs for a commit of its own, without Jackfield.
async fn server_commits(engine: &Engine, server: &Server) {
    let database = server.database().await;
    let client = server.client(&database).await.expect("a connection");
    client.batch_execute("CREATE TABLE plain (payload bytea)").await.expect("a relation");
    let statement = client.prepare("INSERT INTO plain VALUES ($1)").await.expect("a statement");
    let mut times = Vec::new();
    for _ in 0..REPEATED {
        let started = Instant::now();
        client.execute(&statement, &[&vec![b'x'; 500]]).await.expect("an insert");
        times.push(started.elapsed());
    }
    show(engine, "INSERT without Jackfield", &times, None);
}

/// Callers that append again as soon as their job is accepted.
async fn callers(store: &Store, count: usize, time: Duration) -> Vec<Duration> {
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..count)
        .map(|_| {
            let (store, is_over) = (store.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    store.append_job(job()).await.expect("accepted");
                    times.push(started.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    is_over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.expect("a caller"));
    }
    times
}

/// From the accept of a job to its lease by an instance that waits for work.
async fn starts(acceptor: &Store, worker: &Store) -> Vec<Duration> {
    let mut watch = worker.watch_jobs();
    let mut times = Vec::new();
    for _ in 0..REPEATED / 3 {
        let waiting = async {
            loop {
                watch.changed().await;
                if let Some(job) = worker.lease_jobs(1).await.expect("leased").pop() {
                    break (Instant::now(), job);
                }
            }
        };
        let accept = async {
            acceptor.append_job(job()).await.expect("accepted");
            Instant::now()
        };
        let ((started, job), accepted) = tokio::join!(waiting, accept);
        times.push(started.saturating_duration_since(accepted));
        worker.finish(&job.lease, JobOutcome::Delivered).await.expect("finished");
    }
    times
}

/// Leases and finishes as many jobs as the store bears.
async fn deliver(engine: &Engine, store: &Store, time: Duration) {
    let appends = (0..20_000).map(|_| store.append_job(job()));
    futures_util::future::try_join_all(appends).await.expect("accepted");
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let jobs = store.lease_jobs(CALLERS).await.expect("leased");
        if jobs.is_empty() {
            break;
        }
        let finish = jobs.iter().map(|job| async {
            let started = Instant::now();
            store.finish(&job.lease, JobOutcome::Delivered).await.expect("finished");
            started.elapsed()
        });
        times.extend(futures_util::future::join_all(finish).await);
    }
    show(engine, "lease 64, finish each", &times, Some(started.elapsed()));
}

async fn memory(engine: &Engine, store: &Store) {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for at in 0..REPEATED {
        let conversation = Conversation { platform: "vapi".to_owned(), id: format!("c-{at}") };
        let changes =
            (0..3).map(|name| (format!("n{name}"), Some(Remembered::new(payload(20), false)))).collect();
        let started = Instant::now();
        store.remember(&conversation, changes, HOUR).await.expect("remembered");
        writes.push(started.elapsed());
        let started = Instant::now();
        store.recall(&conversation, HOUR).await.expect("recalled");
        reads.push(started.elapsed());
    }
    show(engine, "remember 3 values", &writes, None);
    show(engine, "recall 3 values", &reads, None);
}

/// A deduplicated call on one instance, and its repeat on another.
async fn claims(engine: &Engine, leader: &Store, other: &Store) {
    let terms = CallTerms { lease: Duration::from_secs(5), unconfirmed_for: HOUR };
    let (mut before, mut after, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
    other.check().await.expect("a store");
    for at in 0..REPEATED {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&at.to_le_bytes());
        let started = Instant::now();
        let CallClaim::Leader(lease) = leader.claim_call(key, terms).await.expect("claimed") else { return };
        leader.mark_sent(&lease).await.expect("marked");
        before.push(started.elapsed());
        let started = Instant::now();
        leader.settle(&lease, payload(200), HOUR).await.expect("settled");
        after.push(started.elapsed());
        let started = Instant::now();
        other.claim_call(key, terms).await.expect("claimed");
        repeats.push(started.elapsed());
    }
    show(engine, "claim and mark as sent", &before, None);
    show(engine, "settle", &after, None);
    show(engine, "repeat on another instance", &repeats, None);
}

/// Callers that claim a call, mark it as sent and settle it, again and again.
async fn many_claims(store: &Store, time: Duration) -> Vec<Duration> {
    let terms = CallTerms { lease: Duration::from_secs(5), unconfirmed_for: HOUR };
    let ends = Instant::now() + time;
    let callers = (0..CALLERS).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for at in 0_usize.. {
                let mut key = [1; 32];
                key[..8].copy_from_slice(&caller.to_le_bytes());
                key[8..16].copy_from_slice(&at.to_le_bytes());
                let started = Instant::now();
                if started > ends {
                    break;
                }
                let CallClaim::Leader(lease) = store.claim_call(key, terms).await.expect("claimed") else {
                    break;
                };
                store.mark_sent(&lease).await.expect("marked");
                store.settle(&lease, payload(200), HOUR).await.expect("settled");
                times.push(started.elapsed());
            }
            times
        })
    });
    let callers: Vec<_> = callers.collect();
    let times = futures_util::future::join_all(callers).await;
    times.into_iter().flat_map(|times| times.expect("a caller")).collect()
}

/// The file of a store on SQLite.
fn file(engine: &Engine) -> Option<PathBuf> {
    match &engine.url {
        StateUrl::Sqlite(path) => Some(path.clone()),
        StateUrl::Postgres(_) => None,
    }
}
