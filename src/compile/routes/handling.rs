//! How a call or an event is handled: the parts that routes and events have in common.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::diagnostic::FileId;
use crate::fingerprint::Fingerprint;
use crate::lang::template::{StepNames, Uses};
use crate::plan::replies::Replies;
use crate::plan::route::{Route, Step};
use crate::plan::{FailureTexts, RouteState};
use crate::table::document::Located;
use crate::table::raw::RawRoute;
use crate::table::reader::{WithJson, missing_key};

use crate::compile::cx::Cx;
use crate::compile::names::Inputs;
use crate::compile::routes::call_limits::CallLimits;
use crate::compile::shared::SharedParts;
use crate::compile::state::{delivery, memory};
use crate::compile::{failures, replies, steps, values};

/// The parts that a route and an event have in common.
pub(in crate::compile) struct Handling {
    /// The steps without errors.
    pub(in crate::compile) steps: Vec<Step>,
    /// Whether no step has an error.
    steps_are_good: bool,
    /// The names that the steps define.
    pub(in crate::compile) step_names: Vec<StepNames>,
    pub(in crate::compile) replies: Replies,
    failure_texts: FailureTexts,
    pub(in crate::compile) timeout: Option<Duration>,
    limits: CallLimits,
    state: RouteState,
}

impl Handling {
    /// Compiles the parts. `answered` says whether the platform uses the reply.
    pub(in crate::compile) fn compile(
        cx: &mut Cx<'_>,
        name: &Located<String>,
        raw: &RawRoute,
        inputs: &Inputs<'_>,
        (shared, answered): (&SharedParts<'_>, bool),
    ) -> Self {
        let before = cx.diagnostics.len();
        let (steps, step_names) = steps::compile(cx, name, raw, inputs, &shared.upstreams);
        let steps_are_good = cx.diagnostics.len() == before;
        let names = inputs.names(&step_names, step_names.len());
        let remember = memory::compile(cx, &raw.remember, &names);
        let reply_names = if delivery::is_async(raw) { names.accepting() } else { names };
        // If the request itself is missing, do not report the conditions of replies as well.
        let has_request = !(raw.request.is_absent() && raw.steps.is_absent() && raw.upstream.is_absent());
        if !has_request && raw.reply.is_absent() {
            let (kind, help) = if inputs.event {
                ("event", "add a `request`, or a `reply` with `data`")
            } else {
                ("route", "add a `request` or a `reply`")
            };
            cx.report(missing_key(
                name.span,
                format!("the {kind} `{}` has neither a `request` nor a `reply`", name.value),
                help,
            ));
        }
        let state = RouteState {
            delivery: delivery::compile(cx, raw, answered),
            remember,
            trusted: raw.trusted.get().is_some_and(|trusted| trusted.value),
            remembers: memory::remembered(raw).next().is_some(),
            ..RouteState::default()
        };
        memory::check_trusted(cx, raw);
        Self {
            replies: replies::compile(cx, &raw.reply, &reply_names, has_request),
            failure_texts: failures::texts(cx, &raw.failure, &inputs.names(&[], 0)),
            timeout: raw.timeout.get().and_then(|text| values::duration(text, cx.diagnostics)),
            limits: CallLimits::compile(raw, &steps, cx.diagnostics),
            steps,
            steps_are_good,
            step_names,
            state,
        }
    }

    /// Sets what the route needs of the bodies of its responses and of the conversation's memory; `uses` are the names in
    /// its templates.
    pub(in crate::compile) fn set_needs(&mut self, uses: &Uses) {
        steps::needs::set(&mut self.steps, &self.replies, uses);
        self.state.recalled = uses.memory().map(|(name, trusted)| (name.to_owned(), trusted)).collect();
        self.state.uses_raw = uses.raw();
    }

    /// Whether the route depends on what other routes remember, or they on it.
    pub(in crate::compile) fn is_stateful(&self) -> bool {
        self.state.is_needed()
    }

    /// The route with these parts; `None` if one of its steps has an error.
    pub(in crate::compile) fn complete(self, route: Route) -> Option<Route> {
        let Self { steps, steps_are_good, replies, failure_texts, timeout, limits, state, .. } = self;
        let route = Route { steps, replies, failure_texts, timeout, state, ..route };
        steps_are_good.then(|| limits.apply(route))
    }
}

/// A hash of everything that determines how a route or an event behaves, without secrets. `files` are the template
/// files that it uses.
pub(in crate::compile) fn fingerprint(
    cx: &Cx<'_>,
    with_json: &WithJson<RawRoute>,
    shared: &SharedParts<'_>,
    files: &BTreeSet<FileId>,
) -> [u8; 32] {
    let raw = &with_json.entry;
    let mut texts = vec![&*with_json.json, &*cx.table.defaults_json];
    let of_steps = raw.steps.items().iter().map(|step| &step.value.upstream);
    for name in std::iter::once(&raw.upstream).chain(of_steps) {
        let upstream = name.get().and_then(|name| shared.upstreams.get(name.value.as_str()));
        texts.push(upstream.map_or("", |known| known.json));
    }
    texts.extend(files.iter().chain(&shared.files).map(|id| cx.sources.get(*id).text.as_str()));
    let mut hash = texts.iter().fold(Fingerprint::new(), |hash, text| hash.text(text));
    if texts.iter().any(|text| text.contains("vars")) {
        hash = hash.text(&Value::Object(shared.globals.vars.clone()).to_string());
    }
    let schema = raw.args_schema.get().and_then(|name| cx.table.schemas.get(&name.value)?.as_ref().ok());
    hash.text(schema.map_or("", |id| cx.sources.get(*id).text.as_str())).finish()
}
