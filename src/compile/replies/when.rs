//! `when`: the conditions of a reply case or a step.

use serde_json::Value;

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, place_in_string};
use crate::lang::bound_path::{BoundPath, BoundValue};
use crate::lang::jsonpath::Placeholder;
use crate::lang::pattern::Pattern;
use crate::lang::template::{Names, Template, TemplateOrigin, TemplateText};
use crate::plan::when::{StatusRange, When};
use crate::table::document::{Entries, Kind, Located, Node};
use crate::table::raw::RawWhen;
use crate::table::reader::{table, wrong_type};

use crate::compile::cx::Cx;
use crate::compile::{failures, values};

/// The conditions of a reply case or a step; without those that have errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &RawWhen,
    names: &Names<'_>,
    has_request: bool,
) -> When {
    for span in
        [raw.status.span(), raw.found.span(), raw.missing.span(), raw.truthy.span()].into_iter().flatten()
    {
        if !has_request {
            cx.report(
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
            cx.report(empty_list(code, list.span));
        }
    }
    let statuses = raw.status.get().map(one_or_many).unwrap_or_default();
    When {
        status: statuses.into_iter().filter_map(|item| status(item, cx.diagnostics)).collect(),
        found: raw.found.get().and_then(|path| json_path(cx, path, names)),
        missing: raw.missing.get().and_then(|path| json_path(cx, path, names)),
        truthy: raw.truthy.get().and_then(|path| json_path(cx, path, names)),
        equals: raw.equals.get().map(|node| equals(cx, node, names)).unwrap_or_default(),
        matches: raw.matches.get().map(|node| matches(cx, node, names)).unwrap_or_default(),
        failure: raw.failure.get().map(|node| failures(node, cx.diagnostics)).unwrap_or_default(),
    }
}

/// `equals`: names, each with its accepted values.
fn equals(cx: &mut Cx<'_>, node: &Node, names: &Names<'_>) -> Vec<(Template, Vec<Value>)> {
    cx.no_templates(node, "a value in `equals`");
    let mut equals = Vec::new();
    for (name, span, value) in conditions(node, cx.diagnostics) {
        if one_or_many(value).is_empty() {
            cx.report(
                Diagnostic::new(Code::UnreachableCase, value.span, "an empty list never matches").help(
                    "list the accepted values; to test whether a list of the response is empty, write \
                     `when.missing = \"$.items[0]\"`, with its path",
                ),
            );
        }
        let values: Vec<Value> = one_or_many(value).iter().map(|value| value.to_json()).collect();
        if values.iter().any(|value| value.is_object() || value.is_array()) {
            wrong_type::<()>(value, "a value or a list of values", cx.diagnostics);
            continue;
        }
        equals.extend(condition_name(cx, &name, span, names).map(|name| (name, values)));
    }
    equals
}

/// `matches`: names, each with a pattern that must match somewhere in its value.
fn matches(cx: &mut Cx<'_>, node: &Node, names: &Names<'_>) -> Vec<(Template, Pattern)> {
    let mut matches = Vec::new();
    for (name, span, value) in conditions(node, cx.diagnostics) {
        let name = condition_name(cx, &name, span, names);
        let Kind::String(pattern) = &value.value else {
            wrong_type::<()>(value, "a string", cx.diagnostics);
            continue;
        };
        if !values::no_template(pattern, value.span, "a pattern", cx.diagnostics) {
            continue;
        }
        match cx.interned.pattern(pattern) {
            Ok(pattern) => matches.extend(name.map(|name| (name, pattern))),
            Err(bad) => cx.report(values::invalid_pattern(bad, value.span)),
        }
    }
    matches
}

/// `failure`: kinds of failure, each once.
fn failures(node: &Node, diagnostics: &mut Diagnostics) -> Vec<FailureKind> {
    let mut kinds = Vec::new();
    for item in one_or_many(node) {
        match item.as_str() {
            Some("any") => kinds = FailureKind::NAMED.to_vec(),
            Some(slug) => {
                let kind = failures::kind_of(slug, item.span, diagnostics);
                kinds.extend(kind.filter(|kind| !kinds.contains(kind)));
            }
            None => wrong_type::<()>(item, "a kind of failure", diagnostics).unwrap_or_default(),
        }
    }
    kinds
}

fn empty_list(code: Code, span: Span) -> Diagnostic {
    Diagnostic::new(code, span, "an empty list never matches")
        .help("list the accepted values, or remove the condition")
}

/// The names and values of `equals` or `matches`. `"args.unit" = "x"` and the nested spelling are equivalent.
fn conditions<'n>(node: &'n Node, diagnostics: &mut Diagnostics) -> Vec<(String, Span, &'n Node)> {
    fn flatten<'n>(prefix: &str, entries: &'n Entries, out: &mut Vec<(String, Span, &'n Node)>) {
        for (key, node) in entries {
            let name = if prefix.is_empty() { key.value.clone() } else { format!("{prefix}.{}", key.value) };
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
fn condition_name(cx: &mut Cx<'_>, name: &str, span: Span, names: &Names<'_>) -> Option<Template> {
    let text = format!("{{{{{name}}}}}");
    let text = TemplateText { text: &text, origin: TemplateOrigin::String(span) };
    let (template, found) = cx.try_template(text, names);
    let template = template.filter(Template::is_sole);
    if template.is_none() {
        let (code, message, help) = match found.into_sorted().into_iter().next() {
            Some(found) if matches!(found.code, Code::UnknownName | Code::NotYet) => {
                (found.code, found.message, found.help)
            }
            _ => (Code::UnknownName, format!("invalid name `{name}`"), None),
        };
        cx.report(
            Diagnostic::new(code, span, message)
                .help("write a quoted name as in a template: `\"args.unit\" = \"celsius\"`")
                .maybe_help(help),
        );
    }
    template
}

/// A JSONPath. The templates in its filters can use `names`.
pub(in crate::compile) fn json_path(
    cx: &mut Cx<'_>,
    text: &Located<String>,
    names: &Names<'_>,
) -> Option<BoundPath> {
    let (path, placeholders) = match cx.interned.path(&text.value) {
        Ok(found) => found,
        Err(bad) => {
            let span = match bad.range {
                Some(range) => place_in_string(cx.sources.text(text.span), text.span, range),
                None => text.span,
            };
            cx.report(Diagnostic::new(bad.code, span, bad.message).help(bad.help));
            return None;
        }
    };
    let mut values = Vec::new();
    for Placeholder { range, is_quoted } in placeholders.iter() {
        let origin = TemplateOrigin::PartOfString(text.span, range.start);
        let template = TemplateText { text: &text.value[range.clone()], origin };
        values.push(BoundValue { template: cx.template_text(template, names)?, is_text: *is_quoted });
    }
    Some(BoundPath::new(path, values))
}

fn one_or_many(node: &Node) -> Vec<&Node> {
    match &node.value {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    }
}

/// A status, or a class of statuses.
pub(in crate::compile) fn status(node: &Node, diagnostics: &mut Diagnostics) -> Option<StatusRange> {
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
