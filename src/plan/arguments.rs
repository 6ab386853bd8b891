//! Arguments: a JSON Schema compiled at load, lossless conversion of what sloppy models write, and answers that
//! tell the model what to mend.

mod conversion;
mod weight;

use std::fmt;
use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::call::GivenArguments;
use crate::json::{Kind, ValueRef};
use crate::lang::pattern::MAX_COMPILED;
use conversion::converted;
use weight::Weight;

/// The most problems that are told at once: a list may be wrong in each of its items.
const MAX_PROBLEMS: usize = 10;

/// What a route takes, compiled. The same schema is declared to platforms.
#[derive(Debug, Clone)]
pub struct Arguments {
    schema: Arc<Value>,
    validator: Arc<Validator>,
    weight: Weight,
    /// The names of the arguments whose values are hidden wherever calls are shown.
    sensitive: Vec<String>,
}

/// Arguments that fit, with defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Validated {
    /// The arguments, an object.
    pub args: Value,
    /// The names that were given but not declared.
    pub dropped: Vec<String>,
    /// The arguments that were converted, as paths.
    pub converted: Vec<String>,
}

/// Arguments that do not fit. The text is for the model; it never holds a value that was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct InvalidArguments {
    /// Each problem, as "argument `days` must be at most 7".
    pub problems: Vec<String>,
}

impl InvalidArguments {
    /// What the model is told.
    pub fn model_text(&self) -> String {
        let what = if self.problems.len() == 1 { "argument" } else { "arguments" };
        format!("The function was not called: {self}. Fix the {what} and call the function again.")
    }
}

