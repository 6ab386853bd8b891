//! Calls that may be retries: one call leads, on this instance and on all others, and its retries get the same outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout_at;

use crate::call::Outcome;
use crate::flow::{CallError, CallKey, Identity};
use crate::in_place::pinned;
use crate::plan::{Plan, Route};
use crate::single_flight::{FlightLookup, Lead, Retention};

use super::gate::Permit;
use super::shared_dedup::{SharedClaim, SharedLead};
use super::{Dispatcher, dedup, shared_dedup};

/// The lead of a call over its retries, for one way to recognise them.
pub(super) struct Leading {
    lead: Lead<Outcome>,
    identity: Identity,
    /// The lead over the retries that reach other instances.
    pub(super) shared: Option<Arc<SharedLead>>,
}

/// The result of claiming a call.
pub(super) enum Claimed {
    /// It runs.
    Leads(Vec<Leading>),
    /// It is a retry, and gets the outcome of the first call. `how` describes the state of that call, for the log.
    Repeats { outcome: Outcome, how: &'static str },
    /// It is a retry that fails: the first call did not end before the deadline of this one, or its outcome is
    /// unknown.
    Fails(CallError),
}

/// The state of a call on this instance.
enum Claim {
    /// It is not a retry: it runs.
    Leads(Lead<Outcome>),
    /// It is a retry: the outcome of the first call, and whether later retries get it too.
    Repeats { outcome: Outcome, how: &'static str, is_final: bool },
    /// The first call did not end before the deadline of this one.
    Fails(CallError),
}

/// What is claimed, and until when.
#[derive(Clone, Copy)]
pub(super) struct Claiming<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) plan: &'a Plan,
    pub(super) route: Option<&'a Route>,
    pub(super) deadline: Instant,
}

impl Claiming<'_> {
    /// Claims a call in each way by which its retries are recognised. However often the platform retries it, it runs
    /// once.
    pub(super) async fn claim(self, key: CallKey) -> Claimed {
        let mut leading: Vec<Leading> = Vec::new();
        // The identity by id comes first in all calls, so that no two calls wait for each other.
        for identity in key.identities() {
            let lead = match self.claim_here(identity).await {
                Claim::Leads(lead) => lead,
                Claim::Repeats { outcome, how, is_final } => {
                    let reruns = outcome.failure.is_some() && self.route.is_some_and(Route::reruns_failures);
                    return repeats(leading, outcome, how, is_final && !reruns).await;
                }
                Claim::Fails(error) => return Claimed::Fails(error),
            };
            match self.claim_everywhere(identity).await {
                SharedClaim::Leads(shared) => leading.push(Leading { lead, identity, shared }),
                SharedClaim::Repeats { outcome, how, is_final } => {
                    leading.push(Leading { lead, identity, shared: None });
                    return repeats(leading, outcome, how, is_final).await;
                }
                SharedClaim::Unconfirmed => return Claimed::Fails(CallError::Interrupted),
                SharedClaim::StillInFlight => return Claimed::Fails(CallError::StillInFlight),
            }
        }
        Claimed::Leads(leading)
    }

    /// Finds the outcome of the first call on this instance, or takes the lead.
    async fn claim_here(self, identity: Identity) -> Claim {
        let dedup = &self.dispatcher.dedup;
        loop {
            match dedup.find(identity.key, Instant::now()) {
                FlightLookup::Leader(lead) => return Claim::Leads(lead),
                FlightLookup::Hit(outcome) => {
                    return Claim::Repeats { outcome, how: "has been answered", is_final: true };
                }
                FlightLookup::InFlight(follower) => {
                    match timeout_at(self.deadline.into(), follower.result()).await {
                        Ok(Some(outcome)) => {
                            let is_final =
                                matches!(dedup.find(identity.key, Instant::now()), FlightLookup::Hit(_));
                            return Claim::Repeats { outcome, how: "was in flight", is_final };
                        }
                        // The leader ended without an outcome, so this call may lead now.
                        Ok(None) => {}
                        Err(_) => return Claim::Fails(CallError::StillInFlight),
                    }
                }
            }
        }
    }

    /// Claims the call on all instances, if the table has a `[state]`.
    async fn claim_everywhere(self, identity: Identity) -> SharedClaim {
        let slot = &self.dispatcher.state;
        let state = self.plan.shares_deduplication().then(|| slot.access(self.plan)).flatten();
        let Some(state) = state else { return SharedClaim::Leads(None) };
        let is_sensitive = self.route.is_some_and(|route| route.state.sensitive);
        // On the heap, to keep the future of calls without a store small.
        pinned(|| shared_dedup::claim(slot, state.store, identity, self.deadline, is_sensitive)).await
    }
}

/// Hands the outcome of the first call to the retries that wait for this one.
async fn repeats(leading: Vec<Leading>, outcome: Outcome, how: &'static str, is_final: bool) -> Claimed {
    for leading in leading {
        leading.settle(&outcome, is_final).await;
    }
    Claimed::Repeats { outcome, how }
}

/// Ends the leads of a call. The reply does not wait for the store; `permit` keeps the process alive until it is done.
pub(super) fn settle_ended(
    leading: Vec<Leading>,
    outcome: &Outcome,
    finality: [bool; 2],
    permit: Option<Permit>,
) {
    let [by_id, in_window] = finality;
    let mut settling = Vec::new();
    for leading in leading {
        let Identity { by_id: is_by_id, kept, .. } = leading.identity;
        let is_final = if is_by_id { by_id } else { in_window };
        settling.extend(leading.shared.clone().map(|shared| (shared, is_final.then_some(kept))));
        leading.settle_here(outcome, is_final);
    }
    if settling.is_empty() {
        return;
    }
    let outcome = outcome.clone();
    tokio::spawn(async move {
        join_all(settling.iter().map(|(shared, kept)| shared.settle(&outcome, *kept))).await;
        drop(permit);
    });
}

impl Leading {
    /// Gives the outcome to the retries that wait for it, and keeps it for later ones if it is final.
    async fn settle(self, outcome: &Outcome, is_final: bool) {
        if let Some(shared) = &self.shared {
            shared.settle(outcome, is_final.then_some(self.identity.kept)).await;
        }
        self.settle_here(outcome, is_final);
    }

    /// The same on this instance.
    fn settle_here(self, outcome: &Outcome, is_final: bool) {
        if !is_final {
            return self.lead.hand_out(outcome.clone());
        }
        let kept = dedup::to_keep(outcome);
        let Identity { key: owner, kept: fresh, .. } = self.identity;
        let retention = Retention { fresh, stale: Duration::ZERO, bytes: kept.bytes(), owner };
        self.lead.keep(kept, retention, Instant::now());
    }
}
