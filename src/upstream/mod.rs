//! The only code that communicates with upstreams: requests and responses as plain values, and their transports.
//!
//! This module knows nothing about routes, templates or platforms.

pub mod auth;
mod client;
pub mod delivery;
pub mod egress;
pub mod http;
pub mod message;
mod phase;
pub mod probe;
pub mod proxy;
pub mod recorder;
pub mod request_url;
pub mod resources;
pub mod stub;
pub mod tls;

use std::future::Future;
use std::pin::Pin;

use thiserror::Error;

pub use egress::EgressPolicy;
pub use message::{Redirects, Request, Response, Target, Times};
pub use request_url::RequestUrl;

/// A pending response.
pub type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send + 'a>>;

/// The headers that Jackfield sets itself. A table cannot set them.
pub const OWN_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// Sends requests to upstreams over HTTP, or returns canned responses.
pub trait Transport: Send + Sync {
    /// Sends `request` and reads the whole response, within `times`.
    fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a>;
}

/// Why there is no response. It never contains a header value or a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TransportError {
    /// No response before the deadline or the upstream's own timeout.
    #[error("no answer {} ({phase})", within(*after_ms))]
    Timeout {
        /// The time waited in milliseconds; 0 if no time was left or time is not measured.
        after_ms: u128,
        /// The phase: `connecting`, `waiting for the response`, `following a redirect` or `reading the body`.
        phase: &'static str,
    },
    /// No connection could be made, so nothing was sent.
    #[error("cannot connect: {detail}")]
    Connect {
        /// The cause.
        detail: String,
    },
    /// The connection was lost after the request began to be sent.
    #[error("the connection was lost: {detail}")]
    Lost {
        /// The cause.
        detail: String,
    },
    /// The response is not valid HTTP.
    #[error("the response is not valid: {detail}")]
    Invalid {
        /// The problem.
        detail: String,
    },
    /// The body is longer than `max_body`.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is large, and there was no memory for it in time.
    #[error("{0}")]
    NoRoom(#[from] crate::memory::NoRoom),
    /// The head of the response has a status 200-299, but its body could not be read.
    #[error("{error}")]
    Incomplete {
        /// Why the body could not be read.
        error: Box<Self>,
    },
    /// The table does not allow the upstream's address, so no connection was made.
    #[error("not sent: {0}")]
    Forbidden(#[from] egress::NotPublic),
    /// The client or the request could not be built, so nothing was sent.
    #[error("the request could not be sent: {detail}")]
    Unsendable {
        /// The cause.
        detail: String,
    },
}

fn within(ms: u128) -> String {
    if ms == 0 { "in time".to_owned() } else { format!("within {ms} ms") }
}

impl TransportError {
    /// The timeout of a request that was sent, `after` its start.
    fn overdue(after: std::time::Duration) -> Self {
        Self::Timeout { after_ms: after.as_millis(), phase: phase::WAITING }
    }

    /// The error itself, without the information that the upstream answered with a status 200-299.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Incomplete { error } => error,
            error => error,
        }
    }

    /// Whether the upstream may have received and processed the request.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Timeout { phase, .. } => *phase != phase::CONNECTING,
            Self::Connect { .. } | Self::Forbidden(_) | Self::Unsendable { .. } => false,
            Self::Lost { .. }
            | Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::NoRoom(_)
            | Self::Incomplete { .. } => true,
        }
    }
}
