//! A line of a table: one fault and what comes of it.

use std::ops::RangeInclusive;

use crate::support::faulty_upstream::Script;

/// One fault and what comes of it.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The keys of the route's `request`; none for a route with steps.
    pub(super) request: &'static str,
    pub(super) upstream: Script,
    /// One for each call, which are made one after the other.
    pub(super) hears: Vec<Hears>,
    pub(super) when: When,
    pub(super) sees: Sees,
    /// More keys of the route.
    pub(super) route: String,
    /// More keys of the upstream.
    pub(super) keys: String,
    pub(super) scheme: &'static str,
}

/// What the caller hears.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hears {
    /// The reply of a good answer that has this in it.
    Id(u32),
    /// Another reply.
    Text(&'static str),
    /// The text of a kind of failure.
    Failure(&'static str),
    /// That a write's connection was lost, or the reply of a good answer: which is a matter of who was first.
    IdOrUnreachable(u32),
}

/// When the last answer comes. Whatever is said here, it comes before the platform's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the budget of the call is spent.
    Early,
    /// As early, but not before this many milliseconds.
    After(u64),
    /// When the budget of the call is spent.
    AtDeadline,
}

/// What the upstream sees in all.
#[derive(Debug, Clone)]
pub(super) struct Sees {
    pub(super) requests: RangeInclusive<usize>,
    pub(super) connections: RangeInclusive<usize>,
    /// How many of the connections were closed before the upstream was done.
    pub(super) left: RangeInclusive<usize>,
}

/// A read and a write, each with the number of the call in it.
pub(super) const GET: &str = "path = \"/\", query = { n = \"{{args.n}}\" }";
pub(super) const POST: &str = "method = \"POST\", path = \"/\", body = { n = \"{{args.n}}\" }";

/// What is heard when the connection was not made or lost, the time was over, or the answer was none.
pub(super) const LOST: Hears = Hears::Failure("unreachable");
pub(super) const LATE: Hears = Hears::Failure("timeout");
pub(super) const BAD: Hears = Hears::Failure("bad_response");

/// Of an upstream: nothing is tried again.
pub(super) const ONCE: &str = "retry = { attempts = 1 }";
/// Of an upstream or a route. Long enough to connect and send on a busy machine.
pub(super) const SHORT: &str = "timeout = \"1500ms\"";
/// Of a route: a write may be sent again.
pub(super) const KEYED: &str = "idempotency_key = \"idempotency-key\"";

/// So many requests on so many connections; with the third number, so many connections closed before the upstream was
/// done.
pub(super) fn sees(requests: usize, connections: usize, left: usize) -> Sees {
    Sees { requests: requests..=requests, connections: connections..=connections, left: left..=left }
}

impl Row {
    /// Adds keys to the route, the reply among them.
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

    /// Allows for what only the moment decides.
    pub(super) fn or(mut self, more: Sees) -> Self {
        let widest = |one: &RangeInclusive<usize>, other: &RangeInclusive<usize>| {
            *one.start().min(other.start())..=*one.end().max(other.end())
        };
        self.sees = Sees {
            requests: widest(&self.sees.requests, &more.requests),
            connections: widest(&self.sees.connections, &more.connections),
            left: widest(&self.sees.left, &more.left),
        };
        self
    }

    /// The upstream is spoken to under TLS.
    pub(super) fn tls(mut self) -> Self {
        self.scheme = "https";
        self
    }

    pub(super) fn is_write(&self) -> bool {
        self.request.starts_with("method = \"POST\"")
    }
}

/// One line of a table.
pub(super) fn row(
    name: &'static str,
    request: &'static str,
    upstream: Script,
    hears: impl Into<Vec<Hears>>,
    when: When,
    sees: Sees,
) -> Row {
    let (route, keys) = (String::new(), String::new());
    Row { name, request, upstream, hears: hears.into(), when, sees, route, keys, scheme: "http" }
}

impl From<Hears> for Vec<Hears> {
    fn from(hears: Hears) -> Self {
        vec![hears]
    }
}

impl Hears {
    /// The answers that fit: whether they tell of a failure, and their text.
    pub(super) fn fits(&self) -> Vec<(bool, String)> {
        match self {
            Self::Id(id) => vec![(false, format!("It is {id}."))],
            Self::Text(text) => vec![(false, (*text).to_owned())],
            Self::Failure(kind) => vec![(true, format!("It was {kind}."))],
            Self::IdOrUnreachable(id) => {
                [Self::Id(*id), Self::Failure("unreachable")].iter().flat_map(Self::fits).collect()
            }
        }
    }
}
