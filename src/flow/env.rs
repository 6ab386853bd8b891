//! What a call is answered with.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};

use crate::call::Outcome;
use crate::plan::Plan;
use crate::platform::Platform;
use crate::upstream::Transport;
use crate::upstream::resources::Resources;

use super::{Cache, CallError, CallKey, Traced};

/// Everything that one call needs from outside.
#[derive(Clone, Copy)]
pub struct CallEnv<'a> {
    /// The plan that the whole call sees.
    pub plan: &'a Plan,
    /// The live state beside it.
    pub resources: &'a Resources,
    /// Who calls.
    pub platform: &'static dyn Platform,
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// When the reply must be on its way.
    pub deadline: Instant,
    /// The time of the call, RFC 3339.
    pub now: &'a str,
    /// What identifies the call.
    pub key: CallKey,
    /// Upstream responses that are kept for other calls.
    pub cache: &'a Arc<Cache>,
    /// The trace that the call is part of.
    pub traced: Option<&'a Traced>,
    /// Who waits for the reply.
    pub caller: &'a dyn Caller,
}

/// Who waits for the reply of a call.
pub trait Caller: Sync {
    /// Takes what the platform is told before the reply: the values of the route's extension keys.
    fn announce(&self, extensions: Map<String, Value>);

    /// Takes the reply of a call whose deadline has passed while a request that may change something is still in flight.
    /// The call goes on with that request; its own outcome is for the record and for a retry.
    fn reply_late(&self, late: LateReply);
}

/// What is replied when the deadline of a call passes before its request has ended.
#[derive(Debug)]
pub struct LateReply {
    /// What the platform gets.
    pub outcome: Outcome,
    /// What is still waited for.
    pub error: CallError,
    /// The name of the upstream.
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

/// Nobody waits: what comes before the reply is discarded.
#[derive(Debug)]
pub struct NoCaller;

impl Caller for NoCaller {
    fn announce(&self, _: Map<String, Value>) {}

    fn reply_late(&self, _: LateReply) {}
}
