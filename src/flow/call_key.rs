//! What identifies a call, so that the same call made twice is known, here and at its upstreams.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::call::{Call, Context, GivenArguments};
use crate::json::{Kind, ValueRef, push_string};
use crate::plan::Route;
use crate::single_flight::FlightKey;

/// How long the answer of a call is kept that the platform tells from others by an id.
const KEPT_BY_ID: Duration = Duration::from_secs(5 * 60);

/// What tells a call from all others that are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// By its id, where the platform gives it one.
    pub by_id: Option<Identity>,
    /// By what it asks for in its conversation, where the route has a window for that.
    pub in_window: Option<Identity>,
    /// What the keys for upstreams are made of. They remember them for longer than a window, so that only what has an
    /// id of its own has the same one again.
    seed: FlightKey,
}

/// One way to tell that two calls are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// A hash of what makes it this call.
    pub key: FlightKey,
    /// How long its answer is kept for a repeat.
    pub kept: Duration,
    /// Whether the platform itself says by an id that it is the same.
    pub by_id: bool,
}

impl CallKey {
    /// Two calls are the same by their id and what they ask for, and where the route says for how long, also by what
    /// they ask for in one conversation alone: a model that asks again gets a new id for it. Values count, not their
    /// spelling.
    pub fn of(call: &Call, route: Option<&Route>) -> Self {
        let context = &call.context;
        let Some(route) = route.filter(|route| route.writes()) else { return Self::unlike_any() };
        let window = route.repeat_window.filter(|_| context.conversation.is_some());
        let GivenArguments::Json(given) = &call.args else { return Self::unlike_any() };
        if window.is_none() && context.id.is_none() {
            return Self::unlike_any();
        }
        let mut json = String::new();
        match route.arguments.validate(&call.args) {
            Ok(validated) => write_canonical((&validated.args).into(), &mut json),
            Err(_) => write_canonical(given.get(), &mut json),
        }
        write_canonical(context.event.get(), &mut json);
        let by_id = context.id.as_deref().map(|id| Identity {
            key: hash(context, Some(id), &[&json]),
            kept: KEPT_BY_ID,
            by_id: true,
        });
        let in_window = window.map(|kept| {
            // Beside an id, a header that is new with each request would only hide a repeat.
            let mut headers = String::new();
            write_canonical(context.headers.get(), &mut headers);
            Identity { key: hash(context, None, &[&json, &headers]), kept, by_id: false }
        });
        Self { by_id, in_window, seed: by_id.map_or_else(random, |identity| identity.key) }
    }

    /// A call of which no other can be a repeat.
    fn unlike_any() -> Self {
        Self { by_id: None, in_window: None, seed: random() }
    }

    /// The ways to tell a repeat of it.
    pub fn identities(self) -> impl Iterator<Item = Identity> {
        self.by_id.into_iter().chain(self.in_window)
    }

    /// A key for one part of the call, for an upstream that can tell by it that two requests are the same.
    pub fn idempotency_key(&self, part: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(part);
        hex::encode(&hash.finalize()[..16])
    }
}

/// A hash of who asks, and for what.
fn hash(context: &Context, id: Option<&str>, asked: &[&str]) -> FlightKey {
    let mut hash = Sha256::new();
    let call = [Some(context.platform), Some(&context.function), id];
    // Who asks: a conversation may be no more than what a caller says.
    let asking = [&context.conversation, &context.caller, &context.called].map(Option::as_deref);
    for part in call.into_iter().chain(asking) {
        hash.update([u8::from(part.is_some())]);
        hash.update(part.unwrap_or_default().len().to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    for part in asked {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Writes a value as JSON in the one way that all spellings of it have in common: keys sorted, and 1.0 as 1.
fn write_canonical(value: ValueRef<'_>, out: &mut String) {
    match value.kind() {
        Kind::Object => {
            let mut entries: Vec<_> = value.entries().collect();
            entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (key, value) in entries {
                out.push('{');
                push_string(out, &key);
                write_canonical(value, out);
            }
            out.push('}');
        }
        Kind::Array => {
            for item in value.items() {
                out.push('[');
                write_canonical(item, out);
            }
            out.push(']');
        }
        Kind::Number => {
            let mut text = String::new();
            value.write_json(&mut text);
            match text.split_once('.') {
                Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => out.push_str(whole),
                _ => out.push_str(&text),
            }
            out.push(',');
        }
        _ => value.write_json(out),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn spellings_of_a_value_are_one() {
        let canonical = |text: &str| {
            let mut out = String::new();
            write_canonical((&serde_json::from_str::<Value>(text).unwrap()).into(), &mut out);
            out
        };
        for (one, other) in
            [(r#"{"a": [1.0, {"b": 1, "c": "x"}]}"#, r#"{"a": [1, {"c": "\u0078", "b": 1}]}"#), ("{}", "{ }")]
        {
            assert_eq!(canonical(one), canonical(other));
        }
        let different =
            ["[1, 2]", "[12]", "[[1], 2]", "[[1, 2]]", "[]", "[[]]", "{}", r#"{"a": {}}"#, r#"{"a": 1}"#];
        for (at, one) in different.iter().enumerate() {
            assert!(different[..at].iter().all(|other| canonical(one) != canonical(other)), "{one}");
        }
    }
}
