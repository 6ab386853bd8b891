//! What the proxy runs: an immutable plan in which nothing can be wrong any more.
//!
//! Everything is compiled here when the table is loaded; nothing is parsed while a call runs. No I/O, no clock, no
//! async: what a call needs from outside comes in as values.

pub mod allowed;
pub mod arguments;
mod changes;
pub mod extraction;
mod failure_texts;
pub mod network;
pub mod replies;
pub mod request;
pub mod route;
mod served;
mod server;
pub mod testing;
pub mod when;
mod zone;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::platform::Platform;
use crate::secret::Masks;
use crate::upstream::Target;
use crate::upstream::delivery::Delivery;
use crate::upstream::resources::LimitSpec;

pub use changes::Changes;
pub use failure_texts::{FailureSlot, FailureTexts};
pub use route::{Route, RouteLimit};
pub(crate) use served::budget;
pub use served::{FunctionsFor, Served};
pub use server::{LogConfig, LogFormat, Server, ServerTls, Traces, Watch};
pub use zone::Zone;

/// The compiled table.
#[derive(Debug)]
pub struct Plan {
    /// What `[server]` says.
    pub server: Server,
    /// What `[log]` says.
    pub log: LogConfig,
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
    /// The zone of times without an offset.
    pub zone: Zone,
    /// How requests to each upstream are sent, in the order of their slots.
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

impl Plan {
    /// The limits of routes and events, in the order of their slots.
    pub fn limits(&self) -> Vec<LimitSpec<'_>> {
        let routes = self.routes.values().map(|route| ("routes", route));
        let events = self.events.iter().map(|(platform, _, entry)| (*platform, entry));
        let mut limits: Vec<(usize, LimitSpec<'_>)> = routes
            .chain(events)
            .filter_map(|(kind, route)| {
                let RouteLimit { policy, slot } = route.limit.as_ref()?;
                Some((*slot, LimitSpec { kind, name: &route.name, policy }))
            })
            .collect();
        limits.sort_by_key(|(slot, _)| *slot);
        limits.into_iter().map(|(_, limit)| limit).collect()
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
    pub fn endpoint_url(&self, platform: &str) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        let listen = || format!("{scheme}://{}", self.server.listen);
        let base = self
            .server
            .public_url
            .as_ref()
            .map_or_else(listen, |url| url.as_str().trim_end_matches('/').to_owned());
        format!("{base}/{platform}")
    }
}
