//! The state that outlives a call: jobs that are delivered later, the memory of conversations, and the calls that run
//! once across instances.
//!
//! [`Store`] is the interface. It encrypts sensitive values and limits the time of each operation. Its engines (in
//! memory, SQLite, PostgreSQL) store opaque bytes. This module knows no routes, no templates and no HTTP.

mod call;
mod clock;
mod conversation;
mod engine;
mod error;
mod fate;
mod filter;
mod hang;
mod in_memory;
mod job;
mod keys;
mod postgres;
mod probed;
mod signals;
mod sqlite;
mod store;
mod url;

pub use self::call::{CallClaim, CallLease, CallTerms, Followed, Following};
pub use self::conversation::{Changes, Conversation, MAX_MEMORY_BYTES, MAX_NAMES, Memory, Remembered};
pub use self::error::{StateError, StateFault};
pub use self::filter::{Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, Page, Selection};
pub use self::hang::SHORTEST_LIMIT;
pub use self::job::{
    Job, JobId, JobLease, JobOutcome, LeaseState, NewJob, NotAJobId, Payload, Work, WorkKind,
};
pub use self::keys::{EncryptionKey, EncryptionKeys, KeyFault};
pub use self::probed::Probed;
pub use self::signals::JobWatch;
pub use self::store::{Settings, Store};
pub use self::url::{StateUrl, UrlFault};
