//! Many waiting jobs: whether opening, leasing and counting stay quick, and memory flat.

use std::time::Instant;

use jackfield::state::{JobOutcome, StateUrl};

use crate::server::Server;
use crate::{Engine, REPEATED, file, show};

const COLUMNS: &str = "(id, kind, name, platform, conversation, revision, seed, status, accepted_at, due_at, retry_for, \
     retry_until, payload)";

pub(crate) async fn measure(engine: &Engine, server: &Server, count: u64) {
    engine.open().check().await.expect("a store");
    fill(engine, server, count).await;
    let before = resident_kib();
    let store = engine.open();
    let started = Instant::now();
    store.check().await.expect("a store");
    let leased = store.lease_jobs(64).await.expect("leased");
    println!(
        "{} with {count} waiting: opened and leased {} in {:?}",
        engine.name,
        leased.len(),
        started.elapsed()
    );
    let mut times = Vec::new();
    for _ in 0..REPEATED {
        let started = Instant::now();
        let jobs = store.lease_jobs(10).await.expect("leased");
        times.push(started.elapsed());
        for job in &jobs {
            store.finish(&job.lease, JobOutcome::Delivered).await.expect("finished");
        }
    }
    show(engine, "lease 10 of many", &times, None);
    let started = Instant::now();
    let counts = store.counts().await.expect("counted");
    println!("{} counted {} waiting in {:?}", engine.name, counts.waiting, started.elapsed());
    println!("{} resident memory: {} KiB before, {} KiB after", engine.name, before, resident_kib());
}

async fn fill(engine: &Engine, server: &Server, count: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis();
    if let Some(path) = file(engine) {
        let sql = format!(
            "WITH RECURSIVE n (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM n WHERE at < {count}) \
             INSERT INTO jobs {COLUMNS} SELECT printf('01%024d', at), 'route', 'log_lead', 'vapi', 'c-' || at, \
             '22482c64', zeroblob(32), 0, {now}, {now}, 3600000, {now} + 3600000, x'00' || zeroblob(200) FROM n"
        );
        rusqlite::Connection::open(path).expect("a file").execute_batch(&sql).expect("filled");
        return;
    }
    let StateUrl::Postgres(_) = &engine.url else { return };
    let place = engine.url.place();
    let database = place.rsplit('/').next().unwrap_or_default();
    let sql = format!(
        "INSERT INTO jackfield_jobs {COLUMNS} SELECT '01' || lpad(at::text, 24, '0'), 'route', 'log_lead', 'vapi', \
         'c-' || at, '22482c64', '\\x00', 0, {now}, {now}, 3600000, {now} + 3600000, \
         '\\x00'::bytea || convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, {count}) AS at; ANALYZE"
    );
    server.run(database, &sql).await;
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or_default()
}
