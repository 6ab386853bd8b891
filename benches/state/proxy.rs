//! What the store costs through the whole proxy: 64 connections, each of which sends its next call when it has the
//! answer to the last one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jackfield::state::Store;
use serde_json::json;

use crate::support::client::{Connection, voicedock, voicedock_said};
use crate::support::proxy::Proxy;
use crate::support::upstream::{reply, serve};
use crate::{CALLERS, Engine, REPEATED, show};

/// How often two tables take turns, so that both meet the same state of the machine.
const ROUNDS: u32 = 4;

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
admin  = "127.0.0.1:0"
records = 0
[log]
level = "error"
[platforms.voicedock]
auth.none = {}
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.read]
upstream     = "api"
request.path = "/read"
reply.text   = "Done."
[routes.write]
upstream   = "api"
args.n     = { type = "integer", required = true }
request    = { method = "POST", path = "/write/{{args.n}}" }
reply.text = "Done."
"#;

const STATE: &str = r#"
[state]
url = "STATE"
[routes.note]
upstream   = "api"
delivery   = "async"
args.n     = { type = "integer", required = true }
request    = { method = "POST", path = "/notes/{{args.n}}" }
reply.text = "Done."
[routes.remember]
remember   = { x = "seen" }
reply.text = "Done."
[routes.recall]
reply.text = "{{default memory.x \"Done.\"}}"
"#;

pub(crate) async fn measure(engine: &Engine, time: Duration) {
    let upstream = serve(|_| vec![reply(200, "", "{}")]).expect("a listener");
    let table = |more: &str| {
        let state = more.replace("STATE", &engine.written);
        format!("{TABLE}{state}").replace("UPSTREAM", &upstream.to_string())
    };
    let with = Proxy::start(&table(STATE)).expect("a proxy");
    let without = Proxy::start(&table("")).expect("a proxy");
    compare(engine, "read", &without, &with, time).await;
    compare(engine, "write", &without, &with, time).await;
    let times = calls(with.listen, "remember", time).await;
    show(engine, "proxy: remember", &times, Some(time));
    let times = calls(with.listen, "recall", time).await;
    show(engine, "proxy: recall", &times, Some(time));
    let other = Proxy::start(&table(STATE)).expect("a proxy");
    repeats(engine, &with, &other).await;
    drop(other);
    accepts(engine, &with, &engine.open(), time).await;
}

/// A call that needs no store, and one whose retries are recognised, without a store and with one.
async fn compare(engine: &Engine, function: &'static str, without: &Proxy, with: &Proxy, time: Duration) {
    let [mut none, mut some] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        none.extend(calls(without.listen, function, time / ROUNDS).await);
        some.extend(calls(with.listen, function, time / ROUNDS).await);
    }
    show(engine, &format!("proxy: {function}, no store"), &none, Some(time));
    show(engine, &format!("proxy: {function}"), &some, Some(time));
}

/// Calls that are delivered later, and how soon all of them are.
async fn accepts(engine: &Engine, proxy: &Proxy, store: &Store, time: Duration) {
    let before = store.counts().await.expect("counts").delivered;
    let started = Instant::now();
    let times = calls(proxy.listen, "note", time).await;
    let meanwhile = store.counts().await.expect("counts").delivered - before;
    show(engine, "proxy: accept", &times, Some(time));
    let accepted = times.len() as u64;
    while store.counts().await.expect("counts").delivered - before < accepted {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "{} delivered {meanwhile} of {accepted} meanwhile, and all in {took:.1} s: {:.0} per second",
        engine.name,
        accepted as f64 / took
    );
}

/// Writes that are repeated on another instance as soon as they are answered.
async fn repeats(engine: &Engine, one: &Proxy, other: &Proxy) {
    let mut first = Connection::open(one.listen).await.expect("a connection");
    let mut second = Connection::open(other.listen).await.expect("a connection");
    let [mut writes, mut repeats] = [Vec::new(), Vec::new()];
    for _ in 0..REPEATED {
        let call = Call::new("write");
        writes.push(call.timed(&mut first).await);
        repeats.push(call.timed(&mut second).await);
    }
    show(engine, "proxy: write, 1 caller", &writes, None);
    show(engine, "proxy: repeat, other instance", &repeats, None);
}

/// A call, and its id.
struct Call {
    id: String,
    request: Vec<u8>,
}

impl Call {
    /// A call that is no retry of another one.
    fn new(function: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("call-{n}");
        let request = voicedock(&format!("c-{}", n % 1000), &[(&id, function, &json!({ "n": n }))]);
        Self { id, request }
    }

    async fn timed(&self, connection: &mut Connection) -> Duration {
        let started = Instant::now();
        let answer = connection.ask(&self.request).await.expect("an answer");
        let took = started.elapsed();
        let said = voicedock_said(&answer, &[&self.id]).and_then(|mut said| said.pop());
        assert!(said.is_some_and(|said| !said.failed), "{}", String::from_utf8_lossy(&answer.body));
        took
    }
}

async fn calls(listen: SocketAddr, function: &'static str, time: Duration) -> Vec<Duration> {
    let ends = Instant::now() + time;
    let callers = (0..CALLERS).map(|_| {
        tokio::spawn(async move {
            let mut connection = Connection::open(listen).await.expect("a connection");
            let mut times = Vec::new();
            while Instant::now() < ends {
                times.push(Call::new(function).timed(&mut connection).await);
            }
            times
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await.expect("a caller"));
    }
    times
}
