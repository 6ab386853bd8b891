//! `[routes.x.args]` and `args_schema`: what a route takes, as one JSON Schema.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use crate::call;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::lang::pattern::Pattern;
use crate::lang::template::Fields;
use crate::plan::arguments::{Arguments, FORMATS};
use crate::table::document::{Kind, Located, Node};
use crate::table::raw::{RawArgument, RawRoute};
use crate::table::reader::{Key, Named, missing_key, wrong_type};

use super::TableCompiler;
use super::values::invalid_pattern;

pub(super) const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// The deepest nesting of `items` and `properties`.
const MAX_DEPTH: usize = 8;

impl TableCompiler<'_> {
    /// The arguments of a route and the names that templates may use; `None` after faults.
    pub(super) fn arguments(
        &self,
        name: &Located<String>,
        raw: &RawRoute,
        diagnostics: &mut Diagnostics,
    ) -> (Option<Arguments>, Fields) {
        if let (Some(args), Some(schema)) = (raw.args.span(), raw.args_schema.span()) {
            diagnostics.push(
                Diagnostic::new(Code::ConflictingKeys, schema, "a route has `args` or `args_schema`")
                    .related(args, "the other one")
                    .help("keep one of them"),
            );
            return (None, Fields::Open);
        }
        if let Some(file) = raw.args_schema.get() {
            return self.schema_file(file, diagnostics);
        }
        if !raw.args.is_absent() && raw.args.get().is_none() {
            return (None, Fields::Open);
        }
        let empty = Named::default();
        let args = raw.args.get().map_or(&empty, |args| &args.value);
        let before = diagnostics.len();
        let (properties, required, fields) = properties(args, 0, diagnostics);
        let sensitive = args
            .0
            .iter()
            .filter(|(_, arg)| {
                arg.get().and_then(|arg| arg.value.sensitive.get()).is_some_and(|sensitive| sensitive.value)
            })
            .map(|(name, _)| name.value.clone())
            .collect();
        if diagnostics.len() > before {
            return (None, fields);
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = Value::from(required);
        }
        match Arguments::compile(schema, sensitive) {
            Ok(arguments) => {
                check_defaults(args, diagnostics);
                (Some(arguments), fields)
            }
            Err(problem) => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::InvalidSchema,
                        name.span,
                        format!("the arguments of `{}` cannot be checked: {problem}", name.value),
                    )
                    .help("look at the patterns and limits of its arguments"),
                );
                (None, fields)
            }
        }
    }
}

/// A default or an enumerated value that the argument itself would refuse, also in arguments inside arguments.
fn check_defaults(args: &Named<RawArgument>, diagnostics: &mut Diagnostics) {
    for (name, arg) in &args.0 {
        if let Some(arg) = arg.get() {
            check_default(&arg.value, name, diagnostics);
        }
    }
}

fn check_default(arg: &RawArgument, name: &Located<String>, diagnostics: &mut Diagnostics) {
    if let Some(items) = arg.items.get() {
        check_default(&items.value, name, diagnostics);
    }
    if let Some(properties) = arg.properties.get() {
        check_defaults(&properties.value, diagnostics);
    }
    let listed = arg.enumeration.get().map(|list| list.value.as_slice()).unwrap_or_default();
    let values: Vec<&Node> = arg.default.get().into_iter().chain(listed).collect();
    if values.is_empty() {
        return;
    }
    // Each argument is asked alone, so that the fault of one hides no other.
    let (mut schema, _) = argument(arg, name, 0, &mut Diagnostics::default());
    if let Value::Object(schema) = &mut schema {
        schema.shift_remove("default");
    }
    let alone = json!({"type": "object", "properties": {name.value.as_str(): schema}});
    let Ok(alone) = Arguments::compile(alone, Vec::new()) else { return };
    for node in values {
        let given = json!({name.value.as_str(): node.to_json()});
        let refused = match alone.validate(&call::GivenArguments::Json(given)) {
            Ok(good) if good.converted.is_empty() => continue,
            Ok(_) => format!("argument `{}` has another type", name.value),
            Err(bad) => bad.problems.into_iter().next().unwrap_or_default(),
        };
        diagnostics.push(
            Diagnostic::new(Code::ArgumentDefault, node.span, "the argument itself would refuse this value")
                .label(refused)
                .help("change the value, or what the argument allows"),
        );
    }
}

