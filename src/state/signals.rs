//! Wakes the tasks that wait for jobs and for the answers of calls, so that they rarely need to poll.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::single_flight::FlightKey;

/// The shortest time between two polls that are caused only by the clock.
const SHORTEST_POLL: Duration = Duration::from_millis(250);

/// The signals of an engine.
#[derive(Debug)]
pub(super) struct Signals {
    jobs: watch::Sender<u64>,
    /// When the next job is due, as of the last time that jobs were leased.
    next_due: Mutex<Option<Instant>>,
    calls: Mutex<HashMap<FlightKey, (watch::Sender<u64>, usize)>>,
    /// How long to wait at most without a signal.
    poll: Mutex<Duration>,
}

impl Signals {
    /// `poll`: how long to wait at most without a signal, because signals may be missed.
    pub(super) fn new(poll: Duration) -> Arc<Self> {
        let (jobs, _) = watch::channel(0);
        let (next_due, calls) = (Mutex::default(), Mutex::default());
        Arc::new(Self { jobs, next_due, calls, poll: Mutex::new(poll) })
    }

    pub(super) fn set_poll(&self, poll: Duration) {
        *self.poll.lock() = poll;
    }

    pub(super) fn poll(&self) -> Duration {
        *self.poll.lock()
    }

    /// There may be jobs to lease.
    pub(super) fn jobs_changed(&self) {
        self.jobs.send_modify(|changes| *changes += 1);
    }

    /// The next job is due `in_ms` milliseconds from now.
    pub(super) fn set_next_due(&self, in_ms: Option<i64>) {
        *self.next_due.lock() = in_ms.map(|ms| Instant::now() + super::clock::duration(ms));
    }

    /// The state of this call has changed.
    pub(super) fn call_changed(&self, key: &FlightKey) {
        if let Some((sender, _)) = self.calls.lock().get(key) {
            sender.send_modify(|changes| *changes += 1);
        }
    }

    /// Any call may have changed, because signals were missed.
    pub(super) fn all_changed(&self) {
        self.jobs_changed();
        self.calls.lock().values().for_each(|(sender, _)| sender.send_modify(|changes| *changes += 1));
    }

    pub(super) fn watch_jobs(self: &Arc<Self>) -> JobWatch {
        let mut changes = self.jobs.subscribe();
        // The first call of `changed` must not wait.
        changes.mark_changed();
        JobWatch { signals: Arc::clone(self), changes }
    }

    pub(super) fn watch_call(self: &Arc<Self>, key: FlightKey) -> CallWatch {
        let changes = match self.calls.lock().entry(key) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().1 += 1;
                entry.get().0.subscribe()
            }
            Entry::Vacant(entry) => {
                let (sender, changes) = watch::channel(0);
                entry.insert((sender, 1));
                changes
            }
        };
        CallWatch { signals: Arc::clone(self), key, changes }
    }
}

/// Waits for jobs that can be leased.
#[derive(Debug)]
pub struct JobWatch {
    signals: Arc<Signals>,
    changes: watch::Receiver<u64>,
}

impl JobWatch {
    /// Returns when there may be something to lease: a new job, one that is due, or one whose lease has ended. Call
    /// [`Store::lease_jobs`](super::Store::lease_jobs) then, until it returns fewer jobs than it may. The first call
    /// returns at once. Cancel safe.
    pub async fn changed(&mut self) {
        let poll = self.signals.poll();
        let due = *self.signals.next_due.lock();
        let due = due.map_or(poll, |due| due.saturating_duration_since(Instant::now()));
        // A job that is due but was not leased is being leased by another instance.
        let wait = if due.is_zero() { SHORTEST_POLL } else { due.min(poll) };
        // The sender lives as long as the signals.
        let _ = tokio::time::timeout(wait, self.changes.changed()).await;
    }
}

/// Waits for a change of a call.
#[derive(Debug)]
pub(super) struct CallWatch {
    signals: Arc<Signals>,
    key: FlightKey,
    changes: watch::Receiver<u64>,
}

impl CallWatch {
    /// Returns on a change, and after `at_most`.
    pub(super) async fn changed(&mut self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most.min(self.signals.poll()), self.changes.changed()).await;
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.signals.calls.lock().entry(self.key) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn no_change_between_two_waits_is_missed() {
        let signals = Signals::new(Duration::from_secs(3600));
        let mut watch = signals.watch_jobs();
        assert!(watch.changed().now_or_never().is_some(), "the first look does not wait");
        assert!(watch.changed().now_or_never().is_none());
        signals.jobs_changed();
        assert!(watch.changed().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_call_is_watched_by_its_key_and_forgotten_with_its_last_watch() {
        let (signals, hour) = (Signals::new(Duration::from_secs(3600)), Duration::from_secs(3600));
        let mut watches = [signals.watch_call([1; 32]), signals.watch_call([1; 32])];
        let mut other = signals.watch_call([2; 32]);
        signals.call_changed(&[1; 32]);
        for watch in &mut watches {
            assert!(watch.changed(hour).now_or_never().is_some());
        }
        assert!(other.changed(hour).now_or_never().is_none());
        signals.all_changed();
        assert!(other.changed(hour).now_or_never().is_some());
        drop((watches, other));
        assert!(signals.calls.lock().is_empty());
    }
}
