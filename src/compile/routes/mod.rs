//! `[routes]`: each route is compiled on its own, so that an error in one does not hide errors in another.

pub(in crate::compile) mod allowed;
pub(in crate::compile) mod arguments;
pub(in crate::compile) mod call_limits;
pub(in crate::compile) mod defaults;
pub(in crate::compile) mod events;
pub(in crate::compile) mod forms;
pub(in crate::compile) mod functions;
pub(in crate::compile) mod handling;
pub(in crate::compile) mod schema;

use serde_json::Map;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::plan::Served;
use crate::plan::route::{Declared, Route};
use crate::platform::{self, DeclareType, Platform};
use crate::secret::Secret;
use crate::table::document::{Kind, Located};
use crate::table::misplaced_keys::unknown_key;
use crate::table::raw::RawRoute;
use crate::table::reader::{Key, Named, WithJson, table, wrong_type};

use crate::compile::advice;
use crate::compile::cx::{Compiled, Cx};
use crate::compile::kept;
use crate::compile::names::Inputs;
use crate::compile::replies::extensions::{self, ExtensionOwner};
use crate::compile::server::platforms;
use crate::compile::shared::SharedParts;

use functions::{check_name, check_parameters};
use handling::Handling;

/// The routes, without those that have errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, shared: &SharedParts<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (name, raw) in &cx.table.routes {
        if cx.diagnostics.is_full() {
            break;
        }
        let Some(raw) = raw.get() else { continue };
        let allow = &raw.value.entry.allow;
        routes.extend(cx.allowing(allow, |cx| compile_route(cx, name, &raw.value, shared)));
    }
    routes
}

fn compile_route(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    with_json: &WithJson<RawRoute>,
    shared: &SharedParts<'_>,
) -> Option<Route> {
    let raw = &with_json.entry;
    let limited = route_platforms(cx, raw);
    let callers = callers(limited.as_deref(), &shared.platforms);
    let is_caller = |served: &&Served| callers.iter().any(|caller| caller.name() == served.platform.name());
    let served: Vec<&Served> = shared.platforms.iter().filter(is_caller).collect();
    let help = "rename the route, or restrict who may call it: `platforms = [\"http\"]`";
    check_name(name, &callers, help, cx.diagnostics);
    let (arguments, args) = arguments::of_route(cx, name, raw);
    if let Some(arguments) = &arguments {
        check_parameters(name, raw, arguments.schema(), &callers, cx.diagnostics);
    }
    let inputs = Inputs { globals: &shared.globals, args, event: false };
    let Compiled { value: (mut handling, allowed, extensions, defaults), used } = cx.track(|cx| {
        let defaults = defaults::compile(cx, &raw.args, &shared.globals.inputs().names(&[], 0));
        let handling = Handling::compile(cx, name, raw, &inputs, shared);
        let names = inputs.names(&handling.step_names, handling.step_names.len());
        let allowed = allowed::compile(cx, raw, &names, &served);
        let names = inputs.names(&[], 0);
        let extensions = extensions::compile(cx, &raw.own, ExtensionOwner::Route, &names);
        (handling, allowed, extensions, defaults)
    });
    cx.no_template_in_description(&raw.description);
    let streaming = raw.streaming.get().is_some_and(|streaming| streaming.value);
    if !streaming {
        only_streamed(raw, cx.diagnostics);
    }
    handling.set_needs(&used.names);
    advice::unused(cx, raw, &handling.replies, &used.names);
    advice::unguarded(cx, raw, &handling.steps, &served);
    advice::unchecked(cx, raw, &handling.steps, &handling.replies, &used.names);
    advice::timeout(cx, raw, handling.timeout, &served);
    advice::descriptions(cx, name, raw, &served);
    let declare = declare(cx, &raw.declare);
    let has_secret = declare.iter().any(|declared| !declared.secrets.is_empty());
    if has_secret || kept::is_dependent(raw, &used.files) {
        cx.dependent.insert(name.span.file);
    }
    let fingerprint = handling::fingerprint(cx, with_json, shared, &used.files);
    handling.complete(Route {
        description: raw.description.get().map(|description| description.value.clone()),
        platforms: limited.map(|platforms| platforms.iter().map(|platform| platform.name()).collect()),
        allowed,
        streaming,
        extensions,
        declare,
        ..Route::new(name.value.clone(), arguments?.with_defaults(defaults), fingerprint)
    })
}

