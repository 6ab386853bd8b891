//! From the table to the plan. Checking is building: each part becomes a value that cannot be wrong, or reports a
//! diagnostic. Compiling never stops at the first problem.

pub(crate) mod advice;
mod auth;
mod certificates;
mod cx;
mod editor;
mod exposure;
mod failures;
mod interned;
mod kept;
mod names;
mod replies;
mod routes;
mod secrets;
mod server;
mod shared;
mod state;
mod steps;
pub(crate) mod testing;
mod upstreams;
mod values;
mod zone;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span};
use crate::fingerprint::Fingerprint;
use crate::plan::{Plan, Route};
use crate::table::Table;

pub use editor::{schema, test_schema};
pub use kept::Kept;
pub use secrets::{BoundAddresses, Environment, ListenerOptions};
pub use upstreams::{DEMO, UpstreamProbe};

use cx::{Compiled, Cx, allowed_codes};
use names::Globals;
use routes::{events, forms};
use server::{log, platforms, traces};
use shared::SharedParts;

/// A compiled table.
#[derive(Debug)]
pub(crate) struct CompiledTable {
    /// The plan; `None` if there is an error.
    pub(crate) plan: Option<Plan>,
    /// The warnings that only `jackfield check` reports.
    pub(crate) advice: Diagnostics,
    /// The requests by which `check --online` tests the upstreams.
    pub(crate) probes: Vec<UpstreamProbe>,
    /// The files that secrets and certificates were read from, or looked for in.
    pub(crate) secret_files: BTreeSet<PathBuf>,
    /// The routes that the next load may reuse.
    pub(crate) kept: Kept,
}

/// Compiles a table. There is a plan if none of the diagnostics is an error. `None` if the routes of the files that were
/// not parsed cannot be kept.
pub(crate) fn compile(
    table: &Table,
    sources: &Sources,
    environment: &Environment<'_>,
    kept: &Kept,
    diagnostics: &mut Diagnostics,
) -> Option<CompiledTable> {
    let mut cx = Cx::new(table, sources, environment, diagnostics);
    let vars = constants(&mut cx);
    let server = server::compile(&mut cx);
    let log = log::compile(&mut cx);
    let traces = traces::compile(&mut cx);
    let state = state::config::compile(&mut cx);
    let platforms = platforms::compile(&mut cx);
    let headers = platforms.iter().flat_map(|served| served.headers.iter().cloned()).collect();
    let memory = state::memory::names(&mut cx);
    let globals = Globals { headers, vars, memory };
    let zone = zone::compile(&mut cx, &globals.inputs().names(&[], 0));
    let Compiled { value: (failure_texts, upstreams), used } = cx.track(|cx| {
        let texts = failures::texts(cx, &table.defaults.failure, &globals.inputs().names(&[], 0));
        (texts, upstreams::compile(cx, &globals))
    });
    let shared = SharedParts { platforms, upstreams, globals, files: used.files };
    let base = kept::base(&cx, &shared);
    let kept_routes = kept.routes(&cx, base)?;
    let mut routes = routes::compile(&mut cx, &shared);
    routes.extend(forms::compile(&mut cx, &shared));
    let mut events = events::compile(&mut cx, &shared);
    assign_slots(&mut routes, &mut events);
    state::memory::mark_sensitive(&mut routes, &mut events);
    if let Some(config) = &state {
        let events = events.iter().map(|(platform, _, entry)| (Some(*platform), &**entry));
        let entries = routes.iter().map(|route| (None, route)).chain(events);
        state::config::check_encryption(&mut cx, entries, config);
    }
    let is_stateful = state::config::is_needed(&cx, &routes, &events);
    check_presence(&mut cx, kept_routes.is_empty());
    cx.check_allow(&table.defaults.allow);
    cx.diagnostics.silence(0, &allowed_codes(&table.defaults.allow));

    let secret_files = std::mem::take(&mut cx.secrets.files);
    // A load that stopped early has compiled only a part of the table.
    let is_whole = !cx.diagnostics.has_errors() && !cx.diagnostics.is_full();
    let Some(server) = server.filter(|_| is_whole) else {
        let (advice, kept) = (Diagnostics::default(), Kept::default());
        return Some(CompiledTable { plan: None, advice, probes: Vec::new(), secret_files, kept });
    };
    advice::public_url(&mut cx, &server, &shared.platforms);
    let probes = upstreams::probes(&cx, &shared.upstreams);
    let routes = routes.into_iter().map(Arc::new).chain(kept_routes);
    let routes = routes.map(|route| (route.name.clone(), route)).collect();
    let kept = kept.next(&cx, base, &routes);
    let revision = revision(table, sources);
    let upstreams = shared.upstreams.values().filter_map(|known| known.upstream.as_ref());
    let plan = Plan {
        server,
        log,
        traces: traces.map(Arc::new),
        state: state.filter(|_| is_stateful),
        routes,
        events,
        deliveries: upstreams.map(|upstream| upstream.delivery.clone()).collect(),
        platforms: shared.platforms,
        failure_texts,
        zone,
        secret_files: cx.secrets.of_files(),
        masks: cx.secrets.masks.clone(),
        identity: cx.secrets.identity(&revision),
        revision,
        files: sources.iter().map(|source| PathBuf::from(&source.name)).collect(),
    };
    Some(CompiledTable { plan: Some(plan), advice: cx.advice, probes, secret_files, kept })
}