/// The schemas of named arguments, the names of those that are required, and the fields below them.
fn properties(
    args: &Named<RawArgument>,
    depth: usize,
    diagnostics: &mut Diagnostics,
) -> (Map<String, Value>, Vec<String>, Fields) {
    let mut schemas = Map::new();
    let mut required = Vec::new();
    let mut fields = BTreeMap::new();
    for (name, arg) in &args.0 {
        let Some(arg) = arg.get() else {
            fields.insert(name.value.clone(), Fields::Open);
            continue;
        };
        if name.value.is_empty()
            || name.value.contains(|c: char| c.is_whitespace() || "./[]{}\"'`".contains(c))
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidName,
                    name.span,
                    format!("`{}` cannot name an argument", name.value),
                )
                .help("use letters, digits, `_` and `-`"),
            );
        }
        let (schema, below) = argument(&arg.value, name, depth, diagnostics);
        if arg.value.required.get().is_some_and(|required| required.value) {
            required.push(name.value.clone());
        }
        fields.insert(name.value.clone(), below);
        schemas.insert(name.value.clone(), schema);
    }
    (schemas, required, Fields::Closed(fields))
}

fn argument(
    raw: &RawArgument,
    name: &Located<String>,
    depth: usize,
    diagnostics: &mut Diagnostics,
) -> (Value, Fields) {
    let mut schema = Map::new();
    let kind = match raw.type_name.get() {
        Some(kind) if TYPES.contains(&kind.value.as_str()) => kind.value.as_str(),
        Some(kind) => {
            diagnostics.push(
                Diagnostic::new(Code::UnknownValue, kind.span, format!("there is no type `{}`", kind.value))
                    .maybe_help(suggest(&kind.value, TYPES)),
            );
            return (Value::Null, Fields::Open);
        }
        None => {
            if raw.type_name.is_absent() {
                diagnostics.push(missing_key(
                    name.span,
                    format!("the argument `{}` has no `type`", name.value),
                    "write `type = \"string\"`, or integer, number, boolean, array, object",
                ));
            }
            return (Value::Null, Fields::Open);
        }
    };
    schema.insert("type".to_owned(), Value::from(kind));
    if let Some(description) = raw.description.get() {
        schema.insert("description".to_owned(), Value::from(description.value.as_str()));
    }
    let is_text = kind == "string";
    let is_number = matches!(kind, "integer" | "number");
    let is_list = kind == "array";
    fits(
        is_number,
        raw.min.span().or(raw.max.span()),
        "`min` and `max` limit numbers",
        "`min_length` and `max_length` limit texts and lists",
        diagnostics,
    );
    fits(
        is_text || is_list,
        raw.min_length.span().or(raw.max_length.span()),
        "`min_length` and `max_length` limit texts and lists",
        "`min` and `max` limit numbers",
        diagnostics,
    );
    fits(
        is_text,
        raw.pattern.span(),
        "`pattern` is for texts",
        "give the argument `type = \"string\"`",
        diagnostics,
    );
    fits(
        is_text,
        raw.format.span(),
        "`format` is for texts",
        "give the argument `type = \"string\"`",
        diagnostics,
    );
    fits(
        is_list,
        raw.items.span(),
        "`items` is for lists",
        "give the argument `type = \"array\"`",
        diagnostics,
    );
    fits(
        kind == "object",
        raw.properties.span(),
        "`properties` is for objects",
        "give the argument `type = \"object\"`",
        diagnostics,
    );

    fits(
        depth == 0,
        raw.allowed.span(),
        "`allowed` belongs to an argument itself",
        "give it to the whole argument; a list is looked at item by item",
        diagnostics,
    );

    let min = limit(&raw.min, diagnostics);
    let max = limit(&raw.max, diagnostics);
    if let (Some(min), Some(max)) = (&min, &max)
        && min.as_f64() > max.as_f64()
    {
        reversed(raw.min.span(), diagnostics);
    }
    let lengths = [("Length", is_text), ("Items", is_list)].into_iter().find(|(_, fits)| *fits);
    if let (Some(least), Some(most)) = (raw.min_length.get(), raw.max_length.get())
        && least.value > most.value
    {
        reversed(Some(least.span), diagnostics);
    }
    for (key, number) in [("minimum", min), ("maximum", max)] {
        schema.extend(number.map(|number| (key.to_owned(), Value::Number(number))));
    }
    if let Some((unit, _)) = lengths {
        for (side, length) in [("min", &raw.min_length), ("max", &raw.max_length)] {
            schema.extend(length.get().map(|length| (format!("{side}{unit}"), Value::from(length.value))));
        }
    }
    if let Some(pattern) = raw.pattern.get() {
        match Pattern::parse(&pattern.value) {
            Ok(_) => {
                schema.insert("pattern".to_owned(), Value::from(pattern.value.as_str()));
            }
            Err(bad) => diagnostics.push(invalid_pattern(bad, pattern.span)),
        }
    }
    if let Some(format) = raw.format.get() {
        if FORMATS.iter().any(|(known, _)| *known == format.value) {
            schema.insert("format".to_owned(), Value::from(format.value.as_str()));
        } else {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownValue,
                    format.span,
                    format!("there is no format `{}`", format.value),
                )
                .maybe_help(suggest(&format.value, FORMATS.iter().map(|(known, _)| *known))),
            );
        }
    }
    if let Some(list) = raw.enumeration.get() {
        if list.value.is_empty() {
            diagnostics.push(
                Diagnostic::new(Code::ArgumentConstraint, list.span, "an empty `enum` allows nothing")
                    .help("list the values, or take it out"),
            );
        }
        let values: Vec<Value> = list.value.iter().map(Located::<Kind>::to_json).collect();
        schema.insert("enum".to_owned(), Value::Array(values));
    }
    if let Some(default) = raw.default.get() {
        schema.insert("default".to_owned(), default.to_json());
    }
    let mut below = if matches!(kind, "array" | "object") { Fields::Open } else { Fields::Leaf };
    if depth >= MAX_DEPTH {
        diagnostics.push(
            Diagnostic::new(
                Code::ArgumentConstraint,
                name.span,
                format!("arguments may stand {MAX_DEPTH} deep"),
            )
            .help("use a flatter shape; models fill deep ones badly"),
        );
        return (Value::Object(schema), below);
    }
    if let Some(items) = raw.items.get() {
        let (item, _) = argument(&items.value, name, depth + 1, diagnostics);
        schema.insert("items".to_owned(), item);
    }
    if let Some(nested) = raw.properties.get() {
        let (properties, required, fields) = properties(&nested.value, depth + 1, diagnostics);
        schema.insert("properties".to_owned(), Value::Object(properties));
        if !required.is_empty() {
            schema.insert("required".to_owned(), Value::from(required));
        }
        below = fields;
    }
    (Value::Object(schema), below)
}

fn fits(fits: bool, span: Option<Span>, message: &str, help: &str, diagnostics: &mut Diagnostics) {
    if let Some(span) = span.filter(|_| !fits) {
        diagnostics.push(Diagnostic::new(Code::ArgumentConstraint, span, message).help(help));
    }
}

fn reversed(span: Option<Span>, diagnostics: &mut Diagnostics) {
    if let Some(span) = span {
        diagnostics.push(
            Diagnostic::new(Code::ArgumentConstraint, span, "the least is more than the most")
                .help("no value could ever fit; swap the two"),
        );
    }
}

fn limit(key: &Key<Kind>, diagnostics: &mut Diagnostics) -> Option<Number> {
    let node = key.get()?;
    match node.to_json() {
        Value::Number(number) => Some(number),
        _ => wrong_type(node, "a number", diagnostics),
    }
}
