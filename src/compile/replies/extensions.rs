//! The keys that only one platform understands, such as `swaig.action`.

use std::borrow::Cow;

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::lang::template::Names;
use crate::plan::replies::Extension;
use crate::platform::{self, PLATFORMS, PathStep, Platform, StaticValue};
use crate::table::document::{Entries, Kind, Node};
use crate::table::misplaced_keys::unknown_key;
use crate::table::raw::{RawReply, RawRoute};
use crate::table::reader::table;

use crate::compile::cx::Cx;
use crate::compile::replies::json;

/// The table that contains the keys of a platform.
#[derive(Debug, Clone, Copy)]
pub(in crate::compile) enum ExtensionOwner {
    /// A reply case.
    Reply,
    /// The route itself.
    Route,
}

impl ExtensionOwner {
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

/// The keys that only one platform understands, under its name.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    entries: &Entries,
    owner: ExtensionOwner,
    names: &Names<'_>,
) -> Vec<Extension> {
    let mut out = Vec::new();
    for (name, node) in entries {
        let Some(platform) = platform::find(&name.value) else {
            if matches!(owner, ExtensionOwner::Route) && is_argument(node) {
                cx.report(
                    Diagnostic::new(Code::UnknownKey, name.span, format!("unknown key `{}`", name.value))
                        .label("unknown key")
                        .help(format!("if it is an argument, write `args.{0} = {{ … }}`", name.value)),
                );
                continue;
            }
            let mut known = owner.keys().to_vec();
            known.extend(PLATFORMS.iter().map(|platform| platform.name()));
            unknown_key(name, &known, cx.diagnostics);
            continue;
        };
        for (key, node) in table(node, cx.diagnostics).into_iter().flatten() {
            let of_platform = owner.extension_keys(platform);
            let Some(known) = of_platform.iter().find(|known| **known == key.value) else {
                unknown_key(key, of_platform, cx.diagnostics);
                continue;
            };
            check(cx, platform, known, node);
            if let Some(value) = json::compile(cx, node, names) {
                let is_valid = is_always_valid(platform, known, node);
                out.push(Extension { platform: platform.name(), key: known, value, is_valid });
            }
        }
    }
    out
}

/// Whether a value looks like the declaration of an argument.
fn is_argument(node: &Node) -> bool {
    matches!(&node.value, Kind::Table(entries) if entries.iter().any(|(key, _)| key.value == "type"))
}

fn check(cx: &mut Cx<'_>, platform: &dyn Platform, key: &str, node: &Node) {
    for problem in platform.check_extension(key, &static_value(node)) {
        let about_key = matches!(
            problem.code,
            Code::UnknownAction | Code::UnlistedAction | Code::SdkOnlyAction | Code::UnknownService
        );
        let span = place(node, &problem.path, about_key);
        cx.report(Diagnostic::new(problem.code, span, problem.message).maybe_help(problem.help));
    }
}

/// Whether the platform accepts the value and leaves it as it is, whatever its expressions evaluate to.
fn is_always_valid(platform: &dyn Platform, key: &str, node: &Node) -> bool {
    let sample = least_valid(node);
    let (accepted, problems) = platform.filter_extension(key, sample.clone());
    problems.is_empty() && accepted == Some(sample)
}

/// The value with the results of its expressions that are accepted least: null, which no documented value may be, and a
/// string that is no keyword.
fn least_valid(node: &Node) -> Value {
    match (static_value(node), &node.value) {
        (StaticValue::Any, _) => Value::Null,
        (StaticValue::Text, _) => "\0".into(),
        (_, Kind::List(items)) => items.iter().map(least_valid).collect(),
        (_, Kind::Table(entries)) => {
            Value::Object(entries.iter().map(|(key, node)| (key.value.clone(), least_valid(node))).collect())
        }
        _ => node.to_json(),
    }
}

/// The value as far as it is known at load.
fn static_value(node: &Node) -> StaticValue<'_> {
    match &node.value {
        Kind::String(text) if text.contains("{{") => {
            let inner = text.strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
            // A single expression may evaluate to any value. Any other string with an expression is a text.
            if inner.is_some_and(|inner| !inner.contains("{{") && !inner.contains("}}")) {
                StaticValue::Any
            } else {
                StaticValue::Text
            }
        }
        Kind::List(items) => StaticValue::List(items.iter().map(static_value).collect()),
        Kind::Table(entries) => StaticValue::Object(
            entries.iter().map(|(key, node)| (key.value.as_str().into(), static_value(node))).collect(),
        ),
        _ => StaticValue::Known(Cow::Owned(node.to_json())),
    }
}

/// The place of a part of a value: that of its key if `about_key` is set, otherwise that of the part itself.
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
