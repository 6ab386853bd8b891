//! Bounded queues of entries, for the history. Failures have queues of their own, so that neither answered calls nor
//! the failures of one route push out the rest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::history::HistoryEntry;

/// Entries that were removed. Usually, each new entry removes one.
pub(super) type Removed = SmallVec<[Arc<HistoryEntry>; 2]>;

/// Entries, oldest first, and their total size.
#[derive(Debug, Default)]
pub(super) struct Ring {
    entries: VecDeque<Arc<HistoryEntry>>,
    bytes: usize,
}

/// Failed calls, in a ring for each route and outcome.
#[derive(Debug, Default)]
pub(super) struct FailureRings {
    rings: BTreeMap<(String, &'static str), Ring>,
    count: usize,
    bytes: usize,
}

impl Ring {
    /// Adds an entry.
    pub(super) fn push(&mut self, entry: Arc<HistoryEntry>) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// Removes the oldest entries until at most `count` of at most `bytes` are left, and adds them to `removed`.
    pub(super) fn trim(&mut self, count: usize, bytes: usize, removed: &mut Removed) {
        while self.entries.len() > count || self.bytes > bytes {
            let Some(oldest) = self.pop() else { break };
            removed.push(oldest);
        }
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<HistoryEntry>> {
        self.entries.iter()
    }

    fn pop(&mut self) -> Option<Arc<HistoryEntry>> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.bytes;
        Some(oldest)
    }
}

impl FailureRings {
    /// Adds an entry.
    pub(super) fn push(&mut self, entry: Arc<HistoryEntry>) {
        self.count += 1;
        self.bytes += entry.bytes;
        let key = (entry.route().unwrap_or_default().to_owned(), entry.outcome());
        self.rings.entry(key).or_default().push(entry);
    }

    /// Removes entries until at most `count` of at most `bytes` are left, and adds them to `removed`. Each time, the
    /// largest ring loses its oldest entry.
    pub(super) fn trim(&mut self, count: usize, bytes: usize, removed: &mut Removed) {
        while self.count > count || self.bytes > bytes {
            let is_too_large = self.bytes > bytes;
            let size = |ring: &Ring| if is_too_large { ring.bytes } else { ring.entries.len() };
            let Some(largest) = self.rings.values_mut().max_by_key(|ring| size(ring)) else { break };
            let Some(oldest) = largest.pop() else { break };
            if largest.entries.is_empty() {
                self.rings.retain(|_, ring| !ring.entries.is_empty());
            }
            self.count -= 1;
            self.bytes -= oldest.bytes;
            removed.push(oldest);
        }
    }

    /// The entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<HistoryEntry>> {
        self.rings.values().flat_map(Ring::iter)
    }
}
