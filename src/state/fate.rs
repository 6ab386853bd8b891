//! Who decides what becomes of an operation: its caller, who waits only so long, or the engine, which has done it.

use std::sync::atomic::{AtomicU8, Ordering};

/// Whether an operation was done or given up, whichever came first.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

const OPEN: u8 = 0;
const DONE: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Fate {
    /// The engine has done it. `false`: the caller was already told that it failed, so it must be undone.
    pub(super) fn is_done(&self) -> bool {
        self.decide(DONE)
    }

    /// The caller waits no longer. `false`: it was done at the last moment.
    pub(super) fn give_up(&self) -> bool {
        self.decide(GIVEN_UP)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }

    fn decide(&self, fate: u8) -> bool {
        self.0.compare_exchange(OPEN, fate, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decides() {
        let (done, given_up) = (Fate::default(), Fate::default());
        assert!(done.is_done() && !done.give_up() && !done.is_given_up());
        assert!(given_up.give_up() && !given_up.is_done() && given_up.is_given_up());
    }
}
