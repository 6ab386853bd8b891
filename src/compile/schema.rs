//! `args_schema`: a whole JSON Schema in a file, in place of `args`.

use serde_json::Value;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::lang::template::Fields;
use crate::plan::arguments::Arguments;
use crate::table::document::Located;

use super::TableCompiler;

/// The keywords of JSON Schema: an unknown one would pass silently and check nothing.
const KEYWORDS: [&str; 52] = [
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
];

impl TableCompiler<'_> {
    /// What a schema file describes, and the names below it; no arguments after faults.
    pub(super) fn schema_file(
        &self,
        file: &Located<String>,
        diagnostics: &mut Diagnostics,
    ) -> (Option<Arguments>, Fields) {
        let mut fault = |code, message: String, help: &str| {
            diagnostics.push(Diagnostic::new(code, file.span, message).help(help));
            (None, Fields::Open)
        };
        let id = match self.table.schemas.get(&file.value) {
            Some(Ok(id)) => *id,
            Some(Err(error)) => {
                return fault(
                    Code::UnreadableFile,
                    format!("`{}` cannot be read: {error}", file.value),
                    "check the path: it is relative to the main file's folder",
                );
            }
            None => return (None, Fields::Open),
        };
        let schema: Value = match serde_json::from_str(&self.sources.get(id).text) {
            Ok(schema) => schema,
            Err(error) => {
                return fault(
                    Code::InvalidSchema,
                    format!(
                        "`{}` is not valid JSON (line {}, column {})",
                        file.value,
                        error.line(),
                        error.column()
                    ),
                    "write the JSON Schema as a JSON document",
                );
            }
        };
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return fault(
                Code::InvalidSchema,
                format!("`{}` does not describe an object", file.value),
                "add `\"type\": \"object\"` and `\"properties\"` at the top level",
            );
        }
        let mut unknown = Vec::new();
        unknown_keywords(&schema, "", &mut unknown);
        if let Some((pointer, keyword)) = unknown.into_iter().next() {
            let help = suggest(&keyword, KEYWORDS).unwrap_or_default();
            return fault(
                Code::InvalidSchema,
                format!("unknown JSON Schema keyword `{keyword}` at `{pointer}`"),
                &help,
            );
        }
        let fields = fields_of(&schema, &schema, 0);
        match Arguments::compile(schema, Vec::new()) {
            Ok(arguments) => (Some(arguments), fields),
            Err(problem) => fault(
                Code::InvalidSchema,
                format!("invalid JSON Schema `{}`: {problem}", file.value),
                "fix the schema",
            ),
        }
    }
}

/// Collects keywords that JSON Schema does not have, with where they stand.
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

/// The names below a value that a whole JSON Schema describes.
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
        (Some("string" | "integer" | "number" | "boolean"), _) => Fields::Leaf,
        _ => Fields::Open,
    }
}
