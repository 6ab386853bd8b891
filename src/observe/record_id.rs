//! The ids of records.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of hexadecimal digits of the process part of an id.
const PROCESS_DIGITS: usize = 10;
const HEX_DIGITS: [u8; 16] = *b"0123456789abcdef";

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
        Self { process: fastrand::u64(..1 << (4 * PROCESS_DIGITS)), last: AtomicU64::new(0) }
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
        // Each log line has an id, so avoid the overhead of `write!`.
        let hex = std::array::from_fn::<u8, PROCESS_DIGITS, _>(|at| {
            HEX_DIGITS[(self.process >> (4 * (PROCESS_DIGITS - 1 - at))) as usize & 0xf]
        });
        f.write_str(std::str::from_utf8(&hex).unwrap_or_default())?;
        f.write_str("-")?;
        f.write_str(itoa::Buffer::new().format(self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_process_in_hexadecimal_and_the_number() {
        for process in [0, 1, 0xabc, (1 << 40) - 1, 0x12_3456_789a, 0xf0_0000_0000] {
            for number in [0, 1, 99, 12_345, u64::MAX] {
                let id = RecordId { process, number };
                assert_eq!(id.to_string(), format!("{process:010x}-{number}"));
            }
        }
    }
}
