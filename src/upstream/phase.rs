//! What an attempt is waiting for, so that a timeout can report it.

use std::sync::atomic::{AtomicU8, Ordering};

pub(super) const CONNECTING: &str = "connecting";
pub(super) const WAITING: &str = "waiting for the response";
pub(super) const FOLLOWING: &str = "following a redirect";
pub(super) const READING: &str = "reading the body";

const PHASES: [&str; 4] = [CONNECTING, WAITING, FOLLOWING, READING];

/// The phase of one attempt. The first one is connecting.
#[derive(Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    /// The current phase.
    pub(super) fn phase(&self) -> &'static str {
        PHASES[usize::from(self.0.load(Ordering::Relaxed))]
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
        self.0.store(2, Ordering::Relaxed);
    }

    /// The head of the response has been read.
    pub(super) fn reading(&self) {
        self.0.store(3, Ordering::Relaxed);
    }

    fn before_redirects(&self, phase: u8) {
        if self.phase() != FOLLOWING {
            self.0.store(phase, Ordering::Relaxed);
        }
    }
}
