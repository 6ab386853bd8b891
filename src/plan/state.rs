//! State that outlives a call: deliveries after the reply, and the memory of a conversation.

use std::time::Duration;

use serde_json::Value;

use super::{LogLevel, Plan, Route};
use crate::json::{MAX_DEPTH, is_deeper};
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{RenderError, Scope};
use crate::state::{EncryptionKeys, StateUrl};

/// `[state]`, compiled.
#[derive(Debug, Clone)]
pub struct StateConfig {
    /// Where it is stored.
    pub url: StateUrl,
    /// Whether the table has a `[state]`. Without one, deduplication does not use the store.
    pub is_configured: bool,
    /// The keys that encrypt what is sensitive.
    pub keys: EncryptionKeys,
    /// How long memory is kept after the last call of its conversation.
    pub memory_ttl: Duration,
    /// The maximum number of connections to a server.
    pub pool: usize,
    /// How long deliveries are kept after they were delivered.
    pub keep: Duration,
}

/// What a route keeps beyond one call.
#[derive(Debug, Default)]
pub struct RouteState {
    /// How its requests are delivered after the reply; `None` if the platform waits for them.
    pub delivery: Option<AsyncDelivery>,
    /// What the route remembers after a call that succeeded.
    pub(crate) remember: Vec<Remember>,
    /// Whether the route, a step or a reply case remembers anything.
    pub remembers: bool,
    /// The names that its templates recall, each with whether its value may decide what is allowed.
    pub(crate) recalled: Vec<(String, bool)>,
    /// Whether its templates use the whole body of the platform's request.
    pub uses_raw: bool,
    /// Whether what it remembers may decide what is allowed.
    pub trusted: bool,
    /// Whether what it stores is sensitive.
    pub sensitive: bool,
}

/// `delivery`, compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncDelivery {
    /// How long failed requests are retried.
    pub retry_for: Duration,
    /// Whether the deliveries of a conversation run one after the other.
    pub ordered: bool,
    /// The level of the log line when a delivery is given up.
    pub on_dead: LogLevel,
}

/// The levels of `on_dead`, by name.
pub(crate) const ON_DEAD: [(&str, LogLevel); 3] =
    [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info)];

/// A value to remember.
#[derive(Debug, Clone)]
pub(crate) struct Remember {
    pub(crate) name: String,
    pub(crate) value: JsonTemplate,
}

impl Remember {
    /// The value to remember. Null, for an empty text or a missing value, forgets the name.
    pub(crate) fn render(&self, scope: &Scope<'_>) -> Result<Value, RenderError> {
        let value = self.value.to_value(scope)?;
        let value = value.filter(|value| value.as_str() != Some("")).unwrap_or(Value::Null);
        // It is stored as JSON, and a later call could not read it.
        if is_deeper(&value, MAX_DEPTH) { Err(RenderError::TooDeep) } else { Ok(value) }
    }
}

impl RouteState {
    /// Whether calls of the route read or write the memory of their conversation.
    pub fn has_memory(&self) -> bool {
        self.remembers || self.recalls()
    }

    /// Whether a template uses a remembered value.
    pub fn recalls(&self) -> bool {
        !self.recalled.is_empty()
    }

    /// Whether calls of the route need the store.
    pub fn is_needed(&self) -> bool {
        self.delivery.is_some() || self.has_memory()
    }
}

impl Route {
    /// Everything that the route may remember: by its own key, its steps and its reply cases.
    pub(crate) fn remembered(&self) -> impl Iterator<Item = &Remember> {
        let steps = self.steps.iter().flat_map(|step| &step.remember);
        self.state
            .remember
            .iter()
            .chain(steps)
            .chain(self.replies.cases.iter().flat_map(|case| &case.remember))
    }
}

impl Plan {
    /// The routes and events.
    pub fn entries(&self) -> impl Iterator<Item = &Route> {
        let events = self.events.iter().map(|(_, _, entry)| entry);
        self.routes.values().chain(events).map(AsRef::as_ref)
    }

    /// Whether retries of calls are recognised through the store, on every instance.
    pub fn shares_deduplication(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_configured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Context;
    use serde_json::json;

    #[test]
    fn only_a_value_that_can_be_read_again_is_remembered() {
        let render = |levels: usize| {
            let value = (0..levels).fold(json!("x"), |inner, _| json!([inner]));
            let remember = Remember { name: "x".to_owned(), value: JsonTemplate::Literal(value) };
            remember.render(&Scope {
                args: &Value::Null,
                call: &Context::default(),
                steps: &[],
                now: "",
                memory: &Value::Null,
            })
        };
        let stored = render(127).unwrap().to_string();
        assert!(serde_json::from_str::<Value>(&stored).is_ok());
        assert_eq!(render(128), Err(RenderError::TooDeep));
    }
}
