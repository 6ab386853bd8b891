//! `[[routes.x.steps]]`, or the single step of a `request`: the requests of a route, their order, and the values
//! extracted from the responses.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::lang::template::{Names, RESERVED, StepNames};
use crate::plan::extraction::{Extract, Extraction};
use crate::plan::route::{BodyFormat, Step};
use crate::plan::when::When;
use crate::table::document::Located;
use crate::table::raw::{RawExtract, RawRequest, RawResponse, RawRoute, RawStep};
use crate::table::reader::{Key, Named, missing_key};

use super::reply::json_path;
use super::upstreams::{CompiledUpstream, Upstreams};
use super::{Inputs, TableCompiler, values};

/// The most steps of a route; more could not finish within a call's deadline.
const MAX_STEPS: usize = 32;

/// What `response.format` may be.
pub(super) const RESPONSE_FORMATS: [(&str, BodyFormat); 3] =
    [("json", BodyFormat::Json), ("text", BodyFormat::Text), ("xml", BodyFormat::Xml)];

impl TableCompiler<'_> {
    /// The steps of a route without errors, and the names that they define.
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
            // The names exist all the same: the missing request is one error, not one for each use of them.
            let meant = !raw.upstream.is_absent() || !raw.extract.is_absent() || raw.later;
            return (Vec::new(), if meant { names } else { Vec::new() });
        }
        let plan = StepPlan {
            owner: format!("route `{}`", name.value),
            owner_span: name.span,
            upstream: &raw.upstream,
            request: &raw.request,
            response: &raw.response,
            names: self.names(inputs, &names, 0),
            extraction,
            when: When::default(),
            after_failure_of: None,
        };
        let step = self.step(plan, upstreams, diagnostics);
        (step.into_iter().collect(), names)
    }

    /// Reports the keys that need a `request`.
    fn no_request(&self, raw: &RawRoute, diagnostics: &mut Diagnostics) {
        if let Some(upstream) = raw.upstream.span().filter(|_| !raw.later) {
            diagnostics.push(
                Diagnostic::new(
                    Code::RequestIncomplete,
                    upstream,
                    "this route has an `upstream` but no `request`",
                )
                .help("add `request = { method = \"GET\", path = \"/…\" }`"),
            );
        }
        for (span, what) in [(raw.extract.span(), "`extract`"), (raw.response.span(), "`response`")] {
            // A forgotten request has been reported already.
            if let Some(span) = span.filter(|_| raw.upstream.is_absent()) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::NeedsRequest,
                        span,
                        format!("{what} needs a reply, but this route sends no request"),
                    )
                    .help("add a `request`, or remove this key"),
                );
            }
        }
    }

    /// The steps of a route with `steps`.
    fn named_steps(
        &self,
        raw: &RawRoute,
        inputs: &Inputs,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> (Vec<Step>, Vec<StepNames>) {
        no_request_beside(raw, diagnostics);
        let list = step_list(raw, diagnostics);
        let mut names: Vec<StepNames> = Vec::new();
        let mut extractions = Vec::new();
        for step in list {
            let (extraction, extracts) = self.extraction(&step.value.extract, diagnostics);
            extractions.push(extraction);
            let name = self.step_name(step, list, diagnostics).unwrap_or_default();
            names.push(StepNames { name: Some(name), extracts });
        }
        let mut steps: Vec<Step> = Vec::new();
        for (index, (step, extraction)) in list.iter().zip(extractions).enumerate() {
            // The steps of a group run concurrently, so each sees only what came before the group.
            let before = group_start(list, index);
            let (when, after_failure_of) = self.step_when(step, &names, before, inputs, diagnostics);
            let name = names[index].name.clone();
            let plan = StepPlan {
                owner: format!("step `{}`", name.as_deref().unwrap_or_default()),
                owner_span: step.value.name.span().unwrap_or(step.span),
                upstream: if step.value.upstream.is_absent() { &raw.upstream } else { &step.value.upstream },
                request: &step.value.request,
                response: &step.value.response,
                names: self.names(inputs, &names, before),
                extraction,
                when,
                after_failure_of,
            };
            if let Some(mut built) = self.step(plan, upstreams, diagnostics) {
                built.request.step = name.as_deref().unwrap_or_default().into();
                let group = step.value.group.get().map(|group| group.value.clone());
                steps.push(Step { name, group, ..built });
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
                    "add `name = \"lookup\"`: templates refer to its results by this name",
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
                Diagnostic::new(Code::InvalidName, name.span, format!("invalid step name `{}`", name.value))
                    .help("use letters, digits and `_`, so that templates can write it"),
            );
        }
        let first =
            list.iter().filter_map(|step| step.value.name.get()).find(|other| other.value == name.value);
        if let Some(first) = first.filter(|first| first.span != name.span) {
            diagnostics.push(
                Diagnostic::new(Code::DuplicateName, name.span, format!("duplicate step `{}`", name.value))
                    .related(first.span, "first defined here")
                    .help("give each step its own name"),
            );
        }
        Some(name.value.clone())
    }

    /// The conditions of a step, and the step it is a fallback for.
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
                    "`failure` names a kind of failure and belongs in the `when` of a reply case",
                )
                .help("to run this step when another one has failed, name that step: `when.failed = \"lookup\"`"),
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
                        format!("no earlier step is named `{}`", failed.value),
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

    fn step(
        &self,
        plan: StepPlan<'_>,
        upstreams: &Upstreams<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Step> {
        let upstream = self.named_upstream(plan.upstream, upstreams, diagnostics);
        if plan.upstream.is_absent() {
            diagnostics.push(
                Diagnostic::new(
                    Code::RequestIncomplete,
                    plan.owner_span,
                    format!("the {} has a `request` but no `upstream`", plan.owner),
                )
                .help(match upstreams.keys().next() {
                    Some(known) => format!("name the upstream: `upstream = \"{known}\"`"),
                    None => {
                        "add `[upstreams.api]` with a `base_url`, and `upstream = \"api\"` here".to_owned()
                    }
                }),
            );
        }
        if plan.request.is_absent() {
            diagnostics.push(missing_key(
                plan.owner_span,
                format!("the {} has no `request`", plan.owner),
                "add `request = { method = \"GET\", path = \"/…\" }`",
            ));
        }
        let request =
            plan.request.get().and_then(|request| self.request(request, upstream, &plan.names, diagnostics));
        let format =
            plan.response.get().and_then(|response| self.format(&response.value.format, diagnostics));
        Some(Step {
            name: None,
            group: None,
            after_failure_of: plan.after_failure_of,
            has_fallback: false,
            when: plan.when,
            request: request?,
            format,
            extraction: plan.extraction,
        })
    }

    /// The upstream that a route or step names.
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
                    format!("unknown upstream `{}`", name.value),
                )
                .help(match suggest(&name.value, upstreams.keys().copied()) {
                    Some(help) => help,
                    None => format!("add `[upstreams.{}]` with a `base_url`", name.value),
                }),
            );
        }
        known
    }

    /// The extracts of a reply, and their names: also of those with an invalid path, which is error enough.
    fn extraction(
        &self,
        raw: &Key<Named<RawExtract>>,
        diagnostics: &mut Diagnostics,
    ) -> (Extraction, Vec<String>) {
        let mut extraction = Extraction::default();
        let mut names = Vec::new();
        for (name, extract) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            if !check_extract_name(name, diagnostics) {
                continue;
            }
            names.push(name.value.clone());
            let extract = extract.get().and_then(|extract| self.extract(name, &extract.value, diagnostics));
            extraction.extracts.extend(extract);
        }
        extraction.names.clone_from(&names);
        (extraction, names)
    }

    fn extract(
        &self,
        name: &Located<String>,
        raw: &RawExtract,
        diagnostics: &mut Diagnostics,
    ) -> Option<Extract> {
        let path = match &raw.path {
            Key::Is(path) => json_path(path, diagnostics),
            Key::Faulty => None,
            Key::Absent => {
                diagnostics.push(missing_key(
                    name.span,
                    format!("the extract `{}` has no `path`", name.value),
                    "add `path = \"$.name\"`",
                ));
                None
            }
        }?;
        let flag = |key: &Key<bool>| key.get().is_some_and(|flag| flag.value);
        let default = raw.default.get();
        if let (true, Some(default)) = (flag(&raw.required), default) {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    default.span,
                    "`required` has no effect on an extract with a `default`",
                )
                .help("remove `required` or `default`"),
            );
        }
        if let Some(default) = default {
            self.no_templates(default, "a default", diagnostics);
        }
        Some(Extract {
            path,
            all: flag(&raw.all),
            default: default.map(|default| default.to_json().into()),
            required: flag(&raw.required),
        })
    }

    fn format(&self, format: &Key<String>, diagnostics: &mut Diagnostics) -> Option<BodyFormat> {
        let text = format.get()?;
        let format = values::word(&RESPONSE_FORMATS, &text.value);
        if format.is_none() {
            diagnostics.push(
                Diagnostic::new(Code::UnknownValue, text.span, format!("unknown format `{}`", text.value))
                    .maybe_help(suggest(&text.value, RESPONSE_FORMATS.map(|(word, _)| word))),
            );
        }
        format
    }
}

