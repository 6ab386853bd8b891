//! Settles the race between an engine that completes an operation and a caller whose time limit ends.

use std::sync::atomic::{AtomicU8, Ordering};

/// Whether an operation was completed or given up, whichever came first.
#[derive(Debug, Default)]
pub(super) struct Fate(AtomicU8);

const OPEN: u8 = 0;
const DONE: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Fate {
    /// Marks the operation as completed. Returns `false` if the caller has given up: the engine must then undo it.
    pub(super) fn is_done(&self) -> bool {
        self.decide(DONE)
    }

    /// Marks the operation as given up. Returns `false` if the engine has already completed it.
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
