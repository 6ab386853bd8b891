//! The callers of both upstreams: how long each of their calls took, and what was said.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use crate::support::client::{Answer, Connection, swaig, swaig_said, voicedock, voicedock_said};

/// How long both platforms wait, as the table has it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long a call may take: what the platforms wait, less a margin.
pub(crate) const BUDGET: Duration = Duration::from_millis(2500);
/// Who calls the sick upstream.
pub(crate) const SICK_CALLERS: usize = 1000;
/// Who calls the healthy one, and how often: 500 calls in a second.
pub(crate) const CALLERS: u32 = 100;
pub(crate) const EACH: Duration = Duration::from_millis(200);
/// Who calls the healthy one past the proxy: 100 calls in a second.
pub(crate) const DIRECT_CALLERS: u32 = 20;

/// What callers came to.
#[derive(Default)]
pub(crate) struct Called {
    pub(crate) times: Vec<Duration>,
    /// What was said, and how often. For the healthy upstream what should not have been.
    pub(crate) said: BTreeMap<String, usize>,
}

impl Called {
    fn count(&mut self, said: &str) {
        let said = said.chars().take(60).collect();
        *self.said.entry(said).or_default() += 1;
    }
}

/// Calls at a fixed rate, each caller on a connection of its own. The answer holds the call's nonce under `key`.
pub(crate) async fn steadily(
    callers: u32,
    start: Instant,
    time: Duration,
    address: SocketAddr,
    call: impl Fn(&str) -> Vec<u8> + Copy + Send + 'static,
    key: &'static str,
) -> Called {
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        tasks.spawn(async move {
            let mut called = Called::default();
            let mut connection = None;
            let mut due = start + EACH * caller / callers;
            for round in 0.. {
                if due >= start + time {
                    break;
                }
                sleep_until(due.into()).await;
                let nonce = format!("n{caller}-{round}");
                match within(PATIENCE, &mut connection, address, &call(&nonce)).await {
                    Some(answer) if answer.json()[key] == nonce.as_str() => {}
                    Some(answer) => called.count(&String::from_utf8_lossy(&answer.body)),
                    None => called.count("nothing"),
                }
                called.times.push(due.elapsed());
                due += EACH;
            }
            called
        });
    }
    collect(tasks).await
}

/// Calls the sick upstream, half of the callers as SignalWire and half as VoiceDock, until the time is over.
pub(crate) async fn sick_calls(
    listen: SocketAddr,
    function: String,
    at_once: bool,
    time: Duration,
    ready: std::sync::mpsc::Sender<()>,
    start: oneshot::Receiver<Instant>,
) -> io::Result<Called> {
    let mut connections = vec![];
    for _ in 0..SICK_CALLERS {
        connections.push(Connection::open(listen).await?);
    }
    let _ = ready.send(());
    let start = start.await.map_err(io::Error::other)?;
    let spread = if at_once { Duration::ZERO } else { BUDGET };
    // Late enough that all calls of one round have been answered before the next one, whatever becomes of them.
    let each = if at_once { PATIENCE } else { BUDGET };
    let mut tasks = JoinSet::new();
    for (caller, connection) in connections.into_iter().enumerate() {
        let function = function.clone();
        let mut due = start + spread.mul_f64(caller as f64 / SICK_CALLERS as f64);
        tasks.spawn(async move {
            let mut called = Called::default();
            let mut connection = Some(connection);
            for round in 0.. {
                if due >= start + time {
                    break;
                }
                sleep_until(due.into()).await;
                let (id, args) = (format!("t{caller}-{round}"), json!({}));
                let request = match caller % 2 {
                    0 => swaig(&function, "c", &args),
                    _ => voicedock("c", &[(&id, &function, &args)]),
                };
                let begun = Instant::now();
                let answer = within(PATIENCE * 2, &mut connection, listen, &request).await;
                called.times.push(begun.elapsed());
                let said = answer.and_then(|answer| match caller % 2 {
                    0 => swaig_said(&answer),
                    _ => voicedock_said(&answer, &[&id])?.pop(),
                });
                called.count(said.as_ref().map_or("nothing", |said| &said.text));
                due = (due + each).max(Instant::now());
            }
            called
        });
    }
    Ok(collect(tasks).await)
}

/// One request and its answer, on a connection that is opened when there is none.
async fn within(
    time: Duration,
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &[u8],
) -> Option<Answer> {
    let asked = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(address).await?,
        };
        let answer = open.ask(request).await?;
        *connection = Some(open).filter(|_| !answer.closes);
        io::Result::Ok(answer)
    };
    timeout(time, asked).await.ok()?.ok()
}

async fn collect(mut tasks: JoinSet<Called>) -> Called {
    let mut all = Called::default();
    while let Some(Ok(called)) = tasks.join_next().await {
        all.times.extend(called.times);
        for (said, count) in called.said {
            *all.said.entry(said).or_default() += count;
        }
    }
    all
}
