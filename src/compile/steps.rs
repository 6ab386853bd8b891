//! `[[routes.x.steps]]`, and the one step that `request` is: what is asked of upstreams, in which order, and what
//! is taken out of their replies.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::lang::template::{RESERVED, StepNames};
use crate::plan::extraction::{Extract, Extraction};
use crate::plan::route::{BodyFormat, Step};
use crate::plan::when::When;
use crate::table::document::Located;
use crate::table::raw::{RawExtract, RawRequest, RawResponse, RawRoute, RawStep};
use crate::table::reader::{Key, Named, missing_key};

use super::reply::json_path;
use super::upstreams::{CompiledUpstream, Upstreams};
use super::{Inputs, TableCompiler, values};

/// The most steps of a route: more could never be asked before a caller hangs up.
const MAX_STEPS: usize = 32;

/// What `response.format` may be.
pub(super) const RESPONSE_FORMATS: [(&str, BodyFormat); 3] =
    [("json", BodyFormat::Json), ("text", BodyFormat::Text), ("xml", BodyFormat::Xml)];

impl TableCompiler<'_> {
    /// The steps of a route, without those that have faults, and the names that they bring.
    pub(super) fn steps(
        &self,
        name: &Located<String>,
        raw: &RawRoute,
        inputs: &Inputs,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> (Vec<Step>, Vec<StepNames>) {
        if !raw.steps.is_absent() {
            return self.named_steps(raw, inputs, upstreams, diagnostics);
        }
        let (extraction, extracts) = self.extraction(&raw.extract, diagnostics);
        let names = vec![StepNames { name: None, extracts }];
        if raw.request.is_absent() {
            self.no_request(raw, diagnostics);
            // The names exist all the same: that the request is missing is fault enough.
            let meant = !raw.upstream.is_absent() || !raw.extract.is_absent() || raw.later;
            return (Vec::new(), if meant { names } else { Vec::new() });
        }
        let parts = Parts {
            owner: format!("route `{}`", name.value),
            owner_span: name.span,
            upstream: &raw.upstream,
            request: &raw.request,
            response: &raw.response,
        };
        let step =
            self.step(parts, extraction, None, When::default(), 0, inputs, &names, upstreams, diagnostics);
        (step.into_iter().collect(), names)
    }

    /// A route without a request has no upstream and nothing to read.
    fn no_request(&self, raw: &RawRoute, diagnostics: &mut Diagnostics) {
        if let Some(upstream) = raw.upstream.span().filter(|_| !raw.later) {
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
            if let Some(span) = span.filter(|_| raw.upstream.is_absent()) {
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
    }

    fn named_steps(
        &self,
        raw: &RawRoute,
        inputs: &Inputs,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> (Vec<Step>, Vec<StepNames>) {
        let beside = [
            ("request", raw.request.span()),
            ("extract", raw.extract.span()),
            ("response", raw.response.span()),
        ];
        for (key, span) in beside {
            if let Some(span) = span {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        span,
                        format!("a route has `{key}` or `steps`, not both"),
                    )
                    .help(format!("move `{key}` into the step that it belongs to")),
                );
            }
        }
        let list = raw.steps.get().map(|list| list.value.as_slice()).unwrap_or_default();
        if list.is_empty() || list.len() > MAX_STEPS {
            if let Some(span) = raw.steps.span() {
                diagnostics.push(
                    Diagnostic::new(
                        Code::RequestIncomplete,
                        span,
                        format!("a route has 1 to {MAX_STEPS} steps"),
                    )
                    .help("leave `steps` out for a route that answers by itself"),
                );
            }
            return (Vec::new(), Vec::new());
        }
        let mut names: Vec<StepNames> = Vec::new();
        let mut extractions = Vec::new();
        for step in list {
            let (extraction, extracts) = self.extraction(&step.value.extract, diagnostics);
            extractions.push(extraction);
            let name = self.step_name(step, list, diagnostics).unwrap_or_default();
            names.push(StepNames { name: Some(name), extracts });
        }
        let mut steps: Vec<Step> = Vec::new();
        let mut group_start = 0;
        for (index, (step, extraction)) in list.iter().zip(extractions).enumerate() {
            let group = step.value.group.get().map(|group| group.value.as_str());
            let earlier = index.checked_sub(1).and_then(|before| list[before].value.group.get());
            if group.is_none() || earlier.map(|group| group.value.as_str()) != group {
                group_start = index;
            }
            // Steps of one group are asked at the same time: none of them sees another.
            let (when, failed) = self.step_when(step, &names, group_start, inputs, diagnostics);
            let upstream = if step.value.upstream.is_absent() { &raw.upstream } else { &step.value.upstream };
            let parts = Parts {
                owner: format!("step `{}`", names[index].name.as_deref().unwrap_or_default()),
                owner_span: step.value.name.span().unwrap_or(step.span),
                upstream,
                request: &step.value.request,
                response: &step.value.response,
            };
            let built = self.step(
                parts,
                extraction,
                failed,
                when,
                group_start,
                inputs,
                &names,
                upstreams,
                diagnostics,
            );
            if let Some(mut built) = built {
                let name = names[index].name.clone();
                built.request.step = name.as_deref().unwrap_or_default().into();
                steps.push(Step { name, group: group.map(str::to_owned), ..built });
            }
        }
        let covered: Vec<usize> = steps.iter().filter_map(|step| step.after_failure_of).collect();
        for (index, step) in steps.iter_mut().enumerate() {
            step.has_fallback = covered.contains(&index);
        }
        (steps, names)
    }

    fn step_name(
        &self,
        step: &Located<RawStep>,
        list: &[Located<RawStep>],
        diagnostics: &mut Diagnostics,
    ) -> Option<String> {
        let Some(name) = step.value.name.get() else {
            if step.value.name.is_absent() {
                diagnostics.push(missing_key(
                    step.span,
                    "this step has no `name`",
                    "write `name = \"lookup\"`: replies see what it brings under this name",
                ));
            }
            return None;
        };
        if RESERVED.contains(&name.value.as_str()) {
            diagnostics.push(reserved(name, "step"));
        } else if name.value.is_empty()
            || !name.value.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        {
            diagnostics.push(
                Diagnostic::new(Code::InvalidName, name.span, format!("`{}` cannot name a step", name.value))
                    .help("use letters, digits and `_`, so that templates can write it"),
            );
        }
        let first =
            list.iter().filter_map(|step| step.value.name.get()).find(|other| other.value == name.value);
        if let Some(first) = first.filter(|first| first.span != name.span) {
            diagnostics.push(
                Diagnostic::new(
                    Code::DuplicateName,
                    name.span,
                    format!("the step `{}` is given twice", name.value),
                )
                .related(first.span, "first given here")
                .help("give each step a name of its own"),
            );
        }
        Some(name.value.clone())
    }

    /// The conditions of a step, and the step whose failure it makes good.
    fn step_when(
        &self,
        step: &Located<RawStep>,
        names: &[StepNames],
        before: usize,
        inputs: &Inputs,
        diagnostics: &mut Diagnostics,
    ) -> (When, Option<usize>) {
        let Some(raw) = step.value.when.get() else { return (When::default(), None) };
        if let Some(failure) = raw.value.failure.get() {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownKey,
                    failure.span,
                    "`failure` names a kind, and belongs into a reply case's `when`",
                )
                .help("to ask this step when another has failed, name that step: `when.failed = \"lookup\"`"),
            );
        }
        let known = self.names(inputs, names, before);
        let when = self.when(&raw.value, &known, before > 0, diagnostics);
        let earlier = || names[..before].iter().filter_map(|step| step.name.as_deref());
        let failed = raw.value.failed.get().and_then(|failed| {
            let found = earlier().position(|name| name == failed.value);
            if found.is_none() {
                let is_kind = crate::call::FailureKind::from_slug(&failed.value).is_some();
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownName,
                        failed.span,
                        format!("no step before this one is called `{}`", failed.value),
                    )
                    .maybe_help(suggest(&failed.value, earlier()))
                    .maybe_help(is_kind.then(|| {
                        format!(
                            "`{0}` is a kind of failure: in a reply case write `when.failure = \"{0}\"`",
                            failed.value
                        )
                    })),
                );
            }
            found
        });
        (when, failed)
    }

    #[expect(clippy::too_many_arguments, reason = "each is a part of what one step is made of")]
    fn step(
        &self,
        parts: Parts<'_>,
        extraction: Extraction,
        after_failure_of: Option<usize>,
        when: When,
        before: usize,
        inputs: &Inputs,
        names: &[StepNames],
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Step> {
        let upstream = self.named_upstream(parts.upstream, upstreams, diagnostics);
        if parts.upstream.is_absent() {
            diagnostics.push(
                Diagnostic::new(
                    Code::RequestIncomplete,
                    parts.owner_span,
                    format!("the {} has a request but no `upstream`", parts.owner),
                )
                .help(match upstreams.keys().next() {
                    Some(known) => format!("say whom it goes to: `upstream = \"{known}\"`"),
                    None => {
                        "add `[upstreams.api]` with a `base_url`, and `upstream = \"api\"` here".to_owned()
                    }
                }),
            );
        }
        if parts.request.is_absent() {
            diagnostics.push(missing_key(
                parts.owner_span,
                format!("the {} has no `request`", parts.owner),
                "say what is sent: `request = { method = \"GET\", path = \"/…\" }`",
            ));
        }
        let known = self.names(inputs, names, before);
        let request =
            parts.request.get().and_then(|request| self.request(request, upstream, &known, diagnostics));
        let format =
            parts.response.get().and_then(|response| self.format(&response.value.format, diagnostics));
        Some(Step {
            name: None,
            group: None,
            after_failure_of,
            has_fallback: false,
            when,
            request: request?,
            format,
            extraction,
        })
    }

    /// The upstream that a route or step names; a fault when there is none.
    fn named_upstream<'u>(
        &self,
        name: &Key<String>,
        upstreams: &'u Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<&'u CompiledUpstream<'u>> {
        let name = name.get()?;
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

    /// What is taken out of a reply, and the names that exist for templates: also those whose path is faulty, for
    /// one fault is enough.
    fn extraction(
        &self,
        raw: &Key<Named<RawExtract>>,
        diagnostics: &mut Diagnostics,
    ) -> (Extraction, Vec<String>) {
        let mut extraction = Extraction::default();
        let mut names = Vec::new();
        for (name, extract) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            if RESERVED.contains(&name.value.as_str()) {
                diagnostics.push(reserved(name, "extract"));
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
            names.push(name.value.clone());
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
        extraction.names.clone_from(&names);
        (extraction, names)
    }

    fn format(&self, format: &Key<String>, diagnostics: &mut Diagnostics) -> Option<BodyFormat> {
        let text = format.get()?;
        let format = values::word(&RESPONSE_FORMATS, &text.value);
        if format.is_none() {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownValue,
                    text.span,
                    format!("`format` cannot be `{}`", text.value),
                )
                .maybe_help(suggest(&text.value, RESPONSE_FORMATS.map(|(word, _)| word))),
            );
        }
        format
    }
}

/// What a step is written as.
struct Parts<'r> {
    /// What to call it in a message.
    owner: String,
    owner_span: Span,
    upstream: &'r Key<String>,
    request: &'r Key<RawRequest>,
    response: &'r Key<RawResponse>,
}

fn reserved(name: &Located<String>, what: &str) -> Diagnostic {
    Diagnostic::new(Code::ReservedName, name.span, format!("`{}` is a name of the language", name.value))
        .help(format!("give the {what} another name"))
}
