//! What goes to an upstream and what comes back, as plain values.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::egress::EgressPolicy;
use super::proxy::Proxy;
use super::tls::Tls;

/// A finished request, ready to be signed and sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whom it goes to, and how it is to be sent.
    pub target: Arc<Target>,
    /// The step of a route that it is for, empty for a route's only one; `None`: it asks for a credential.
    pub step: Option<Arc<str>>,
    /// The method.
    pub method: Method,
    /// The whole URL; already confined to the upstream's `base_url`.
    pub url: Url,
    /// The headers; a value marked sensitive is never shown.
    pub headers: HeaderMap,
    /// The body, if the request has one.
    pub body: Option<Bytes>,
}

/// How an upstream is spoken to. Requests with equal targets share one pool of connections, also across reloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The name in `[upstreams.<name>]`.
    pub name: String,
    /// The longest that one attempt may take; `None`: what is left of the call's deadline.
    pub timeout: Option<Duration>,
    /// The most bytes of a body that are read, counted after decompression.
    pub max_body: usize,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// How TLS is spoken.
    pub tls: Tls,
    /// Where it may be.
    pub network: EgressPolicy,
    /// The proxy that connections go through.
    pub proxy: Option<Proxy>,
}

impl Target {
    /// When an attempt that begins now has to be over.
    pub fn ends(&self, deadline: Instant) -> Instant {
        let own = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        own.map_or(deadline, |own| own.min(deadline))
    }
}

/// Until when a request may be sent, and its response be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What has no connection by then is not sent any more.
    pub sent_by: Instant,
    /// When the response must have been read; not before `sent_by`.
    pub answered_by: Instant,
}

impl Times {
    /// Sent and answered before `deadline`.
    pub fn by(deadline: Instant) -> Self {
        Self { sent_by: deadline, answered_by: deadline }
    }
}

/// Which redirects are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Redirects {
    /// None: a redirect is the reply.
    #[default]
    None,
    /// Those that keep scheme, host and port.
    SameOrigin,
}

/// An upstream's reply, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The decompressed body.
    pub body: Bytes,
}
