//! `[[routes.x.reply]]`: the reply cases.

pub(in crate::compile) mod extensions;
pub(in crate::compile) mod json;
pub(in crate::compile) mod when;

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, Span};
use crate::lang::template::Names;
use crate::plan::replies::{Case, DataTemplate, Replies};
use crate::plan::when::When;
use crate::table::document::Located;
use crate::table::raw::{RawReplies, RawReply, RawWhen};
use crate::table::reader::{Key, missing_key};

use crate::compile::cx::Cx;
use crate::compile::failures;
use crate::compile::state::memory;

use extensions::ExtensionOwner;

/// The reply cases of a route, without those that have errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Key<RawReplies>,
    names: &Names<'_>,
    has_request: bool,
) -> Replies {
    let mut cases = Vec::new();
    let mut earlier = Unconditional::default();
    if let Some(list) = raw.get().filter(|list| list.value.0.is_empty()) {
        cx.report(missing_key(
            list.span,
            "empty list of reply cases",
            "add a case, `[{ text = \"…\" }]`, or remove `reply` to reply with all extracted values",
        ));
    }
    for raw in raw.cases() {
        let is_for_failure = raw.value.when.get().is_some_and(|when| !when.value.failure.is_absent());
        let compile = |cx: &mut Cx<'_>| compile_case(cx, raw, names, has_request);
        let case = if is_for_failure { cx.after_failure(compile) } else { compile(cx) };
        let Some(case) = case else { continue };
        let place = raw.value.when.span().unwrap_or(raw.span);
        if let Some(earlier) = earlier.shadow(&case.when) {
            cx.report(
                Diagnostic::new(Code::UnreachableCase, place, "unreachable reply case")
                    .related(earlier, "this case always matches first")
                    .help("put the general case last: the first case that matches is selected"),
            );
        }
        earlier.add(&case.when, place);
        cases.push(case);
    }
    Replies { cases }
}

/// The cases that always match, or match every failure of a kind. A later case for the same is unreachable.
#[derive(Default)]
struct Unconditional {
    success: Option<Span>,
    failures: Vec<(FailureKind, Span)>,
}

impl Unconditional {
    /// The case that always matches before one with these conditions.
    fn shadow(&self, when: &When) -> Option<Span> {
        if when.failure.is_empty() {
            return self.success;
        }
        // After a successful write, only cases with a status are used for failures.
        if !when.status.is_empty() {
            return None;
        }
        let earlier = |kind| self.failures.iter().find(|(known, _)| known == kind).map(|(_, place)| *place);
        let earlier: Option<Vec<Span>> = when.failure.iter().map(earlier).collect();
        earlier?.first().copied()
    }

    fn add(&mut self, when: &When, place: Span) {
        if !when.is_unconditional() {
            return;
        }
        if when.failure.is_empty() {
            self.success = self.success.or(Some(place));
        } else {
            self.failures.extend(when.failure.iter().map(|kind| (*kind, place)));
        }
    }
}

fn compile_case(
    cx: &mut Cx<'_>,
    raw: &Located<RawReply>,
    names: &Names<'_>,
    has_request: bool,
) -> Option<Case> {
    let before = cx.diagnostics.len();
    let RawReply { when, text, data, text_file, data_file, failure, remember, own, .. } = &raw.value;
    let failure = failure.get().and_then(|failure| declared_failure(cx, failure, when));
    if let Some(failed) = when.get().and_then(|when| when.value.failed.get()) {
        cx.report(
            Diagnostic::new(
                Code::UnknownKey,
                failed.span,
                "`failed` names a step and belongs in a step's `when`",
            )
            .help("name the kind of failure in a reply case: `when.failure = \"timeout\"`, or \"any\""),
        );
    }
    let when = when.get().map(|raw| when::compile(cx, &raw.value, names, has_request));
    for (key, file, what) in
        [(text.span(), text_file.span(), "text"), (data.span(), data_file.span(), "data")]
    {
        if let (Some(key), Some(file)) = (key, file) {
            let message = format!("`{what}` and `{what}_file` exclude each other");
            cx.report(
                Diagnostic::new(Code::ConflictingKeys, file, message)
                    .related(key, "the other key")
                    .help("remove one of them"),
            );
        }
    }
    let text = match (text.get(), text_file.get()) {
        (Some(text), _) => cx.template(text, names),
        (None, Some(file)) => cx.template_file(file, names),
        (None, None) => None,
    };
    let data = match (data.get(), data_file.get()) {
        (Some(node), _) => json::compile(cx, node, names).map(DataTemplate::Tree),
        (None, Some(file)) => cx
            .template_file(file, names)
            .filter(|template| json::check_file(cx, file, template))
            .map(DataTemplate::File),
        (None, None) => None,
    };
    let max_chars = max_chars(&raw.value, cx.diagnostics);
    let extensions = extensions::compile(cx, own, ExtensionOwner::Reply, names);
    let remember = memory::compile(cx, remember, names);
    let mut found = cx.diagnostics.iter().skip(before);
    if found.any(|found| found.code.severity() == Severity::Error) {
        return None;
    }
    Some(Case { when: when.unwrap_or_default(), failure, text, data, max_chars, extensions, remember })
}

/// The kind of failure that a case declares.
fn declared_failure(cx: &mut Cx<'_>, kind: &Located<String>, when: &Key<RawWhen>) -> Option<FailureKind> {
    if let Some(condition) = when.get().and_then(|when| when.value.failure.span()) {
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, kind.span, "`failure` has no effect after a failure")
                .related(condition, "this case is only for calls that have already failed")
                .help("remove `failure`, or choose the case by a condition on the response, such as `when.found`"),
        );
    }
    failures::kind_of(&kind.value, kind.span, cx.diagnostics)
}

fn max_chars(raw: &RawReply, diagnostics: &mut Diagnostics) -> Option<usize> {
    let most = raw.max_chars.get()?;
    if most.value == 0 {
        diagnostics.push(
            Diagnostic::new(Code::UnknownValue, most.span, "`max_chars` must be at least 1")
                .help("set the maximum number of characters of the text"),
        );
    }
    if raw.text.is_absent() && raw.text_file.is_absent() {
        diagnostics.push(
            Diagnostic::new(Code::ConflictingKeys, most.span, "`max_chars` has no effect without a `text`")
                .help("add a `text` to the case"),
        );
    }
    Some(usize::try_from(most.value).unwrap_or(usize::MAX))
}
