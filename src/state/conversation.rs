//! The memory of a conversation: values by name that a later call of the same conversation can read.

use std::fmt;
use std::time::Duration;

use crate::fingerprint::Fingerprint;

use super::clock::millis;
use super::job::Payload;

/// The maximum number of names that a conversation remembers.
pub const MAX_NAMES: usize = 64;

/// The maximum size of what a conversation remembers, in bytes, names included.
pub const MAX_MEMORY_BYTES: usize = 64 * 1024;

/// The life of a memory is extended only after one part in so many of it has passed.
const PROLONG_AFTER: i64 = 16;

/// A conversation of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The platform.
    pub platform: String,
    /// The platform's id of the conversation.
    pub id: String,
}

impl Conversation {
    /// A fixed-length key: both parts come from outside and may be long.
    pub(super) fn key(&self) -> [u8; 32] {
        Fingerprint::new().text(&self.platform).text(&self.id).finish()
    }
}

/// Whether reading a memory with `left_ms` milliseconds to live extends its life to `ttl`. Only after a part of it has
/// passed, so that most reads write nothing.
pub(super) fn is_prolonged(ttl: Duration, left_ms: i64) -> bool {
    millis(ttl) - left_ms > millis(ttl) / PROLONG_AFTER
}

/// What a conversation remembers, sorted by name.
pub type Memory = Vec<(String, Remembered)>;

/// What a call changes: `None` forgets a name.
pub type Changes = Vec<(String, Option<Remembered<Payload>>)>;

/// A remembered value.
#[derive(Clone, PartialEq, Eq)]
pub struct Remembered<V = Vec<u8>> {
    /// The value, as the caller encoded it.
    pub value: V,
    /// Whether the route that stored it is `trusted`, so that the value may decide what `allowed` accepts.
    pub is_trusted: bool,
    /// Whether it was stored encrypted, and must be masked where it is shown. On writing, [`Payload::is_sensitive`]
    /// decides.
    pub is_sensitive: bool,
}

impl Remembered<Payload> {
    /// A value to remember.
    pub fn new(value: Payload, is_trusted: bool) -> Self {
        Self { is_sensitive: value.is_sensitive, value, is_trusted }
    }
}

impl<V> fmt::Debug for Remembered<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("is_trusted", &self.is_trusted).finish_non_exhaustive()
    }
}
