//! One step of a route: its upstream, its request, and how the response is read.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::lang::body::{BodyFormat, BodyNeed, BodyUse};
use crate::lang::template::Names;
use crate::plan::extraction::Extraction;
use crate::plan::route::Step;
use crate::plan::state::Remember;
use crate::plan::when::When;
use crate::table::raw::{RawRequest, RawResponse};
use crate::table::reader::{Key, missing_key};

use crate::compile::cx::Cx;
use crate::compile::steps::request;
use crate::compile::upstreams::{CompiledUpstream, Upstreams};
use crate::compile::values;

/// The values of `response.format`.
pub(in crate::compile) const RESPONSE_FORMATS: [(&str, BodyFormat); 3] =
    [("json", BodyFormat::Json), ("text", BodyFormat::Text), ("xml", BodyFormat::Xml)];

/// A step of the table, with the parts that have already been compiled.
pub(in crate::compile) struct StepPlan<'r> {
    /// How diagnostics refer to it.
    pub(in crate::compile) owner: String,
    pub(in crate::compile) owner_span: Span,
    pub(in crate::compile) upstream: &'r Key<String>,
    pub(in crate::compile) request: &'r Key<RawRequest>,
    pub(in crate::compile) response: &'r Key<RawResponse>,
    /// The names that its templates may use.
    pub(in crate::compile) names: Names<'r>,
    pub(in crate::compile) extraction: Extraction,
    pub(in crate::compile) when: When,
    pub(in crate::compile) after_failure_of: Option<usize>,
    pub(in crate::compile) remember: Vec<Remember>,
}

/// Compiles a step; `None` after errors in its request.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    plan: StepPlan<'_>,
    upstreams: &Upstreams<'_>,
) -> Option<Step> {
    let upstream = named_upstream(cx, plan.upstream, upstreams);
    if plan.upstream.is_absent() {
        cx.report(
            Diagnostic::new(
                Code::RequestIncomplete,
                plan.owner_span,
                format!("the {} has a `request` but no `upstream`", plan.owner),
            )
            .help(match upstreams.keys().next() {
                Some(known) => format!("name the upstream: `upstream = \"{known}\"`"),
                None => "add `[upstreams.api]` with a `base_url`, and `upstream = \"api\"` here".to_owned(),
            }),
        );
    }
    if plan.request.is_absent() {
        cx.report(missing_key(
            plan.owner_span,
            format!("the {} has no `request`", plan.owner),
            "add `request = { method = \"GET\", path = \"/…\" }`",
        ));
    }
    let request = plan.request.get().and_then(|raw| request::compile(cx, raw, upstream, &plan.names));
    let format = plan.response.get().and_then(|raw| format(&raw.value.format, cx.diagnostics));
    Some(Step {
        name: None,
        group: None,
        after_failure_of: plan.after_failure_of,
        has_fallback: false,
        when: plan.when,
        request: request?,
        // The need is known once the whole route is compiled.
        body: BodyUse { format, need: BodyNeed::Nothing },
        extraction: plan.extraction,
        remember: plan.remember,
    })
}

/// The upstream that a route or step names.
fn named_upstream<'u>(
    cx: &mut Cx<'_>,
    name: &Key<String>,
    upstreams: &'u Upstreams<'_>,
) -> Option<&'u CompiledUpstream<'u>> {
    let name = name.get()?;
    let known = upstreams.get(name.value.as_str());
    if known.is_none() && !cx.table.hides("[upstreams", cx.sources) {
        cx.report(
            Diagnostic::new(Code::UnknownUpstream, name.span, format!("unknown upstream `{}`", name.value))
                .help(match suggest(&name.value, upstreams.keys().copied()) {
                    Some(help) => help,
                    None => format!("add `[upstreams.{}]` with a `base_url`", name.value),
                }),
        );
    }
    known
}

fn format(format: &Key<String>, diagnostics: &mut Diagnostics) -> Option<BodyFormat> {
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