impl Arguments {
    /// Compiles a JSON Schema of an object.
    ///
    /// # Errors
    /// The reason why the schema cannot be used, in our words.
    pub(crate) fn compile(schema: Value, sensitive: Vec<String>) -> Result<Self, String> {
        let weight = Weight::of(&schema)?;
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_COMPILED))
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|error| schema_problem(&error))?;
        Ok(Self { schema: Arc::new(schema), validator: Arc::new(validator), weight, sensitive })
    }

    /// Arguments of the same schema, of which others are hidden.
    pub(crate) fn hiding(&self, sensitive: Vec<String>) -> Self {
        Self { sensitive, ..self.clone() }
    }

    /// The JSON Schema of the arguments, as it is declared to platforms.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The names of the declared arguments.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
    }

    /// Whether the value of an argument is hidden wherever calls are shown.
    pub fn is_sensitive(&self, name: &str) -> bool {
        self.sensitive.iter().any(|known| known == name)
    }

    /// The values of sensitive arguments in `args`.
    pub fn sensitive_values<'v>(&'v self, args: &'v Value) -> impl Iterator<Item = &'v Value> {
        self.sensitive.iter().filter_map(|name| args.get(name))
    }

    /// Converts what loses nothing, drops what is not declared, fills defaults in, and checks the rest.
    ///
    /// # Errors
    /// The problems at once, so that the model can mend all of them in its next call.
    pub fn validate(&self, given: &GivenArguments) -> Result<Validated, InvalidArguments> {
        let given = match given {
            GivenArguments::Json(given) if matches!(given.get().kind(), Kind::Object | Kind::Null) => {
                given.get()
            }
            GivenArguments::Json(_) | GivenArguments::Unreadable => {
                return Err(InvalidArguments {
                    problems: vec!["the arguments must be a JSON object".to_owned()],
                });
            }
        };
        let mut validated = Validated::default();
        let args = self.convert_object(&self.schema, given, Path::Top, &mut validated);
        if !self.weight.allows(&args) {
            return Err(InvalidArguments { problems: vec!["the arguments are too large".to_owned()] });
        }
        if !self.validator.is_valid(&args) {
            return Err(InvalidArguments { problems: self.all_problems(&args) });
        }
        validated.args = args;
        Ok(validated)
    }

    /// What is wrong with arguments that do not fit, up to a few problems.
    fn all_problems(&self, args: &Value) -> Vec<String> {
        let errors = self.validator.iter_errors(args).flat_map(|error| self.problems(&error));
        let mut problems: Vec<String> = errors.take(MAX_PROBLEMS + 1).collect();
        if problems.len() > MAX_PROBLEMS {
            problems.truncate(MAX_PROBLEMS);
            problems.push("and more of the kind".to_owned());
        }
        problems
    }

    fn convert_object(
        &self,
        schema: &Value,
        given: ValueRef<'_>,
        path: Path<'_>,
        validated: &mut Validated,
    ) -> Value {
        let schema = self.resolved(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        // A schema that says what else may stand there declares it.
        let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
            || schema.get("patternProperties").is_some()
            || properties.is_none() && !matches!(path, Path::Top);
        let mut out = Map::with_capacity(given.len() + properties.map_or(0, Map::len));
        for (name, value) in given.entries() {
            let here = Path::Key(&path, &name);
            match properties.and_then(|properties| properties.get(&*name)) {
                _ if value.is_null() && !self.takes_null(properties, &name) => {}
                Some(property) => {
                    let value = self.convert(property, value, here, validated);
                    out.insert(name.into_owned(), value);
                }
                None if open => {
                    out.insert(name.into_owned(), value.to_value());
                }
                None => validated.dropped.push(here.to_string()),
            }
        }
        for (name, property) in properties.into_iter().flatten() {
            if let Some(default) = self.resolved(property).get("default")
                && !out.contains_key(name)
            {
                out.insert(name.clone(), default.clone());
            }
        }
        Value::Object(out)
    }

    fn takes_null(&self, properties: Option<&Map<String, Value>>, name: &str) -> bool {
        let Some(property) = properties.and_then(|properties| properties.get(name)) else { return false };
        match self.resolved(property).get("type") {
            Some(Value::String(name)) => name == "null",
            Some(Value::Array(types)) => types.iter().any(|name| name == "null"),
            _ => false,
        }
    }

    fn convert(
        &self,
        schema: &Value,
        value: ValueRef<'_>,
        path: Path<'_>,
        validated: &mut Validated,
    ) -> Value {
        let schema = self.resolved(schema);
        let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match (wanted, value.kind()) {
            ("array", Kind::Array) => match schema.get("items") {
                Some(item) => value
                    .items()
                    .enumerate()
                    .map(|(index, value)| self.convert(item, value, Path::Item(&path, index), validated))
                    .collect(),
                None => value.to_value(),
            },
            ("object", Kind::Object) => self.convert_object(schema, value, path, validated),
            _ => match converted(wanted, value) {
                Some(converted) => {
                    validated.converted.push(path.to_string());
                    converted
                }
                None => value.to_value(),
            },
        }
    }

    /// Follows `$ref`s inside the schema, a bounded number of them.
    fn resolved<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        for _ in 0..8 {
            let target =
                schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
            match target.and_then(|target| self.schema.pointer(target)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn problems(&self, error: &ValidationError<'_>) -> Vec<String> {
        let subject = subject(error.instance_path().as_str());
        let must = |what: String| vec![format!("{subject} must {what}")];
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let path = error.instance_path().as_str();
                let whole = if path.is_empty() { format!("/{name}") } else { format!("{path}/{name}") };
                let about = match self.schema.pointer(&format!("/properties/{name}/description")) {
                    Some(Value::String(about)) if path.is_empty() => {
                        format!(" ({})", about.trim_end_matches('.'))
                    }
                    _ => String::new(),
                };
                vec![format!("{} is required{about}", self::subject(&whole))]
            }
            ValidationErrorKind::Type { kind } => must(format!("be {}", type_words(kind))),
            ValidationErrorKind::Enum { options } => {
                let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
                must(format!("be one of {}", options.iter().map(plain).collect::<Vec<_>>().join(", ")))
            }
            ValidationErrorKind::Constant { expected_value } => must(format!("be {}", plain(expected_value))),
            ValidationErrorKind::Minimum { limit } => must(format!("be at least {limit}")),
            ValidationErrorKind::Maximum { limit } => must(format!("be at most {limit}")),
            ValidationErrorKind::ExclusiveMinimum { limit } => must(format!("be more than {limit}")),
            ValidationErrorKind::ExclusiveMaximum { limit } => must(format!("be less than {limit}")),
            ValidationErrorKind::MultipleOf { multiple_of } => {
                must(format!("be a multiple of {multiple_of}"))
            }
            ValidationErrorKind::MinLength { limit } => {
                must(format!("have at least {}", counted(*limit, "character")))
            }
            ValidationErrorKind::MaxLength { limit } => {
                must(format!("have at most {}", counted(*limit, "character")))
            }
            ValidationErrorKind::MinItems { limit } => {
                must(format!("have at least {}", counted(*limit, "item")))
            }
            ValidationErrorKind::MaxItems { limit } => {
                must(format!("have at most {}", counted(*limit, "item")))
            }
            ValidationErrorKind::UniqueItems => must("not have the same item twice".to_owned()),
            ValidationErrorKind::Pattern { pattern } => must(format!("match the pattern {pattern}")),
            ValidationErrorKind::Format { format } => must(format!("be {}", format_words(format))),
            ValidationErrorKind::AdditionalProperties { .. }
            | ValidationErrorKind::UnevaluatedProperties { .. } => {
                must("have no other keys than those declared".to_owned())
            }
            // What only a whole JSON Schema can ask for; its keyword is the best word there is.
            other => vec![format!("{subject} does not fit the `{}` of its schema", other.keyword())],
        }
    }
}

