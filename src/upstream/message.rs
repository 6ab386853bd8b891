//! Requests to upstreams and their responses, as plain values.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::egress::EgressPolicy;
use super::proxy::Proxy;
use super::request_url::RequestUrl;
use super::tls::Tls;
use crate::http1::response_headers::ResponseHeaders;

/// A finished request, ready to be signed and sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The upstream, with its connection settings.
    pub target: Arc<Target>,
    /// The step that sends it, empty for the only step of a route; `None` outside a step, as for a token or a probe.
    pub step: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The complete URL, already confined to the upstream's `base_url`.
    pub url: RequestUrl,
    /// The headers; a value marked sensitive is never shown.
    pub headers: HeaderMap,
    /// The body, if the request has one.
    pub body: Option<Bytes>,
}

/// The connection settings of an upstream. Requests with equal targets share a connection pool, even across reloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name in `[upstreams.<name>]`.
    pub name: String,
    /// The timeout of one attempt; `None`: only the call's deadline applies.
    pub timeout: Option<Duration>,
    /// The size limit of a response body in bytes, counted after decompression.
    pub max_body: usize,
    /// The path of the `base_url`. No redirect leaves it.
    pub root: String,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// The TLS settings.
    pub tls: Tls,
    /// The networks that it may be on.
    pub network: EgressPolicy,
    /// The proxy that connections go through.
    pub proxy: Option<Proxy>,
}

impl Target {
    /// When an attempt that begins at `began` must end.
    pub fn ends(&self, began: Instant, deadline: Instant) -> Instant {
        let own = self.timeout.and_then(|timeout| began.checked_add(timeout));
        own.map_or(deadline, |own| own.min(deadline))
    }
}

/// The deadlines of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the attempt began.
    pub began: Instant,
    /// When the request must have a connection. Without one, it is not sent.
    pub sent_by: Instant,
    /// When the response must have been read. Never earlier than `sent_by`.
    pub answered_by: Instant,
}

impl Times {
    /// An attempt that begins now, with one deadline for the request and its response.
    pub fn by(deadline: Instant) -> Self {
        Self { began: Instant::now(), sent_by: deadline, answered_by: deadline }
    }
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Redirects {
    /// None. The redirect itself is the response.
    #[default]
    None,
    /// Those that keep scheme, host and port, and stay below [`Target::root`].
    SameOrigin,
}

/// An upstream's response, read completely.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: ResponseHeaders,
    /// The decompressed body.
    pub body: Bytes,
}

impl Response {
    /// A copy for keeping: it holds nothing in memory but its headers and body. The body of a response as it was received
    /// may hold the buffer that it was read into, and the memory of a large body while it is in flight.
    #[must_use]
    pub fn compact(&self) -> Self {
        let body = Bytes::copy_from_slice(&self.body);
        Self { status: self.status, headers: self.headers.clone(), body }
    }

    /// About what a compact copy takes in memory, in bytes.
    pub fn compact_bytes(&self) -> usize {
        size_of::<Self>() + self.headers.lines().len() + self.body.len()
    }
}
