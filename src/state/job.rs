//! Jobs: calls and events that were accepted and are delivered later.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// A job to append.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The route or event that delivers it.
    pub work: Work,
    /// The platform that sent the call.
    pub platform: String,
    /// The conversation, if the platform names one.
    pub conversation: Option<String>,
    /// The revision of the plan that accepted it.
    pub revision: String,
    /// Whether the ordered jobs of its conversation run one after the other, in the order of their acceptance. Has no
    /// effect without a conversation.
    pub ordered: bool,
    /// How long it is retried after its acceptance.
    pub retry_for: Duration,
    /// The input of the idempotency keys, the same for every attempt.
    pub seed: [u8; 32],
    /// What the worker needs to run it.
    pub payload: Payload,
}

/// What delivers a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Whether `name` is a route or an event.
    pub kind: WorkKind,
    /// The name in the table.
    pub name: String,
}

/// The kinds of [`Work`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// A function call, delivered by a route.
    Route,
    /// An event of the platform.
    Event,
}

impl WorkKind {
    /// The word for it in stores and outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Event => "event",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        if word == "event" { Self::Event } else { Self::Route }
    }
}

/// Bytes to store.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they must be encrypted.
    pub is_sensitive: bool,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// A job that this instance has leased and must [finish](super::Store::finish).
#[derive(Debug, Clone)]
pub struct Job {
    /// The lease of this attempt.
    pub lease: JobLease,
    /// What delivers it.
    pub work: Work,
    /// The platform that sent the call.
    pub platform: String,
    /// The conversation, if the platform named one.
    pub conversation: Option<String>,
    /// The revision of the plan that accepted it.
    pub revision: String,
    /// Whether its conversation's jobs run one after the other.
    pub is_ordered: bool,
    /// The number of this attempt; 1 is the first.
    pub attempt: u32,
    /// Whether the previous attempt ended without an outcome, because its instance died.
    pub is_interrupted: bool,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// How much longer it may be retried. Zero: this is the last attempt.
    pub retry_left: Duration,
    /// The input of the idempotency keys.
    pub seed: [u8; 32],
    /// The stored payload. An error if none of the configured keys can decrypt it.
    pub payload: Result<Vec<u8>, super::StateError>,
}

/// The right of one instance to run a job, until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub id: JobId,
    /// Distinguishes this lease from the job's earlier ones.
    pub(super) number: u32,
    /// Identifies the jobs that run one after the other.
    pub(super) order: Option<[u8; 32]>,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// Done.
    Delivered,
    /// The job is retried.
    RetryIn {
        /// After this time. Zero: at once, by any instance.
        delay: Duration,
        /// What failed.
        reason: String,
    },
    /// This attempt did nothing, so it does not count. The job runs again, on this instance or another.
    Returned {
        /// After this time. Zero: at once.
        delay: Duration,
        /// Why it did nothing.
        reason: String,
    },
    /// The job is given up. It is kept until an operator retries or drops it.
    Dead {
        /// What failed.
        reason: String,
    },
}

impl JobOutcome {
    /// What failed, if something did.
    pub fn reason_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Delivered => None,
            Self::RetryIn { reason, .. } | Self::Returned { reason, .. } | Self::Dead { reason } => {
                Some(reason)
            }
        }
    }
}

/// Whether a lease is still held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// This instance holds it.
    Held,
    /// It ended, and another instance may hold it now. Nothing was changed.
    Lost,
}

impl LeaseState {
    pub(super) fn of(is_held: bool) -> Self {
        if is_held { Self::Held } else { Self::Lost }
    }
}

/// Identifies a job. Printed as 26 letters and digits that sort by the time of acceptance.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u128);

/// Crockford's base 32: digits and lower-case letters without `i`, `l`, `o` and `u`.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 26;

impl JobId {
    /// An id of 48 bits of time and 80 random bits, as in a ULID.
    pub(super) fn new(now_ms: i64, random: [u8; 10]) -> Self {
        let random = random.iter().fold(0, |all, byte| all << 8 | u128::from(*byte));
        Self(u128::from(now_ms.unsigned_abs() & 0xffff_ffff_ffff) << 80 | random)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in (0..LENGTH).rev() {
            let digit = (self.0 >> (5 * at)) as usize & 31;
            write!(f, "{}", char::from(ALPHABET[digit]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        if text.len() != LENGTH || !text.starts_with(|first| first <= '7') {
            return Err(NotAJobId);
        }
        text.bytes().try_fold(Self(0), |id, byte| {
            let digit = ALPHABET.iter().position(|known| *known == byte.to_ascii_lowercase());
            digit.map(|digit| Self(id.0 << 5 | digit as u128)).ok_or(NotAJobId)
        })
    }
}

/// A text is not the id of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a delivery: an id has 26 letters and digits, as `jackfield deliveries list` shows it")]
pub struct NotAJobId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_sorts_by_time() {
        let (early, late) =
            (JobId::new(1_700_000_000_000, [255; 10]), JobId::new(1_700_000_000_001, [0; 10]));
        assert!(early < late && early.to_string() < late.to_string());
        for id in [early, late, JobId::new(0, [0; 10]), JobId::new(i64::MAX, [255; 10])] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        }
        let long = "0".repeat(27);
        for bad in [
            "",
            "x",
            "8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "0000000000000000000000000u",
            &long,
            "é000000000000000000000000",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(NotAJobId), "{bad}");
        }
    }
}
