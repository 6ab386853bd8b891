//! `[routes]`: each route is compiled on its own, so that one bad one hides no other.

use sha2::{Digest, Sha256};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::plan::Served;
use crate::plan::extraction::{Extract, Extraction};
use crate::plan::route::{Format, Route};
use crate::plan::template::RESERVED;
use crate::platform::Platform;
use crate::table::document::Located;
use crate::table::raw::{RawExtract, RawRoute};
use crate::table::reader::{Key, Named, Said, missing_key};

use super::reply::json_path;
use super::server::known_platform;
use super::upstreams::Upstreams;
use super::{Context, values};

impl Context<'_> {
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
            .filter_map(|(name, raw)| self.route(name, &raw.get()?.value, platforms, upstreams, diagnostics))
            .collect()
    }

    fn route(
        &self,
        name: &Located<String>,
        said: &Said<RawRoute>,
        platforms: &[Served],
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Route> {
        let raw = &said.entry;
        let limited = self.route_platforms(name, raw, platforms, diagnostics);
        let (arguments, fields) = self.arguments(name, raw, diagnostics);
        let upstream = self.route_upstream(raw, upstreams, diagnostics);
        let has_request = !raw.request.is_absent();
        if has_request && raw.upstream.is_absent() {
            diagnostics.push(
                Diagnostic::new(
                    Code::RequestIncomplete,
                    name.span,
                    format!("the route `{}` has a request but no `upstream`", name.value),
                )
                .help(match upstreams.keys().next() {
                    Some(known) => format!("say whom it goes to: `upstream = \"{known}\"`"),
                    None => {
                        "add `[upstreams.api]` with a `base_url`, and `upstream = \"api\"` here".to_owned()
                    }
                }),
            );
        }
        if let Some(upstream) = raw.upstream.span()
            && !has_request
            && !raw.later
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::RequestIncomplete,
                    upstream,
                    "this route has an `upstream` but no `request`",
                )
                .help("say what is sent: `request = { method = \"GET\", path = \"/…\" }`"),
            );
        }
        for (span, what) in [(raw.extract.span(), "`extract`"), (raw.response.span(), "`response`")] {
            // A forgotten request has been said already.
            if let Some(span) = span.filter(|_| !has_request && raw.upstream.is_absent()) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::NeedsRequest,
                        span,
                        format!("{what} reads a reply, and this route sends no request"),
                    )
                    .help("add a `request`, or take this out"),
                );
            }
        }
        let request_names = self.names(&fields, &[], false);
        let extraction = self.extraction(&raw.extract, diagnostics);
        // A request may not use what is only known after the reply, but it is told so by name.
        let request_names = super::Names { extracts: &extraction.names, ..request_names };
        let request = raw
            .request
            .get()
            .and_then(|request| self.request(request, upstream, &request_names, diagnostics));
        // What is written for a reply is not doubted again when the request is what is missing.
        let meant = has_request || !raw.upstream.is_absent() || raw.later;
        let reply_names = self.names(&fields, &extraction.names, meant || !raw.extract.is_absent());
        let replies = self.replies(&raw.reply, &reply_names, meant, diagnostics);
        if !meant && raw.reply.is_absent() {
            diagnostics.push(missing_key(
                name.span,
                format!("the route `{}` neither asks nor answers", name.value),
                "give it a `request`, or a `reply` of its own",
            ));
        }
        let failure_names = self.names(&fields, &[], false);
        let failure_texts = self.failure_texts(&raw.failure, &failure_names, diagnostics);
        let timeout = raw.timeout.get().map(|text| values::duration(text, diagnostics));
        let format = raw.response.get().and_then(|response| self.format(&response.value.format, diagnostics));
        let fingerprint = self.fingerprint(said, raw, upstreams);
        Some(Route {
            name: name.value.clone(),
            description: raw.description.get().map(|description| description.value.clone()),
            platforms: limited,
            arguments: arguments?,
            request: if has_request { Some(request?) } else { None },
            format,
            extraction,
            replies,
            failure_texts,
            timeout: timeout.flatten(),
            fingerprint,
        })
    }

    /// The platforms that a route is limited to, after its name has been checked for each that may call it.
    fn route_platforms(
        &self,
        name: &Located<String>,
        raw: &RawRoute,
        served: &[Served],
        diagnostics: &mut Diagnostics,
    ) -> Option<Vec<&'static str>> {
        let limited: Option<Vec<&'static dyn Platform>> = raw
            .platforms
            .get()
            .map(|list| list.value.iter().filter_map(|name| known_platform(name, diagnostics)).collect());
        for name in raw.platforms.get().map(|list| list.value.as_slice()).unwrap_or_default() {
            let known = crate::platform::find(&name.value).is_some();
            if known && !self.table.platforms.iter().any(|(served, _)| served.value == name.value) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnservedPlatform,
                        name.span,
                        format!("the platform `{}` is not served, so it cannot call this route", name.value),
                    )
                    .help(format!("serve it with `[platforms.{}]`, or take it out of the list", name.value)),
                );
            }
        }
        if let Some(list) = raw.platforms.get().filter(|list| list.value.is_empty()) {
            diagnostics.push(
                Diagnostic::new(Code::UnservedPlatform, list.span, "no platform may call this route")
                    .help("name who may, or take the list out: then all can"),
            );
        }
        if name.value.is_empty()
            || name.value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("`{}` cannot name a function", name.value),
                )
                .help("use letters, digits and `_`, and begin with a letter"),
            );
            return limited.map(|platforms| platforms.into_iter().map(|platform| platform.name()).collect());
        }
        let callers: Vec<&'static dyn Platform> = match &limited {
            Some(platforms) => platforms.clone(),
            None => served.iter().map(|served| served.platform).collect(),
        };
        for platform in callers {
            if let Err(rule) = platform.check_function_name(&name.value) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::InvalidName,
                        name.span,
                        format!(
                            "{} does not take `{}` as the name of a function",
                            platform.name(),
                            name.value
                        ),
                    )
                    .label(rule)
                    .help("rename the route, or list who may call it: `platforms = [\"http\"]`"),
                );
            }
        }
        limited.map(|platforms| platforms.into_iter().map(|platform| platform.name()).collect())
    }

    fn route_upstream<'u>(
        &self,
        raw: &RawRoute,
        upstreams: &'u Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<&'u super::upstreams::Known<'u>> {
        let name = raw.upstream.get()?;
        let known = upstreams.get(name.value.as_str());
        if known.is_none() && !self.table.hides("[upstreams", self.sources) {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownUpstream,
                    name.span,
                    format!("there is no upstream `{}`", name.value),
                )
                .help(match suggest(&name.value, upstreams.keys().copied()) {
                    Some(help) => help,
                    None => format!("add `[upstreams.{}]` with a `base_url`", name.value),
                }),
            );
        }
        known
    }

    fn extraction(&self, raw: &Key<Named<RawExtract>>, diagnostics: &mut Diagnostics) -> Extraction {
        let mut extraction = Extraction::default();
        for (name, extract) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            if RESERVED.contains(&name.value.as_str()) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ReservedName,
                        name.span,
                        format!("`{}` is a name of the language", name.value),
                    )
                    .help("give the extract another name"),
                );
                continue;
            }
            if name.value.contains(|c: char| c.is_whitespace() || "./[]{}\"'`@".contains(c))
                || name.value.is_empty()
            {
                diagnostics.push(
                    Diagnostic::new(
                        Code::InvalidName,
                        name.span,
                        format!("`{}` cannot name an extract", name.value),
                    )
                    .help("use letters, digits and `_`, so that templates can write it"),
                );
                continue;
            }
            // The name exists for templates even when its path is faulty: one fault is enough.
            extraction.names.push(name.value.clone());
            let path = extract.get().and_then(|extract| match &extract.value.path {
                Key::Is(path) => json_path(path, diagnostics),
                Key::Faulty => None,
                Key::Absent => {
                    diagnostics.push(missing_key(
                        name.span,
                        format!("the extract `{}` has no `path`", name.value),
                        "write `path = \"$.name\"`",
                    ));
                    None
                }
            });
            let (Some(raw), Some(path)) = (extract.get(), path) else { continue };
            let flag = |key: &Key<bool>| key.get().is_some_and(|flag| flag.value);
            let default = raw.value.default.get();
            if let (true, Some(default)) = (flag(&raw.value.required), default) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        default.span,
                        "an extract with a default is never missing",
                    )
                    .help("keep `required` or `default`"),
                );
            }
            if let Some(default) = default {
                self.no_templates(default, "a default", diagnostics);
            }
            extraction.extracts.push(Extract {
                path,
                all: flag(&raw.value.all),
                default: default.map(|default| default.to_json()),
                required: flag(&raw.value.required),
            });
        }
        extraction
    }

    fn format(&self, format: &Key<String>, diagnostics: &mut Diagnostics) -> Option<Format> {
        let text = format.get()?;
        match text.value.as_str() {
            "json" => Some(Format::Json),
            "text" => Some(Format::Text),
            "xml" => {
                diagnostics.push(
                    Diagnostic::new(Code::NotYet, text.span, "XML replies are not built yet in this version")
                        .help("read it as \"text\" for now"),
                );
                None
            }
            other => {
                diagnostics.push(
                    Diagnostic::new(Code::UnknownValue, text.span, format!("`format` cannot be `{other}`"))
                        .maybe_help(suggest(other, ["json", "text", "xml"])),
                );
                None
            }
        }
    }

    /// A hash of everything that decides how the route behaves, secrets apart.
    fn fingerprint(&self, said: &Said<RawRoute>, raw: &RawRoute, upstreams: &Upstreams<'_>) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        };
        let upstream = raw.upstream.get().and_then(|name| upstreams.get(name.value.as_str()));
        let mut texts =
            vec![&*said.json, &*self.table.defaults_json, upstream.map_or("", |known| known.json)];
        texts.extend(self.used_files());
        texts.extend(&self.shared_files);
        texts.iter().copied().for_each(&mut add);
        if texts.iter().any(|text| text.contains("vars")) {
            add(&serde_json::Value::Object(self.vars.clone()).to_string());
        }
        let schema =
            raw.args_schema.get().and_then(|name| self.table.schemas.get(&name.value)?.as_ref().ok());
        add(schema.map_or("", |id| self.sources.get(*id).text.as_str()));
        hash.finalize().into()
    }
}
