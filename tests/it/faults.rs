//! Upstream faults: whatever an upstream does, the caller gets a true reply in time, and no write is sent twice.
//!
//! Each row of the tables in `faults/` is one fault: the upstream's behaviour, the request, the caller's reply and its
//! time, and what the upstream saw. All rows run concurrently through one proxy, on SWAIG and on VoiceDock, each with
//! its own upstream.

mod address_change;
mod bodies;
mod connections;
mod heads;
mod hedging_and_breaker;
mod redirects;
mod responses;
mod retries;
mod reuse;
mod row;
mod steps;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::faulty_upstream::{FaultyUpstream, Observed, Script};
use crate::support::lag::Lag;
use crate::support::proxy::Proxy;

use self::row::{Row, When};

/// How long the platforms wait. Long compared to every timeout in the tables, so that a busy machine has time to spare.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a call may take; the rest of the deadline is for the way back.
const BUDGET: Duration = Duration::from_millis(9500);

/// The latest reply that is in time to a call that began at `started`.
///
/// The budget leaves a margin before the deadline, half of which must remain. A busy machine may delay the proxy, and then
/// this test, each by as much as timers were late here during the call.
fn latest(lag: &Lag, started: Instant) -> Duration {
    (BUDGET + DEADLINE) / 2 + 2 * lag.since(started)
}

/// How many rows may use the CPU at the same time.
const ACTIVE: usize = 6;

/// The rows of all tables.
fn rows() -> Vec<Row> {
    [
        connections::rows(),
        reuse::rows(),
        heads::rows(),
        bodies::rows(),
        retries::rows(),
        redirects::rows(),
        steps::rows(),
        hedging_and_breaker::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A platform: the format of its calls and replies.
#[derive(Debug, Clone, Copy)]
enum Platform {
    Swaig,
    VoiceDock,
}

impl Platform {
    fn name(self) -> &'static str {
        match self {
            Self::Swaig => "swaig",
            Self::VoiceDock => "voicedock",
        }
    }

    fn request(self, function: &str, n: usize) -> Value {
        let args = json!({"n": n});
        match self {
            Self::Swaig => {
                json!({"function": function, "argument": {"parsed": [args]}, "call_id": "conversation"})
            }
            Self::VoiceDock => {
                let call = json!({"id": format!("{function}-{n}"), "function": {"name": function, "arguments": args}});
                json!({"message": {"type": "tool-calls", "tool_call_list": [call]}})
            }
        }
    }

    fn answer(self, function: &str, n: usize, failed: bool, text: &str) -> Value {
        match self {
            Self::Swaig => json!({"response": text}),
            Self::VoiceDock => {
                let result = if failed { json!({"error": text}) } else { json!(text) };
                json!({"results": [{"tool_call_id": format!("{function}-{n}"), "result": result}]})
            }
        }
    }
}

/// A row on one platform, with its own upstream.
struct Case<'a> {
    row: &'a Row,
    platform: Platform,
    upstream: FaultyUpstream,
    function: String,
}

