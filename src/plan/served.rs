//! The platforms that are served, and the functions that each may call.

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
    /// The platform's own settings.
    pub settings: Settings,
    /// How requests are authenticated; `None` for no authentication, which only loopback allows.
    pub auth: Option<Box<dyn InboundAuth>>,
    /// The time that a call may take: the platform's deadline without the margin for the way back.
    pub budget: Duration,
    /// Whether the context that it sends is trusted: requests are authenticated, or only this machine can send them.
    pub believed: bool,
    /// The names of the inbound headers that templates can use, in lower case.
    pub headers: Vec<String>,
}

impl Served {
    /// The values of those headers, by lower-case name; null if there are none.
    pub fn shown_headers(&self, headers: &HeaderMap) -> SharedValue {
        let shown = self.headers.iter().filter_map(|name| {
            let value = headers.get(name)?;
            Some((name.clone(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        });
        let shown: Map<String, Value> = shown.collect();
        if shown.is_empty() { SharedValue::default() } else { Value::Object(shown).into() }
    }
}

/// The part of a platform's deadline that a call may use. The rest is the margin for the way back: a quarter of the
/// deadline, at most 500 ms.
pub(crate) fn budget(deadline: Duration) -> Duration {
    deadline - Duration::from_millis(500).min(deadline / 4)
}

/// The functions of a plan that one platform may call.
#[derive(Debug)]
pub struct FunctionsFor<'a> {
    plan: &'a Plan,
    platform: &'static str,
    /// The URL and the events. They are computed on demand, since few requests need them.
    endpoint: OnceLock<(String, Vec<&'static str>)>,
}

impl<'a> FunctionsFor<'a> {
    /// The functions that `platform` may call.
    pub fn new(plan: &'a Plan, platform: &'static str) -> Self {
        Self { plan, platform, endpoint: OnceLock::new() }
    }

    /// The tool definitions for the platform, sorted by name.
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
        Endpoint { url, events, form: None }
    }
}
