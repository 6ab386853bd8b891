//! `[routes]`: each route is compiled on its own, so that one bad one hides no other.

use serde_json::{Map, Value};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::fingerprint::Fingerprint;
use crate::plan::Served;
use crate::plan::route::Route;
use crate::platform::{self, Holds, Platform};
use crate::table::document::{Kind, Located};
use crate::table::raw::RawRoute;
use crate::table::reader::{Key, Named, WithJson, missing_key, table, unknown_key, wrong_type};

use super::reply::Owner;
use super::server::known_platform;
use super::upstreams::Upstreams;
use super::{Inputs, TableCompiler, values};

impl TableCompiler<'_> {
    /// The routes, without those that have faults.
    pub(super) fn routes(
        &self,
        platforms: &[Served],
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Route> {
        self.table
            .routes
            .iter()
            .filter_map(|(name, raw)| {
                let said = &raw.get()?.value;
                self.allowing(&said.entry.allow, diagnostics, |diagnostics| {
                    self.route(name, said, platforms, upstreams, diagnostics)
                })
            })
            .collect()
    }

    fn route(
        &self,
        name: &Located<String>,
        said: &WithJson<RawRoute>,
        platforms: &[Served],
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Route> {
        let raw = &said.entry;
        self.templates.uses.take();
        let limited = self.route_platforms(raw, diagnostics);
        let callers = callers(limited.as_deref(), platforms);
        let help = "rename the route, or restrict who may call it: `platforms = [\"http\"]`";
        check_name(name, &callers, help, diagnostics);
        let (arguments, args) = self.arguments(name, raw, diagnostics);
        if let Some(arguments) = &arguments {
            check_parameters(name, raw, arguments.schema(), &callers, diagnostics);
        }
        let inputs = Inputs { args, event: false };
        let before = diagnostics.len();
        let (steps, step_names) = self.steps(name, raw, &inputs, upstreams, diagnostics);
        let steps_are_good = diagnostics.len() == before;
        let reply_names = self.names(&inputs, &step_names, step_names.len());
        let serves =
            |served: &&Served| callers.iter().any(|platform| platform.name() == served.platform.name());
        let allowed = self.allowed(raw, &reply_names, platforms.iter().filter(serves), diagnostics);
        // What is written for a reply is not doubted again when the request is what is missing.
        let asks =
            !(raw.request.is_absent() && raw.steps.is_absent() && raw.upstream.is_absent()) || raw.later;
        let replies = self.replies(&raw.reply, &reply_names, asks, diagnostics);
        if !asks && raw.reply.is_absent() {
            diagnostics.push(missing_key(
                name.span,
                format!("the route `{}` has neither a `request` nor a `reply`", name.value),
                "add a `request` or a `reply`",
            ));
        }
        let failure_names = self.names(&inputs, &[], 0);
        let failure_texts = self.failure_texts(&raw.failure, &failure_names, diagnostics);
        let timeout = raw.timeout.get().map(|text| values::duration(text, diagnostics));
        let extensions = self.extensions(&raw.own, Owner::Route, &failure_names, diagnostics);
        let streaming = raw.streaming.get().is_some_and(|streaming| streaming.value);
        if !streaming {
            only_streamed(raw, diagnostics);
        }
        self.advise_unused(raw, &replies);
        let waiting: Vec<&Served> = platforms.iter().filter(serves).collect();
        self.advise_unguarded(raw, &steps, &waiting);
        self.advise_timeout(raw, timeout.flatten(), &waiting);
        let declare = self.declare(&raw.declare, diagnostics);
        let care = self.care(raw, &steps, diagnostics);
        let fingerprint = self.fingerprint(said, raw, upstreams);
        Some(Route {
            description: raw.description.get().map(|description| description.value.clone()),
            platforms: limited.map(|platforms| platforms.iter().map(|platform| platform.name()).collect()),
            allowed,
            steps: steps_are_good.then_some(steps)?,
            replies,
            failure_texts,
            timeout: timeout.flatten(),
            limit: care.limit,
            idempotency_key: care.idempotency_key,
            repeat_window: care.repeat_window,
            cache: care.cache,
            streaming,
            extensions,
            declare,
            ..Route::new(name.value.clone(), arguments?, fingerprint)
        })
    }

    /// `declare`: what is declared to one platform alone.
    fn declare(
        &self,
        raw: &Key<Named<Kind>>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(&'static str, Map<String, Value>)> {
        let mut out = Vec::new();
        for (name, node) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            let (Some(platform), Some(node)) = (known_platform(name, diagnostics), node.get()) else {
                continue;
            };
            self.no_templates(node, "a declaration", diagnostics);
            let known: Vec<&str> = platform.declare_keys().iter().map(|key| key.key).collect();
            let mut extra = Map::new();
            for (key, node) in table(node, diagnostics).into_iter().flatten() {
                let Some(declared) = platform.declare_keys().iter().find(|known| known.key == key.value)
                else {
                    unknown_key(key, &known, diagnostics);
                    continue;
                };
                let value = node.to_json();
                if declared.holds.fits(&value) {
                    extra.insert(key.value.clone(), value);
                } else if let (Holds::Word(words), Some(word)) = (declared.holds, node.as_str()) {
                    diagnostics.push(
                        Diagnostic::new(
                            Code::UnknownValue,
                            node.span,
                            format!("invalid value `{word}` for `{}`", key.value),
                        )
                        .maybe_help(suggest(word, words.iter().copied())),
                    );
                } else {
                    wrong_type::<()>(node, &declared.holds.name(), diagnostics);
                }
            }
            out.push((platform.name(), extra));
        }
        out
    }

    /// The platforms that a route is limited to.
    fn route_platforms(
        &self,
        raw: &RawRoute,
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<&'static dyn Platform>> {
        let listed = raw.platforms.get()?;
        for name in &listed.value {
            let known = crate::platform::find(&name.value).is_some();
            if known && !self.table.platforms.iter().any(|(served, _)| served.value == name.value) {
                diagnostics.push(
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
            diagnostics.push(
                Diagnostic::new(Code::UnservedPlatform, listed.span, "no platform may call this route")
                    .help("list the platforms, or remove the key to allow all"),
            );
        }
        Some(listed.value.iter().filter_map(|name| known_platform(name, diagnostics)).collect())
    }

    /// A hash of everything that decides how the route behaves, secrets apart.
    pub(super) fn fingerprint(
        &self,
        said: &WithJson<RawRoute>,
        raw: &RawRoute,
        upstreams: &Upstreams<'_>,
    ) -> [u8; 32] {
        let mut texts = vec![&*said.json, &*self.table.defaults_json];
        let named = raw.steps.get().map(|steps| steps.value.as_slice()).unwrap_or_default();
        for name in std::iter::once(&raw.upstream).chain(named.iter().map(|step| &step.value.upstream)) {
            let upstream = name.get().and_then(|name| upstreams.get(name.value.as_str()));
            texts.push(upstream.map_or("", |known| known.json));
        }
        texts.extend(self.used_files());
        texts.extend(&self.shared_files);
        let mut hash = texts.iter().fold(Fingerprint::new(), |hash, text| hash.text(text));
        if texts.iter().any(|text| text.contains("vars")) {
            hash = hash.text(&Value::Object(self.vars.clone()).to_string());
        }
        let schema =
            raw.args_schema.get().and_then(|name| self.table.schemas.get(&name.value)?.as_ref().ok());
        hash.text(schema.map_or("", |id| self.sources.get(*id).text.as_str())).finish()
    }
}

/// The platforms that may call a route.
fn callers(limited: Option<&[&'static dyn Platform]>, served: &[Served]) -> Vec<&'static dyn Platform> {
    match limited {
        Some(platforms) => platforms.to_vec(),
        None => served.iter().map(|served| served.platform).collect(),
    }
}

/// Checks the name of a function, for each platform that may call it.
pub(super) fn check_name(
    name: &Located<String>,
    callers: &[&'static dyn Platform],
    help: &str,
    diagnostics: &mut Diagnostics,
) {
    if name.value.is_empty() || name.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
    {
        diagnostics.push(
            Diagnostic::new(Code::InvalidName, name.span, format!("invalid function name `{}`", name.value))
                .help("use letters, digits and `_`, starting with a letter"),
        );
        return;
    }
    for platform in callers {
        if let Err(rule) = platform.check_function_name(&name.value) {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("{} does not accept the function name `{}`", platform.name(), name.value),
                )
                .label(rule)
                .help(help),
            );
        }
    }
}

/// Checks the declared arguments, for each platform that may call the function.
fn check_parameters(
    name: &Located<String>,
    raw: &RawRoute,
    schema: &Value,
    callers: &[&'static dyn Platform],
    diagnostics: &mut Diagnostics,
) {
    for platform in callers {
        for (argument, rule) in platform.check_parameters(schema) {
            let declared = raw.args.get().and_then(|args| {
                let (key, arg) = args.value.0.iter().find(|(key, _)| key.value == argument)?;
                Some(arg.get().and_then(|arg| arg.value.type_name.span()).unwrap_or(key.span))
            });
            let span = declared.or(raw.args_schema.span()).unwrap_or(name.span);
            diagnostics
                .push(parameter_type(*platform, &argument, rule, span).help(
                    "change the type, or restrict who may call the function: `platforms = [\"http\"]`",
                ));
        }
    }
}

/// An argument that a platform cannot be told.
pub(super) fn parameter_type(
    platform: &dyn Platform,
    argument: &str,
    rule: String,
    span: Span,
) -> Diagnostic {
    Diagnostic::new(
        Code::ParameterType,
        span,
        format!("{} does not support the argument `{argument}`", platform.name()),
    )
    .label(rule)
}

/// Refuses what is sent in a stream only, in a route that does not stream its answer.
fn only_streamed(raw: &RawRoute, diagnostics: &mut Diagnostics) {
    let cases = raw.reply.get().map(|replies| replies.value.0.as_slice()).unwrap_or_default();
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
