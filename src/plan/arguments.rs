//! Arguments: a JSON Schema compiled at load, lossless conversion of what sloppy models write, and answers that
//! tell the model what to fix.

mod conversion;
mod defaults;
mod exact;
mod problems;
mod shape;
mod weight;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

use crate::call::GivenArguments;
use crate::json::{Kind, MAX_DEPTH, is_deeper};
use crate::lang::pattern::MAX_COMPILED;
use crate::lang::template::Scope;
use conversion::is_time;
pub(crate) use defaults::{Below, CallDefault};
use problems::problems;
use shape::{Converter, Path, Shape};
use weight::Weight;

/// The most problems that are told at once: a list may be wrong in each of its items.
const MAX_PROBLEMS: usize = 10;

/// What a route takes, compiled. The same schema is declared to platforms.
#[derive(Debug, Clone)]
pub struct Arguments {
    schema: Arc<Value>,
    validator: Arc<Validator>,
    shape: Arc<Shape>,
    weight: Weight,
    /// The defaults that are not part of the schema, because they depend on the call.
    defaults: Arc<[CallDefault]>,
    /// The names of the arguments whose values are hidden wherever calls are shown.
    sensitive: Vec<String>,
}

/// What the validation of arguments takes from their call.
#[derive(Clone, Copy)]
pub(crate) struct CallValues<'c> {
    /// The zone of times without an offset. Without one, they are invalid.
    pub(crate) zone: &'c dyn Fn() -> Option<TimeZone>,
    /// The values for defaults; without them, only fixed defaults are filled in.
    pub(crate) scope: Option<&'c Scope<'c>>,
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

/// The result of validating arguments.
pub type Validation = Result<Validated, InvalidArguments>;

impl Arguments {
    /// Compiles a JSON Schema of an object.
    ///
    /// # Errors
    /// The reason why the schema cannot be used, in our words.
    pub(crate) fn compile(schema: Value, sensitive: Vec<String>) -> Result<Self, String> {
        let weight = Weight::of(&schema)?;
        let validator = exact::with_exact_numbers(jsonschema::options())
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(MAX_COMPILED))
            .should_validate_formats(true)
            .with_format("time", is_time)
            .build(&schema)
            .map_err(|error| schema_problem(&error))?;
        let shape = Arc::new(Shape::of_arguments(&schema));
        let (schema, validator) = (Arc::new(schema), Arc::new(validator));
        Ok(Self { schema, validator, shape, weight, defaults: Arc::default(), sensitive })
    }

    /// The same arguments with defaults that depend on the call.
    pub(crate) fn with_defaults(self, defaults: Vec<CallDefault>) -> Self {
        Self { defaults: defaults.into(), ..self }
    }

    /// Whether a default depends on the call.
    pub(crate) fn has_call_defaults(&self) -> bool {
        !self.defaults.is_empty()
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

    /// Whether the values of some arguments are hidden wherever calls are shown.
    pub fn has_sensitive(&self) -> bool {
        !self.sensitive.is_empty()
    }

    /// The values of sensitive arguments in `args`.
    pub fn sensitive_values<'v>(&'v self, args: &'v Value) -> impl Iterator<Item = &'v Value> {
        self.sensitive.iter().filter_map(|name| args.get(name))
    }

    /// Converts what loses nothing, drops what is not declared, fills in the fixed defaults, and checks the rest. Times
    /// without an offset are in UTC.
    ///
    /// # Errors
    /// The problems at once, so that the model can fix all of them in its next call.
    pub fn validate(&self, given: &GivenArguments) -> Result<Validated, InvalidArguments> {
        self.validate_in(given, CallValues { zone: &|| Some(TimeZone::UTC), scope: None })
    }

    /// The same with the zone and the defaults of a call.
    pub(crate) fn validate_in(
        &self,
        given: &GivenArguments,
        call: CallValues<'_>,
    ) -> Result<Validated, InvalidArguments> {
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
        let mut converter = Converter { validated: &mut validated, zone: call.zone };
        let mut args = converter.object(&self.shape, given, Path::Top);
        if let Some(scope) = call.scope.filter(|_| self.has_call_defaults()) {
            defaults::fill_all(&self.defaults, &mut args, &self.shape, &converter, scope);
        }
        if !self.weight.allows(&args) {
            return Err(InvalidArguments { problems: vec!["the arguments are too large".to_owned()] });
        }
        // Arguments that nest deeper than a document can't be stored and read again.
        if is_deeper(&args, MAX_DEPTH) {
            return Err(InvalidArguments {
                problems: vec![format!("the arguments are nested more than {MAX_DEPTH} deep")],
            });
        }
        if !self.validator.is_valid(&args) {
            return Err(InvalidArguments { problems: self.all_problems(&args) });
        }
        validated.args = args;
        Ok(validated)
    }

    /// What is wrong with arguments that do not fit, up to a few problems.
    fn all_problems(&self, args: &Value) -> Vec<String> {
        let errors = self.validator.iter_errors(args).flat_map(|error| problems(&error, &self.schema));
        let mut problems: Vec<String> = errors.take(MAX_PROBLEMS + 1).collect();
        if problems.len() > MAX_PROBLEMS {
            problems.truncate(MAX_PROBLEMS);
            problems.push("and more of the kind".to_owned());
        }
        problems
    }
}

