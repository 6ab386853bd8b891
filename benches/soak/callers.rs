//! The callers of the soak: what they ask, and whether what they hear is right.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jackfield::call::FailureKind;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::support::client::{Connection, swaig, swaig_said, voicedock, voicedock_said};
use crate::table::{FAILED, FUNCTIONS, Function, PATIENCE, Trust};

/// How long a connection may have been idle to be used again; the proxy closes it after thirty seconds.
const FRESH: Duration = Duration::from_secs(10);
/// When the proxy must have closed a connection on which nothing comes.
const CLOSED: Duration = Duration::from_secs(45);
/// The most faults that are kept in words.
const MAX_TOLD: usize = 20;

/// What is known of all calls.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) made: u64,
    pub(crate) answered: u64,
    pub(crate) hung_up: u64,
    pub(crate) repeated: u64,
    pub(crate) half: u64,
    /// How long requests took that have not been shown yet.
    pub(crate) times: Vec<Duration>,
    /// What was said, by function.
    pub(crate) said: BTreeMap<(&'static str, String), u64>,
    pub(crate) wrong: u64,
    /// The first of what was wrong.
    pub(crate) told: Vec<String>,
    /// The writes, and whether their callers heard that they went well.
    pub(crate) writes: HashMap<String, Written>,
}

/// A write as its caller knows it.
#[derive(Clone, Copy)]
pub(crate) struct Written {
    pub(crate) keyed: bool,
    pub(crate) went_well: bool,
}

/// What all callers share.
pub(crate) struct Callers {
    pub(crate) listen: SocketAddr,
    pub(crate) ledger: Mutex<Ledger>,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// One call of a request.
struct Asked {
    function: &'static Function,
    id: String,
    nonce: String,
}

impl Ledger {
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong += 1;
        if self.told.len() < MAX_TOLD {
            self.told.push(what);
        }
    }
}

impl Callers {
    pub(crate) fn new(listen: SocketAddr) -> Self {
        Self { listen, ledger: Mutex::default(), idle: Mutex::default() }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connections that are not in use.
    pub(crate) fn hang_up(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A request with this number, of one platform or the other, perhaps made twice or given up.
    pub(crate) async fn call(self: Arc<Self>, number: u64, mut random: Rng) {
        let by_voicedock = random.bool();
        let calls = if by_voicedock && random.u8(0..10) == 0 { random.usize(2..=3) } else { 1 };
        let calls: Vec<Asked> = (0..calls).map(|call| ask(number, call, &mut random)).collect();
        let request = request(by_voicedock, number, &calls);
        {
            let mut ledger = self.ledger();
            for call in calls.iter().filter(|call| call.function.writes) {
                let written = Written { keyed: call.function.keyed, went_well: false };
                ledger.writes.insert(call.nonce.clone(), written);
            }
        }
        if random.u8(0..100) == 0 {
            return self.give_up(&request, Duration::from_millis(random.u64(0..50))).await;
        }
        let repeats = calls.iter().all(|call| call.function.writes) && random.u8(0..5) == 0;
        let again = async {
            if repeats {
                self.ledger().repeated += 1;
                sleep(Duration::from_millis(*[0, 300, 3500].get(random.usize(0..3)).unwrap_or(&0))).await;
                self.ask(by_voicedock, &calls, &request).await;
            }
        };
        tokio::join!(self.ask(by_voicedock, &calls, &request), again);
    }

    /// Makes a request and looks at its answer.
    async fn ask(&self, by_voicedock: bool, calls: &[Asked], request: &[u8]) {
        self.ledger().made += 1;
        let begun = Instant::now();
        let answer = timeout(PATIENCE * 3, self.exchange(request)).await;
        let taken = begun.elapsed();
        let said = answer.map_err(|_| "nothing".to_owned()).and_then(|answer| {
            let answer = answer.map_err(|error| error.to_string())?;
            let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
            let said = if by_voicedock {
                voicedock_said(&answer, &ids)
            } else {
                swaig_said(&answer).map(|said| vec![said])
            };
            said.ok_or_else(|| format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)))
        });
        let mut ledger = self.ledger();
        ledger.times.push(taken);
        let said = match said {
            Ok(said) => said,
            Err(other) => {
                let functions: Vec<_> = calls.iter().map(|call| call.function.name).collect();
                return ledger.wrong(format!("{}: {other} after {taken:?}", functions.join(", ")));
            }
        };
        ledger.answered += 1;
        for (call, said) in calls.iter().zip(said) {
            let Function { name, trust, .. } = call.function;
            let well = said.text == call.nonce && !said.failed;
            if let Some(written) = ledger.writes.get_mut(&call.nonce) {
                written.went_well |= well;
            }
            let failure = said.text.strip_prefix(FAILED);
            let kind = match (well, trust, failure) {
                (true, _, _) => "right",
                (false, Trust::Rude, Some(kind)) => kind,
                // The listener itself, when the call has its text only after its deadline.
                (false, Trust::Rude, None) if said.text == FailureKind::Timeout.built_in_text() => "overdue",
                (false, Trust::Passing, None) if said.text.contains("function") => "no route",
                _ => {
                    ledger.wrong(format!("{name} {}: {:?} after {taken:?}", call.nonce, said.text));
                    "wrong"
                }
            };
            *ledger.said.entry((name, kind.to_owned())).or_default() += 1;
        }
    }

