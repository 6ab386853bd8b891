//! A row of a fault table: one fault and its expected result.

use std::ops::RangeInclusive;

use crate::support::faulty_upstream::Script;

/// One fault and its expected result.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The keys of the route's `request`; empty for a route with steps.
    pub(super) request: &'static str,
    pub(super) upstream: Script,
    /// The expected reply to each call. The calls are made one after the other.
    pub(super) replies: Vec<ExpectedReply>,
    pub(super) when: When,
    pub(super) sees: Traffic,
    /// More keys of the route.
    pub(super) route: String,
    /// More keys of the upstream.
    pub(super) keys: String,
    pub(super) scheme: &'static str,
}

/// The reply that the caller gets.
#[derive(Debug, Clone, Copy)]
pub(super) enum ExpectedReply {
    /// The reply to a valid response with this id.
    Id(u32),
    /// Another reply.
    Text(&'static str),
    /// The text for this kind of failure.
    Failure(&'static str),
    /// A failure after a write that went well: its text does not suggest to do it again.
    AfterWrite,
    /// Either of two replies, depending on a race: the connection of a write was lost, or the response was valid.
    IdOrUnreachable(u32),
}

/// When the last reply arrives. In every case it arrives before the platform's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the call's budget has passed.
    Early,
    /// Before the call's budget has passed, but not before this many milliseconds.
    After(u64),
    /// After the call's budget has passed.
    AtDeadline,
}

/// The requests and connections that the upstream sees in total.
#[derive(Debug, Clone)]
pub(super) struct Traffic {
    pub(super) requests: RangeInclusive<usize>,
    pub(super) connections: RangeInclusive<usize>,
    /// How many connections the proxy closed before the upstream had finished its turn.
    pub(super) closed_early: RangeInclusive<usize>,
}

/// A read and a write. Both send the number of the call.
pub(super) const GET: &str = "path = \"/\", query = { n = \"{{args.n}}\" }";
pub(super) const POST: &str = "method = \"POST\", path = \"/\", body = { n = \"{{args.n}}\" }";

/// The built-in text for a failure after a successful write.
const AFTER_WRITE: &str =
    "It was done, but the details could not be read. Say that it was done. Do not do it again.";

/// The reply if the connection failed or was lost, if the call timed out, and if the response was invalid.
pub(super) const LOST: ExpectedReply = ExpectedReply::Failure("unreachable");
pub(super) const LATE: ExpectedReply = ExpectedReply::Failure("timeout");
pub(super) const BAD: ExpectedReply = ExpectedReply::Failure("bad_response");

/// For an upstream: no retries.
pub(super) const ONCE: &str = "retry = { attempts = 1 }";
/// For an upstream or a route: long enough to connect and send on a busy machine.
pub(super) const SHORT: &str = "timeout = \"1500ms\"";
/// For a route: a write may be sent again.
pub(super) const KEYED: &str = "idempotency_key = \"idempotency-key\"";

/// This many requests on this many connections, and this many connections closed before the upstream had finished its
/// turn.
pub(super) fn sees(requests: usize, connections: usize, closed_early: usize) -> Traffic {
    Traffic {
        requests: requests..=requests,
        connections: connections..=connections,
        closed_early: closed_early..=closed_early,
    }
}

impl Row {
    /// Adds keys to the route; they may include the reply.
    pub(super) fn route(mut self, keys: &str) -> Self {
        self.route.push_str(keys);
        self.route.push('\n');
        self
    }

    /// Adds keys to the upstream.
    pub(super) fn keys(mut self, keys: &str) -> Self {
        self.keys.push_str(keys);
        self.keys.push('\n');
        self
    }

    /// Also accepts these numbers, for rows that depend on a race.
    pub(super) fn or(mut self, more: Traffic) -> Self {
        let widest = |one: &RangeInclusive<usize>, other: &RangeInclusive<usize>| {
            *one.start().min(other.start())..=*one.end().max(other.end())
        };
        self.sees = Traffic {
            requests: widest(&self.sees.requests, &more.requests),
            connections: widest(&self.sees.connections, &more.connections),
            closed_early: widest(&self.sees.closed_early, &more.closed_early),
        };
        self
    }

    /// Connects to the upstream with TLS.
    pub(super) fn tls(mut self) -> Self {
        self.scheme = "https";
        self
    }

    pub(super) fn is_write(&self) -> bool {
        self.request.starts_with("method = \"POST\"")
    }
}

/// One row of a table.
pub(super) fn row(
    name: &'static str,
    request: &'static str,
    upstream: Script,
    replies: impl Into<Vec<ExpectedReply>>,
    when: When,
    sees: Traffic,
) -> Row {
    let (route, keys) = (String::new(), String::new());
    Row { name, request, upstream, replies: replies.into(), when, sees, route, keys, scheme: "http" }
}

impl From<ExpectedReply> for Vec<ExpectedReply> {
    fn from(replies: ExpectedReply) -> Self {
        vec![replies]
    }
}

impl ExpectedReply {
    /// The accepted replies: whether each is a failure, and its text.
    pub(super) fn accepted(&self) -> Vec<(bool, String)> {
        match self {
            Self::Id(id) => vec![(false, format!("It is {id}."))],
            Self::Text(text) => vec![(false, (*text).to_owned())],
            Self::Failure(kind) => vec![(true, format!("It was {kind}."))],
            Self::AfterWrite => vec![(true, AFTER_WRITE.to_owned())],
            Self::IdOrUnreachable(id) => {
                [Self::Id(*id), Self::Failure("unreachable")].iter().flat_map(Self::accepted).collect()
            }
        }
    }
}
