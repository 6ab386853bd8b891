//! `[[routes.x.reply]]`: what is answered, and when.

use serde_json::Value;

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::lang::jsonpath::JsonPath;
use crate::lang::pattern::Pattern;
use crate::lang::template::{Names, Origin, Template, TemplateText};
use crate::plan::replies::{Case, DataTemplate, Extension, Replies};
use crate::plan::when::{StatusRange, When};
use crate::platform::{self, PLATFORMS, PathStep, Platform, StaticValue};
use crate::table::document::{Entries, Kind, Located, Node};
use crate::table::raw::{RawReplies, RawReply, RawRoute, RawWhen};
use crate::table::reader::{Key, missing_key, table, unknown_key, wrong_type};

use super::{TableCompiler, failure_kind};

/// Where a platform's own keys stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    /// In a reply case.
    Reply,
    /// In the route itself.
    Route,
}

impl Owner {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Reply => RawReply::KEYS,
            Self::Route => RawRoute::KEYS,
        }
    }

    fn extension_keys(self, platform: &'static dyn Platform) -> &'static [&'static str] {
        match self {
            Self::Reply => platform.extension_keys(),
            Self::Route => platform.route_keys(),
        }
    }
}

impl TableCompiler<'_> {
    /// The reply cases of a route, without those that have faults.
    pub(super) fn replies(
        &self,
        raw: &Key<RawReplies>,
        names: &Names<'_>,
        has_request: bool,
        diagnostics: &mut Diagnostics,
    ) -> Replies {
        let mut replies = Replies::default();
        let mut always: Option<Span> = None;
        let mut always_failing: Vec<(FailureKind, Span)> = Vec::new();
        if let Some(list) = raw.get().filter(|list| list.value.0.is_empty()) {
            diagnostics.push(missing_key(
                list.span,
                "empty list of reply cases",
                "add a case, `[{ text = \"…\" }]`, or remove `reply` to reply with all extracted values",
            ));
        }
        for raw in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
            let case = self.case(raw, names, has_request, diagnostics);
            let Some(case) = case else { continue };
            let place = raw.value.when.span().unwrap_or(raw.span);
            let shadow = if case.when.failure.is_empty() {
                always
            } else {
                let covered: Option<Vec<Span>> = case
                    .when
                    .failure
                    .iter()
                    .map(|kind| always_failing.iter().find(|(known, _)| known == kind).map(|(_, span)| *span))
                    .collect();
                covered.and_then(|spans| spans.first().copied())
            };
            if let Some(earlier) = shadow {
                diagnostics.push(
                    Diagnostic::new(Code::UnreachableCase, place, "unreachable reply case")
                        .related(earlier, "this case always matches first")
                        .help("put the general case last: the first case that matches is selected"),
                );
            }
            if case.when.is_unconditional() {
                if case.when.failure.is_empty() {
                    always = always.or(Some(place));
                } else {
                    always_failing.extend(case.when.failure.iter().map(|kind| (*kind, place)));
                }
            }
            replies.cases.push(case);
        }
        replies
    }

    fn case(
        &self,
        raw: &Located<RawReply>,
        names: &Names<'_>,
        has_request: bool,
        diagnostics: &mut Diagnostics,
    ) -> Option<Case> {
        let before = diagnostics.len();
        let RawReply { when, text, data, text_file, data_file, max_chars, own } = &raw.value;
        let when = match when.get() {
            Some(when) => {
                if let Some(failed) = when.value.failed.get() {
                    diagnostics.push(
                        Diagnostic::new(Code::UnknownKey, failed.span, "`failed` names a step and belongs in a step's `when`")
                            .help("name the kind of failure in a reply case: `when.failure = \"timeout\"`, or \"any\""),
                    );
                }
                self.when(&when.value, names, has_request, diagnostics)
            }
            None => When::default(),
        };
        for (a, b, what) in [(text.span(), text_file.span(), "text"), (data.span(), data_file.span(), "data")]
        {
            if let (Some(a), Some(b)) = (a, b) {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        b,
                        format!("`{what}` and `{what}_file` exclude each other"),
                    )
                    .related(a, "the other key")
                    .help("remove one of them"),
                );
            }
        }
        let text = match (text.get(), text_file.get()) {
            (Some(text), _) => self.template(text, names, diagnostics),
            (None, Some(file)) => self.template_file(file, names, diagnostics),
            (None, None) => None,
        };
        let data = match (data.get(), data_file.get()) {
            (Some(node), _) => self.json_template(node, names, diagnostics).map(DataTemplate::Tree),
            (None, Some(file)) => self
                .template_file(file, names, diagnostics)
                .filter(|template| self.check_json_file(file, template, diagnostics))
                .map(DataTemplate::File),
            (None, None) => None,
        };
        if let Some(most) = max_chars.get().filter(|most| most.value == 0) {
            diagnostics.push(
                Diagnostic::new(Code::UnknownValue, most.span, "`max_chars` must be at least 1")
                    .help("set the maximum number of characters of the text"),
            );
        }
        if let Some(most) = max_chars.get()
            && text.is_none()
            && raw.value.text.is_absent()
            && raw.value.text_file.is_absent()
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    most.span,
                    "`max_chars` has no effect without a `text`",
                )
                .help("add a `text` to the case"),
            );
        }
        let extensions = self.extensions(own, Owner::Reply, names, diagnostics);
        let errors = diagnostics
            .iter()
            .skip(before)
            .any(|found| found.code.severity() == crate::diagnostic::Severity::Error);
        if errors {
            return None;
        }
        let max_chars = max_chars.get().map(|most| usize::try_from(most.value).unwrap_or(usize::MAX));
        Some(Case { when, text, data, max_chars, extensions })
    }

    /// What only one platform understands, under its name.
    pub(super) fn extensions(
        &self,
        entries: &Entries,
        owner: Owner,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Extension> {
        let mut out = Vec::new();
        for (name, node) in entries {
            let Some(platform) = platform::find(&name.value) else {
                let mut known = owner.keys().to_vec();
                known.extend(PLATFORMS.iter().map(|platform| platform.name()));
                unknown_key(name, &known, diagnostics);
                continue;
            };
            for (key, node) in table(node, diagnostics).into_iter().flatten() {
                let of_platform = owner.extension_keys(platform);
                let Some(known) = of_platform.iter().find(|known| **known == key.value) else {
                    unknown_key(key, of_platform, diagnostics);
                    continue;
                };
                self.check_extension(platform, known, node, diagnostics);
                if let Some(value) = self.json_template(node, names, diagnostics) {
                    out.push(Extension { platform: platform.name(), key: known, value });
                }
            }
        }
        out
    }

    fn check_extension(
        &self,
        platform: &dyn Platform,
        key: &str,
        node: &Node,
        diagnostics: &mut Diagnostics,
    ) {
        for fault in platform.check_extension(key, &sketch(node)) {
            let about_key =
                matches!(fault.code, Code::UnknownAction | Code::SdkOnlyAction | Code::UnknownService);
            let span = place(node, &fault.path, about_key);
            diagnostics.push(Diagnostic::new(fault.code, span, fault.message).maybe_help(fault.help));
        }
    }

    /// The conditions of a reply case or a step.
    pub(super) fn when(
        &self,
        raw: &RawWhen,
        names: &Names<'_>,
        has_request: bool,
        diagnostics: &mut Diagnostics,
    ) -> When {
        let mut when = When::default();
        for span in [raw.status.span(), raw.found.span(), raw.missing.span()].into_iter().flatten() {
            if !has_request {
                diagnostics.push(
                    Diagnostic::new(
                        Code::NeedsRequest,
                        span,
                        "this condition needs a response, but there is no request",
                    )
                    .help("use `equals` and `matches` on the arguments in a route without a request"),
                );
            }
        }
        for (node, code) in [(&raw.status, Code::InvalidStatus), (&raw.failure, Code::UnknownFailure)] {
            if let Some(list) = node.get().filter(|node| one_or_many(node).is_empty()) {
                diagnostics.push(
                    Diagnostic::new(code, list.span, "an empty list never matches")
                        .help("list the accepted values, or remove the condition"),
                );
            }
        }
        if let Some(node) = raw.status.get() {
            for item in one_or_many(node) {
                when.status.extend(status(item, diagnostics));
            }
        }
        when.found = raw.found.get().and_then(|path| json_path(path, diagnostics));
        when.missing = raw.missing.get().and_then(|path| json_path(path, diagnostics));
        if let Some(node) = raw.equals.get() {
            self.no_templates(node, "a value in `equals`", diagnostics);
            for (name, span, value) in self.conditions(node, diagnostics) {
                if one_or_many(value).is_empty() {
                    diagnostics.push(
                        Diagnostic::new(Code::UnreachableCase, value.span, "an empty list never matches")
                            .help("list the accepted values, or remove the condition"),
                    );
                }
                let values: Vec<Value> = one_or_many(value).iter().map(|value| value.to_json()).collect();
                if values.iter().any(|value| value.is_object() || value.is_array()) {
                    wrong_type::<()>(value, "a value or a list of values", diagnostics);
                    continue;
                }
                when.equals
                    .extend(self.condition_name(&name, span, names, diagnostics).map(|name| (name, values)));
            }
        }
        if let Some(node) = raw.matches.get() {
            for (name, span, value) in self.conditions(node, diagnostics) {
                let name = self.condition_name(&name, span, names, diagnostics);
                let Kind::String(pattern) = &value.value else {
                    wrong_type::<()>(value, "a string", diagnostics);
                    continue;
                };
                if !super::values::no_template(pattern, value.span, "a pattern", diagnostics) {
                    continue;
                }
                match Pattern::parse(pattern) {
                    Ok(pattern) => when.matches.extend(name.map(|name| (name, pattern))),
                    Err(bad) => diagnostics.push(super::values::invalid_pattern(bad, value.span)),
                }
            }
        }
        if let Some(node) = raw.failure.get() {
            for item in one_or_many(node) {
                match item.as_str() {
                    Some("any") => when.failure = FailureKind::NAMED.to_vec(),
                    Some(slug) => {
                        let kind = failure_kind(slug, item.span, diagnostics);
                        when.failure.extend(kind.filter(|kind| !when.failure.contains(kind)));
                    }
                    None => wrong_type::<()>(item, "a kind of failure", diagnostics).unwrap_or_default(),
                }
            }
        }
        when
    }

    /// The names and values of `equals` or `matches`: `"args.unit" = "x"` and the nested spelling mean the same.
    fn conditions<'n>(&self, node: &'n Node, diagnostics: &mut Diagnostics) -> Vec<(String, Span, &'n Node)> {
        fn flatten<'n>(prefix: &str, entries: &'n Entries, out: &mut Vec<(String, Span, &'n Node)>) {
            for (key, node) in entries {
                let name =
                    if prefix.is_empty() { key.value.clone() } else { format!("{prefix}.{}", key.value) };
                match &node.value {
                    Kind::Table(entries) => flatten(&name, entries, out),
                    _ => out.push((name, key.span, node)),
                }
            }
        }
        let mut out = Vec::new();
        if let Some(entries) = table(node, diagnostics) {
            flatten("", entries, &mut out);
        }
        out
    }

    /// The name in a condition, which is written like a name in a template.
    fn condition_name(
        &self,
        name: &str,
        span: Span,
        names: &Names<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Template> {
        let mut faults = Diagnostics::default();
        let text = format!("{{{{{name}}}}}");
        let text = TemplateText { text: &text, origin: Origin::String(span) };
        let template = self.templates.compile(text, names, &mut faults).filter(Template::is_sole);
        if template.is_none() {
            let fault = faults.into_sorted().into_iter().next();
            let (code, message, help) = match fault {
                Some(fault) if matches!(fault.code, Code::UnknownName | Code::NotYet) => {
                    (fault.code, fault.message, fault.help)
                }
                _ => (Code::UnknownName, format!("invalid name `{name}`"), None),
            };
            diagnostics.push(
                Diagnostic::new(code, span, message)
                    .help("write a quoted name as in a template: `\"args.unit\" = \"celsius\"`")
                    .maybe_help(help),
            );
        }
        template
    }
}

