//! Room for so many and no more: calls in flight, open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many are in, and how many were turned away.
#[derive(Debug, Default)]
pub(super) struct Gate {
    taken: AtomicUsize,
    turned_away: AtomicU64,
}

/// A place in a room, taken until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Gate>);

impl Gate {
    /// A place, if fewer than `most` are taken; else one more was turned away.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let count = |taken| (taken < most).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok() {
            return Some(Permit(Arc::clone(self)));
        }
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many are in.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many were turned away since the start.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long trouble must stay away to be news when it comes again.
const QUIET: Duration = Duration::from_secs(10);

/// Trouble that is said when it begins, and not each time that it is seen.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    seen: Option<Instant>,
}

impl LogThrottle {
    /// Whether the trouble that is seen now is a new one.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        let before = self.seen.replace(now);
        before.is_none_or(|before| now.duration_since(before) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_holds_as_many_as_it_may() {
        let room = Arc::new(Gate::default());
        let places: Vec<_> = (0..5).map(|_| room.enter(3)).collect();
        assert_eq!(places.iter().flatten().count(), 3);
        assert_eq!((room.taken(), room.turned_away()), (3, 2));
        // The most may be another one each time: a reload changes it.
        assert!(room.enter(2).is_none());
        let fourth = room.enter(4);
        assert!(fourth.is_some());
        drop(places);
        assert_eq!((room.taken(), room.turned_away()), (1, 3));
        assert!(room.enter(2).is_some());
        assert_eq!(room.taken(), 1);
    }

    #[test]
    fn trouble_is_new_after_a_quiet_while() {
        let (mut bout, start) = (LogThrottle::default(), Instant::now());
        let begins = [0, 9, 18, 28, 39].map(|second| bout.begins(start + Duration::from_secs(second)));
        assert_eq!(begins, [true, false, false, false, true]);
    }
}
