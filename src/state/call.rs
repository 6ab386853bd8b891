//! Calls that run once across instances: one instance leads a call, the others wait for its answer.

use std::time::Duration;

use crate::single_flight::FlightKey;

/// How a call is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTerms {
    /// How long the leader holds the call without renewing its lease.
    pub lease: Duration,
    /// How long a call whose leader died after sending is answered as unconfirmed.
    pub unconfirmed_for: Duration,
}

/// The state of a call for one who claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallClaim {
    /// The claimant must run it.
    Leader(CallLease),
    /// It ran, and this is its answer.
    Kept(Vec<u8>),
    /// Another is running it. [`Store::follow`](super::Store::follow) waits for its answer.
    InFlight(Following),
    /// Its leader died after it sent a request that may have changed something. It must not run again.
    Unconfirmed,
}

/// The obligation to run a call, until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLease {
    pub(super) key: FlightKey,
    /// Distinguishes this lease from others of the same call.
    pub(super) token: i64,
    pub(super) terms: CallTerms,
}

/// Waits for the answer of a call that another is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    pub(super) key: FlightKey,
    pub(super) token: i64,
}

/// What waiting for a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The answer.
    Answer(Vec<u8>),
    /// The leader gave up before it sent anything: claim the call again.
    Free,
    /// The leader died after it sent a request that may have changed something.
    Unconfirmed,
    /// There was no answer in time.
    Late,
}
