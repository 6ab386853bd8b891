//! `[routes.x.args]` and `args_schema`: a route's arguments, compiled to one JSON Schema.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use crate::diagnostic::{Code, Diagnostic, Span, suggest};
use crate::lang::template::Fields;
use crate::lang::value::order;
use crate::plan::arguments::{Arguments, FORMATS};
use crate::table::document::{Kind, Located, Node};
use crate::table::raw::{RawArgument, RawRoute};
use crate::table::reader::{Key, Named, missing_key, wrong_type};

use crate::compile::cx::Cx;
use crate::compile::routes::{defaults, schema};
use crate::compile::values::invalid_pattern;

pub(in crate::compile) const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// The deepest nesting of `items` and `properties`.
const MAX_DEPTH: usize = 8;

/// The arguments of a route, and the names below `args` that templates can use. There are no arguments after errors.
pub(in crate::compile) fn of_route(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawRoute,
) -> (Option<Arguments>, Fields) {
    if let (Some(args), Some(schema)) = (raw.args.span(), raw.args_schema.span()) {
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, schema, "`args` and `args_schema` exclude each other")
                .related(args, "the other key")
                .help("remove one of them"),
        );
        return (None, Fields::Open);
    }
    match raw.args_schema.get() {
        Some(file) => schema::compile(cx, file),
        None => compile(cx, name, &raw.args),
    }
}

/// `args`
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &Key<Named<RawArgument>>,
) -> (Option<Arguments>, Fields) {
    if raw.is_faulty() {
        return (None, Fields::Open);
    }
    let before = cx.diagnostics.len();
    let (properties, required, fields) = properties(raw.entries(), 0, cx);
    if cx.diagnostics.len() > before {
        return (None, fields);
    }
    let is_sensitive = |arg: &Key<RawArgument>| {
        arg.get().and_then(|arg| arg.value.sensitive.get()).is_some_and(|sensitive| sensitive.value)
    };
    let sensitive = raw.entries().iter().filter(|(_, arg)| is_sensitive(arg));
    let sensitive = sensitive.map(|(name, _)| name.value.clone()).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = Value::from(required);
    }
    match cx.interned.arguments(schema, sensitive) {
        Ok(arguments) => {
            check_defaults(raw.entries(), cx);
            (Some(arguments), fields)
        }
        Err(problem) => {
            cx.report(
                Diagnostic::new(
                    Code::InvalidSchema,
                    name.span,
                    format!("invalid argument schema for `{}`: {problem}", name.value),
                )
                .help("check the patterns and limits of its arguments"),
            );
            (None, fields)
        }
    }
}

/// No arguments, for entries that a model does not call.
pub(in crate::compile) fn none(cx: &mut Cx<'_>) -> Option<Arguments> {
    cx.interned.arguments(json!({"type": "object", "properties": {}}), Vec::new()).ok()
}

/// Reports each default or `enum` value that the argument's own rules reject, also in nested arguments.
fn check_defaults(args: &[(Located<String>, Key<RawArgument>)], cx: &mut Cx<'_>) {
    for (name, arg) in args {
        if let Some(arg) = arg.get() {
            check_default(&arg.value, name, cx);
        }
    }
}

fn check_default(arg: &RawArgument, name: &Located<String>, cx: &mut Cx<'_>) {
    if let Some(items) = arg.items.get() {
        check_default(&items.value, name, cx);
    }
    if let Some(properties) = arg.properties.get() {
        check_defaults(&properties.value.0, cx);
    }
    let listed = arg.enumeration.items();
    let fixed = arg.default.get().filter(|default| !defaults::has_template(default));
    let values: Vec<&Node> = fixed.into_iter().chain(listed).collect();
    if values.is_empty() {
        return;
    }
    // Each argument is checked alone, so that an error in one does not hide errors in another. Its other errors have
    // been reported already.
    let reported = std::mem::take(cx.diagnostics);
    let (mut schema, _) = argument(arg, name, 0, cx);
    *cx.diagnostics = reported;
    if let Value::Object(schema) = &mut schema {
        schema.shift_remove("default");
    }
    let alone = json!({"type": "object", "properties": {name.value.as_str(): schema}});
    let Ok(alone) = cx.interned.arguments(alone, Vec::new()) else { return };
    for node in values {
        let given = json!({name.value.as_str(): node.to_json()});
        let refused = match alone.validate(&given.into()) {
            Ok(good) if good.converted.is_empty() => continue,
            Ok(_) => format!("argument `{}` would be converted to another value", name.value),
            Err(bad) => bad.problems.into_iter().next().unwrap_or_default(),
        };
        cx.report(
            Diagnostic::new(
                Code::ArgumentDefault,
                node.span,
                "value not allowed by the argument's own rules",
            )
            .label(refused)
            .help("change the value or the rules of the argument"),
        );
    }
}

