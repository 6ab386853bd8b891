//! Calls that run once across instances: one instance leads a call, the others wait for its answer.

use std::time::Duration;

use crate::single_flight::FlightKey;

use super::clock::{duration, millis};
use super::engine::CallState;

/// How a call is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTerms {
    /// How long the leader holds the call without renewing its lease.
    pub lease: Duration,
    /// How long a call whose leader died after sending is answered as unconfirmed.
    pub unconfirmed_for: Duration,
}

/// The result of claiming a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallClaim {
    /// The claimant must run it.
    Leader(CallLease),
    /// It ran, and this is its answer.
    Kept(Vec<u8>),
    /// Another instance is running it. [`Store::follow`](super::Store::follow) waits for its answer.
    InFlight(Following),
    /// Its leader died after it sent a request that may have changed something, or its answer cannot be decrypted. It must
    /// not run again.
    Unconfirmed,
}

/// The exclusive right to run a call, until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallLease {
    pub(super) key: FlightKey,
    /// Distinguishes this lease from others of the same call.
    pub(super) token: i64,
    pub(super) terms: CallTerms,
}

/// A reference to a call that another instance is running, to wait for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    pub(super) key: FlightKey,
    pub(super) token: i64,
}

/// The result of waiting for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The answer.
    Answer(Vec<u8>),
    /// The leader gave up before it sent anything: claim the call again.
    Free,
    /// The leader died after it sent a request that may have changed something, or its answer cannot be decrypted.
    Unconfirmed,
    /// There was no answer in time.
    Late,
}

/// A claimed call as an engine stores it. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallRow {
    pub(super) token: i64,
    pub(super) lease_until: i64,
    /// Set once something may have been sent.
    pub(super) unconfirmed_until: Option<i64>,
    pub(super) answer: Option<Vec<u8>>,
    pub(super) kept_until: i64,
}

impl CallRow {
    /// How long the followers of a call can still read an answer that is not kept, in milliseconds.
    pub(super) const HANDED_OUT_MS: i64 = 60_000;

    pub(super) fn new(token: i64, terms: CallTerms, now: i64) -> Self {
        let lease_until = now.saturating_add(millis(terms.lease));
        Self { token, lease_until, unconfirmed_until: None, answer: None, kept_until: 0 }
    }

    /// What this row means for a claimant. `None`: it may lead the call.
    pub(super) fn claim(&self, key: FlightKey, now: i64) -> Option<CallClaim> {
        match &self.answer {
            Some(answer) => (now < self.kept_until).then(|| CallClaim::Kept(answer.clone())),
            None if now < self.lease_until => Some(CallClaim::InFlight(Following { key, token: self.token })),
            None => self.unconfirmed_until.is_some_and(|until| now < until).then_some(CallClaim::Unconfirmed),
        }
    }

    /// What this row means for a follower of the call.
    pub(super) fn look(self, following: &Following, now: i64) -> CallState {
        if self.token != following.token {
            return CallState::Free;
        }
        match self.answer {
            Some(answer) => CallState::Answer(answer),
            None if now < self.lease_until => {
                CallState::InFlight { lease_left: duration(self.lease_until - now) }
            }
            None if self.unconfirmed_until.is_some() => CallState::Unconfirmed,
            None => CallState::Free,
        }
    }

    /// Prolongs the lease. `is_sent`: from now on something may have been sent.
    pub(super) fn renew(&mut self, terms: CallTerms, is_sent: bool, now: i64) {
        self.lease_until = now.saturating_add(millis(terms.lease));
        if is_sent || self.unconfirmed_until.is_some() {
            self.unconfirmed_until = Some(self.lease_until.saturating_add(millis(terms.unconfirmed_for)));
        }
    }

    pub(super) fn settle(&mut self, answer: Vec<u8>, kept_for: Duration, now: i64) {
        self.answer = Some(answer);
        self.lease_until = now;
        self.kept_until = now.saturating_add(millis(kept_for));
    }

    /// When the row can be deleted, in milliseconds since 1970.
    pub(super) fn purge_at(&self) -> i64 {
        match &self.answer {
            Some(_) => self.kept_until.max(self.lease_until.saturating_add(Self::HANDED_OUT_MS)),
            None => self.unconfirmed_until.unwrap_or(self.lease_until),
        }
    }
}
