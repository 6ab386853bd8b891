//! Log lines about trouble that lasts: one when it begins, not one each time that it is seen.

use std::time::{Duration, Instant};

/// How long trouble must stay away before it is logged again.
const QUIET: Duration = Duration::from_secs(10);

/// Trouble that is logged when it begins.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    seen: Option<Instant>,
}

impl LogThrottle {
    /// Whether the trouble seen at `now` is to be logged.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        let before = self.seen.replace(now);
        before.is_none_or(|before| now.duration_since(before) > QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_new_after_a_quiet_while() {
        let (mut bout, start) = (LogThrottle::default(), Instant::now());
        let begins = [0, 9, 18, 28, 39].map(|second| bout.begins(start + Duration::from_secs(second)));
        assert_eq!(begins, [true, false, false, false, true]);
    }
}