/// A step as the table writes it, with the parts of it that are compiled already.
struct StepPlan<'r> {
    /// What a message calls it.
    owner: String,
    owner_span: Span,
    upstream: &'r Key<String>,
    request: &'r Key<RawRequest>,
    response: &'r Key<RawResponse>,
    /// The names that its templates may use.
    names: Names<'r>,
    extraction: Extraction,
    when: When,
    after_failure_of: Option<usize>,
}

/// Reports each key that belongs in a step when the route has `steps`.
fn no_request_beside(raw: &RawRoute, diagnostics: &mut Diagnostics) {
    let beside =
        [("request", raw.request.span()), ("extract", raw.extract.span()), ("response", raw.response.span())];
    for (key, span) in beside {
        if let Some(span) = span {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    span,
                    format!("`{key}` and `steps` exclude each other"),
                )
                .help(format!("move `{key}` into the step it belongs to")),
            );
        }
    }
}

/// The listed steps; none if there are too few or too many.
fn step_list<'r>(raw: &'r RawRoute, diagnostics: &mut Diagnostics) -> &'r [Located<RawStep>] {
    let list = raw.steps.get().map(|list| list.value.as_slice()).unwrap_or_default();
    if (1..=MAX_STEPS).contains(&list.len()) {
        return list;
    }
    if let Some(span) = raw.steps.span() {
        diagnostics.push(
            Diagnostic::new(Code::RequestIncomplete, span, format!("a route has 1 to {MAX_STEPS} steps"))
                .help("remove `steps` if the route sends no request"),
        );
    }
    &[]
}

/// The first step of the group that a step belongs to: the step itself without a group.
fn group_start(list: &[Located<RawStep>], index: usize) -> usize {
    let group = |index: usize| list[index].value.group.get().map(|group| group.value.as_str());
    let Some(own) = group(index) else { return index };
    (0..index).rev().take_while(|&earlier| group(earlier) == Some(own)).last().unwrap_or(index)
}

fn check_extract_name(name: &Located<String>, diagnostics: &mut Diagnostics) -> bool {
    if RESERVED.contains(&name.value.as_str()) {
        diagnostics.push(reserved(name, "extract"));
        return false;
    }
    let is_name = |c: char| !c.is_whitespace() && !"./[]{}\"'`@".contains(c);
    if name.value.is_empty() || !name.value.chars().all(is_name) {
        diagnostics.push(
            Diagnostic::new(Code::InvalidName, name.span, format!("invalid extract name `{}`", name.value))
                .help("use letters, digits and `_`, so that templates can write it"),
        );
        return false;
    }
    true
}

fn reserved(name: &Located<String>, what: &str) -> Diagnostic {
    Diagnostic::new(Code::ReservedName, name.span, format!("`{}` is a reserved name", name.value))
        .help(format!("rename the {what}"))
}
