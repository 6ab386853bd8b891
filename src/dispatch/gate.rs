//! A limit on how many of something there are at once: calls in flight, open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many permits are held, and how often one was refused.
#[derive(Debug, Default)]
pub struct Gate {
    held: AtomicUsize,
    refused: AtomicU64,
}

/// A permit of a gate, held until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Gate {
    /// A permit, if fewer than `most` are held; else the refusal is counted.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let count = |held| (held < most).then_some(held + 1);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok() {
            return Some(Permit(Arc::clone(self)));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// How many permits are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How often a permit was refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_gives_out_as_many_permits_as_it_may() {
        let gate = Arc::new(Gate::default());
        let permits: Vec<_> = (0..5).map(|_| gate.enter(3)).collect();
        assert_eq!(permits.iter().flatten().count(), 3);
        assert_eq!((gate.held(), gate.refused()), (3, 2));
        // The limit may differ each time: a reload changes it.
        assert!(gate.enter(2).is_none());
        let fourth = gate.enter(4);
        assert!(fourth.is_some());
        drop(permits);
        assert_eq!((gate.held(), gate.refused()), (1, 3));
        assert!(gate.enter(2).is_some());
        assert_eq!(gate.held(), 1);
    }
}
