//! The upstream: it fails half the time, and remembers every request.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

use super::instances::locked;
use super::support::client::header;
use super::support::upstream::{Act, Asked, reply, serve};

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Arrivals>>,
}

/// What has arrived, by path.
pub(crate) type Arrivals = HashMap<String, Arrived>;

/// The requests with one path.
#[derive(Debug, Default, Clone)]
pub(crate) struct Arrived {
    pub(crate) requests: usize,
    /// Those that were answered with success.
    pub(crate) successes: usize,
    failures: usize,
    /// Those that are being answered.
    running: usize,
    /// Those that arrived while another one with the same idempotency key, or without one, was being answered.
    pub(crate) overlaps: usize,
    /// Their idempotency keys.
    pub(crate) keys: HashSet<String>,
}

impl Upstream {
    /// Fails at most `most_failures` times for each path.
    pub(super) fn start(mut rng: Rng, most_failures: usize) -> Self {
        let seen: Arc<Mutex<Arrivals>> = Arc::default();
        let (arrivals, chances) = (Arc::clone(&seen), Mutex::new(rng.fork()));
        let address = serve(move |asked| {
            let (kind, slow) = {
                let mut rng = locked(&chances);
                // Some take longer than the lease of a job, unless that is renewed.
                let longest = if rng.u8(..6) == 0 { 9000 } else { 1500 };
                (rng.u8(..6), Duration::from_millis(rng.u64(100..longest)))
            };
            acts(
                Answering { seen: Arc::clone(&arrivals), path: asked.target.clone() },
                asked,
                (kind, slow),
                most_failures,
            )
        });
        Self { address: address.expect("a listener"), seen }
    }

    pub(super) fn seen(&self) -> Arrivals {
        locked(&self.seen).clone()
    }
}

/// A request that is being answered. Its drop is the end of that, also if the connection was closed.
struct Answering {
    seen: Arc<Mutex<Arrivals>>,
    path: String,
}

impl Answering {
    fn update(&self, change: impl FnOnce(&mut Arrived)) {
        change(locked(&self.seen).entry(self.path.clone()).or_default());
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.update(|arrived| arrived.running -= 1);
    }
}

/// Half of the time success; otherwise a status 503, a connection that is closed without an answer, or a slow success.
fn acts(
    answering: Answering,
    asked: &Asked,
    (mut kind, slow): (u8, Duration),
    most_failures: usize,
) -> Vec<Act> {
    answering.update(|arrived| {
        arrived.requests += 1;
        arrived.overlaps += usize::from(arrived.running > 0);
        arrived.running += 1;
        arrived.keys.extend(header(&asked.head, "idempotency-key").map(str::to_owned));
        if kind < 2 && arrived.failures == most_failures {
            kind = u8::MAX;
        }
        arrived.failures += usize::from(kind < 2);
    });
    let answer = match kind {
        0 => vec![reply(503, "", "{}")],
        1 => vec![Act::Close],
        2 => vec![Act::Wait(slow), reply(200, "", "{}")],
        _ => vec![reply(200, "", "{}")],
    };
    // Noted last, and only if the connection is open until then.
    let is_success = kind >= 2;
    let ended = Act::Note(Arc::new(move || {
        answering.update(|arrived| arrived.successes += usize::from(is_success));
    }));
    answer.into_iter().chain([ended]).collect()
}
