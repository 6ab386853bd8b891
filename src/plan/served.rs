//! The platforms that are served, and the functions that each of them may call.

use super::{Plan, Route};
use crate::json::SharedValue;
use crate::platform::{Endpoint, Functions, Platform, Settings, ToolSpec, auth::InboundAuth};
use http::HeaderMap;
use serde_json::{Map, Value};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A platform that is served.
#[derive(Debug)]
pub struct Served {
    /// The platform.
    pub platform: &'static dyn Platform,
    /// The values of its own keys.
    pub settings: Settings,
    /// How callers prove to be the platform; `None`: not at all, which only loopback allows.
    pub auth: Option<Box<dyn InboundAuth>>,
    /// How long a call may take, the margin for the way back already taken off.
    pub budget: Duration,
    /// Whether templates may trust what it says about the call: it proves who it is, or only this machine can call.
    pub believed: bool,
    /// The inbound headers that templates see, in lower case.
    pub headers: Vec<String>,
}

impl Served {
    /// The inbound headers that its table names, by lower-case name; null when there are none.
    pub fn shown_headers(&self, headers: &HeaderMap) -> SharedValue {
        let shown = self.headers.iter().filter_map(|name| {
            let value = headers.get(name)?;
            Some((name.clone(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        });
        let shown: Map<String, Value> = shown.collect();
        if shown.is_empty() { SharedValue::default() } else { Value::Object(shown).into() }
    }
}

/// The part of a platform's deadline that a call may use: the rest is for the way back.
pub(crate) fn budget(deadline: Duration) -> Duration {
    deadline - Duration::from_millis(500).min(deadline / 4)
}

/// The functions of a plan, as one platform may see them.
#[derive(Debug)]
pub struct FunctionsFor<'a> {
    plan: &'a Plan,
    platform: &'static str,
    /// The address and the events, which hardly any request asks for.
    endpoint: OnceLock<(String, Vec<&'static str>)>,
}

impl<'a> FunctionsFor<'a> {
    /// The functions that `platform` may call.
    pub fn new(plan: &'a Plan, platform: &'static str) -> Self {
        Self { plan, platform, endpoint: OnceLock::new() }
    }

    /// The functions that the platform may call, as they are declared to it, sorted by name.
    pub fn tools(&self) -> Vec<ToolSpec<'a>> {
        let seen = |route: &&Arc<Route>| route.serves(self.platform);
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

    fn tools(&self) -> Vec<ToolSpec<'_>> {
        FunctionsFor::tools(self)
    }

    fn endpoint(&self) -> Endpoint<'_> {
        let (url, events) = self.endpoint.get_or_init(|| {
            let events = self.plan.events.iter().filter(|(owner, _, _)| *owner == self.platform);
            (self.plan.endpoint_url(self.platform), events.map(|(_, name, _)| *name).collect())
        });
        Endpoint { url, events }
    }
}
