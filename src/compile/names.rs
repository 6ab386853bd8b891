//! The names that templates can use in each place.

use serde_json::{Map, Value};

use crate::lang::template::{Fields, MemoryNames, Names, StepNames};

/// The names that every template can use.
pub(super) struct Globals {
    /// The inbound headers that at least one platform passes on.
    pub(super) headers: Vec<String>,
    /// The constants.
    pub(super) vars: Map<String, Value>,
    /// What routes remember.
    pub(super) memory: MemoryNames,
}

/// The names that the templates of one route can use before its first step.
pub(super) struct Inputs<'a> {
    pub(super) globals: &'a Globals,
    pub(super) args: Fields,
    /// Whether there is an event's payload.
    pub(super) event: bool,
}

impl Globals {
    /// The names for templates outside of routes: in defaults and upstreams.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { globals: self, args: Fields::Leaf, event: false }
    }
}

impl Inputs<'_> {
    /// The names after the first `before` of these steps.
    pub(super) fn names<'n>(&'n self, steps: &'n [StepNames], before: usize) -> Names<'n> {
        let Globals { headers, vars, memory } = self.globals;
        let Self { args, event, .. } = self;
        Names { args, steps, before, event: *event, headers, vars, memory, accepting: false }
    }
}
