//! The plan that the proxy runs. It is immutable, and everything in it has been checked.
//!
//! The compiler builds it when the table is loaded; nothing is parsed during a call. The plan does no I/O, reads no
//! clock and is not async. A call passes in the values that it needs.

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
pub mod state;
pub mod testing;
pub mod when;
mod zone;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::platform::Platform;
use crate::secret::{Masks, Secret};
use crate::upstream::Target;
use crate::upstream::delivery::Delivery;
use crate::upstream::resources::LimitSpec;

pub use changes::Changes;
pub use failure_texts::{FailureSlot, FailureTexts};
pub use route::{Route, RouteLimit};
pub(crate) use served::budget;
pub use served::{FunctionsFor, Served};
pub use server::{LogConfig, LogFormat, LogLevel, Server, ServerTls, Traces, Watch};
pub use state::{AsyncDelivery, RouteState, StateConfig};
pub use zone::Zone;

/// The compiled table.
#[derive(Debug)]
pub struct Plan {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: LogConfig,
    /// `[traces]`; `None` if no spans are recorded.
    pub traces: Option<Arc<Traces>>,
    /// `[state]`, or its defaults; `None` if nothing needs it.
    pub state: Option<StateConfig>,
    /// The routes by function name.
    pub routes: HashMap<String, Arc<Route>>,
    /// The entries for events: the platform, the name of the event, and the entry.
    pub events: Vec<(&'static str, &'static str, Arc<Route>)>,
    /// The platforms that are served.
    pub platforms: Vec<Served>,
    /// The texts of `[defaults]` for failures that a route does not handle.
    pub failure_texts: FailureTexts,
    /// The time zone of times without an offset.
    pub zone: Zone,
    /// How requests to each upstream are sent, ordered by slot.
    pub deliveries: Vec<Delivery>,
    /// The secrets that come from files, by the path in the table.
    pub secret_files: BTreeMap<String, Secret>,
    /// The secrets of the table, to be masked wherever calls are shown.
    pub masks: Masks,
    /// A hash of everything that was read, except secrets. It is the same on every instance.
    pub revision: String,
    /// A hash of everything that was read, including secrets and certificates. Plans with the same hash are the same.
    pub(crate) identity: [u8; 32],
    /// The files that were read, named as in diagnostics.
    pub files: Vec<PathBuf>,
}

impl Plan {
    /// The limits of routes and events, ordered by slot.
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

    /// Whether the context that `platform` sends may decide what is allowed.
    pub fn trusts(&self, platform: &dyn Platform) -> bool {
        self.served(platform.name()).map_or_else(|| platform.trusted_context(), |served| served.believed)
    }

    /// All upstreams, for the transport to prepare.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.deliveries.iter().map(|delivery| &*delivery.target)
    }

    /// The route for `function`, if `platform` may call it.
    pub fn route(&self, function: &str, platform: &str) -> Option<&Arc<Route>> {
        self.routes.get(function).filter(|route| route.serves(platform))
    }

    /// The entry for the event `name` of `platform`.
    pub fn event(&self, platform: &str, name: &str) -> Option<&Arc<Route>> {
        self.events
            .iter()
            .find(|(owner, event, _)| *owner == platform && *event == name)
            .map(|(_, _, entry)| entry)
    }

    /// The fingerprint of each route and event.
    pub fn fingerprints(&self) -> impl Iterator<Item = &[u8; 32]> {
        let events = self.events.iter().map(|(_, _, entry)| entry);
        self.routes.values().chain(events).map(|route| &route.fingerprint)
    }

    /// The URL at which `platform` reaches this proxy, without a trailing slash.
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
