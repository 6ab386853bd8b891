//! Whether everything that was accepted is delivered, and nothing is done twice, while processes are killed.
//!
//! Three instances over one PostgreSQL server take 5,000 calls that are delivered later, and 1,000 writes that their
//! callers send to two instances each. Meanwhile an instance is killed about every second and started again, the server
//! is killed twice, and the upstream fails half the time. Then the same with one instance on SQLite.
//!
//! `cargo bench --bench crash` takes about three minutes. `-- --seed 7` repeats what is left to chance, `-- --only sqlite`
//! runs one of the two, and `-- --calls 500 --writes 100` makes it shorter. It fails when a rule is broken: an accepted
//! call never succeeded at the upstream, a refused one was delivered, two workers delivered one call at once, or a
//! repeated write was sent twice.

#![expect(clippy::print_stdout, reason = "a benchmark shows its figures")]

#[expect(dead_code, reason = "the tests use more of it")]
mod scenario;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/state/server.rs"]
mod server;
#[expect(dead_code, reason = "the other benchmarks use more of it")]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use scenario::{Database, Kills, Scenario};
use server::Server;

fn main() -> ExitCode {
    if !support::is_meant("crash") {
        return ExitCode::SUCCESS;
    }
    let only: String = support::option("--only", String::new()).expect("--only");
    let scenario = Scenario {
        seed: support::option("--seed", fastrand::u64(..1_000_000)).expect("--seed"),
        instances: 3,
        notes: support::option("--calls", 5000).expect("--calls"),
        orders: support::option("--writes", 1000).expect("--writes"),
        most_failures: 3,
        callers: 64,
        pause: Duration::from_millis(support::option("--pause", 1000).expect("--pause")),
        kills: Kills::Every(Duration::from_millis(
            support::option("--kill-every", 1000).expect("--kill-every"),
        )),
        server_kills: support::option("--server-kills", 2).expect("--server-kills"),
        server_away: 100,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let is_good = runtime.block_on(async {
        let mut is_good = true;
        if "postgres".contains(&only) {
            let server = Server::own("fsync = on\n").await;
            is_good &= run("PostgreSQL", scenario, Database::Postgres(&server)).await;
        }
        if "sqlite".contains(&only) {
            let folder = tempfile::tempdir().expect("a folder");
            let instances = support::option("--sqlite-instances", 1).expect("--sqlite-instances");
            let scenario = Scenario { instances, ..scenario };
            is_good &= run("SQLite", scenario, Database::Sqlite(&folder.path().join("state.db"))).await;
        }
        is_good
    });
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(engine: &str, scenario: Scenario, database: Database<'_>) -> bool {
    let Scenario { seed, instances, .. } = scenario;
    println!("{engine}, {instances} instances, seed {seed}");
    let verdict = scenario.run(database).await;
    println!("{verdict}");
    verdict.is_good()
}
