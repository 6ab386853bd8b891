//! What goes to an upstream and what comes back, as plain values.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use std::sync::Arc;
use std::time::Duration;

use super::tls::Tls;

/// A finished request, ready to be signed and sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whom it goes to, and how it is to be sent.
    pub target: Arc<Target>,
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
