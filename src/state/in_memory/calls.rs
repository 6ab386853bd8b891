//! Claimed calls in memory.

use std::collections::HashMap;
use std::time::Duration;

use crate::single_flight::FlightKey;
use crate::state::call::{CallClaim, CallLease, CallRow, CallTerms, Following};
use crate::state::engine::CallState;
use crate::state::job::LeaseState;

#[derive(Debug, Default)]
pub(super) struct Calls {
    rows: HashMap<FlightKey, CallRow>,
    last_token: i64,
}

impl Calls {
    pub(super) fn claim(&mut self, key: FlightKey, terms: CallTerms, now: i64) -> CallClaim {
        if let Some(claim) = self.rows.get(&key).and_then(|row| row.claim(key, now)) {
            return claim;
        }
        self.last_token += 1;
        let token = self.last_token;
        self.rows.insert(key, CallRow::new(token, terms, now));
        CallClaim::Leader(CallLease { key, token, terms })
    }

    /// The row of a lease, if nobody else leads the call by now and it has no answer.
    fn in_flight(&mut self, lease: &CallLease) -> Option<&mut CallRow> {
        self.rows.get_mut(&lease.key).filter(|row| row.token == lease.token && row.answer.is_none())
    }

    pub(super) fn renew(&mut self, lease: &CallLease, is_sent: bool, now: i64) -> LeaseState {
        let Some(row) = self.in_flight(lease) else { return LeaseState::Lost };
        row.renew(lease.terms, is_sent, now);
        LeaseState::Held
    }

    pub(super) fn settle(
        &mut self,
        lease: &CallLease,
        answer: Vec<u8>,
        kept_for: Duration,
        now: i64,
    ) -> LeaseState {
        let Some(row) = self.in_flight(lease) else { return LeaseState::Lost };
        row.settle(answer, kept_for, now);
        LeaseState::Held
    }

    pub(super) fn abandon(&mut self, lease: &CallLease) {
        if self.in_flight(lease).is_some() {
            self.rows.remove(&lease.key);
        }
    }

    pub(super) fn look(&self, following: &Following, now: i64) -> CallState {
        let row = self.rows.get(&following.key).cloned();
        row.map_or(CallState::Free, |row| row.look(following, now))
    }

    pub(super) fn purge(&mut self, now: i64) -> u64 {
        let before = self.rows.len();
        self.rows.retain(|_, row| now < row.purge_at());
        (before - self.rows.len()) as u64
    }
}
