//! What is carried over from one load of the table to the next.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::auth::Credentials;
use super::delivery::UpstreamState;
use super::delivery::limit::Limiter;

/// Everything that is carried over.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// The credentials, with their tokens.
    pub credentials: Credentials,
    /// How upstreams fare.
    pub healths: Keep<UpstreamState>,
    /// How far the limits of routes are used.
    pub limits: Keep<Limiter>,
}

/// Values that are in use, by a hash of what they were built from. One about which nothing changed stays the same one
/// after a reload, with what it has learned or holds.
pub struct Keep<T: ?Sized>(Arc<Mutex<HashMap<[u8; 32], Weak<T>>>>);

impl<T: ?Sized> Keep<T> {
    /// The value in use that was built from the same, else `built`.
    pub fn keep(&self, fingerprint: [u8; 32], built: impl Into<Arc<T>>) -> Arc<T> {
        // Whoever panicked here left a map that is still good.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, value| value.strong_count() > 0);
        match kept.get(&fingerprint).and_then(Weak::upgrade) {
            Some(value) => value,
            None => {
                let value = built.into();
                kept.insert(fingerprint, Arc::downgrade(&value));
                value
            }
        }
    }
}

impl<T: ?Sized> Clone for Keep<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Default for Keep<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: ?Sized> fmt::Debug for Keep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_one_as_long_as_it_is_in_use() {
        let keep = Keep::<u8>::default();
        let first = keep.keep([1; 32], 1);
        assert_eq!(*keep.keep([1; 32], 2), 1);
        assert_eq!(*keep.keep([2; 32], 2), 2);
        drop(first);
        assert_eq!(*keep.keep([1; 32], 3), 3);
        assert_eq!(keep.0.lock().unwrap().len(), 1, "what is not in use takes no room");
    }
}
