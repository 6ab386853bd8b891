//! The key that identifies a call, so that retries of it are recognised by Jackfield and by its upstreams.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::call::{Call, Context, GivenArguments};
use crate::json::{Kind, ValueRef, push_string};
use crate::lang::decimal::Decimal;
use crate::lang::template::Scope;
use crate::plan::arguments::{CallValues, Validation};
use crate::plan::{Route, Zone};
use crate::single_flight::FlightKey;

/// How long the outcome of a call with an id is kept for retries.
const RETENTION_BY_ID: Duration = Duration::from_secs(5 * 60);

/// Identifies a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// Its identity by call id, if the platform sends one.
    pub by_id: Option<Identity>,
    /// Its identity by content within the conversation, if the route has a `repeat_window`.
    pub in_window: Option<Identity>,
    /// The input of the idempotency keys. Upstreams remember those for longer than `repeat_window`, so only a call with
    /// an id gets the same keys again.
    seed: FlightKey,
}

/// A way to recognise retries of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// A hash of everything that identifies the call.
    pub key: FlightKey,
    /// How long its outcome is kept for retries.
    pub kept: Duration,
    /// Whether it includes the call id.
    pub by_id: bool,
}

impl CallKey {
    /// The key of `call`. With an id, two calls are the same if id and content are equal. If the route has a
    /// `repeat_window`, calls with equal content in one conversation are the same too, since a model that calls again
    /// gets a new id. Content is compared by value, not by spelling.
    /// Times without an offset are compared in the zone of the call.
    ///
    /// If the arguments had to be validated for it, their validation is returned too, for [`super::answer`], unless it
    /// may depend on the time.
    pub fn of(call: &Call, route: Option<&Route>, zone: &Zone) -> (Self, Option<Validation>) {
        let context = &call.context;
        let Some(route) = route.filter(|route| route.writes()) else { return (Self::unique(), None) };
        let window = route.repeat_window.filter(|_| context.conversation.is_some());
        let GivenArguments::Json(given) = &call.args else { return (Self::unique(), None) };
        if window.is_none() && context.id.is_none() {
            return (Self::unique(), None);
        }
        let mut json = String::with_capacity(256);
        let scope = Scope { args: &Value::Null, call: context, steps: &[], now: "", memory: &Value::Null };
        // Without the time: a default such as the present moment must not hide a retry.
        let values = CallValues { zone: &|| zone.of(&scope), scope: Some(&scope) };
        let validation = route.arguments.validate_in(&call.args, values);
        match &validation {
            Ok(validated) => write_canonical((&validated.args).into(), &mut json),
            Err(_) => write_canonical(given.get(), &mut json),
        }
        write_canonical(context.event.get(), &mut json);
        let by_id = context.id.as_deref().map(|id| Identity {
            key: hash(context, Some(id), &[&json]),
            kept: RETENTION_BY_ID,
            by_id: true,
        });
        let in_window = window.map(|kept| {
            // Headers are part of this identity only: with an id, a header that changes with each request would hide a
            // retry.
            let mut headers = String::new();
            write_canonical(context.headers.get(), &mut headers);
            Identity { key: hash(context, None, &[&json, &headers]), kept, by_id: false }
        });
        let seed = by_id.map_or_else(random, |identity| identity.key);
        let validation = Some(validation).filter(|_| !route.arguments.has_call_defaults());
        (Self { by_id, in_window, seed }, validation)
    }

    /// The key of a call that no other call matches.
    pub fn unique() -> Self {
        Self { by_id: None, in_window: None, seed: random() }
    }

    /// The key of every attempt to deliver a call that was accepted with this seed.
    pub fn of_delivery(seed: FlightKey) -> Self {
        Self { by_id: None, in_window: None, seed }
    }

    /// The input of the idempotency keys.
    pub fn seed(&self) -> FlightKey {
        self.seed
    }

    /// The ways to recognise a retry of it.
    pub fn identities(self) -> impl Iterator<Item = Identity> {
        self.by_id.into_iter().chain(self.in_window)
    }

    /// The idempotency key of one step: 32 hexadecimal digits by which an upstream recognises duplicate requests.
    pub fn idempotency_key(&self, step: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(step);
        hex::encode(&hash.finalize()[..16])
    }
}

/// A hash of the caller and the content of a call.
fn hash(context: &Context, id: Option<&str>, content: &[&str]) -> FlightKey {
    let mut hash = Sha256::new();
    let call_parts = [Some(context.platform), Some(&context.function), id];
    // The conversation id may be a client's own claim, so the caller is part of the hash too.
    let caller_parts = [&context.conversation, &context.caller, &context.called].map(Option::as_deref);
    for part in call_parts.into_iter().chain(caller_parts) {
        hash.update([u8::from(part.is_some())]);
        hash.update(part.unwrap_or_default().len().to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    for part in content {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Writes a value in a canonical form, with sorted keys, and numbers by their value. The result is not JSON.
fn write_canonical(value: ValueRef<'_>, out: &mut String) {
    match value.kind() {
        Kind::Object => {
            let mut entries: SmallVec<[_; 8]> = value.entries().collect();
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
            if let Some(text) = value.number_text() {
                match Decimal::parse(&text) {
                    Some(number) => number.write_canonical(out),
                    None => out.push_str(&text),
                }
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
    fn equal_values_have_the_same_canonical_form() {
        let canonical = |text: &str| {
            let mut out = String::new();
            write_canonical((&serde_json::from_str::<Value>(text).unwrap()).into(), &mut out);
            out
        };
        for (one, other) in [
            (r#"{"a": [1.0, {"b": 1, "c": "x"}]}"#, r#"{"a": [1, {"c": "\u0078", "b": 1}]}"#),
            ("{}", "{ }"),
            ("[1.50, -0.0, 1e3, 0.012]", "[15e-1, 0, 1000.00, 1.2E-2]"),
        ] {
            assert_eq!(canonical(one), canonical(other));
        }
        let different = [
            "[1, 2]",
            "[12]",
            "[0.1]",
            "[0.01]",
            "[-1]",
            "[10]",
            "[36893488147419103232]",
            "[36893488147419103233]",
            "[[1], 2]",
            "[[1, 2]]",
            "[]",
            "[[]]",
            "{}",
            r#"{"a": {}}"#,
            r#"{"a": 1}"#,
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(different[..at].iter().all(|other| canonical(one) != canonical(other)), "{one}");
        }
    }
}
