//! File descriptors: as many as the system allows, and callers get no more of them than leaves some for upstreams.

use std::io;

/// What everything but connections from platforms and to upstreams may need: files, the admin listener, callers that are
/// just being turned away.
const RESERVE: u64 = 96;

/// The fewest connections that are accepted, whatever the limit.
const FEWEST: usize = 8;

/// Raises the limit of the process as far as it goes, and gives it.
///
/// # Errors
/// The system does not let the limit be read or raised.
pub fn raise_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// How many connections from platforms a limit has room for: a call needs one to an upstream as well.
pub fn most_connections(limit: u64) -> usize {
    usize::try_from(limit.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_leave_descriptors_for_upstreams() {
        for (limit, most) in [(0, 8), (40, 8), (112, 8), (256, 80), (1024, 464), (20_000, 9952)] {
            assert_eq!(most_connections(limit), most, "{limit}");
        }
        assert!(most_connections(u64::MAX) > 1_000_000);
    }
}