/// `declare`: extra keys of the declaration to a platform.
fn declare(cx: &mut Cx<'_>, raw: &Key<Named<Kind>>) -> Vec<Declared> {
    let mut out = Vec::new();
    for (name, node) in raw.entries() {
        let (Some(platform), Some(node)) = (platforms::find(name, cx.diagnostics), node.get()) else {
            continue;
        };
        cx.no_templates(node, "a declaration");
        let known: Vec<&str> = platform.declare_keys().iter().map(|key| key.key).collect();
        let (mut keys, mut secrets) = (Map::new(), Vec::new());
        for (key, node) in table(node, cx.diagnostics).into_iter().flatten() {
            let Some(declared) = platform.declare_keys().iter().find(|known| known.key == key.value) else {
                unknown_key(key, &known, cx.diagnostics);
                continue;
            };
            let value = node.to_json();
            if declared.value_type.fits(&value) {
                if let (DeclareType::Secret, Some(text)) = (declared.value_type, node.as_str())
                    && let Some(resolved) = cx.resolve(text, node.span)
                {
                    cx.secrets.masks.add(&resolved.text);
                    if declared.key.contains("password") {
                        cx.advise_on_literal(&resolved, node.span);
                    }
                    secrets.push((declared.key, Secret::new(resolved.text)));
                }
                keys.insert(key.value.clone(), value);
            } else if let (DeclareType::Word(words), Some(word)) = (declared.value_type, node.as_str()) {
                cx.report(
                    Diagnostic::new(
                        Code::UnknownValue,
                        node.span,
                        format!("invalid value `{word}` for `{}`", key.value),
                    )
                    .maybe_help(suggest(word, words.iter().copied())),
                );
            } else {
                wrong_type::<()>(node, &declared.value_type.name(), cx.diagnostics);
            }
        }
        out.push(Declared { platform: platform.name(), keys, secrets });
    }
    out
}

/// The platforms that a route is limited to.
fn route_platforms(cx: &mut Cx<'_>, raw: &RawRoute) -> Option<Vec<&'static dyn Platform>> {
    let listed = raw.platforms.get()?;
    for name in &listed.value {
        let known = platform::find(&name.value).is_some();
        if known && !cx.table.platforms.iter().any(|(served, _)| served.value == name.value) {
            cx.report(
                Diagnostic::new(
                    Code::UnservedPlatform,
                    name.span,
                    format!("the platform `{}` is not served, so it cannot call this route", name.value),
                )
                .help(format!("add `[platforms.{}]`, or remove it from the list", name.value)),
            );
        }
    }
    if listed.value.is_empty() {
        cx.report(
            Diagnostic::new(Code::UnservedPlatform, listed.span, "no platform may call this route")
                .help("list the platforms, or remove the key to allow all"),
        );
    }
    Some(listed.value.iter().filter_map(|name| platforms::find(name, cx.diagnostics)).collect())
}

/// The platforms that may call a route.
fn callers(limited: Option<&[&'static dyn Platform]>, served: &[Served]) -> Vec<&'static dyn Platform> {
    match limited {
        Some(platforms) => platforms.to_vec(),
        None => served.iter().map(|served| served.platform).collect(),
    }
}

/// Reports keys that only a stream can carry, in a route that does not stream its reply.
fn only_streamed(raw: &RawRoute, diagnostics: &mut Diagnostics) {
    let cases = raw.reply.cases();
    let own = raw.own.iter().chain(cases.iter().flat_map(|case| &case.value.own));
    for (platform, node) in own {
        let (Some(known), Kind::Table(entries)) = (platform::find(&platform.value), &node.value) else {
            continue;
        };
        for (key, _) in entries.iter().filter(|(key, _)| known.stream_keys().contains(&key.value.as_str())) {
            diagnostics.push(
                Diagnostic::new(
                    Code::NeedsStreaming,
                    key.span,
                    format!(
                        "`{}.{}` needs a streamed reply, but this route does not stream",
                        platform.value, key.value
                    ),
                )
                .help("add `streaming = true` to the route"),
            );
        }
    }
}
