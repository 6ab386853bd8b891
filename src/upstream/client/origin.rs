//! The origins of a client's requests, each with a stack of idle connections.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::HeaderValue;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use url::{Host, Url};

use super::connection::Connection;
use crate::upstream::TransportError;

/// The maximum number of idle connections to one origin.
const MAX_IDLE: usize = 1024;
/// How long an idle connection is kept.
const MAX_AGE: Duration = Duration::from_secs(90);

/// The origins of a client's requests: usually one, and a second if the upstream's `token_url` has another origin.
#[derive(Default)]
pub(super) struct Origins(Mutex<Vec<Arc<Origin>>>);

/// A scheme, host and port, with the values that all requests to it share.
pub(super) struct Origin {
    pub(super) is_secure: bool,
    /// The host as in a URL: an IPv6 address is in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// The address, if the host is a literal address.
    pub(super) address: Option<IpAddr>,
    /// The name that the server's certificate must contain.
    pub(super) server_name: ServerName<'static>,
    /// The value of the `host` header: the host, and the port unless it is the scheme's default.
    pub(super) header: HeaderValue,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// A stack: the most recently used connection is on top and is used next.
    connections: Vec<(Instant, Box<Connection>)>,
    /// Whether a task is running that prunes the connections.
    is_swept: bool,
}

impl Origins {
    /// The origin of a URL.
    pub(super) fn of(&self, url: &Url) -> Result<Arc<Origin>, TransportError> {
        let mut known = self.0.lock();
        let (scheme, host, port) = (url.scheme(), url.host_str(), url.port_or_known_default());
        let same = |origin: &&Arc<Origin>| {
            (origin.scheme(), Some(origin.host.as_str()), Some(origin.port)) == (scheme, host, port)
        };
        if let Some(origin) = known.iter().find(same) {
            return Ok(Arc::clone(origin));
        }
        let origin = Arc::new(Origin::new(url)?);
        known.push(Arc::clone(&origin));
        Ok(origin)
    }
}

impl Origin {
    fn new(url: &Url) -> Result<Self, TransportError> {
        let unsendable = |detail: &str| TransportError::Unsendable { detail: detail.to_owned() };
        let is_secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(unsendable("URL scheme is not allowed")),
        };
        let (host, port) = (url.host(), url.port_or_known_default());
        let (Some(host), Some(port)) = (host, port) else { return Err(unsendable("the URL has no host")) };
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        };
        let host = host.to_string();
        let server_name = match address {
            Some(address) => ServerName::IpAddress(address.into()),
            None => ServerName::try_from(host.clone())
                .map_err(|_| unsendable("the host cannot stand in a certificate"))?,
        };
        let text = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let header = HeaderValue::try_from(text).map_err(|_| unsendable("the host is not valid"))?;
        let idle = Mutex::default();
        Ok(Self { is_secure, host, port, address, server_name, header, idle })
    }

    fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    /// Takes the connection that was used last, for an attempt that began at `began`. The peer may have closed it, which is
    /// detected when a request is sent.
    pub(super) fn take(&self, began: Instant) -> Option<Box<Connection>> {
        let mut idle = self.idle.lock();
        let (since, connection) = idle.connections.pop()?;
        if began.saturating_duration_since(since) < MAX_AGE {
            return Some(connection);
        }
        // The connections below it are even older. Close them after the lock is released.
        let old = std::mem::take(&mut idle.connections);
        drop(idle);
        drop(old);
        None
    }

    /// Keeps a connection after its response has been read, if it can carry another request.
    pub(super) fn put(self: &Arc<Self>, mut connection: Box<Connection>) {
        if !connection.is_idle() {
            return;
        }
        connection.shrink();
        let mut idle = self.idle.lock();
        if idle.connections.len() >= MAX_IDLE {
            return;
        }
        idle.connections.push((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Drops idle connections that are too old or closed. Returns whether any are left.
    fn prune(&self) -> bool {
        let mut idle = self.idle.lock();
        let expired: Vec<_> = idle
            .connections
            .extract_if(.., |(since, connection)| since.elapsed() >= MAX_AGE || !connection.is_idle())
            .collect();
        idle.is_swept = !idle.connections.is_empty();
        let is_swept = idle.is_swept;
        drop(idle);
        drop(expired);
        is_swept
    }
}

/// Prunes an origin periodically until it has no idle connections or is dropped.
async fn sweep(origin: Weak<Origin>) {
    loop {
        tokio::time::sleep(MAX_AGE / 3).await;
        if !origin.upgrade().is_some_and(|origin| origin.prune()) {
            return;
        }
    }
}
