//! A limit on concurrent calls or open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Counts the permits that are held, and the refusals.
#[derive(Debug, Default)]
pub struct Gate {
    held: AtomicUsize,
    refused: AtomicU64,
}

/// A permit of a gate, held until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Gate {
    /// Acquires a permit if fewer than `most` are held. Otherwise the refusal is counted.
    pub fn enter(self: &Arc<Self>, most: usize) -> Option<Permit> {
        let count = |held| (held < most).then_some(held + 1);
        if self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok() {
            return Some(Permit(Arc::clone(self)));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// The number of permits that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The number of refusals since the start.
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
    fn a_gate_grants_permits_up_to_the_limit() {
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
