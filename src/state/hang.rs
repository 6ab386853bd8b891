//! Remembers that the store hangs, so that calls do not wait for it one after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::engine::Result;
use super::error::StateFault;

/// How often one operation may ask a store that hangs.
const TRY_EVERY: Duration = Duration::from_secs(3);

/// The shortest time limit of an operation whose timeout shows that the store hangs.
pub const SHORTEST_LIMIT: Duration = Duration::from_millis(250);

/// Whether the store hangs: an operation got no answer in time, and none has had one since.
#[derive(Debug, Default)]
pub(super) struct Hang {
    /// Saves the lock while all is well.
    is_hanging: AtomicBool,
    since: Mutex<Option<Hanging>>,
}

#[derive(Debug, Clone, Copy)]
struct Hanging {
    since: Instant,
    next_try: Instant,
}

impl Hang {
    /// Whether an operation may ask the store. If it has been hanging for longer than `patience`, only one operation in
    /// [`TRY_EVERY`] may.
    pub(super) fn admits(&self, patience: Duration, now: Instant) -> bool {
        if !self.is_hanging.load(Ordering::Relaxed) {
            return true;
        }
        let mut since = self.since.lock();
        match since.as_mut() {
            Some(hanging) if now.saturating_duration_since(hanging.since) >= patience => {
                let is_due = hanging.next_try <= now;
                if is_due {
                    hanging.next_try = now + TRY_EVERY;
                }
                is_due
            }
            _ => true,
        }
    }

    /// Notes the result of an operation that had this time limit.
    pub(super) fn note<T>(&self, result: &Result<T>, limit: Duration, now: Instant) {
        match result {
            Ok(_) if self.is_hanging.load(Ordering::Relaxed) => {
                *self.since.lock() = None;
                self.is_hanging.store(false, Ordering::Relaxed);
            }
            Err(error) if error.fault == StateFault::Timeout && limit >= SHORTEST_LIMIT => {
                self.since.lock().get_or_insert(Hanging { since: now, next_try: now + TRY_EVERY });
                self.is_hanging.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::error::StateError;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_timeout_one_operation_in_a_while_asks_until_one_succeeds() {
        let (hang, now) = (Hang::default(), Instant::now());
        let failed = |fault| Err::<(), _>(StateError::new(fault, "x", ""));
        let admits = |seconds: u32| hang.admits(Duration::ZERO, now + SECOND * seconds);
        hang.note(&failed(StateFault::Unreachable), SECOND, now);
        hang.note(&failed(StateFault::Timeout), SHORTEST_LIMIT / 2, now);
        assert!(admits(0) && admits(0));
        hang.note(&failed(StateFault::Timeout), SECOND, now);
        assert!(!admits(0) && !admits(2) && admits(3) && !admits(4));
        hang.note(&failed(StateFault::Timeout), SECOND, now + SECOND * 4);
        assert!(admits(6) && !admits(7));
        hang.note(&Ok(()), SECOND, now + SECOND * 7);
        assert!(admits(7) && admits(7));
    }

    #[test]
    fn a_patient_operation_asks_for_a_while_longer() {
        let (hang, now) = (Hang::default(), Instant::now());
        hang.note(&Err::<(), _>(StateError::new(StateFault::Timeout, "x", "")), SECOND, now);
        assert!(hang.admits(SECOND * 5, now + SECOND * 4) && hang.admits(SECOND * 5, now + SECOND * 4));
        assert!(hang.admits(SECOND * 5, now + SECOND * 5) && !hang.admits(SECOND * 5, now + SECOND * 5));
    }
}
