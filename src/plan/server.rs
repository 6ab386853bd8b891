//! `[server]`, `[log]` and `[traces]`, compiled.

use crate::platform::auth::InboundAuth;
use crate::upstream::delivery::Delivery;
use http::HeaderMap;
use ipnet::IpNet;
use jiff::Timestamp;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// `[server]`, compiled.
#[derive(Debug)]
pub struct Server {
    /// The address of the listener for platforms.
    pub listen: SocketAddr,
    /// The address of the admin listener; `None` if there is none.
    pub admin: Option<SocketAddr>,
    /// How requests to the admin listener are authenticated; `None` for no authentication, which only loopback allows.
    pub admin_auth: Option<Box<dyn InboundAuth>>,
    /// How file changes are detected.
    pub watch: Watch,
    /// The base URL at which platforms reach this proxy.
    pub public_url: Option<Url>,
    /// The largest request body of a platform, in bytes.
    pub max_body: usize,
    /// The most calls in flight, events included.
    pub max_calls: usize,
    /// The most connections to the listener for platforms.
    pub max_connections: usize,
    /// The number of calls kept in the history, for the admin listener.
    pub records: usize,
    /// How long calls are accepted after the signal to shut down.
    pub drain_delay: Duration,
    /// The folder for a copy of the last accepted table; `None` for no copy.
    pub last_good: Option<PathBuf>,
    /// TLS for new connections to the listener for platforms; `None` for plain HTTP.
    pub tls: Option<ServerTls>,
    /// The proxies whose `X-Forwarded-For` and `Forwarded` headers are honoured.
    pub trusted_proxies: Vec<IpNet>,
}

/// The certificate and key of the listener for platforms.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The configuration for handshakes.
    pub config: Arc<ServerConfig>,
    /// When the first certificate of the chain expires, if it can be read.
    pub not_after: Option<Timestamp>,
    /// A hash of the certificate and the key, to detect changes.
    pub(crate) fingerprint: [u8; 32],
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// How file changes are detected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Watch {
    /// By file system events.
    #[default]
    Events,
    /// By polling once a second.
    Poll,
}

/// `[log]`, compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of lines.
    pub format: LogFormat,
    /// The least severe messages that are logged.
    pub level: LogLevel,
    /// Whether the full records of calls are logged, with secrets and sensitive values masked.
    pub bodies: bool,
}

/// The least severe messages that are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// Warnings, and calls that failed.
    Warn,
    /// Each call.
    #[default]
    Info,
    /// Details for a search.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The levels by name.
    pub const NAMES: [(&str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, otherwise `Json`.
    #[default]
    Auto,
    /// For people.
    Human,
    /// JSON, one object per line.
    Json,
}

impl LogFormat {
    /// The formats by name.
    pub const NAMES: [(&str, Self); 3] = [("auto", Self::Auto), ("human", Self::Human), ("json", Self::Json)];

    /// The format called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
    }
}

/// `[traces]`, compiled.
#[derive(Debug)]
pub struct Traces {
    /// The collector's URL.
    pub endpoint: Url,
    /// The headers of export requests.
    pub headers: HeaderMap,
    /// How export requests are sent.
    pub delivery: Delivery,
    /// The fraction of new traces that is recorded, from 0 to 1.
    pub sample: f64,
    /// The service name of the proxy.
    pub service: String,
}
