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
    /// Whether the memory of the conversation is available. Templates outside of routes have none: which calls need it
    /// is decided by the templates of each route.
    pub(super) memory: bool,
}

impl Globals {
    /// The names for templates outside of routes: in defaults and upstreams.
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { globals: self, args: Fields::Leaf, event: false, memory: false }
    }

    /// The names for the defaults of arguments.
    pub(super) fn before_arguments(&self) -> Inputs<'_> {
        Inputs { memory: true, ..self.inputs() }
    }
}

impl Inputs<'_> {
    /// The names after the first `before` of these steps.
    pub(super) fn names<'n>(&'n self, steps: &'n [StepNames], before: usize) -> Names<'n> {
        let Globals { headers, vars, memory } = self.globals;
        let (args, event, memory) = (&self.args, self.event, self.memory.then_some(memory));
        Names { args, steps, before, event, headers, vars, memory, accepting: false }
    }
}
