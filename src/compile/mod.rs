//! From what the table says to what the proxy runs. Checking and building are one act: each part either becomes a
//! value that cannot be wrong, or pushes a diagnostic; nothing stops at the first.

pub(crate) mod advice;
mod allowed;
mod arguments;
mod auth;
mod delivery;
mod editor;
mod events;
mod forms;
mod log;
mod reply;
mod request;
mod routes;
mod schema;
mod secrets;
mod server;
mod steps;
pub(crate) mod testing;
mod tls;
mod traces;
mod upstreams;
mod values;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span, place_in_string, suggest};
use crate::fingerprint::Fingerprint;
use crate::secret::Secret;
use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{Key, Named};
use crate::table::{Dependencies, Table};
use crate::upstream::probe::Probe;

use super::lang::template::{Compiler, Fields, Names, Origin, StepNames, Template, TemplateText};
use super::plan::{FailureTexts, Plan, Route};

pub use editor::schema;
pub use secrets::{BoundAddresses, Environment};
pub use upstreams::DEMO;

use traces::SERVICE;

/// What every part of the table is compiled with.
struct TableCompiler<'a> {
    table: &'a Table,
    sources: &'a Sources,
    secrets: secrets::Secrets<'a>,
    templates: Compiler<'a>,
    /// The constants.
    vars: Map<String, Value>,
    /// The inbound headers that some platform hands on.
    headers: Vec<String>,
    /// The texts of the template files that `[defaults]` and `[upstreams]` use: they touch every route.
    shared_files: BTreeSet<&'a str>,
    /// What is unwise.
    advice: RefCell<Diagnostics>,
}

/// What comes of compiling a table.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The plan; `None` when some diagnostic is an error.
    pub(crate) plan: Option<Plan>,
    /// What is unwise in a table that is taken.
    pub(crate) advice: Diagnostics,
    /// What its upstreams can be asked.
    pub(crate) asked: Vec<UpstreamProbe>,
}

/// What an upstream can be asked to tell whether the table is right about it.
#[derive(Debug)]
pub struct UpstreamProbe {
    /// What it is asked.
    pub probe: Probe,
    /// Where its address stands.
    pub place: Span,
    /// Where its credential stands, if it has one.
    pub credential: Span,
}

/// What a template may use that came with the call.
struct Inputs {
    /// The arguments.
    args: Fields,
    /// Whether there is an event's payload.
    event: bool,
}

impl Inputs {
    /// Where no call's own values are known: in defaults and upstreams.
    fn none() -> Self {
        Self { args: Fields::Leaf, event: false }
    }
}

