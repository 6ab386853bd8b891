//! Deduplication across instances: a call that may change something is claimed in the store, so that a retry which
//! reaches another instance, or this one after a restart, does not run it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::call::{FailureKind, Outcome, Reply};
use crate::flow::{CallError, Identity};
use crate::state::{CallClaim, CallLease, CallTerms, Followed, LeaseState, Payload, Store};

use super::{dedup, state::StateSlot};

/// How long an instance holds a call without renewing its lease. If the instance dies, a retry waits at most this long.
const LEASE: Duration = Duration::from_secs(5);
/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_millis(1500);
/// The longest wait for a claim. Without an answer, the call runs, and only this instance recognises its retries.
const CLAIM_WAIT: Duration = Duration::from_secs(1);

/// The state of a call on all instances.
pub(super) enum SharedClaim {
    /// This instance runs it. `None` if the store is away.
    Leads(Option<Arc<SharedLead>>),
    /// It has run, or another instance was running it: its outcome.
    Repeats {
        outcome: Outcome,
        how: &'static str,
        /// Whether later retries get it too.
        is_final: bool,
    },
    /// The instance that ran it died after a request that may have changed something.
    Unconfirmed,
    /// Another instance is still running it.
    StillInFlight,
}

/// The lead over a call on all instances. If it is dropped before anything was sent, the next claim leads.
#[derive(Debug)]
pub(super) struct SharedLead {
    store: Store,
    lease: CallLease,
    is_sensitive: bool,
    is_marked: AtomicBool,
    is_settled: AtomicBool,
}

/// Claims a call, or waits for the outcome of the instance that runs it, until `deadline`.
pub(super) async fn claim(
    slot: &StateSlot,
    store: &Store,
    identity: Identity,
    deadline: Instant,
    is_sensitive: bool,
) -> SharedClaim {
    let terms = CallTerms { lease: LEASE, unconfirmed_for: identity.kept };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let claimed = store.within(left.min(CLAIM_WAIT)).claim_call(identity.key, terms).await;
        let following = match slot.note(claimed) {
            None => {
                slot.note_local_claim();
                return SharedClaim::Leads(None);
            }
            Some(CallClaim::Leader(lease)) => {
                let (is_marked, is_settled) = (AtomicBool::new(false), AtomicBool::new(false));
                let store = store.clone();
                let lead = SharedLead { store, lease, is_sensitive, is_marked, is_settled };
                return SharedClaim::Leads(Some(Arc::new(lead)));
            }
            Some(CallClaim::Kept(answer)) => return repeats(&answer, "has been answered", true),
            Some(CallClaim::Unconfirmed) => return SharedClaim::Unconfirmed,
            Some(CallClaim::InFlight(following)) => following,
        };
        match slot.note(store.follow(&following, left).await) {
            Some(Followed::Answer(answer)) => {
                return repeats(&answer, "was in flight on another instance", false);
            }
            Some(Followed::Unconfirmed) => return SharedClaim::Unconfirmed,
            Some(Followed::Free) => {}
            // Without the store, it is unknown whether the other instance still runs the call.
            Some(Followed::Late) | None => return SharedClaim::StillInFlight,
        }
        if deadline <= Instant::now() {
            return SharedClaim::StillInFlight;
        }
    }
}

fn repeats(answer: &[u8], how: &'static str, is_final: bool) -> SharedClaim {
    decode(answer).map_or(SharedClaim::Unconfirmed, |outcome| SharedClaim::Repeats { outcome, how, is_final })
}

impl SharedLead {
    /// Notes that a request which may change something is about to be sent.
    ///
    /// # Errors
    /// The lease has ended, so another instance may be running the call.
    pub(super) async fn mark_sent(&self) -> Result<(), CallError> {
        if self.is_marked.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        match self.store.within(CLAIM_WAIT).mark_sent(&self.lease).await {
            Ok(LeaseState::Lost) => Err(CallError::LeaseLost),
            // While the store is away, this instance alone recognises retries.
            Ok(LeaseState::Held) | Err(_) => Ok(()),
        }
    }

    /// Renews the lease for as long as it is polled.
    pub(super) async fn renew(&self) {
        loop {
            sleep(RENEWAL).await;
            // A lost lease cannot be regained, and a sent request cannot be undone.
            let _ = self.store.within(RENEWAL).renew_call(&self.lease).await;
        }
    }

    /// Hands the outcome to the retries that wait for it on other instances, and keeps it if it is final.
    pub(super) async fn settle(&self, outcome: &Outcome, kept: Option<Duration>) {
        self.is_settled.store(true, Ordering::Relaxed);
        let payload = Payload { bytes: encode(&dedup::to_keep(outcome)), is_sensitive: self.is_sensitive };
        if let Err(error) = self.store.settle(&self.lease, payload, kept.unwrap_or_default()).await {
            tracing::warn!(
                "{error}: the reply to a call is kept by this instance only, and a retry on another one is answered as \
                 unconfirmed"
            );
        }
    }
}

impl Drop for SharedLead {
    fn drop(&mut self) {
        // After a request that may have changed something, only the end of the lease frees the call.
        if self.is_settled.load(Ordering::Relaxed) || self.is_marked.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (store, lease) = (self.store.clone(), self.lease.clone());
            runtime.spawn(async move { store.abandon(&lease).await });
        }
    }
}

/// An outcome as it is stored.
fn encode(outcome: &Outcome) -> Vec<u8> {
    let (Reply { text, data, extensions }, failure) = (&*outcome.reply, outcome.failure);
    let mut stored = json!({"text": text, "extensions": extensions});
    // A reply with null is not one without data.
    if let Some(data) = data {
        stored["data"] = data.clone();
    }
    stored["failure"] = failure.map(FailureKind::slug).into();
    stored.to_string().into_bytes()
}

/// Reads a stored outcome; `None` if it is damaged.
fn decode(stored: &[u8]) -> Option<Outcome> {
    let mut stored: Map<String, Value> = serde_json::from_slice(stored).ok()?;
    let failure = stored.get("failure")?.as_str();
    let failure = failure.map(|slug| FailureKind::from_slug(slug).unwrap_or(FailureKind::UnknownFunction));
    let text = stored.get("text")?.as_str().map(str::to_owned);
    let extensions = stored.get_mut("extensions")?.as_object_mut().map(std::mem::take)?;
    let reply = Reply { text, data: stored.shift_remove("data"), extensions };
    Some(Outcome { reply: reply.into(), failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_outcome_is_read_back() {
        let extensions = Map::from_iter([("action".to_owned(), json!([{"say": "x"}]))]);
        for outcome in [
            Outcome::answered(Reply::text("Done.")),
            Outcome::answered(Reply { text: None, data: Some(Value::Null), extensions }),
            Outcome { reply: Reply::text("Sorry.").into(), failure: Some(FailureKind::Timeout) },
            Outcome { reply: Reply::default().into(), failure: Some(FailureKind::UnknownFunction) },
        ] {
            assert_eq!(decode(&encode(&outcome)), Some(outcome));
        }
        assert_eq!(decode(b"{}"), None);
    }
}