/// The schemas of named arguments, the names of the required ones, and the fields below them.
fn properties(
    args: &[(Located<String>, Key<RawArgument>)],
    depth: usize,
    cx: &mut Cx<'_>,
) -> (Map<String, Value>, Vec<String>, Fields) {
    let mut schemas = Map::new();
    let mut required = Vec::new();
    let mut fields = BTreeMap::new();
    for (name, arg) in args {
        let Some(arg) = arg.get() else {
            fields.insert(name.value.clone(), Fields::Open);
            continue;
        };
        if name.value.is_empty()
            || name.value.contains(|c: char| c.is_whitespace() || "./[]{}\"'`".contains(c))
        {
            cx.report(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("invalid argument name `{}`", name.value),
                )
                .help("use letters, digits, `_` and `-`"),
            );
        }
        let (schema, below) = argument(&arg.value, name, depth, cx);
        if arg.value.required.get().is_some_and(|required| required.value) {
            required.push(name.value.clone());
        }
        fields.insert(name.value.clone(), below);
        schemas.insert(name.value.clone(), schema);
    }
    (schemas, required, Fields::Closed(fields))
}

/// The schema of one argument, and the fields below it.
fn argument(raw: &RawArgument, name: &Located<String>, depth: usize, cx: &mut Cx<'_>) -> (Value, Fields) {
    let Some(kind) = argument_type(raw, name, cx) else { return (Value::Null, Fields::Open) };
    let mut schema = Map::new();
    schema.insert("type".to_owned(), Value::from(kind));
    cx.no_template_in_description(&raw.description);
    if let Some(description) = raw.description.get() {
        schema.insert("description".to_owned(), Value::from(description.value.as_str()));
    }
    check_keys(raw, kind, depth, cx);
    add_range(raw, &mut schema, cx);
    add_lengths(raw, kind, &mut schema, cx);
    add_text_rules(raw, &mut schema, cx);
    add_values(raw, &mut schema, cx);
    let below = match kind {
        "array" | "object" => Fields::Open,
        "string" => Fields::Text,
        _ => Fields::Leaf,
    };
    if depth >= MAX_DEPTH {
        cx.report(
            Diagnostic::new(
                Code::ArgumentConstraint,
                name.span,
                format!("arguments nested more than {MAX_DEPTH} levels deep"),
            )
            .help("use a flatter structure; models are unreliable with deeply nested arguments"),
        );
        return (Value::Object(schema), below);
    }
    let below = add_nested(raw, name, depth, &mut schema, cx).unwrap_or(below);
    (Value::Object(schema), below)
}

fn argument_type<'r>(raw: &'r RawArgument, name: &Located<String>, cx: &mut Cx<'_>) -> Option<&'r str> {
    match raw.type_name.get() {
        Some(kind) if TYPES.contains(&kind.value.as_str()) => return Some(&kind.value),
        Some(kind) => cx.report(
            Diagnostic::new(Code::UnknownValue, kind.span, format!("unknown type `{}`", kind.value))
                .maybe_help(suggest(&kind.value, TYPES)),
        ),
        None if raw.type_name.is_absent() => {
            let help = if RawRoute::KEYS.contains(&name.value.as_str()) {
                format!("`{}` is a key of the route: move it above the `args` heading", name.value)
            } else {
                "add `type = \"string\"`, or integer, number, boolean, array, object".to_owned()
            };
            cx.report(missing_key(name.span, format!("the argument `{}` has no `type`", name.value), help));
        }
        None => {}
    }
    None
}

/// Reports each key that does not apply to an argument of this type.
fn check_keys(raw: &RawArgument, kind: &str, depth: usize, cx: &mut Cx<'_>) {
    let is_text = kind == "string";
    let is_number = matches!(kind, "integer" | "number");
    let is_list = kind == "array";
    let string_help = "set `type = \"string\"` for this argument";
    let keys = [
        (
            is_number,
            raw.min.span().or(raw.max.span()),
            "`min` and `max` apply to numbers only",
            "use `min_length` and `max_length` for strings and arrays",
        ),
        (
            is_text || is_list,
            raw.min_length.span().or(raw.max_length.span()),
            "`min_length` and `max_length` apply to strings and arrays only",
            "use `min` and `max` for numbers",
        ),
        (is_text, raw.pattern.span(), "`pattern` applies to strings only", string_help),
        (is_text, raw.format.span(), "`format` applies to strings only", string_help),
        (
            is_list,
            raw.items.span(),
            "`items` applies to arrays only",
            "set `type = \"array\"` for this argument",
        ),
        (
            kind == "object",
            raw.properties.span(),
            "`properties` applies to objects only",
            "set `type = \"object\"` for this argument",
        ),
        (
            depth == 0,
            raw.allowed.span(),
            "`allowed` applies to top-level arguments only",
            "move it to the argument itself; the items of an array are checked one by one",
        ),
    ];
    for (applies, span, message, help) in keys {
        if let Some(span) = span.filter(|_| !applies) {
            cx.report(Diagnostic::new(Code::ArgumentConstraint, span, message).help(help));
        }
    }
}