/// `[vars]`
fn constants(cx: &mut Cx<'_>) -> Map<String, Value> {
    let mut vars = Map::new();
    for (name, value) in &cx.table.vars {
        if cx.diagnostics.is_full() {
            break;
        }
        if !values::is_name(&name.value) {
            cx.report(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("invalid constant name `{}`", name.value),
                )
                .help("use letters, digits and `_`, so that templates can write it"),
            );
        }
        if let Some(node) = value.get() {
            cx.no_secret(node, "[vars]");
            cx.no_templates(node, "a constant");
            vars.insert(name.value.clone(), node.to_json());
        }
    }
    vars
}

/// Reports a table without platforms or routes: a truncated file must not empty the proxy.
fn check_presence(cx: &mut Cx<'_>, nothing_is_kept: bool) {
    if cx.diagnostics.is_full() {
        return;
    }
    let main = Span::start_of(cx.table.main);
    if cx.table.platforms.is_empty() && !cx.table.hides("[platforms", cx.sources) {
        cx.report(
            Diagnostic::new(Code::NoPlatforms, main, "no platform is served")
                .help("add at least one: an empty `[platforms.swaig]` serves SWAIG at /swaig"),
        );
    }
    if nothing_is_kept && cx.table.routes.is_empty() && !cx.table.hides("[routes", cx.sources) {
        cx.report(
            Diagnostic::new(Code::NoRoutes, main, "no route is defined")
                .help("add one: `[routes.my_function]` with `reply.text = \"…\"` is enough"),
        );
    }
}

/// Assigns each limit its slot among the plan's resources.
fn assign_slots(routes: &mut [Route], events: &mut [(&'static str, &'static str, Arc<Route>)]) {
    let events = events.iter_mut().filter_map(|(_, _, entry)| Arc::get_mut(entry));
    let limits = routes.iter_mut().chain(events).filter_map(|route| route.limit.as_mut());
    for (slot, limit) in limits.enumerate() {
        limit.slot = slot;
    }
}

/// A hash of everything that was read, the same on every instance. Files count by their path relative to the main
/// file.
fn revision(table: &Table, sources: &Sources) -> String {
    let mut files: Vec<(String, &str)> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            // The revision must not depend on the name of the main file or on the folder of the table.
            let relative = source.path.strip_prefix(&table.folder).unwrap_or(&source.path);
            let name = if index == 0 { String::new() } else { relative.display().to_string() };
            (name, source.text.as_str())
        })
        .collect();
    files.sort();
    let hash = files.iter().fold(Fingerprint::new(), |hash, (name, text)| hash.text(name).text(text));
    hex::encode(&hash.finish()[..8])
}
