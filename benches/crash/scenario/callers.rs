//! The callers: platforms that send each call to some instance, and some of them to another one too.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::Scenario;
use super::instances::{Instances, locked};
use super::support::client::{Connection, Said, plain, plain_said, voicedock, voicedock_said};

/// An answer must come within this time: the deadline of the platforms is shorter.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the instances answer if it is unknown whether a write took effect.
const UNCONFIRMED: &str = "has not confirmed";

/// What a caller heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It is done, or will be.
    Yes,
    /// It has failed; with the text.
    No(String),
    /// It is unknown whether it was done.
    Unconfirmed,
    /// The connection broke after the call was sent.
    Broken,
    /// No answer came, or something else.
    Wrong(String),
}

/// A call to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) answered: Answered,
    pub(crate) instance: usize,
    /// When the scenario began.
    pub(crate) origin: Instant,
    pub(crate) at: Instant,
    pub(crate) ended: Instant,
}

/// What the callers heard, by the number of the call. A call was sent once, or repeated to another instance.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) notes: Vec<(usize, Vec<Told>)>,
    pub(crate) orders: Vec<(usize, Vec<Told>)>,
}

pub(super) struct Callers {
    instances: Arc<Instances>,
    origin: Instant,
    answered: AtomicUsize,
    heard: Mutex<Heard>,
}

/// A call by one of the platforms.
#[derive(Clone, Copy)]
enum Call {
    /// Plain HTTP sends no id, so nothing recognises a repeat.
    NoteWithoutId(usize),
    Note(usize),
    Order(usize),
}

impl Callers {
    pub(super) fn new(instances: Arc<Instances>) -> Self {
        Self { instances, origin: Instant::now(), answered: AtomicUsize::new(0), heard: Mutex::default() }
    }

    /// Makes all calls, and returns what was heard.
    pub(super) async fn call(&self, scenario: &Scenario, rng: &mut Rng) -> Heard {
        let all = scenario.notes + scenario.orders;
        let mut calls: Vec<Call> = (0..all)
            .map(|n| match n.checked_sub(scenario.notes) {
                Some(n) => Call::Order(n),
                None if n % 2 == 0 => Call::NoteWithoutId(n),
                None => Call::Note(n),
            })
            .collect();
        rng.shuffle(&mut calls);
        let calls = Mutex::new(calls);
        join_all((0..scenario.callers).map(|_| {
            let mut rng = rng.fork();
            let calls = &calls;
            async move {
                loop {
                    let Some(call) = locked(calls).pop() else { return };
                    self.make(call, &mut rng).await;
                    sleep(scenario.pause.mul_f64(rng.f64())).await;
                }
            }
        }))
        .await;
        std::mem::take(&mut *locked(&self.heard))
    }

    /// Waits until so many calls have been answered, or all.
    pub(super) async fn answered(&self, count: usize, is_over: &AtomicBool) {
        while self.answered.load(Ordering::Relaxed) < count && !is_over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many more calls have been answered, or all.
    pub(super) async fn answered_more(&self, count: usize, is_over: &AtomicBool) {
        self.answered(self.answered.load(Ordering::Relaxed) + count, is_over).await;
    }

    async fn make(&self, call: Call, rng: &mut Rng) {
        let first = self.choose(None, rng);
        let mut told = match call {
            Call::NoteWithoutId(_) => vec![self.ask(call, first, rng).await],
            // A platform repeats a call that got no answer.
            Call::Note(_) => {
                let told = self.ask(call, first, rng).await;
                let repeat = matches!(told.answered, Answered::Broken).then(|| self.choose(Some(first), rng));
                let mut all = vec![told];
                if let Some(other) = repeat {
                    all.push(self.ask(call, other, rng).await);
                }
                all
            }
            Call::Order(_) => {
                let other = self.choose(Some(first), rng);
                let (mut one, mut two) = (rng.fork(), rng.fork());
                // At the same time, during the call, or after its end.
                let pause = Duration::from_millis(match rng.u8(..3) {
                    0 => 0,
                    1 => rng.u64(..500),
                    _ => rng.u64(..3000),
                });
                let repeat = async {
                    sleep(pause).await;
                    self.ask(call, other, &mut two).await
                };
                let (one, two) = tokio::join!(self.ask(call, first, &mut one), repeat);
                vec![one, two]
            }
        };
        told.sort_by_key(|told| told.at);
        self.answered.fetch_add(1, Ordering::Relaxed);
        let mut heard = locked(&self.heard);
        match call {
            Call::NoteWithoutId(n) | Call::Note(n) => heard.notes.push((n, told)),
            Call::Order(n) => heard.orders.push((n, told)),
        }
    }

    /// An instance, another one than `not` if there is one.
    fn choose(&self, not: Option<usize>, rng: &mut Rng) -> usize {
        let count = self.instances.count();
        match not {
            Some(not) if count > 1 => (not + rng.usize(1..count)) % count,
            _ => rng.usize(..count),
        }
    }

    /// Sends a call to an instance. While that is down, another one gets it, as a load balancer does.
    async fn ask(&self, call: Call, mut instance: usize, rng: &mut Rng) -> Told {
        let connection = loop {
            if let Some(address) = self.instances.address(instance)
                && let Ok(connection) = Connection::open(address).await
            {
                break connection;
            }
            sleep(Duration::from_millis(10)).await;
            instance = self.choose(Some(instance), rng);
        };
        let at = Instant::now();
        let answered = say(call, connection).await;
        Told { answered, instance, origin: self.origin, at, ended: Instant::now() }
    }
}

/// The conversation of a note with an id. It has no other one.
pub(super) fn conversation(n: usize) -> String {
    format!("note-{n}")
}

async fn say(call: Call, mut connection: Connection) -> Answered {
    let request = match call {
        Call::NoteWithoutId(n) => plain("note", &json!({ "n": n })),
        Call::Note(n) => voicedock(&conversation(n), &[(&format!("note-{n}"), "note", &json!({ "n": n }))]),
        Call::Order(n) => voicedock("c", &[(&format!("order-{n}"), "order", &json!({ "n": n }))]),
    };
    let answer = match timeout(PATIENCE, connection.ask(&request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => return Answered::Broken,
        Err(_) => return Answered::Wrong("no answer in time".to_owned()),
    };
    let said = match call {
        Call::NoteWithoutId(_) => plain_said(&answer),
        Call::Note(n) => voicedock_said(&answer, &[&format!("note-{n}")]).and_then(|mut said| said.pop()),
        Call::Order(n) => voicedock_said(&answer, &[&format!("order-{n}")]).and_then(|mut said| said.pop()),
    };
    match said {
        Some(Said { text, failed: false }) if text == "Done." => Answered::Yes,
        Some(Said { text, failed: true }) if text.contains(UNCONFIRMED) => Answered::Unconfirmed,
        Some(Said { text, failed: true }) => Answered::No(text),
        _ => Answered::Wrong(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))),
    }
}
