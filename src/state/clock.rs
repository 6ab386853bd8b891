//! The clock of the engines that live in this process.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The wall clock at the start of the process, advanced by the monotonic clock. If the wall clock is set while leases
/// are running, none of them ends early or late.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started_ms: i64,
    started: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { started_ms: Timestamp::now().as_millisecond(), started: Instant::now() }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.started_ms.saturating_add(millis(self.started.elapsed()))
    }
}

/// The milliseconds of a duration, as stores hold them.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The duration of stored milliseconds. Negative ones count as zero.
pub(super) fn duration(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

/// The time of stored milliseconds since 1970.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
