//! File descriptors: raises the limit of the process, and derives a limit of connections that leaves descriptors for
//! upstreams.

use std::io;

/// Descriptors reserved for everything but connections from platforms and to upstreams: files, the admin listener, and
/// connections that are being rejected.
const RESERVE: u64 = 96;

/// The minimum number of accepted connections, even if the limit is low.
const FEWEST: usize = 8;

/// Raises the soft limit of file descriptors as far as possible and returns it.
///
/// # Errors
/// The limit cannot be read or raised.
pub fn raise_limit() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// How many connections from platforms fit into a limit of descriptors. Each call needs a second one, to an upstream.
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