/// Compiles a table. Without errors among the diagnostics there is a plan, and it hears advice.
pub(crate) fn compile(
    table: &Table,
    sources: &Sources,
    environment: &Environment<'_>,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Compiled {
    let mut context = TableCompiler {
        table,
        sources,
        secrets: secrets::Secrets {
            environment,
            folder: &table.folder,
            masks: RefCell::default(),
            files: RefCell::default(),
            resolved: RefCell::default(),
            contents: RefCell::default(),
        },
        templates: Compiler {
            sources,
            files: &table.templates,
            used: RefCell::default(),
            uses: RefCell::default(),
            included: Default::default(),
        },
        vars: Map::new(),
        headers: Vec::new(),
        shared_files: BTreeSet::new(),
        advice: RefCell::default(),
    };
    for (name, value) in &table.vars {
        if name.value.is_empty()
            || name.value.contains(|c: char| c.is_whitespace() || "./[]{}\"'`@".contains(c))
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("invalid constant name `{}`", name.value),
                )
                .help("use letters, digits and `_`, so that templates can write it"),
            );
        }
        if let Some(node) = value.get() {
            context.no_secret(node, "[vars]", diagnostics);
            context.no_templates(node, "a constant", diagnostics);
            context.vars.insert(name.value.clone(), node.to_json());
        }
    }
    let server = context.server(diagnostics);
    let log = context.log(diagnostics);
    let traces = context.traces(diagnostics);
    let platforms = context.platforms(diagnostics);
    context.headers = platforms.iter().flat_map(|served| served.headers.iter().cloned()).collect();
    let nothing = Inputs::none();
    let names = context.names(&nothing, &[], 0);
    let failure_texts = context.failure_texts(&table.defaults.failure, &names, diagnostics);
    let shared = context.shared_headers(diagnostics);
    let upstreams = context.upstreams(&shared, diagnostics);
    context.shared_files = context.used_files();
    let mut routes = context.routes(&platforms, &upstreams, diagnostics);
    routes.extend(context.forms(&platforms, diagnostics));
    let mut events = context.events(&upstreams, diagnostics);
    give_slots(&mut routes, &mut events);
    context.presence(diagnostics);
    context.check_allow(&table.defaults.allow, diagnostics);
    diagnostics.silence(0, &advice::allowed_codes(&table.defaults.allow));

    dependencies.files.extend(context.secrets.files.borrow().iter().cloned());
    let Some(server) = server.filter(|_| !diagnostics.has_errors()) else {
        return Compiled { plan: None, advice: Diagnostics::default(), asked: Vec::new() };
    };
    context.advise_public_url(&server, &platforms);
    let (revision, masks) = (revision(table, sources), context.secrets.masks.borrow().clone());
    let contents = hex::encode(context.secrets.contents.borrow().clone().finish());
    let plan = Plan {
        server,
        log,
        traces: traces.map(Arc::new),
        routes: routes.into_iter().map(|route| (route.name.clone(), Arc::new(route))).collect(),
        events,
        platforms,
        failure_texts,
        deliveries: upstreams
            .values()
            .filter_map(|known| known.upstream.as_ref())
            .map(|upstream| upstream.delivery.clone())
            .collect(),
        identity: identity(&format!("{revision}{contents}"), &context.secrets.resolved.borrow()),
        masks,
        revision,
        files: sources.iter().map(|source| PathBuf::from(&source.name)).collect(),
    };
    Compiled { plan: Some(plan), asked: context.probes(&upstreams), advice: context.advice.into_inner() }
}

/// Gives each limit its slot among the resources of the plan.
fn give_slots(routes: &mut [Route], events: &mut [(&'static str, &'static str, Arc<Route>)]) {
    let events = events.iter_mut().filter_map(|(_, _, entry)| Arc::get_mut(entry));
    let limits = routes.iter_mut().chain(events).filter_map(|route| route.limit.as_mut());
    for (slot, limit) in limits.enumerate() {
        limit.slot = slot;
    }
}

/// A hash of everything that was read, by its place relative to the main file: the same on every instance.
fn revision(table: &Table, sources: &Sources) -> String {
    let mut files: Vec<(String, &str)> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            // The main file may have any name; where a copy of the table lies does not matter.
            let relative = source.path.strip_prefix(&table.folder).unwrap_or(&source.path);
            let name = if index == 0 { String::new() } else { relative.display().to_string() };
            (name, source.text.as_str())
        })
        .collect();
    files.sort();
    let hash = files.iter().fold(Fingerprint::new(), |hash, (name, text)| hash.text(name).text(text));
    hex::encode(&hash.finish()[..8])
}

/// A hash of everything that was read and of every secret by its name: which secret is where matters, not only
/// which there are.
fn identity(revision: &str, secrets: &BTreeMap<String, Secret>) -> [u8; 32] {
    let hash = Fingerprint::new().text(revision);
    secrets.iter().fold(hash, |hash, (name, secret)| hash.text(name).text(secret.reveal())).finish()
}

impl<'a> TableCompiler<'a> {
    /// A table without platforms or routes is refused: a truncated file must not empty the proxy.
    fn presence(&self, diagnostics: &mut Diagnostics) {
        let main = Span::start_of(self.table.main);
        if self.table.platforms.is_empty() && !self.table.hides("[platforms", self.sources) {
            diagnostics.push(
                Diagnostic::new(Code::NoPlatforms, main, "no platform is served")
                    .help("add at least one: an empty `[platforms.swaig]` serves SWAIG at /swaig"),
            );
        }
        if self.table.routes.is_empty() && !self.table.hides("[routes", self.sources) {
            diagnostics.push(
                Diagnostic::new(Code::NoRoutes, main, "no route is defined")
                    .help("add one: `[routes.my_function]` with `reply.text = \"…\"` is enough"),
            );
        }
    }