/// A JSONPath of the table; a fault when it cannot be used.
pub(super) fn json_path(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<JsonPath> {
    match JsonPath::parse(&text.value) {
        Ok(path) => Some(path),
        Err(bad) => {
            diagnostics.push(Diagnostic::new(bad.code, text.span, bad.message).help(bad.help));
            None
        }
    }
}

fn one_or_many(node: &Node) -> Vec<&Node> {
    match &node.value {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}

pub(super) fn status(node: &Node, diagnostics: &mut Diagnostics) -> Option<StatusRange> {
    match &node.value {
        Kind::Integer(status) => {
            if let Ok(status @ 100..=599) = u16::try_from(*status) {
                return Some(StatusRange { first: status, last: status });
            }
        }
        Kind::String(text) => {
            let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
            if let Some(class @ 1..=5) = class {
                return Some(StatusRange { first: class * 100, last: class * 100 + 99 });
            }
        }
        _ => {}
    }
    let help = match node.as_str().and_then(|text| text.parse::<u16>().ok()) {
        Some(status) => format!("write {status} without quotes"),
        None => "write a status such as 404, a class such as \"4xx\", or a list of them".to_owned(),
    };
    diagnostics.push(Diagnostic::new(Code::InvalidStatus, node.span, "invalid status").help(help));
    None
}

/// A value as far as the table fixes it.
fn sketch(node: &Node) -> StaticValue {
    match &node.value {
        Kind::String(text) if text.contains("{{") => {
            let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
            // Only one expression from end to end can be anything; all else with an expression is a text.
            if inner.is_some_and(|inner| !inner.contains("{{") && !inner.contains("}}")) {
                StaticValue::Any
            } else {
                StaticValue::Text
            }
        }
        Kind::List(items) => StaticValue::List(items.iter().map(sketch).collect()),
        Kind::Table(entries) => {
            StaticValue::Object(entries.iter().map(|(key, node)| (key.value.clone(), sketch(node))).collect())
        }
        _ => StaticValue::Known(node.to_json()),
    }
}

/// The place of a step into a value: of the key itself or of what stands there.
fn place(node: &Node, path: &[PathStep], about_key: bool) -> Span {
    let Some((step, rest)) = path.split_first() else { return node.span };
    match (step, &node.value) {
        (PathStep::Key(name), Kind::Table(entries)) => {
            match entries.iter().find(|(key, _)| key.value == *name) {
                Some((key, _)) if rest.is_empty() && about_key => key.span,
                Some((_, node)) => place(node, rest, about_key),
                None => node.span,
            }
        }
        (PathStep::Index(index), Kind::List(items)) => {
            items.get(*index).map_or(node.span, |node| place(node, rest, about_key))
        }
        _ => node.span,
    }
}
