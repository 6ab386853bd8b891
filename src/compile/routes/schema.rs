//! `args_schema`: a whole JSON Schema in a file, instead of `args`.

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, suggest};
use crate::lang::template::Fields;
use crate::plan::arguments::Arguments;
use crate::table::document::Located;

use crate::compile::cx::Cx;
use crate::compile::interned::Interned;
use crate::compile::values::expression_in;

/// The keywords of JSON Schema. An unknown keyword would check nothing without an error.
const KEYWORDS: [&str; 55] = [
    "$schema",
    "$id",
    "$ref",
    "$defs",
    "$comment",
    "$anchor",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "minContains",
    "maxContains",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
    // Annotations of exported schemas. They check nothing.
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Keywords of other versions of JSON Schema, and those that Jackfield does not support, with what to write instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("dependencies", "write `dependentRequired` or `dependentSchemas`"),
    ("unevaluatedItems", "write `\"items\": false` beside `prefixItems`"),
    ("$dynamicRef", "write `$ref`"),
    ("$dynamicAnchor", "write `$anchor`"),
    ("$recursiveRef", "write `$ref`"),
    ("$recursiveAnchor", "remove it"),
    ("$vocabulary", "remove it"),
    ("id", "write `$id`"),
    ("divisibleBy", "write `multipleOf`"),
    ("disallow", "write `not`"),
    ("extends", "write `allOf`"),
];

/// The arguments that a schema file describes, and the names below `args`. There are no arguments after errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, file: &Located<String>) -> (Option<Arguments>, Fields) {
    let parsed = match cx.table.schemas.get(&file.value) {
        Some(Ok(id)) => parse(&cx.sources.get(*id).text, &file.value, &mut cx.interned),
        Some(Err(error)) => Err(Problem {
            code: Code::UnreadableFile,
            message: format!("`{}` cannot be read: {error}", file.value),
            help: "check the path: it is relative to the main file's folder".to_owned(),
        }),
        None => return (None, Fields::Open),
    };
    match parsed {
        Ok((arguments, fields)) => (Some(arguments), fields),
        Err(Problem { code, message, help }) => {
            cx.report(Diagnostic::new(code, file.span, message).help(help));
            (None, Fields::Open)
        }
    }
}

/// An error of a schema file as a whole.
struct Problem {
    code: Code,
    message: String,
    help: String,
}

fn parse(text: &str, file: &str, interned: &mut Interned) -> Result<(Arguments, Fields), Problem> {
    let problem =
        |message: String, help: &str| Problem { code: Code::InvalidSchema, message, help: help.to_owned() };
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        problem(format!("`{file}` is not valid JSON ({place})"), "write the JSON Schema as a JSON document")
    })?;
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(problem(
            format!("`{file}` does not describe an object"),
            "add `\"type\": \"object\"` and `\"properties\"` at the top level",
        ));
    }
    let mut unknown = Vec::new();
    unknown_keywords(&schema, "", &mut unknown);
    if let Some((pointer, keyword)) = unknown.into_iter().next() {
        if let Some((_, help)) = UNSUPPORTED.iter().find(|(known, _)| *known == keyword) {
            let message = format!("the JSON Schema keyword `{keyword}` at `{pointer}` is not supported");
            return Err(problem(message, help));
        }
        let help = suggest(&keyword, KEYWORDS).unwrap_or_default();
        return Err(problem(format!("unknown JSON Schema keyword `{keyword}` at `{pointer}`"), &help));
    }
    if let Some(text) = first_template(&schema) {
        return Err(Problem {
            code: Code::TemplatePlace,
            message: format!("`{file}` contains the template `{text}`"),
            help: "write fixed values and texts: a schema is read once, before any call".to_owned(),
        });
    }
    let fields = fields_of(&schema, &schema, 0);
    let arguments = interned
        .arguments(schema, Vec::new())
        .map_err(|error| problem(format!("invalid JSON Schema `{file}`: {error}"), "fix the schema"))?;
    Ok((arguments, fields))
}

/// The first template expression in what a schema says about values: nothing of it is rendered.
fn first_template(schema: &Value) -> Option<&str> {
    match schema {
        Value::String(text) => expression_in(text).and_then(|range| text.get(range)),
        Value::Array(items) => items.iter().find_map(first_template),
        Value::Object(entries) => {
            let texts = entries.iter().filter(|(key, _)| *key != "$comment");
            texts.map(|(_, value)| value).find_map(first_template)
        }
        _ => None,
    }
}

/// Collects unknown keywords with their JSON pointers.
fn unknown_keywords(schema: &Value, pointer: &str, unknown: &mut Vec<(String, String)>) {
    let Value::Object(entries) = schema else { return };
    for (key, value) in entries {
        let here = format!("{pointer}/{key}");
        match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                for (name, schema) in value.as_object().into_iter().flatten() {
                    unknown_keywords(schema, &format!("{here}/{name}"), unknown);
                }
            }
            "items"
            | "contains"
            | "not"
            | "if"
            | "then"
            | "else"
            | "propertyNames"
            | "additionalProperties" => {
                unknown_keywords(value, &here, unknown);
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                for (index, schema) in value.as_array().into_iter().flatten().enumerate() {
                    unknown_keywords(schema, &format!("{here}/{index}"), unknown);
                }
            }
            known if KEYWORDS.contains(&known) || known.starts_with("x-") => {}
            _ => unknown
                .push((if pointer.is_empty() { "/".to_owned() } else { pointer.to_owned() }, key.clone())),
        }
    }
}

/// The names below a value, by its JSON Schema.
fn fields_of(schema: &Value, root: &Value, depth: usize) -> Fields {
    let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
    let schema = target.and_then(|target| root.pointer(target)).unwrap_or(schema);
    match (schema.get("type").and_then(Value::as_str), schema.get("properties").and_then(Value::as_object)) {
        _ if depth > 32 => Fields::Open,
        (Some("object"), Some(properties)) if schema.get("patternProperties").is_none() => Fields::Closed(
            properties
                .iter()
                .map(|(name, schema)| (name.clone(), fields_of(schema, root, depth + 1)))
                .collect(),
        ),
        (Some("string"), _) => Fields::Text,
        (Some("integer" | "number" | "boolean"), _) => Fields::Leaf,
        _ => Fields::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(keyword: &str) -> Option<String> {
        let value = if keyword == "contentSchema" { "{}" } else { "\"base64\"" };
        let schema = format!(r#"{{"type": "string", "{keyword}": {value}}}"#);
        let text = format!(r#"{{"type": "object", "properties": {{"a": {schema}}}}}"#);
        let parsed = parse(&text, "s.json", &mut Interned::default());
        parsed.err().map(|problem| format!("{}; {}", problem.message, problem.help))
    }

    #[test]
    fn keywords_that_are_not_supported_are_told_from_unknown_ones() {
        for keyword in ["contentEncoding", "contentMediaType", "contentSchema", "x-internal"] {
            assert_eq!(message(keyword), None, "{keyword}");
        }
        for (keyword, help) in UNSUPPORTED {
            let expected =
                format!("the JSON Schema keyword `{keyword}` at `/properties/a` is not supported; {help}");
            assert_eq!(message(keyword), Some(expected));
        }
        let unknown = message("maxLenght").unwrap();
        assert!(unknown.starts_with("unknown JSON Schema keyword `maxLenght`"), "{unknown}");
        assert!(unknown.ends_with("did you mean `maxLength`?"), "{unknown}");
    }
}
