//! The ids of records.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The id of a record. No other process, not even the same one after a restart, gives it to another call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordId {
    /// A random number of the process, of 40 bits.
    process: u64,
    /// The number of the call in this process, from 1.
    number: u64,
}

/// Gives out ids.
#[derive(Debug)]
pub(super) struct RecordIds {
    process: u64,
    last: AtomicU64,
}

impl Default for RecordIds {
    fn default() -> Self {
        Self { process: fastrand::u64(..1 << 40), last: AtomicU64::new(0) }
    }
}

impl RecordIds {
    /// The id of the next call.
    pub(super) fn next(&self) -> RecordId {
        RecordId { process: self.process, number: self.last.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010x}-{}", self.process, self.number)
    }
}
