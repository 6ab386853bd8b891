//! The key that identifies a call, so that retries of it are recognised by Jackfield and by its upstreams.

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

/// How long the outcome of a call with an id is kept for retries.
const RETENTION_BY_ID: Duration = Duration::from_secs(5 * 60);

/// Identifies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// A hash of everything that identifies the call; random if nothing does.
    pub key: FlightKey,
    /// How long its outcome is kept for retries; `None` if a retry could not be told from a new call.
    pub kept: Option<Duration>,
    /// The input of the idempotency keys. Upstreams remember those for longer than `repeat_window`, so only a call with
    /// an id gets the same keys again.
    seed: FlightKey,
}

impl CallKey {
    /// The key of `call`, from its platform, function, id, arguments, event, conversation, caller and called number. A
    /// call without an id is deduplicated only within one conversation and within the route's `repeat_window`.
    pub fn of(call: &Call, route: Option<&Route>) -> Self {
        let context = &call.context;
        let window = route.and_then(|route| route.repeat_window);
        let kept = match (&context.id, &context.conversation) {
            (Some(_), _) => Some(RETENTION_BY_ID),
            (None, Some(_)) => window,
            (None, None) => None,
        };
        let kept = kept.filter(|_| route.is_some_and(Route::writes));
        let GivenArguments::Json(args) = &call.args else { return Self::unique() };
        if kept.is_none() && context.id.is_none() {
            return Self::unique();
        }
        let mut hash = Sha256::new();
        let call_parts = [Some(context.platform), Some(&context.function), context.id.as_deref()];
        // The conversation id may be a client's own claim, so the caller is part of the key too.
        let caller_parts = [&context.conversation, &context.caller, &context.called].map(Option::as_deref);
        for part in call_parts.into_iter().chain(caller_parts) {
            hash.update([u8::from(part.is_some())]);
            hash.update(part.unwrap_or_default().len().to_le_bytes());
            hash.update(part.unwrap_or_default());
        }
        // With an id, headers are left out: one that changes with each request would hide a retry.
        let headers = if context.id.is_some() { ValueRef::NULL } else { context.headers.get() };
        let mut json = String::new();
        for value in [args.get(), context.event.get(), headers] {
            value.write_json(&mut json);
        }
        hash.update(json);
        let key = hash.finalize().into();
        Self { key, kept, seed: if context.id.is_some() { key } else { random() } }
    }

    /// The key of a call that no other call matches.
    fn unique() -> Self {
        let key = random();
        Self { key, kept: None, seed: key }
    }

    /// The idempotency key of one step: 32 hexadecimal digits by which an upstream recognises duplicate requests.
    pub fn idempotency_key(&self, step: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(step);
        hex::encode(&hash.finalize()[..16])
    }
}

/// A unique key: a secret number of this process and a counter.
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