impl Case<'_> {
    fn table(&self, elsewhere: &FaultyUpstream) -> String {
        let Row { request, route, keys, scheme, .. } = self.row;
        let (name, platform, address) = (&self.function, self.platform.name(), self.upstream.address);
        let mut table = format!("[upstreams.{name}]\nbase_url = \"{scheme}://{address}\"\n{keys}");
        let _ = write!(
            table,
            "[routes.{name}]\nplatforms = [\"{platform}\"]\nupstream = \"{name}\"\nargs.n = {{ type = \"integer\" }}\n"
        );
        if !request.is_empty() {
            let _ = write!(table, "request = {{ {request} }}\nextract.id = \"$.id\"\n");
        }
        table.push_str(route);
        if !route.contains("reply") {
            table.push_str("reply = { text = \"It is {{id}}.\" }\n");
        }
        table.replace("ELSEWHERE", &elsewhere.address.to_string()).replace("ROUTE", name)
    }

    /// Runs the row beside the others, and returns what was wrong.
    ///
    /// A row that only waits lets the next one start once its upstream has a connection. The others finish first.
    async fn run(&self, proxy: &Proxy, active: &Semaphore, lag: &Lag) -> Vec<String> {
        let permit = active.acquire().await.unwrap();
        if self.row.when == When::Early {
            return self.call(proxy, lag).await;
        }
        let started = async {
            if !matches!(self.row.upstream, Script::Refuse | Script::Blackhole) {
                self.upstream.until(|observed| observed.connections > 0).await;
            }
            drop(permit);
        };
        tokio::join!(started, self.call(proxy, lag)).1
    }

    /// Makes the calls of the row, one after the other.
    async fn call(&self, proxy: &Proxy, lag: &Lag) -> Vec<String> {
        let mut wrong = Vec::new();
        for (n, expected) in self.row.replies.iter().enumerate() {
            let request = self.platform.request(&self.function, n);
            let started = Instant::now();
            let answer = proxy.post(&format!("/{}", self.platform.name()), &request).await;
            let took = started.elapsed();
            let accepted = expected.accepted();
            let mut accepted =
                accepted.iter().map(|(failed, text)| self.platform.answer(&self.function, n, *failed, text));
            if answer.status != 200 || !accepted.any(|accepted| answer.json() == accepted) {
                wrong.push(format!("call {n} got {} {}, not {expected:?}", answer.status, answer.text()));
            }
            let is_last = n + 1 == self.row.replies.len();
            let in_time = match self.row.when {
                When::Early => took < BUDGET,
                _ if !is_last => took < latest(lag, started),
                When::After(ms) => took >= Duration::from_millis(ms) && took < BUDGET,
                When::AtDeadline => took >= BUDGET && took < latest(lag, started),
            };
            if !in_time {
                let (when, lag) = (self.row.when, lag.since(started));
                wrong.push(format!(
                    "call {n} was answered after {took:?}, not {when:?} (timers: {lag:?} late)"
                ));
            }
        }
        // A write is abandoned long after its call was answered, so this is counted now and not at the end.
        let expected = &self.row.sees.closed_early;
        self.upstream.until(|observed| observed.closed_early >= *expected.start()).await;
        let closed = self.upstream.observed().closed_early;
        if !expected.contains(&closed) {
            wrong.push(format!(
                "{closed} connections were closed before the upstream was done, not {expected:?}"
            ));
        }
        wrong
    }

    /// Whether a connection is expected to be reused.
    fn reuses(&self) -> bool {
        self.row.sees.connections.end() < self.row.sees.requests.end()
    }

    /// Compares the requests and connections that the upstream saw with the expected ones.
    fn check_traffic(&self) -> Vec<String> {
        let Observed { connections, requests, .. } = self.upstream.observed();
        let sees = &self.row.sees;
        let mut wrong = Vec::new();
        if !sees.requests.contains(&requests.len()) || !sees.connections.contains(&connections) {
            let requests = requests.len();
            wrong.push(format!(
                "the upstream saw {requests} requests on {connections} connections, not {sees:?}"
            ));
        }
        let keys: Vec<_> = requests.iter().map(|seen| seen.header("idempotency-key")).collect();
        for (index, (seen, key)) in requests.iter().zip(&keys).enumerate() {
            for (earlier, earlier_key) in requests[..index].iter().zip(&keys) {
                let again = earlier.body == seen.body && earlier.target == seen.target;
                let keyed = key.len() == 1 && !key[0].is_empty();
                if self.row.is_write() && again && !keyed {
                    wrong.push(format!("a write came twice: {seen:?}"));
                }
                if keyed && (earlier_key == key) != again {
                    wrong.push(format!("the keys of {:?} and {:?} are wrong", earlier.headers, seen.headers));
                }
            }
        }
        wrong
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upstream_faults_are_answered_in_time_and_no_write_is_sent_twice() {
    let rows = rows();
    assert!(rows.len() >= 200, "{} rows", rows.len());
    let elsewhere = FaultyUpstream::new(Script::always(responses::ok(13))).await;
    let mut cases = Vec::new();
    for row in &rows {
        for platform in [Platform::Swaig, Platform::VoiceDock] {
            let upstream = FaultyUpstream::new(row.upstream.clone()).await;
            cases.push(Case {
                row,
                platform,
                upstream,
                function: format!("{}_{}", row.name, platform.name()),
            });
        }
    }
    let mut table = String::from("[server]\nlisten = \"127.0.0.1:0\"\n");
    for platform in [Platform::Swaig, Platform::VoiceDock] {
        let _ = write!(table, "[platforms.{}]\ndeadline = \"{}s\"\n", platform.name(), DEADLINE.as_secs());
    }
    table.push_str("[defaults]\n");
    for kind in ["timeout", "unreachable", "bad_response", "refused"] {
        let _ = writeln!(table, "failure.{kind} = \"It was {kind}.\"");
    }
    table.extend(cases.iter().map(|case| case.table(&elsewhere)));

    let proxy = Proxy::start(&table).await;
    // Hundreds of calls at once would be late on any machine.
    let (active, lag) = (Semaphore::new(ACTIVE), Lag::measure());
    let problems = join_all(cases.iter().map(|case| case.run(&proxy, &active, &lag))).await;

    // Requests and connections are counted last, so that none can arrive after that.
    let mut wrong = String::new();
    for (case, problems) in cases.iter().zip(problems) {
        for problem in problems.into_iter().chain(case.check_traffic()) {
            let _ = writeln!(wrong, "{}: {problem}", case.function);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let reuses = cases.iter().filter(|case| case.reuses()).count();
    assert!(reuses >= 60, "{reuses} rows reuse a connection");
    assert_eq!(elsewhere.observed().connections, 0);
}
