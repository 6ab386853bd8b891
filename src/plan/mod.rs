//! What the proxy runs: an immutable plan in which nothing can be wrong any more.
//!
//! Everything is compiled here when the table is loaded; nothing is parsed while a call runs. No I/O, no clock, no
//! async: what a call needs from outside comes in as values.

pub mod allowed;
pub mod arguments;
pub mod extraction;
pub mod network;
pub mod replies;
pub mod request;
pub mod route;
pub mod testing;
pub mod when;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use rustls::ServerConfig;
use serde_json::{Map, Value};
use url::Url;

use crate::call::{FailureKind, Guard};
use crate::lang::template::{Scope, Template, TextSink};
use crate::platform::{Door, Functions, Platform, Settings, ToolSpec, auth::Auth};
use crate::secret::Masks;
use crate::upstream::Target;
use crate::upstream::delivery::Delivery;

use network::Network;
pub use route::Route;

/// The compiled table.
#[derive(Debug)]
pub struct Plan {
    /// What `[server]` says.
    pub server: Server,
    /// What `[log]` says.
    pub log: Log,
    /// What `[traces]` says; `None`: no spans are made.
    pub traces: Option<Arc<Traces>>,
    /// The routes by function name.
    pub routes: HashMap<String, Arc<Route>>,
    /// How webhooks that are no function calls are answered: the platform, the event's name, its entry.
    pub events: Vec<(&'static str, &'static str, Arc<Route>)>,
    /// The platforms that are served.
    pub platforms: Vec<Served>,
    /// What is said on a failure when the route says nothing.
    pub failure_texts: FailureTexts,
    /// How requests to each upstream are sent.
    pub deliveries: Vec<Delivery>,
    /// The secrets of the table, to be hidden wherever calls are shown.
    pub masks: Masks,
    /// A hash of everything that was read, the same on every instance; secrets are not part of it.
    pub revision: String,
    /// A hash of everything that was read, secrets and certificates included: two plans with the same one are the same.
    pub(crate) identity: [u8; 32],
    /// The files that were read, as diagnostics name them.
    pub files: Vec<PathBuf>,
}

/// `[server]`, compiled.
#[derive(Debug)]
pub struct Server {
    /// The platforms' door.
    pub listen: SocketAddr,
    /// The door for health and status; `None`: not opened.
    pub admin: Option<SocketAddr>,
    /// Who may open the admin door; `None`: anyone on loopback.
    pub admin_auth: Option<Box<dyn Auth>>,
    /// How changed files are noticed.
    pub watch: Watch,
    /// The address at which platforms reach this proxy.
    pub public_url: Option<Url>,
    /// The largest body a platform may send, in bytes.
    pub max_body: usize,
    /// The most calls in flight, events included.
    pub max_calls: usize,
    /// The most connections to the platforms' door.
    pub max_connections: usize,
    /// How many of the last calls the admin door can show.
    pub records: usize,
    /// What new connections to the platforms' door are secured with; `None`: they are plain.
    pub tls: Option<Tls>,
    /// The proxies that are believed when they say for whom they call.
    pub trusted_proxies: Vec<Network>,
}

/// The certificate and key of the platforms' door.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What a handshake needs.
    pub config: Arc<ServerConfig>,
    /// A hash of the certificate and the key, to tell whether they changed.
    pub(crate) fingerprint: [u8; 32],
}

impl PartialEq for Tls {
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
pub struct Log {
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

/// A platform that is served.
#[derive(Debug)]
pub struct Served {
    /// The platform.
    pub platform: &'static dyn Platform,
    /// The values of its own keys.
    pub settings: Settings,
    /// How callers prove to be the platform; `None`: not at all, which only loopback allows.
    pub auth: Option<Box<dyn Auth>>,
    /// How long a call may take, the margin for the way back already taken off.
    pub budget: Duration,
    /// Whether templates may trust what it says about the call: it proves who it is, or only this machine can call.
    pub believed: bool,
    /// The inbound headers that templates see, in lower case.
    pub headers: Vec<String>,
}

impl Served {
    /// The inbound headers that its table names, by lower-case name; null when there are none.
    pub fn shown_headers(&self, headers: &HeaderMap) -> Value {
        let shown = self.headers.iter().filter_map(|name| {
            let value = headers.get(name)?;
            Some((name.clone(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        });
        let shown: Map<String, Value> = shown.collect();
        if shown.is_empty() { Value::Null } else { Value::Object(shown) }
    }
}

/// What is said on each kind of failure.
#[derive(Debug, Clone, Default)]
pub struct FailureTexts(pub(crate) Vec<(FailureKind, Template)>);

impl FailureTexts {
    /// What stands in the table for a kind.
    pub fn written(&self, kind: FailureKind) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, template)| template.written())
    }

