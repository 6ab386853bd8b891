//! The environment of a call.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::call::{Outcome, ReplyExtension};
use crate::plan::Plan;
use crate::platform::Platform;
use crate::state::Store;
use crate::upstream::Transport;
use crate::upstream::resources::Resources;

use super::{Cache, CallError, CallKey, Traced};

/// Everything that a call needs besides its route.
#[derive(Clone, Copy)]
pub struct CallEnv<'a> {
    /// The plan for the whole call.
    pub plan: &'a Plan,
    /// The live state of that plan.
    pub resources: &'a Resources,
    /// The platform that makes the call.
    pub platform: &'static dyn Platform,
    /// Sends requests to upstreams.
    pub transport: &'a dyn Transport,
    /// When the call began.
    pub began: Instant,
    /// The deadline: when the reply must be on its way.
    pub deadline: Instant,
    /// The time of the call, in RFC 3339.
    pub now: &'a str,
    /// Identifies the call.
    pub key: CallKey,
    /// The response cache.
    pub cache: &'a Arc<Cache>,
    /// The trace of the call, if it has one.
    pub traced: Option<&'a Traced>,
    /// Receives what is sent before the reply.
    pub caller: &'a dyn Caller,
    /// Where memory and deliveries are stored; `None` if the route needs no state.
    pub state: Option<&'a StateAccess<'a>>,
}

/// The store, and how a call uses it.
#[derive(Debug, Clone, Copy)]
pub struct StateAccess<'a> {
    /// The store.
    pub store: &'a Store,
    /// How long memory is kept after the last call of its conversation.
    pub memory_ttl: Duration,
}

/// The side that waits for the reply of a call.
pub trait Caller: Sync {
    /// Takes the values of the route's extension keys, which the platform gets before the reply.
    fn announce(&self, extensions: Vec<ReplyExtension>);

    /// Takes the reply to a call whose deadline has passed while a non-idempotent request is still in flight. The call
    /// continues with that request; its outcome is for the record and for a retry.
    fn reply_late(&self, late: LateReply);

    /// What must be done before a request that may change something is sent, if anything.
    fn before_write(&self) -> Option<BoxFuture<'_, Result<(), CallError>>> {
        None
    }

    /// Whether somebody waits for the reply. Otherwise, no request continues past the deadline.
    fn is_waiting(&self) -> bool {
        true
    }
}

/// The reply when the deadline of a call passes before its request ends.
#[derive(Debug)]
pub struct LateReply {
    /// The outcome that the platform gets.
    pub outcome: Outcome,
    /// The error: which request is still in flight.
    pub error: CallError,
    /// The name of the request's upstream.
    pub upstream: String,
}

impl fmt::Debug for CallEnv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallEnv")
            .field("platform", &self.platform.name())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Nobody: everything is discarded.
#[derive(Debug)]
pub struct NoCaller;

impl Caller for NoCaller {
    fn announce(&self, _: Vec<ReplyExtension>) {}

    fn reply_late(&self, _: LateReply) {}

    fn is_waiting(&self) -> bool {
        false
    }
}
