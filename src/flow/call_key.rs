//! What identifies a call, so that the same call made twice is known, here and at its upstreams.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::call::{Call, GivenArguments};
use crate::json::ValueRef;
use crate::plan::Route;
use crate::single_flight::FlightKey;

/// How long the answer of a call is kept that the platform tells from others by an id.
const KEPT_BY_ID: Duration = Duration::from_secs(5 * 60);

/// What tells a call from all others that are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// A hash of what makes it this call, or something random where nothing does.
    pub key: FlightKey,
    /// How long its answer is kept for a repeat; `None`: nothing would tell a repeat from another call.
    pub kept: Option<Duration>,
    /// What the keys for upstreams are made of. They remember them for longer than a window, so that only what has an
    /// id of its own has the same one again.
    seed: FlightKey,
}

impl CallKey {
    /// Two calls are the same by their id and what they ask for; without an id only where the route says how long such
    /// a call counts as the same, and only within one conversation.
    pub fn of(call: &Call, route: Option<&Route>) -> Self {
        let context = &call.context;
        let window = route.and_then(|route| route.repeat_window);
        let kept = match (&context.id, &context.conversation) {
            (Some(_), _) => Some(KEPT_BY_ID),
            (None, Some(_)) => window,
            (None, None) => None,
        };
        let kept = kept.filter(|_| route.is_some_and(Route::writes));
        let GivenArguments::Json(args) = &call.args else { return Self::unlike_any() };
        if kept.is_none() && context.id.is_none() {
            return Self::unlike_any();
        }
        let mut hash = Sha256::new();
        let asked = [Some(context.platform), Some(&context.function), context.id.as_deref()];
        // Who asks: a conversation may be no more than what a caller says.
        let asking = [&context.conversation, &context.caller, &context.called].map(Option::as_deref);
        for part in asked.into_iter().chain(asking) {
            hash.update([u8::from(part.is_some())]);
            hash.update(part.unwrap_or_default().len().to_le_bytes());
            hash.update(part.unwrap_or_default());
        }
        // Beside an id, a header that is new with each request would only hide a repeat.
        let headers = if context.id.is_some() { ValueRef::NULL } else { context.headers.get() };
        let mut json = String::new();
        for value in [args.get(), context.event.get(), headers] {
            value.write_json(&mut json);
        }
        hash.update(json);
        let key = hash.finalize().into();
        Self { key, kept, seed: if context.id.is_some() { key } else { random() } }
    }

    /// A call of which no other can be a repeat.
    fn unlike_any() -> Self {
        let key = random();
        Self { key, kept: None, seed: key }
    }

    /// A key for one part of the call, for an upstream that can tell by it that two requests are the same.
    pub fn idempotency_key(&self, part: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(part);
        hex::encode(&hash.finalize()[..16])
    }
}

/// A key that no other call has: a number of this process that nobody can guess, and how many such keys there were.
fn random() -> FlightKey {
    static SEED: LazyLock<[u64; 3]> =
        LazyLock::new(|| [(); 3].map(|()| RandomState::new().build_hasher().finish()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut key = FlightKey::default();
    let parts = SEED.iter().copied().chain([COUNT.fetch_add(1, Ordering::Relaxed)]);
    for (place, part) in key.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_le_bytes());
    }
    key
}
