//! Throttles log lines about a lasting problem: it is logged when it begins, not each time it occurs.

use std::time::{Duration, Instant};

/// How long a problem must be absent before it is logged again.
const QUIET: Duration = Duration::from_secs(10);

/// A problem that is logged when it begins.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    seen: Option<Instant>,
}

impl LogThrottle {
    /// Records the problem at `now` and returns whether to log it.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        let before = self.seen.replace(now);
        before.is_none_or(|before| now.duration_since(before) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_logged_again_after_a_quiet_period() {
        let (mut bout, start) = (LogThrottle::default(), Instant::now());
        let begins = [0, 9, 18, 28, 39].map(|second| bout.begins(start + Duration::from_secs(second)));
        assert_eq!(begins, [true, false, false, false, true]);
    }
}