    fn names<'n>(&'n self, inputs: &'n Inputs, steps: &'n [StepNames], before: usize) -> Names<'n> {
        let Inputs { args, event } = inputs;
        Names { args, steps, before, event: *event, headers: &self.headers, vars: &self.vars }
    }

    /// Compiles a string of the table as a template.
    fn template(
        &self,
        text: &Located<String>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        let text = TemplateText { text: &text.value, origin: Origin::String(text.span) };
        self.templates.compile(text, names, diagnostics)
    }

    /// Compiles a template file that a key names.
    fn template_file(
        &self,
        name: &Located<String>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        match self.templates.file(&name.value) {
            Some(text) => self.templates.compile(text, names, diagnostics),
            None => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownTemplateFile,
                        name.span,
                        format!("unknown template file `{}`", name.value),
                    )
                    .help(self.table.template_help(&name.value)),
                );
                None
            }
        }
    }

    /// What is said on failures: a template per kind.
    fn failure_texts(
        &self,
        texts: &Key<Named<String>>,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> FailureTexts {
        let mut out = FailureTexts::default();
        for (kind, text) in texts.get().map(|texts| texts.value.0.as_slice()).unwrap_or_default() {
            let Some(known) = failure_kind(&kind.value, kind.span, diagnostics) else { continue };
            let Some(text) = text.get() else { continue };
            let template = self.template(text, names, diagnostics);
            if known == FailureKind::InvalidArgs {
                diagnostics.push(
                    Diagnostic::new(Code::UnusedText, kind.span, "this text is never used")
                        .label("never used")
                        .help("add a reply case with `when.failure = \"invalid_args\"` to replace the built-in message"),
                );
                continue;
            }
            out.0.extend(template.map(|template| (known, template)));
        }
        out
    }

    /// Refuses secrets where they are not resolved.
    fn no_secret(&self, node: &Node, place: &str, diagnostics: &mut Diagnostics) {
        self.each_string(node, &mut |text, span| {
            self.no_secret_in(text, span, place, diagnostics);
        });
    }

    fn no_secret_in(&self, text: &str, token: Span, place: &str, diagnostics: &mut Diagnostics) {
        for (at, _) in text.match_indices("${") {
            let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
            let span = place_in_string(self.sources.text(token), token, at..end);
            diagnostics.push(
                Diagnostic::new(Code::SecretPlace, span, format!("secrets are not resolved in {place}"))
                    .label("would be sent as it is")
                    .help(if ["[server]", SERVICE].contains(&place) {
                        "write the value itself; secrets belong in `auth`, and in the `base_url` and `headers` of an upstream"
                    } else {
                        "put the secret in the upstream's `auth` or `headers`; put constants in [vars] and write `{{vars.name}}`"
                    }),
            );
        }
    }

    /// Refuses templates in values that are fixed at load.
    fn no_templates(&self, node: &Node, what: &str, diagnostics: &mut Diagnostics) {
        self.each_string(node, &mut |text, span| {
            values::no_template(text, span, what, diagnostics);
        });
    }

    fn each_string(&self, node: &Node, visit: &mut dyn FnMut(&str, Span)) {
        match &node.value {
            Kind::String(text) => visit(text, node.span),
            Kind::List(items) => items.iter().for_each(|item| self.each_string(item, visit)),
            Kind::Table(entries) => entries.iter().for_each(|(_, node)| self.each_string(node, visit)),
            _ => {}
        }
    }

    /// The template files used since the last call, as text for a fingerprint.
    fn used_files(&self) -> BTreeSet<&'a str> {
        let used = std::mem::take(&mut *self.templates.used.borrow_mut());
        used.into_iter().map(|id| self.sources.get(id).text.as_str()).collect()
    }
}

/// The kind of failure that a table means.
fn failure_kind(slug: &str, span: Span, diagnostics: &mut Diagnostics) -> Option<FailureKind> {
    let known = FailureKind::from_slug(slug);
    if known.is_none() {
        diagnostics.push(
            Diagnostic::new(Code::UnknownFailure, span, format!("unknown kind of failure `{slug}`"))
                .maybe_help(suggest(slug, FailureKind::NAMED.map(FailureKind::slug))),
        );
    }
    known
}
