//! Claimed calls in memory.

use std::collections::HashMap;

use crate::single_flight::FlightKey;
use crate::state::call::{CallClaim, CallLease, CallTerms, Following};
use crate::state::clock::{duration, millis};
use crate::state::engine::CallState;
use crate::state::job::LeaseState;

/// How long an answer that is not kept can still be read by those who followed the call.
const HANDED_OUT_MS: i64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Calls {
    rows: HashMap<FlightKey, Row>,
    last_token: i64,
}

#[derive(Debug)]
struct Row {
    token: i64,
    state: RowState,
}

#[derive(Debug)]
enum RowState {
    InFlight {
        lease_until: i64,
        /// Set once something may have been sent.
        unconfirmed_until: Option<i64>,
    },
    Settled {
        answer: Vec<u8>,
        settled_at: i64,
        kept_until: i64,
    },
}

impl Calls {
    pub(super) fn claim(&mut self, key: FlightKey, terms: CallTerms, now: i64) -> CallClaim {
        if let Some(row) = self.rows.get(&key) {
            match &row.state {
                RowState::Settled { answer, kept_until, .. } if now < *kept_until => {
                    return CallClaim::Kept(answer.clone());
                }
                RowState::InFlight { lease_until, .. } if now < *lease_until => {
                    return CallClaim::InFlight(Following { key, token: row.token });
                }
                RowState::InFlight { unconfirmed_until: Some(until), .. } if now < *until => {
                    return CallClaim::Unconfirmed;
                }
                _ => {}
            }
        }
        self.last_token += 1;
        let token = self.last_token;
        let lease_until = now + millis(terms.lease);
        let state = RowState::InFlight { lease_until, unconfirmed_until: None };
        self.rows.insert(key, Row { token, state });
        CallClaim::Leader(CallLease { key, token, terms })
    }

    fn row(&mut self, lease: &CallLease) -> Option<&mut Row> {
        self.rows.get_mut(&lease.key).filter(|row| row.token == lease.token)
    }

    pub(super) fn renew(&mut self, lease: &CallLease, is_sent: bool, now: i64) -> LeaseState {
        let until = now + millis(lease.terms.lease);
        let Some(row) = self.row(lease) else { return LeaseState::Lost };
        let RowState::InFlight { lease_until, unconfirmed_until } = &mut row.state else {
            return LeaseState::Lost;
        };
        *lease_until = until;
        if is_sent || unconfirmed_until.is_some() {
            *unconfirmed_until = Some(until + millis(lease.terms.unconfirmed_for));
        }
        LeaseState::Held
    }

    pub(super) fn settle(
        &mut self,
        lease: &CallLease,
        answer: Vec<u8>,
        now: i64,
        kept_ms: i64,
    ) -> LeaseState {
        let Some(row) = self.row(lease) else { return LeaseState::Lost };
        row.state = RowState::Settled { answer, settled_at: now, kept_until: now.saturating_add(kept_ms) };
        LeaseState::Held
    }

    pub(super) fn abandon(&mut self, lease: &CallLease) {
        if self.row(lease).is_some_and(|row| matches!(row.state, RowState::InFlight { .. })) {
            self.rows.remove(&lease.key);
        }
    }

    pub(super) fn look(&self, following: &Following, now: i64) -> CallState {
        let row = self.rows.get(&following.key).filter(|row| row.token == following.token);
        match row.map(|row| &row.state) {
            Some(RowState::Settled { answer, .. }) => CallState::Answer(answer.clone()),
            Some(RowState::InFlight { lease_until, .. }) if now < *lease_until => {
                CallState::InFlight { lease_left: duration(lease_until - now) }
            }
            Some(RowState::InFlight { unconfirmed_until: Some(_), .. }) => CallState::Unconfirmed,
            Some(RowState::InFlight { .. }) | None => CallState::Free,
        }
    }

    pub(super) fn purge(&mut self, now: i64) -> u64 {
        let before = self.rows.len();
        self.rows.retain(|_, row| match row.state {
            RowState::Settled { settled_at, kept_until, .. } => {
                now < kept_until.max(settled_at.saturating_add(HANDED_OUT_MS))
            }
            RowState::InFlight { lease_until, unconfirmed_until } => {
                now < unconfirmed_until.unwrap_or(lease_until)
            }
        });
        (before - self.rows.len()) as u64
    }
}