/// `min` and `max`.
fn add_range(raw: &RawArgument, schema: &mut Map<String, Value>, cx: &mut Cx<'_>) {
    let min = limit(&raw.min, cx).map(Value::Number);
    let max = limit(&raw.max, cx).map(Value::Number);
    if let (Some(min), Some(max)) = (&min, &max)
        && order(min.into(), max.into()) == Some(Ordering::Greater)
    {
        reversed(raw.min.span(), cx);
    }
    for (key, number) in [("minimum", min), ("maximum", max)] {
        schema.extend(number.map(|number| (key.to_owned(), number)));
    }
}

/// `min_length` and `max_length`, which JSON Schema names differently for strings and arrays.
fn add_lengths(raw: &RawArgument, kind: &str, schema: &mut Map<String, Value>, cx: &mut Cx<'_>) {
    if let (Some(min), Some(max)) = (raw.min_length.get(), raw.max_length.get())
        && min.value > max.value
    {
        reversed(Some(min.span), cx);
    }
    let unit = match kind {
        "string" => "Length",
        "array" => "Items",
        _ => return,
    };
    for (side, length) in [("min", &raw.min_length), ("max", &raw.max_length)] {
        schema.extend(length.get().map(|length| (format!("{side}{unit}"), Value::from(length.value))));
    }
}

/// `pattern` and `format`.
fn add_text_rules(raw: &RawArgument, schema: &mut Map<String, Value>, cx: &mut Cx<'_>) {
    if let Some(pattern) = raw.pattern.get()
        && cx.no_expression(pattern, "a pattern", "list the permitted values in `allowed` or `enum`")
    {
        match cx.interned.pattern(&pattern.value) {
            Ok(_) => {
                schema.insert("pattern".to_owned(), Value::from(pattern.value.as_str()));
            }
            Err(bad) => cx.report(invalid_pattern(bad, pattern.span)),
        }
    }
    if let Some(format) = raw.format.get() {
        if FORMATS.iter().any(|(known, _)| *known == format.value) {
            schema.insert("format".to_owned(), Value::from(format.value.as_str()));
        } else {
            cx.report(
                Diagnostic::new(
                    Code::UnknownValue,
                    format.span,
                    format!("unknown format `{}`", format.value),
                )
                .maybe_help(suggest(&format.value, FORMATS.iter().map(|(known, _)| *known))),
            );
        }
    }
}

/// `enum` and `default`.
fn add_values(raw: &RawArgument, schema: &mut Map<String, Value>, cx: &mut Cx<'_>) {
    if let Some(list) = raw.enumeration.get() {
        if list.value.is_empty() {
            cx.report(
                Diagnostic::new(Code::ArgumentConstraint, list.span, "an empty `enum` allows no value")
                    .help("list the allowed values, or remove `enum`"),
            );
        }
        for value in &list.value {
            cx.no_templates(value, "a value in `enum`");
        }
        let values: Vec<Value> = list.value.iter().map(Located::<Kind>::to_json).collect();
        schema.insert("enum".to_owned(), Value::Array(values));
    }
    if let Some(default) = raw.default.get().filter(|default| !defaults::has_template(default)) {
        schema.insert("default".to_owned(), default.to_json());
    }
}

/// `items` and `properties`; the latter name the fields below the argument.
fn add_nested(
    raw: &RawArgument,
    name: &Located<String>,
    depth: usize,
    schema: &mut Map<String, Value>,
    cx: &mut Cx<'_>,
) -> Option<Fields> {
    if let Some(items) = raw.items.get() {
        let (item, _) = argument(&items.value, name, depth + 1, cx);
        schema.insert("items".to_owned(), item);
    }
    let nested = raw.properties.get()?;
    let (properties, required, fields) = properties(&nested.value.0, depth + 1, cx);
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::from(required));
    }
    Some(fields)
}

fn reversed(span: Option<Span>, cx: &mut Cx<'_>) {
    if let Some(span) = span {
        cx.report(
            Diagnostic::new(Code::ArgumentConstraint, span, "the minimum is greater than the maximum")
                .help("swap the two: no value can satisfy both"),
        );
    }
}

fn limit(key: &Key<Kind>, cx: &mut Cx<'_>) -> Option<Number> {
    let node = key.get()?;
    match node.to_json() {
        Value::Number(number) => Some(number),
        _ => wrong_type(node, "a number", cx.diagnostics),
    }
}
