//! What an attempt is waiting for, so that a timeout can report it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Times;

pub(super) const CONNECTING: &str = "connecting";
pub(super) const WAITING: &str = "waiting for the response";
pub(super) const FOLLOWING: &str = "following a redirect";
pub(super) const READING: &str = "reading the body";

/// How long before its deadline an attempt stops waiting for memory.
const TURN_ENDS_BEFORE: Duration = Duration::from_millis(50);

const PHASES: [&str; 4] = [CONNECTING, WAITING, FOLLOWING, READING];

/// The phase of one attempt. The first one is connecting.
pub(super) struct Progress {
    phase: AtomicU8,
    times: Times,
}

impl Progress {
    /// An attempt with these times, in its first phase.
    pub(super) fn of(times: Times) -> Self {
        Self { phase: AtomicU8::new(0), times }
    }

    /// When the attempt began.
    pub(super) fn began(&self) -> Instant {
        self.times.began
    }

    /// When the attempt stops waiting for memory, so that it can still say why it failed.
    pub(super) fn turn_ends(&self) -> Option<Instant> {
        self.times.answered_by.checked_sub(TURN_ENDS_BEFORE)
    }

    /// The current phase.
    pub(super) fn phase(&self) -> &'static str {
        PHASES[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    /// The attempt needs a connection.
    pub(super) fn connecting(&self) {
        self.before_redirects(0);
    }

    /// The attempt handed the request to a connection.
    pub(super) fn waiting(&self) {
        self.before_redirects(1);
    }

    /// The attempt was redirected. It stays in this phase until it reads a body: even if the next connection fails, the
    /// upstream has received the original request.
    pub(super) fn following(&self) {
        self.phase.store(2, Ordering::Relaxed);
    }

    /// The head of the response has been read.
    pub(super) fn reading(&self) {
        self.phase.store(3, Ordering::Relaxed);
    }

    fn before_redirects(&self, phase: u8) {
        if self.phase() != FOLLOWING {
            self.phase.store(phase, Ordering::Relaxed);
        }
    }
}