    /// The text for a kind; `None` when there is none, or when it needs a value that is not there.
    pub fn spoken(&self, kind: FailureKind, scope: &Scope<'_>, guard: Guard) -> Option<String> {
        let (_, template) = self.0.iter().find(|(known, _)| *known == kind)?;
        let mut text = TextSink::new(guard);
        template.render(scope, &mut text).ok()?;
        Some(text.into_text())
    }
}

/// The part of a platform's deadline that a call may use: the rest is for the way back.
pub(crate) fn budget(deadline: Duration) -> Duration {
    deadline - Duration::from_millis(500).min(deadline / 4)
}

impl Plan {
    /// Sends each request once and at once, whatever came of others: what a test sees is the table's doing alone.
    pub fn calm(&mut self) {
        let events = self.events.iter_mut().map(|(_, _, entry)| entry);
        for route in self.routes.values_mut().chain(events).filter_map(Arc::get_mut) {
            route.limiter = None;
            for step in &mut route.steps {
                let upstream = Arc::make_mut(&mut step.request.upstream);
                upstream.delivery = upstream.delivery.calm();
            }
        }
    }

    /// The platform that is served under `name`.
    pub fn served(&self, name: &str) -> Option<&Served> {
        self.platforms.iter().find(|served| served.platform.name() == name)
    }

    /// Whether what `platform` says about a call may decide what is allowed.
    pub fn believes(&self, platform: &dyn Platform) -> bool {
        self.served(platform.name()).map_or_else(|| platform.trusted_context(), |served| served.believed)
    }

    /// Every upstream, for the transport to prepare.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.deliveries.iter().map(|delivery| &*delivery.target)
    }

    /// The route that answers `function` for `platform`.
    pub fn route(&self, function: &str, platform: &str) -> Option<&Arc<Route>> {
        self.routes.get(function).filter(|route| route.serves(platform))
    }

    /// The entry for an event of `platform`.
    pub fn event(&self, platform: &str, name: &str) -> Option<&Arc<Route>> {
        self.events
            .iter()
            .find(|(owner, event, _)| *owner == platform && *event == name)
            .map(|(_, _, entry)| entry)
    }

    /// A hash of each route and event, of everything that decides how it behaves.
    pub fn fingerprints(&self) -> impl Iterator<Item = &[u8; 32]> {
        let events = self.events.iter().map(|(_, _, entry)| entry);
        self.routes.values().chain(events).map(|route| &route.fingerprint)
    }

    /// The address at which `platform` reaches this proxy, without a slash at its end.
    pub fn door_url(&self, platform: &str) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        let listen = || format!("{scheme}://{}", self.server.listen);
        let base = self
            .server
            .public_url
            .as_ref()
            .map_or_else(listen, |url| url.as_str().trim_end_matches('/').to_owned());
        format!("{base}/{platform}")
    }

    /// The names of the routes that came, went and changed since `old`, each list sorted.
    pub fn changes_since(&self, old: &Self) -> Changes {
        let mut changes = Changes::default();
        for (name, route) in &self.routes {
            match old.routes.get(name) {
                None => changes.added.push(name.clone()),
                Some(before) if before.fingerprint != route.fingerprint => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        changes.removed =
            old.routes.keys().filter(|name| !self.routes.contains_key(*name)).cloned().collect();
        changes.added.sort();
        changes.removed.sort();
        changes.changed.sort();
        changes
    }
}

/// What a reload changed, by route name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Routes that were not there before.
    pub added: Vec<String>,
    /// Routes that are not there any more.
    pub removed: Vec<String>,
    /// Routes that say something else, or whose templates, upstream or defaults do.
    pub changed: Vec<String>,
}

/// The functions of a plan, as one platform may see them.
#[derive(Debug)]
pub struct FunctionsFor<'a> {
    plan: &'a Plan,
    platform: &'static str,
    door_url: String,
    events: Vec<&'static str>,
}

impl<'a> FunctionsFor<'a> {
    /// The functions that `platform` may call.
    pub fn new(plan: &'a Plan, platform: &'static str) -> Self {
        let events = plan.events.iter().filter(|(owner, _, _)| *owner == platform);
        let events = events.map(|(_, name, _)| *name).collect();
        Self { plan, platform, door_url: plan.door_url(platform), events }
    }

    /// The functions as they are declared to the platform, sorted by name: all that it may call, or only those
    /// that ask to be seen.
    pub fn tools(&self, asking: bool) -> Vec<ToolSpec<'a>> {
        let seen = |route: &&Arc<Route>| {
            route.serves(self.platform)
                && (!asking || route.declare.iter().any(|(name, _)| *name == self.platform))
        };
        let mut tools: Vec<ToolSpec<'a>> =
            self.plan.routes.values().filter(seen).map(|route| route.tool(self.platform)).collect();
        tools.sort_by_key(|tool| tool.name);
        tools
    }
}

impl Functions for FunctionsFor<'_> {
    fn arguments(&self, function: &str) -> Option<Vec<&str>> {
        self.plan.route(function, self.platform).map(|route| route.arguments.names().collect())
    }

    fn streams(&self, function: &str) -> bool {
        self.plan.route(function, self.platform).is_some_and(|route| route.streaming)
    }

    fn declared(&self) -> Vec<ToolSpec<'_>> {
        self.tools(true)
    }

    fn door(&self) -> Door<'_> {
        Door { url: &self.door_url, events: &self.events }
    }
}
