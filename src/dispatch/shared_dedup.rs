//! Deduplication across instances: a call that may change something is claimed in the store, so that a retry which
//! reaches another instance, or this one after a restart, does not run it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::call::{FailureKind, Outcome, Reply, ReplyExtension};
use crate::flow::{CallError, Identity};
use crate::json::{JsonText, Members, ObjectWriter, push_value};
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
    /// Whether a request that may change something was sent, or is about to be.
    is_sent: AtomicBool,
    mark: Mutex<Mark>,
    is_settled: AtomicBool,
}

/// The mark that a request which may change something was sent.
#[derive(Debug, Default)]
struct Mark {
    /// The state of the lease when the mark was stored; `None` if it is not stored.
    stored: Option<LeaseState>,
    /// When storing it last failed.
    failed_at: Option<Instant>,
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
        let limit = left.min(CLAIM_WAIT);
        let claimed = store.within(limit).claim_call(identity.key, terms).await;
        let following = match slot.note_within(limit, claimed) {
            None => {
                slot.note_local_claim();
                return SharedClaim::Leads(None);
            }
            Some(CallClaim::Leader(lease)) => {
                let lead = SharedLead::new(store.clone(), lease, is_sensitive);
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
    fn new(store: Store, lease: CallLease, is_sensitive: bool) -> Self {
        let (is_sent, is_settled) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { store, lease, is_sensitive, is_sent, mark: Mutex::default(), is_settled }
    }

    /// Notes that a request which may change something is about to be sent. Returns when that is stored, also if another
    /// step of the call is storing it.
    ///
    /// # Errors
    /// The lease has ended, so another instance may be running the call.
    pub(super) async fn mark_sent(&self, slot: &StateSlot) -> Result<(), CallError> {
        self.is_sent.store(true, Ordering::Relaxed);
        match self.marked(slot).await {
            Some(LeaseState::Lost) => Err(CallError::LeaseLost),
            // While the store is away, this instance alone recognises retries.
            Some(LeaseState::Held) | None => Ok(()),
        }
    }

    /// Stores the mark, unless it is stored already; `None` if that fails.
    async fn marked(&self, slot: &StateSlot) -> Option<LeaseState> {
        let asked = Instant::now();
        let mut mark = self.mark.lock().await;
        // Steps that waited for the same failure do not wait for another one.
        if mark.stored.is_none() && mark.failed_at.is_none_or(|failed_at| failed_at < asked) {
            mark.stored = slot.note(self.store.within(CLAIM_WAIT).mark_sent(&self.lease).await);
            mark.failed_at = mark.stored.is_none().then(Instant::now);
        }
        mark.stored
    }

    /// Renews the lease for as long as it is polled.
    pub(super) async fn renew(&self, slot: &StateSlot) {
        loop {
            sleep(RENEWAL).await;
            // The store may have been away when a request was sent.
            if self.is_sent.load(Ordering::Relaxed) {
                self.marked(slot).await;
            }
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
        if self.is_settled.load(Ordering::Relaxed) || self.is_sent.load(Ordering::Relaxed) {
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
    let mut stored = ObjectWriter::with_capacity(outcome.bytes());
    push_value(stored.entry("text"), &text.as_deref().into());
    let mut values = ObjectWriter::with_capacity(64);
    for extension in extensions {
        values.entry(&extension.key).push_str(extension.value.as_str());
    }
    stored.entry("extensions").push_str(&values.finish());
    // A reply with null is not one without data.
    if let Some(data) = data {
        stored.entry("data").push_str(data.as_str());
    }
    push_value(stored.entry("failure"), &failure.map(FailureKind::slug).into());
    stored.finish().into_bytes()
}

/// Reads a stored outcome; `None` if it is damaged.
fn decode(stored: &[u8]) -> Option<Outcome> {
    let stored = Members::read(stored)?;
    let failure = stored.value("failure")?;
    let failure =
        failure.as_str().map(|slug| FailureKind::from_slug(slug).unwrap_or(FailureKind::UnknownFunction));
    // The values of a reply may nest deeper than can be read, so they stay text.
    let json = |text: &str| JsonText::written(text.to_owned());
    let extensions = stored.members("extensions")?;
    let extensions =
        extensions.texts().map(|(key, text)| ReplyExtension::valid(key.to_owned(), json(text))).collect();
    let text = stored.value("text")?.as_str().map(str::to_owned);
    let reply = Reply { text, data: stored.text("data").map(json), extensions };
    Some(Outcome { reply: reply.into(), failure })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::{EncryptionKeys, Settings, StateUrl};

    const TERMS: CallTerms = CallTerms { lease: LEASE, unconfirmed_for: LEASE };

    async fn lead(store: &Store) -> SharedLead {
        match store.claim_call([7; 32], TERMS).await {
            Ok(CallClaim::Leader(lease)) => SharedLead::new(store.clone(), lease, false),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn once_the_lease_is_lost_no_step_of_the_call_sends_anything() {
        let (slot, store) = (StateSlot::default(), Store::in_memory(EncryptionKeys::default(), LEASE));
        let earlier = lead(&store).await;
        store.abandon(&earlier.lease).await.unwrap();
        let later = lead(&store).await;
        for step in 1..=2 {
            assert!(matches!(earlier.mark_sent(&slot).await, Err(CallError::LeaseLost)), "step {step}");
        }
        assert!(later.mark_sent(&slot).await.is_ok());
    }

    #[tokio::test]
    async fn a_mark_that_could_not_be_stored_is_stored_by_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        let url = StateUrl::Sqlite(blocked.join("state.db"));
        let (slot, away) = (StateSlot::default(), Store::open(&Settings::new(url)));
        let leased = Store::in_memory(EncryptionKeys::default(), LEASE);
        let mut lead = lead(&leased).await;
        lead.store = away;
        assert!(lead.mark_sent(&slot).await.is_ok());
        assert!(slot.away().is_some(), "the failure is not noted");
        lead.store = leased.clone();
        assert!(lead.mark_sent(&slot).await.is_ok());
        assert_eq!(lead.mark.lock().await.stored, Some(LeaseState::Held));
    }

    #[test]
    fn a_stored_outcome_is_read_back() {
        let deep = || JsonText::written(format!("{}1{}", "[".repeat(200), "]".repeat(200)));
        let extensions = vec![
            ReplyExtension::valid("post_process", json!(true)),
            ReplyExtension::valid("action", json!([{"say": "x"}])),
            ReplyExtension::valid("deep", deep()),
        ];
        for outcome in [
            Outcome::answered(Reply::text("Done.")),
            Outcome::answered(Reply { text: None, data: Some(JsonText::null()), extensions }),
            Outcome::answered(Reply { data: Some(deep()), ..Reply::default() }),
            Outcome { reply: Reply::text("Sorry.").into(), failure: Some(FailureKind::Timeout) },
            Outcome { reply: Reply::default().into(), failure: Some(FailureKind::UnknownFunction) },
        ] {
            assert_eq!(decode(&encode(&outcome)), Some(outcome));
        }
        assert_eq!(decode(b"{}"), None);
    }
}
