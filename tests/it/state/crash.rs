//! A short form of `cargo bench --bench crash`: nothing that was accepted is lost, and nothing is done twice, although
//! instances and the database server are killed.

#[allow(dead_code, reason = "the benchmark uses more of it")]
#[path = "../../../benches/crash/scenario/mod.rs"]
mod scenario;
#[allow(dead_code, reason = "the benchmarks use more of it")]
#[path = "../../../benches/support/mod.rs"]
mod support;

use std::time::Duration;

use super::server::{self, Server};
use scenario::{Database, Kills, Scenario, Verdict};

const SCENARIO: Scenario = Scenario {
    seed: 1,
    instances: 2,
    notes: 60,
    orders: 20,
    most_failures: 1,
    callers: 8,
    pause: Duration::ZERO,
    kills: Kills::Answers(16),
    server_kills: 1,
    server_away: 8,
};

fn check(verdict: &Verdict) {
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.get("instances killed") >= 3 && verdict.get("accepted") > 20, "{verdict}");
}

#[tokio::test]
async fn with_postgres_and_two_instances() {
    let server = Server::own("fsync = on\n").await;
    let verdict = SCENARIO.run(Database::Postgres(&server)).await;
    check(&verdict);
    assert_eq!(verdict.get("database server killed"), 1, "{verdict}");
}

#[tokio::test]
async fn with_sqlite_and_one_instance() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = Scenario { instances: 1, ..SCENARIO };
    check(&scenario.run(Database::Sqlite(&folder.path().join("state.db"))).await);
}