/// Where a value stands in the arguments; written as `address.city` or `tags[1]`.
#[derive(Clone, Copy)]
enum Path<'p> {
    Top,
    Key(&'p Self, &'p str),
    Item(&'p Self, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Top => Ok(()),
            Self::Key(Self::Top, name) => f.write_str(name),
            Self::Key(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// How a place in the arguments is called: "argument `address.city`", "item 2 of argument `tags`".
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

fn plain(value: &Value) -> String {
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

/// The forms that `format` knows, each with the words for what must be given.
pub(crate) const FORMATS: &[(&str, &str)] = &[
    ("date", "a date such as 2026-09-21"),
    ("time", "a time with its offset such as 14:30:00Z"),
    ("date-time", "a date and time such as 2026-09-21T14:30:00Z"),
    ("duration", "a duration such as PT30M"),
    ("email", "an e-mail address"),
    ("hostname", "a host name"),
    ("ipv4", "an IPv4 address"),
    ("ipv6", "an IPv6 address"),
    ("uri", "a URL"),
    ("uuid", "a UUID"),
];

fn format_words(format: &str) -> String {
    match FORMATS.iter().find(|(name, _)| *name == format) {
        Some((_, words)) => (*words).to_owned(),
        None => format!("a valid {format}"),
    }
}

/// Why a schema cannot be compiled, without quoting values of it.
fn schema_problem(error: &ValidationError<'_>) -> String {
    let at = error.instance_path().as_str();
    let place = if at.is_empty() { String::new() } else { format!(" at `{at}`") };
    match error.kind() {
        ValidationErrorKind::Referencing(_) => {
            format!("a `$ref`{place} leads out of the schema; only `#/…` inside the same file is followed")
        }
        ValidationErrorKind::Format { format } if format == "regex" => {
            format!("the pattern{place} cannot be used; patterns have no look-around and no back-references")
        }
        kind => format!("the `{}` rule of JSON Schema is broken{place}", kind.keyword()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments() -> Arguments {
        Arguments::compile(
            json!({
                "type": "object",
                "properties": {
                    "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 3},
                    "price": {"type": "number"},
                    "city": {"type": "string", "maxLength": 5, "description": "City name."},
                    "loud": {"type": "boolean"},
                    "unit": {"type": "string", "enum": ["c", "f"]},
                    "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
                    "who": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]},
                    "day": {"type": "string", "format": "date"},
                    "code": {"type": "string", "pattern": "^A-[0-9]+$"},
                },
                "required": ["city"],
            }),
            vec!["code".to_owned()],
        )
        .unwrap()
    }

    fn validate(given: Value) -> Result<Value, String> {
        let given = match given {
            Value::Object(mut entries) => {
                entries.entry("city").or_insert(json!("Oslo"));
                Value::Object(entries)
            }
            other => other,
        };
        arguments()
            .validate(&GivenArguments::from(given))
            .map(|good| good.args)
            .map_err(|bad| bad.to_string())
    }

    #[test]
    fn what_loses_nothing_is_converted() {
        for (name, given, expected) in [
            ("days", json!("5"), json!(5)),
            ("days", json!(5.0), json!(5)),
            ("days", json!("5.0"), json!(5)),
            ("price", json!("12.50"), json!(12.5)),
            ("price", json!("-3"), json!(-3)),
            ("price", json!(7), json!(7)),
            ("loud", json!("true"), json!(true)),
            ("loud", json!("False"), json!(false)),
            ("city", json!(1234), json!("1234")),
            ("tags", json!(["1", 2.0]), json!([1, 2])),
            ("who", json!({"age": "41", "x": 1}), json!({"age": 41})),
        ] {
            let args = validate(json!({name: given.clone()})).unwrap_or_else(|bad| panic!("{given}: {bad}"));
            assert_eq!(args[name], expected, "{name} = {given}");
        }
    }

    #[test]
    fn what_is_wrong_again_and_again_is_told_a_few_times() {
        let bad = validate(json!({"tags": vec![json!([]); 20_000]})).unwrap_err();
        assert!(bad.contains("item 1 of argument `tags` must be a whole number"), "{bad}");
        assert!(bad.ends_with("; and more of the kind") && bad.len() < 1000, "{bad}");
    }

    #[test]
    fn what_would_lose_something_is_refused_with_words() {
        for (name, given, expected) in [
            ("days", json!("007"), "argument `days` must be a whole number"),
            ("days", json!("5.5"), "argument `days` must be a whole number"),
            ("days", json!(5.5), "argument `days` must be a whole number"),
            ("days", json!(" 5"), "argument `days` must be a whole number"),
            ("days", json!("9e99"), "argument `days` must be a whole number"),
            ("days", json!("-0"), "argument `days` must be a whole number"),
            ("days", json!(8), "argument `days` must be at most 7"),
            ("days", json!("0"), "argument `days` must be at least 1"),
            ("price", json!("1.2345678901234567"), "argument `price` must be a number"),
            ("loud", json!("yes"), "argument `loud` must be true or false"),
            ("loud", json!(1), "argument `loud` must be true or false"),
            ("city", json!(true), "argument `city` must be a string"),
            ("city", json!("Bergen"), "argument `city` must have at most 5 characters"),
            ("unit", json!("k"), "argument `unit` must be one of c, f"),
            ("tags", json!([1, "x"]), "item 2 of argument `tags` must be a whole number"),
            ("tags", json!([1, 2, 3, 4]), "argument `tags` must have at most 3 items"),
            ("who", json!({}), "argument `who.age` is required"),
            ("day", json!("tomorrow"), "argument `day` must be a date such as 2026-09-21"),
            ("code", json!("B-1"), "argument `code` must match the pattern ^A-[0-9]+$"),
        ] {
            assert_eq!(validate(json!({name: given.clone()})), Err(expected.to_owned()), "{name} = {given}");
        }
    }

    #[test]
    fn null_is_absent_defaults_are_filled_in_and_strangers_dropped() {
        let good = arguments()
            .validate(&GivenArguments::from(
                json!({"city": "Oslo", "days": null, "x": 1, "who": {"age": 1, "y": 2}}),
            ))
            .unwrap();
        assert_eq!(good.args, json!({"city": "Oslo", "who": {"age": 1}, "days": 3}));
        assert_eq!(good.dropped, ["x", "who.y"]);
        let bad = arguments().validate(&GivenArguments::from(json!({"city": null}))).unwrap_err();
        assert_eq!(bad.to_string(), "argument `city` is required (City name)");
        assert_eq!(
            arguments().validate(&GivenArguments::Unreadable).unwrap_err().to_string(),
            "the arguments must be a JSON object"
        );
        assert_eq!(arguments().validate(&GivenArguments::from(json!([1]))).unwrap_err().problems.len(), 1);
    }

    #[test]
    fn a_whole_schema_may_use_references_inside_itself() {
        let arguments = Arguments::compile(
            json!({
                "type": "object",
                "properties": {"n": {"$ref": "#/$defs/count"}},
                "$defs": {"count": {"type": "integer"}},
            }),
            Vec::new(),
        )
        .unwrap();
        let given = GivenArguments::from(json!({"n": "4"}));
        assert_eq!(arguments.validate(&given).unwrap().args, json!({"n": 4}));
        for outside in ["https://example.com/x.json", "other.json"] {
            let schema = json!({"type": "object", "properties": {"n": {"$ref": outside}}});
            assert!(Arguments::compile(schema, Vec::new()).is_err(), "{outside}");
        }
        assert!(
            Arguments::compile(
                json!({"type": "object", "properties": {"n": {"pattern": "(a)\\1"}}}),
                Vec::new()
            )
            .is_err()
        );
    }
}
