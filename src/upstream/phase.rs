//! What an attempt to send is waiting for, so that a timeout can say it.

use std::sync::atomic::{AtomicU8, Ordering};

pub(super) const CONNECTING: &str = "connecting";
pub(super) const WAITING: &str = "waiting for the response";
pub(super) const FOLLOWING: &str = "following a redirect";
pub(super) const READING: &str = "reading the body";

const PHASES: [&str; 4] = [CONNECTING, WAITING, FOLLOWING, READING];

/// What one attempt waits for. It starts with connecting.
#[derive(Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    /// What the attempt waits for now.
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

    /// The attempt was redirected. It stays in this phase until it reads a body: the upstream got the original
    /// request, whatever becomes of the next connection.
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