    async fn exchange(&self, request: &[u8]) -> io::Result<crate::support::client::Answer> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(_, since)| since.elapsed() < FRESH);
            idle.pop()
        };
        let mut connection = match idle {
            Some((connection, _)) => connection,
            None => Connection::open(self.listen).await?,
        };
        let answer = connection.ask(request).await?;
        if !answer.closes {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push((connection, Instant::now()));
        }
        Ok(answer)
    }

    /// Makes a request and hangs up before its answer.
    async fn give_up(&self, request: &[u8], after: Duration) {
        self.ledger().hung_up += 1;
        let Ok(mut connection) = Connection::open(self.listen).await else {
            return self.ledger().wrong("no connection".to_owned());
        };
        let _ = connection.stream.write_all(request).await;
        sleep(after).await;
    }

    /// Opens a connection, sends a part of a request at most, and waits until the proxy closes, or leaves.
    pub(crate) async fn half(self: Arc<Self>, mut random: Rng) {
        self.ledger().half += 1;
        let Ok(mut connection) = Connection::open(self.listen).await else {
            return self.ledger().wrong("no connection".to_owned());
        };
        let whole = swaig("read", "half", &json!({ "nonce": "half" }));
        let sent = if random.u8(0..3) == 0 { 0 } else { random.usize(1..whole.len()) };
        let _ = connection.stream.write_all(whole.get(..sent).unwrap_or_default()).await;
        if random.bool() {
            return sleep(Duration::from_millis(random.u64(0..2000))).await;
        }
        let mut rest = Vec::new();
        // However it is closed.
        if timeout(CLOSED, connection.stream.read_to_end(&mut rest)).await.is_err() {
            self.ledger().wrong(format!("a connection with {sent} bytes of a request was never closed"));
        }
    }
}

/// A call of a function by chance.
fn ask(number: u64, call: usize, random: &mut Rng) -> Asked {
    let mut left = random.u32(0..100);
    let function = FUNCTIONS.iter().find(|function| {
        let found = left < function.share;
        left = left.saturating_sub(function.share);
        found
    });
    let function = function.unwrap_or(&FUNCTIONS[0]);
    let nonce =
        if function.shared { format!("item-{}", random.u8(0..40)) } else { format!("n-{number}-{call}") };
    Asked { function, id: format!("t-{number}-{call}"), nonce }
}

fn request(by_voicedock: bool, number: u64, calls: &[Asked]) -> Vec<u8> {
    let conversation = format!("c-{number}");
    let args: Vec<_> = calls.iter().map(|call| json!({ "nonce": call.nonce })).collect();
    let mut all = calls.iter().zip(&args).map(|(call, args)| (call.id.as_str(), call.function.name, args));
    if by_voicedock {
        return voicedock(&conversation, &all.collect::<Vec<_>>());
    }
    all.next().map(|(_, function, args)| swaig(function, &conversation, args)).unwrap_or_default()
}
