//! What `[server]`, `[log]` and `[traces]` say, compiled.

use crate::platform::auth::InboundAuth;
use crate::upstream::delivery::Delivery;
use http::HeaderMap;
use ipnet::IpNet;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use url::Url;

/// `[server]`, compiled.
#[derive(Debug)]
pub struct Server {
    /// The listener for platforms.
    pub listen: SocketAddr,
    /// The admin listener; `None`: not opened.
    pub admin: Option<SocketAddr>,
    /// Who may open the admin listener; `None`: anyone on loopback.
    pub admin_auth: Option<Box<dyn InboundAuth>>,
    /// How changed files are noticed.
    pub watch: Watch,
    /// The address at which platforms reach this proxy.
    pub public_url: Option<Url>,
    /// The largest body a platform may send, in bytes.
    pub max_body: usize,
    /// The most calls in flight, events included.
    pub max_calls: usize,
    /// The most connections to the listener for platforms.
    pub max_connections: usize,
    /// How many of the last calls the admin listener can show.
    pub records: usize,
    /// What new connections to the listener for platforms are secured with; `None`: they are plain.
    pub tls: Option<ServerTls>,
    /// The proxies whose `X-Forwarded-For` and `Forwarded` headers name the client.
    pub trusted_proxies: Vec<IpNet>,
}

/// The certificate and key of the listener for platforms.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// What a handshake needs.
    pub config: Arc<ServerConfig>,
    /// A hash of the certificate and the key, to tell whether they changed.
    pub(crate) fingerprint: [u8; 32],
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// How changed files are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Watch {
    /// By the events of the file system.
    #[default]
    Events,
    /// By looking every second.
    Poll,
}

/// `[log]`, compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines are written.
    pub format: LogFormat,
    /// Whether arguments, requests and replies are logged too, without what must not be shown.
    pub bodies: bool,
}

/// How the lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, as JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// As JSON, one object a line.
    Json,
}

impl LogFormat {
    /// What the table calls them.
    pub const NAMES: [(&str, Self); 3] = [("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];

    /// The format that a table or a person means by `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
    }
}

/// `[traces]`, compiled.
#[derive(Debug)]
pub struct Traces {
    /// Where spans go.
    pub endpoint: Url,
    /// The headers that they go with.
    pub headers: HeaderMap,
    /// How they are sent.
    pub delivery: Delivery,
    /// The share of traces that are recorded, of those that begin here.
    pub sample: f64,
    /// What the proxy is called in them.
    pub service: String,
}
