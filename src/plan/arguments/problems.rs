//! Describes invalid arguments, so that the model can fix them in its next call.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

use super::FORMATS;
use super::shape::resolved;

/// The most characters of a description in a message.
const MAX_DESCRIPTION: usize = 200;

/// The most alternatives in a message.
const MAX_ALTERNATIVES: usize = 4;

/// The problems of the arguments, described for the model. `root` is the schema of the arguments.
pub(super) fn problems(error: &ValidationError<'_>, root: &Value) -> Vec<String> {
    let pointer = error.instance_path().as_str();
    let subject = subject(pointer);
    let about = about(pointer, root).map(|about| format!(" ({about})")).unwrap_or_default();
    let must = |what: String| vec![format!("{subject} must {what}{about}")];
    // A limit says it all.
    let limited = |what: String| vec![format!("{subject} must {what}")];
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default().replace('~', "~0").replace('/', "~1");
            required(&format!("{pointer}/{name}"), root)
        }
        ValidationErrorKind::Type { kind } => must(format!("be {}", type_words(kind))),
        // The rules of `exact`.
        ValidationErrorKind::Custom { keyword, message } if matches!(&**keyword, "enum" | "const") => {
            must(message.clone())
        }
        ValidationErrorKind::Custom { message, .. } => limited(message.clone()),
        ValidationErrorKind::MultipleOf { multiple_of } => limited(format!("be a multiple of {multiple_of}")),
        ValidationErrorKind::MinLength { limit } => {
            limited(format!("have at least {}", counted(*limit, "character")))
        }
        ValidationErrorKind::MaxLength { limit } => {
            limited(format!("have at most {}", counted(*limit, "character")))
        }
        ValidationErrorKind::MinItems { limit } => {
            limited(format!("have at least {}", counted(*limit, "item")))
        }
        ValidationErrorKind::MaxItems { limit } => {
            limited(format!("have at most {}", counted(*limit, "item")))
        }
        ValidationErrorKind::UniqueItems => limited("not have the same item twice".to_owned()),
        // A description says what a pattern means; models read it better than the pattern.
        ValidationErrorKind::Pattern { .. } if !about.is_empty() => must("match its description".to_owned()),
        ValidationErrorKind::Pattern { pattern } => must(format!("match the pattern {pattern}")),
        ValidationErrorKind::Format { format } => must(format!("be {}", format_words(format))),
        ValidationErrorKind::AdditionalProperties { .. }
        | ValidationErrorKind::UnevaluatedProperties { .. } => {
            must("have no other keys than those declared".to_owned())
        }
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            vec![
                alternatives(context, root)
                    .unwrap_or_else(|| format!("{subject} must have another form{about}")),
            ]
        }
        ValidationErrorKind::OneOfMultipleValid { .. } => {
            vec![format!("{subject} must have only one of the forms that exclude each other{about}")]
        }
        // What only a whole JSON Schema can ask for; its keyword is the best word there is.
        other => vec![format!("{subject} does not fit the `{}` of its schema", other.keyword())],
    }
}

/// Describes a missing argument.
fn required(pointer: &str, root: &Value) -> Vec<String> {
    let about = about(pointer, root).map(|about| format!(" ({about})")).unwrap_or_default();
    vec![format!("{} is required{about}", subject(pointer))]
}

/// What would make one of the alternatives of a schema fit: the first problem of each.
fn alternatives(context: &[Vec<ValidationError<'_>>], root: &Value) -> Option<String> {
    let is_null = |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Type { kind: TypeKind::Single(kind) } if kind.to_string() == "null");
    let others = context.iter().filter(|errors| !errors.iter().any(is_null));
    let mut told: Vec<String> = Vec::new();
    for errors in others {
        let problems: Vec<String> =
            errors.iter().take(MAX_ALTERNATIVES).flat_map(|error| problems(error, root)).collect();
        let text = problems.join(" and ");
        if !text.is_empty() && !told.contains(&text) {
            told.push(text);
        }
    }
    told.truncate(MAX_ALTERNATIVES);
    (!told.is_empty()).then(|| told.join(", or "))
}

