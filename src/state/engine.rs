//! What an engine does for the [`Store`](super::Store), and the list of engines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::single_flight::FlightKey;

use super::call::{CallClaim, CallLease, CallTerms, Following};
use super::conversation::{Conversation, MAX_MEMORY_BYTES, MAX_NAMES, Memory, Remembered};
use super::error::{StateError, StateFault};
use super::filter::{Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, Page, Part, Selection};
use super::in_memory::InMemory;
use super::job::{Job, JobId, JobLease, JobOutcome, LeaseState, NewJob};
use super::keys::KeyId;
use super::postgres::Postgres;
use super::signals::Signals;
use super::sqlite::Sqlite;

/// A job to append, whose payload is sealed.
#[derive(Debug, Clone)]
pub(super) struct SealedJob {
    pub(super) id: JobId,
    /// Without its payload.
    pub(super) job: NewJob,
    pub(super) payload: Vec<u8>,
    /// Identifies the jobs that run one after the other.
    pub(super) order: Option<[u8; 32]>,
}

/// A change of a conversation's memory; `None` forgets the name.
#[derive(Debug, Clone)]
pub(super) struct SealedChange {
    pub(super) name: String,
    pub(super) value: Option<Remembered>,
    /// The size that counts against [`MAX_MEMORY_BYTES`], in bytes.
    pub(super) bytes: usize,
}

impl SealedChange {
    /// Whether a conversation that remembers values of these sizes may remember the changes too.
    pub(super) fn check_limits(
        remembered: impl IntoIterator<Item = (String, usize)>,
        changes: &[Self],
    ) -> std::result::Result<(), StateFault> {
        let mut sizes: HashMap<_, _> = remembered.into_iter().collect();
        for Self { name, value, bytes } in changes {
            match value {
                Some(_) => sizes.insert(name.clone(), *bytes),
                None => sizes.remove(name),
            };
        }
        if sizes.len() > MAX_NAMES {
            return Err(StateFault::TooManyNames);
        }
        if sizes.values().sum::<usize>() > MAX_MEMORY_BYTES {
            return Err(StateFault::TooManyBytes);
        }
        Ok(())
    }
}

/// What a follower sees of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CallState {
    Answer(Vec<u8>),
    InFlight { lease_left: Duration },
    Unconfirmed,
    Free,
}

pub(super) type Result<T> = std::result::Result<T, StateError>;

/// Declares the trait and its dispatch over [`AnyEngine`] once.
macro_rules! engine {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),*) -> $result:ty;)*) => {
        /// The operations of an engine. Each one is atomic, and its changes are durable when it returns. Payloads and
        /// values are sealed. If an operation takes no time limit, the caller limits its time by dropping its future.
        pub(super) trait Engine {
            /// The signals that wake waiting tasks.
            fn signals(&self) -> &Arc<Signals>;

            $($(#[$doc])* fn $name(&self, $($arg: $kind),*) -> impl Future<Output = Result<$result>> + Send;)*
        }

        impl Engine for AnyEngine {
            fn signals(&self) -> &Arc<Signals> {
                match self {
                    Self::InMemory(engine) => engine.signals(),
                    Self::Sqlite(engine) => engine.signals(),
                    Self::Postgres(engine) => engine.signals(),
                }
            }

            $(async fn $name(&self, $($arg: $kind),*) -> Result<$result> {
                match self {
                    Self::InMemory(engine) => engine.$name($($arg),*).await,
                    Self::Sqlite(engine) => engine.$name($($arg),*).await,
                    Self::Postgres(engine) => engine.$name($($arg),*).await,
                }
            })*
        }
    };
}

/// One of the engines.
#[derive(Debug)]
pub(super) enum AnyEngine {
    InMemory(InMemory),
    Sqlite(Sqlite),
    Postgres(Postgres),
}

engine! {
    /// Opens the store if it is not open, and makes or updates its schema.
    fn check() -> ();
    /// Notes that the first of the configured keys encrypts. Returns the other keys with which values are encrypted.
    fn unconfigured_keys(configured: &[KeyId]) -> Vec<KeyId>;
    /// Appends a job within a time limit. After an error it does not run.
    fn append(job: SealedJob, limit: Duration) -> ();
    /// Leases at most `limit` jobs, those that have been due the longest first.
    fn lease(limit: usize) -> Vec<Job>;
    /// Renews leases and returns those that are lost.
    fn renew(leases: &[JobLease]) -> Vec<JobId>;
    /// Ends a lease.
    fn finish(lease: &JobLease, outcome: JobOutcome) -> LeaseState;
    /// Lists jobs, newest first.
    fn deliveries(filter: &DeliveryFilter, page: Page) -> Vec<Delivery>;
    /// One job with its payload.
    fn delivery(id: JobId) -> Option<(Delivery, Vec<u8>)>;
    /// Retries or deletes the selected jobs that are not running. Selected by a filter, only those of a part.
    fn act(action: Action, selection: &Selection, part: Part) -> Acted;
    /// Counts the jobs.
    fn counts() -> Counts;
    /// Counts the jobs that are neither delivered nor dead, by what delivers them.
    fn backlog() -> Vec<Backlog>;
    /// Deletes delivered jobs older than `keep`, and memory and calls that have expired.
    fn purge(keep: Duration) -> u64;
    /// Returns the memory of a conversation, and extends its life to `ttl` from now.
    fn recall(conversation: &Conversation, ttl: Duration) -> Memory;
    /// Changes the memory of a conversation, and extends its life to `ttl` from now.
    fn remember(conversation: &Conversation, changes: Vec<SealedChange>, ttl: Duration) -> ();
    /// Deletes the memory of a conversation of one platform or of all, and returns how many values it had.
    fn forget(platform: Option<&str>, id: &str) -> u64;
    /// Claims a call.
    fn claim(key: FlightKey, terms: CallTerms) -> CallClaim;
    /// Marks a call as possibly sent, and renews its lease.
    fn mark_sent(lease: &CallLease) -> LeaseState;
    /// Renews the lease of a call.
    fn renew_call(lease: &CallLease) -> LeaseState;
    /// Ends a call with its answer.
    fn settle(lease: &CallLease, answer: Vec<u8>, kept_for: Duration) -> LeaseState;
    /// Ends a call that has sent nothing.
    fn abandon(lease: &CallLease) -> ();
    /// The state of a call that is followed.
    fn look(following: &Following) -> CallState;
}