/// The forms that `format` knows, each with the words for what must be given.
pub(crate) const FORMATS: &[(&str, &str)] = &[
    ("date", "a date such as 2026-09-21"),
    ("time", "a time such as 14:30"),
    ("date-time", "a date and time such as 2026-09-21T14:30:00Z"),
    ("duration", "a duration such as PT30M"),
    ("email", "an e-mail address"),
    ("hostname", "a host name"),
    ("ipv4", "an IPv4 address"),
    ("ipv6", "an IPv6 address"),
    ("uri", "a URL"),
    ("uuid", "a UUID"),
];

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

    fn exact(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_loses_nothing_is_converted() {
        for (name, given, expected) in [
            ("days", json!("5"), json!(5)),
            ("days", json!(5.0), json!(5)),
            ("days", json!("5.0"), json!(5)),
            ("price", json!("12.50"), exact("12.50")),
            ("price", exact("12.50"), exact("12.50")),
            ("price", json!("1.2345678901234567"), exact("1.2345678901234567")),
            ("price", json!("36893488147419103233"), exact("36893488147419103233")),
            ("price", exact("36893488147419103233"), exact("36893488147419103233")),
            ("days", exact("0.5e1"), json!(5)),
            ("price", json!("-3"), json!(-3)),
            ("price", json!(7), json!(7)),
            ("loud", json!("true"), json!(true)),
            ("loud", json!("False"), json!(false)),
            ("loud", json!("Yes"), json!(true)),
            ("loud", json!("no"), json!(false)),
            ("unit", json!("C"), json!("c")),
            ("city", json!(1234), json!("1234")),
            ("tags", json!("[\"1\", 2]"), json!([1, 2])),
            ("tags", json!(" []"), json!([])),
            ("who", json!("{\"age\": \"41\", \"x\": 1}"), json!({"age": 41})),
            ("tags", json!(["1", 2.0]), json!([1, 2])),
            ("who", json!({"age": "41", "x": 1}), json!({"age": 41})),
        ] {
            let args = validate(json!({name: given.clone()})).unwrap_or_else(|bad| panic!("{given}: {bad}"));
            assert_eq!(args[name], expected, "{name} = {given}");
        }
    }

    #[test]
    fn arguments_nest_as_deep_as_a_document_may() {
        let schema = json!({"type": "object", "properties": {"list": {"type": "array"}}});
        let arguments = Arguments::compile(schema, Vec::new()).unwrap();
        for (levels, problem) in [(126, None), (127, Some("the arguments are nested more than 127 deep"))] {
            // The list is one level deeper than its text.
            let list = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let problems = arguments.validate(&GivenArguments::from(json!({"list": list})));
            assert_eq!(problems.map_err(|bad| bad.problems).err(), problem.map(|text| vec![text.to_owned()]));
        }
    }

    #[test]
    fn numbers_are_compared_by_their_exact_values() {
        let is_valid = |rule: &str, number: &str| {
            let schema = format!(r#"{{"type": "object", "properties": {{"n": {{{rule}}}}}}}"#);
            let arguments = Arguments::compile(exact(&schema), Vec::new()).unwrap();
            arguments.validate(&GivenArguments::from(exact(&format!(r#"{{"n": {number}}}"#)))).is_ok()
        };
        for (rule, fits, differs) in [
            (r#""maximum": 9007199254740992"#, "9007199254740992.0", "9007199254740993.0"),
            (r#""minimum": 9007199254740993"#, "9007199254740993.0", "9007199254740992.0"),
            (r#""maximum": 9007199254740992"#, "9007199254740992", "9007199254740992.1"),
            (r#""maximum": 36893488147419103232"#, "36893488147419103232", "36893488147419103233"),
            (r#""maximum": 0.1"#, "0.10", "0.100000000000000000001"),
            (r#""minimum": 19.1"#, "19.10", "19.09999999999999999999"),
            (r#""exclusiveMinimum": 0.3"#, "0.30000000000000000001", "0.3"),
            (r#""exclusiveMaximum": 1e2"#, "99.99999999999999999999", "100.0"),
            (r#""maximum": 1e400"#, "1e400", "1.1e400"),
            (r#""enum": [9007199254740993, 0.1]"#, "9007199254740993", "9007199254740992"),
            (r#""enum": [9007199254740993, 0.1]"#, "9007199254740993.0", "9007199254740992.0"),
            (r#""enum": [9007199254740993, 0.1]"#, "0.10", "0.1000000000000000000001"),
            (r#""const": 36893488147419103233"#, "36893488147419103233", "36893488147419103232"),
            (r#""multipleOf": 0.01"#, "19.10", "19.101"),
            (r#""enum": [[0.1, {"a": 1}], null]"#, r#"[0.10, {"a": 1.0}]"#, r#"[0.1, {"a": 2}]"#),
        ] {
            assert!(is_valid(rule, fits), "{rule}: {fits}");
            assert!(!is_valid(rule, differs), "{rule}: {differs}");
        }
        // A number whose digits would be far too many to write out.
        assert!(!is_valid(r#""maximum": 7"#, "1e999999999"));
        assert!(is_valid(r#""minimum": 0.5"#, "1e999999999"));
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
            ("price", json!("1e5"), "argument `price` must be a number"),
            ("days", json!("36893488147419103232"), "argument `days` must be at most 7"),
            ("loud", json!("maybe"), "argument `loud` must be true or false"),
            ("loud", json!(1), "argument `loud` must be true or false"),
            ("city", json!(true), "argument `city` must be a string (City name)"),
            ("city", json!("Bergen"), "argument `city` must have at most 5 characters"),
            ("unit", json!("k"), "argument `unit` must be one of c, f"),
            ("tags", json!([1, "x"]), "item 2 of argument `tags` must be a whole number"),
            ("tags", json!([1, 2, 3, 4]), "argument `tags` must have at most 3 items"),
            ("tags", json!("1, 2"), "argument `tags` must be a list"),
            ("tags", json!("{\"a\": 1}"), "argument `tags` must be a list"),
            ("tags", json!("[1, \"x\"]"), "item 2 of argument `tags` must be a whole number"),
            ("tags", json!("[1"), "argument `tags` must be a list"),
            ("who", json!("[]"), "argument `who` must be an object"),
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