/// The description of the argument at a place, without the stop at its end.
fn about(pointer: &str, root: &Value) -> Option<String> {
    let mut schema = root;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let here = resolved(schema, root);
        schema = match here.get("properties").and_then(|properties| properties.get(&part)) {
            Some(property) => property,
            None => here.get("items").filter(|_| part.parse::<usize>().is_ok())?,
        };
    }
    let text = [schema, resolved(schema, root)]
        .into_iter()
        .find_map(|schema| schema.get("description")?.as_str())?;
    let text = text.trim().trim_end_matches('.');
    let cut: String = text.chars().take(MAX_DESCRIPTION).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    (!pointer.is_empty() && !cut.is_empty()).then(|| format!("{cut}{more}"))
}

/// Names a place in the arguments: "argument `address.city`", "item 2 of argument `tags`".
fn subject(pointer: &str) -> String {
    let parts: Vec<String> =
        pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let Some((name, below)) = parts.split_first() else { return "the arguments".to_owned() };
    let mut path = name.clone();
    let mut items = Vec::new();
    for part in below {
        match part.parse::<usize>() {
            Ok(index) => items.push(index + 1),
            Err(_) => {
                path.push('.');
                path.push_str(part);
            }
        }
    }
    items.iter().rev().fold(format!("argument `{path}`"), |subject, item| format!("item {item} of {subject}"))
}

/// A value as the model is told.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn type_words(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => type_word(&kind.to_string()).to_owned(),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| type_word(&kind.to_string())).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn type_word(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "an object",
        _ => "null",
    }
}

fn format_words(format: &str) -> String {
    match FORMATS.iter().find(|(name, _)| *name == format) {
        Some((_, words)) => (*words).to_owned(),
        None => format!("a valid {format}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use serde_json::{Value, json};

    fn problem(schema: Value, given: Value) -> String {
        let arguments = Arguments::compile(schema, Vec::new()).unwrap();
        arguments.validate(&given.into()).unwrap_err().to_string()
    }

    #[test]
    fn a_description_explains_more_than_a_pattern() {
        let schema = json!({
            "type": "object",
            "properties": {
                "phone": {"type": "string", "pattern": "^[+][0-9]{8,15}$", "description": "Number with country code, such as +4791234567."},
                "code": {"type": "string", "pattern": "^A"},
                "legs": {"type": "array", "items": {"$ref": "#/$defs/leg"}},
                "long": {"type": "integer", "description": "x".repeat(500)},
            },
            "$defs": {"leg": {"type": "object", "required": ["to"], "properties": {"to": {"type": "string", "description": "Airport"}}}},
        });
        for (given, expected) in [
            (
                json!({"phone": "91 23 45 67"}),
                "argument `phone` must match its description (Number with country code, such as +4791234567)",
            ),
            (
                json!({"phone": true}),
                "argument `phone` must be a string (Number with country code, such as +4791234567)",
            ),
            (json!({"code": "B"}), "argument `code` must match the pattern ^A"),
            (json!({"legs": [{"to": "OSL"}, {}]}), "item 2 of argument `legs.to` is required (Airport)"),
        ] {
            assert_eq!(problem(schema.clone(), given.clone()), expected, "{given}");
        }
        let long = problem(schema, json!({"long": "x"}));
        assert!(long.ends_with("xx…)") && long.len() < 300, "{long}");
    }

    #[test]
    fn alternatives_say_what_is_missing() {
        let with = |alternatives: Value| {
            let mut schema = json!({
                "type": "object",
                "properties": {
                    "phone": {"type": "string", "description": "Telephone number."},
                    "name": {"type": "string"},
                    "birthday": {"type": "string"},
                    "size": {"anyOf": [{"type": "integer"}, {"enum": ["all"]}, {"type": "null"}]},
                },
            });
            for (key, value) in alternatives.as_object().unwrap() {
                schema[key] = value.clone();
            }
            schema
        };
        let required = json!([{"required": ["phone"]}, {"required": ["name", "birthday"]}]);
        let missing = "argument `phone` is required (Telephone number), or argument `name` is required and argument `birthday` is required";
        assert_eq!(problem(with(json!({"anyOf": required})), json!({})), missing);
        assert_eq!(problem(with(json!({"oneOf": required})), json!({})), missing);
        assert_eq!(
            problem(with(json!({"oneOf": required})), json!({"phone": "1", "name": "a", "birthday": "b"})),
            "the arguments must have only one of the forms that exclude each other"
        );
        assert_eq!(
            problem(with(json!({})), json!({"size": "some"})),
            "argument `size` must be a whole number, or argument `size` must be one of all"
        );
    }
}
