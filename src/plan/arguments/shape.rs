//! The conversion of arguments, derived from the schema when it is compiled.

use std::fmt;

use bytes::Bytes;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Validated;
use super::conversion::{TargetType, converted, truth_of, with_offset};
use crate::json::{Document, Kind, ValueRef};

/// The parts of a schema that determine conversions.
#[derive(Debug, Default)]
pub(super) struct Shape {
    wanted: Option<TargetType>,
    takes_null: bool,
    default: Option<Value>,
    /// The strings of an `enum`.
    choices: Vec<Choice>,
    /// The booleans of an `enum`.
    allowed_booleans: Vec<bool>,
    items: Option<Box<Self>>,
    properties: Vec<(String, Self)>,
    /// The indices of `properties`, sorted by name.
    by_name: Vec<usize>,
    /// Whether an object may have undeclared properties.
    open: bool,
}

/// A string of an `enum`.
#[derive(Debug)]
struct Choice {
    text: String,
    lower_case: String,
}

impl Shape {
    /// The shape of the arguments object. The schema `root` has no reference loops.
    pub(super) fn of_arguments(root: &Value) -> Self {
        let mut shape = Self::of(root, root);
        let schema = resolved(root, root);
        // Arguments without `properties` are not free-form: no argument is declared.
        shape.open = declares_more(schema);
        shape
    }

    fn of(written: &Value, root: &Value) -> Self {
        let schema = resolved(written, root);
        if let Some((only, takes_null)) = only_alternative(schema) {
            let shape = Self::of(only, root);
            let default = schema.get("default").cloned().or(shape.default);
            return Self { takes_null: takes_null || shape.takes_null, default, ..shape };
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| (name.clone(), Self::of(schema, root)))
            .collect();
        let mut by_name: Vec<usize> = (0..properties.len()).collect();
        by_name.sort_by_key(|place| &properties[*place].0);
        Self {
            wanted: wanted(schema),
            takes_null: types(schema).any(|name| name == "null"),
            default: schema.get("default").cloned(),
            choices: choices(schema),
            allowed_booleans: allowed_booleans(schema),
            items: schema.get("items").map(|items| Box::new(Self::of(items, root))),
            open: declares_more(schema) || schema.get("properties").is_none(),
            properties,
            by_name,
        }
    }

    pub(super) fn items(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    pub(super) fn property(&self, name: &str) -> Option<&Self> {
        let found =
            self.by_name.binary_search_by(|place| self.properties[*place].0.as_str().cmp(name)).ok()?;
        self.properties.get(self.by_name[found]).map(|(_, shape)| shape)
    }

    /// The string of the `enum` that a value means; `None` if it already is one, or if that is not clear.
    fn choice(&self, value: ValueRef<'_>) -> Option<&str> {
        if self.choices.is_empty()
            || !matches!(value.kind(), Kind::String | Kind::Bool)
            || value.as_bool().is_some_and(|value| self.allowed_booleans.contains(&value))
        {
            return None;
        }
        let text = value.as_str();
        if text.as_deref().is_some_and(|text| self.choices.iter().any(|choice| choice.text == text)) {
            return None;
        }
        let lower_case = text.map(|text| text.to_lowercase());
        let truth = value.as_bool().or_else(|| lower_case.as_deref().and_then(truth_of));
        let alike = self.choices.iter().filter(|choice| Some(&choice.lower_case) == lower_case.as_ref());
        let as_true =
            self.choices.iter().filter(|choice| truth.is_some() && truth_of(&choice.lower_case) == truth);
        only(alike).or_else(|| only(as_true)).map(|choice| choice.text.as_str())
    }
}

/// Converts the given arguments, and records each conversion.
pub(super) struct Converter<'c> {
    pub(super) validated: &'c mut Validated,
    /// The time zone for times without an offset.
    pub(super) zone: &'c dyn Fn() -> Option<TimeZone>,
}

impl Converter<'_> {
    pub(super) fn object(&mut self, shape: &Shape, given: ValueRef<'_>, path: Path<'_>) -> Value {
        // Most arguments are declared, and none is repeated.
        let mut out = Map::with_capacity(shape.properties.len());
        for (name, value) in given.entries() {
            let here = Path::Key(&path, &name);
            match shape.property(&name) {
                Some(property) if value.is_null() && !property.takes_null => {}
                Some(property) => {
                    let value = self.value(property, value, here);
                    out.insert(name.into_owned(), value);
                }
                None if value.is_null() => {}
                None if shape.open => {
                    out.insert(name.into_owned(), value.to_value());
                }
                None => self.validated.dropped.push(here.to_string()),
            }
        }
        for (name, property) in &shape.properties {
            if let Some(default) = &property.default
                && !out.contains_key(name)
            {
                out.insert(name.clone(), default.clone());
            }
        }
        Value::Object(out)
    }

    pub(super) fn value(&mut self, shape: &Shape, value: ValueRef<'_>, path: Path<'_>) -> Value {
        match (shape.wanted, value.kind()) {
            (Some(TargetType::List), Kind::Array) => return self.list(shape, value, path),
            (Some(TargetType::Object), Kind::Object) => return self.object(shape, value, path),
            (Some(wanted @ (TargetType::List | TargetType::Object)), Kind::String) => {
                if let Some(inner) = json_in_text(value, wanted) {
                    self.validated.converted.push(path.to_string());
                    return self.value(shape, ValueRef::Node(inner.root()), path);
                }
            }
            _ => {}
        }
        let other = shape.choice(value).map(Value::from).or_else(|| match shape.wanted? {
            TargetType::DateTime => value.as_str().and_then(|text| with_offset(&text, self.zone)),
            wanted => converted(wanted, value),
        });
        match other {
            Some(other) => {
                self.validated.converted.push(path.to_string());
                other
            }
            None => value.to_value(),
        }
    }

    fn list(&mut self, shape: &Shape, value: ValueRef<'_>, path: Path<'_>) -> Value {
        let Some(item) = &shape.items else { return value.to_value() };
        let items = value.items().enumerate();
        items.map(|(index, value)| self.value(item, value, Path::Item(&path, index))).collect()
    }
}

/// The item of an iterator that has exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// Parses a string that contains a list or an object as JSON.
fn json_in_text(value: ValueRef<'_>, wanted: TargetType) -> Option<Document> {
    let text = value.as_str()?;
    let (opening, kind) = if wanted == TargetType::List { ('[', Kind::Array) } else { ('{', Kind::Object) };
    let document = text.trim_start().starts_with(opening).then(|| Bytes::copy_from_slice(text.as_bytes()));
    Document::parse(document?).ok().filter(|document| document.root().kind() == kind)
}

/// The types in a schema.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let written = schema.get("type");
    let list = written.and_then(Value::as_array).into_iter().flatten();
    written.filter(|written| written.is_string()).into_iter().chain(list).filter_map(Value::as_str)
}

/// The single type of a value, apart from null.
fn wanted(schema: &Value) -> Option<TargetType> {
    Some(match only(types(schema).filter(|name| *name != "null"))? {
        "string" if schema.get("format").is_some_and(|format| format == "date-time") => TargetType::DateTime,
        "string" => TargetType::Text,
        "integer" => TargetType::Integer,
        "number" => TargetType::Number,
        "boolean" => TargetType::Boolean,
        "array" => TargetType::List,
        "object" => TargetType::Object,
        _ => return None,
    })
}

/// The single alternative, apart from null, of a schema that consists of alternatives, and whether null is one too.
fn only_alternative(schema: &Value) -> Option<(&Value, bool)> {
    if schema.get("type").is_some() || schema.get("properties").is_some() {
        return None;
    }
    let all = ["anyOf", "oneOf"].into_iter().find_map(|key| schema.get(key)?.as_array())?;
    let is_null = |schema: &&Value| schema.get("type").is_some_and(|name| name == "null");
    let other = only(all.iter().filter(|schema| !is_null(schema)))?;
    Some((other, all.len() > 1))
}

/// Whether the schema of an object describes undeclared properties.
fn declares_more(schema: &Value) -> bool {
    schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false))
        || schema.get("patternProperties").is_some()
}

fn allowed_booleans(schema: &Value) -> Vec<bool> {
    let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_bool).collect()
}

fn choices(schema: &Value) -> Vec<Choice> {
    let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let texts = values.filter_map(Value::as_str);
    texts.map(|text| Choice { text: text.to_owned(), lower_case: text.to_lowercase() }).collect()
}

/// Follows `$ref`s within the schema, up to a limit.
pub(super) fn resolved<'s>(mut schema: &'s Value, root: &'s Value) -> &'s Value {
    for _ in 0..8 {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        let target = target.map(|target| percent_decode_str(target).decode_utf8_lossy());
        match target.and_then(|target| root.pointer(&target)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// The path of a value in the arguments, written as `address.city` or `tags[1]`.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
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

#[cfg(test)]
mod tests {
    use super::super::{Arguments, CallValues};
    use super::*;
    use serde_json::json;

    fn validated(schema: &Value, given: Value) -> Result<Validated, String> {
        let schema = json!({"type": "object", "properties": {"x": schema}});
        let arguments = Arguments::compile(schema, Vec::new()).unwrap();
        let zone = || TimeZone::get("Europe/Oslo").ok();
        arguments
            .validate_in(&json!({"x": given}).into(), CallValues { zone: &zone, scope: None })
            .map_err(|bad| bad.to_string())
    }

    #[test]
    fn a_text_of_an_enum_is_found_whatever_its_case_where_only_one_is_meant() {
        let colours = json!({"type": "string", "enum": ["Red", "blue", "Øre", "øRE"]});
        let answers = json!({"type": "string", "enum": ["Yes", "No", "maybe"]});
        let truths = json!({"type": "string", "enum": ["true", "false"]});
        let several = json!({"type": "string", "enum": ["yes", "true"]});
        for (schema, given, expected) in [
            (&colours, json!("RED"), Some("Red")),
            (&colours, json!("blue"), Some("blue")),
            (&colours, json!("Øre"), Some("Øre")),
            (&colours, json!("øre"), None),
            (&answers, json!("yes"), Some("Yes")),
            (&answers, json!(true), Some("Yes")),
            (&answers, json!("FALSE"), Some("No")),
            (&truths, json!("no"), Some("false")),
            (&several, json!(true), None),
            (&several, json!("Yes"), Some("yes")),
        ] {
            let found = validated(schema, given.clone()).map(|good| good.args["x"].clone());
            assert_eq!(found.ok(), expected.map(Value::from), "{schema}: {given}");
        }
        assert_eq!(validated(&colours, json!("RED")).unwrap().converted, ["x"]);
        assert_eq!(validated(&colours, json!("Red")).unwrap().converted, [""; 0]);
    }

    #[test]
    fn a_boolean_of_an_enum_stays_beside_words_for_it() {
        let mixed = json!({"enum": ["yes", true, "No", false]});
        for value in [json!(true), json!(false), json!("yes")] {
            assert_eq!(validated(&mixed, value.clone()).unwrap().args, json!({"x": value}));
        }
    }

    #[test]
    fn a_type_beside_null_is_converted_to_and_null_stays() {
        for schema in [
            json!({"type": ["integer", "null"]}),
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 3}),
            json!({"oneOf": [{"type": "null"}, {"type": "integer"}]}),
        ] {
            assert_eq!(validated(&schema, json!("5")).unwrap().args, json!({"x": 5}), "{schema}");
            assert_eq!(validated(&schema, json!(null)).unwrap().args, json!({"x": null}), "{schema}");
        }
        let both = json!({"type": ["integer", "string"]});
        assert_eq!(validated(&both, json!("5")).unwrap().args, json!({"x": "5"}));
    }

    #[test]
    fn json_in_a_text_of_json_is_read_and_a_text_stays_a_text() {
        let lists = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}});
        assert_eq!(
            validated(&lists, json!("[\"[1]\", [\"a\"]]")).unwrap().args,
            json!({"x": [["1"], ["a"]]})
        );
        let text = json!({"type": "string"});
        assert_eq!(validated(&text, json!("[1]")).unwrap().args, json!({"x": "[1]"}));
        let open = json!({"type": "object"});
        let long = json!("{\"number\": 12345678901234567890}");
        assert_eq!(validated(&open, long).unwrap().args, json!({"x": {"number": 12345678901234567890_u64}}));
    }

    #[test]
    fn times_without_an_offset_are_taken_in_the_zone() {
        let moment = json!({"type": "string", "format": "date-time"});
        for (given, expected) in [
            ("2026-07-04T15:00:00", Some("2026-07-04T15:00:00+02:00")),
            ("2026-12-01T10:00", Some("2026-12-01T10:00:00+01:00")),
            ("2026-12-01 10:00:00.250", Some("2026-12-01T10:00:00.25+01:00")),
            ("2026-07-04T15:00:00Z", Some("2026-07-04T15:00:00Z")),
            ("2026-07-04T15:00:00-05:00", Some("2026-07-04T15:00:00-05:00")),
            ("2026-07-04", None),
            ("2026-07-04T15:00:00[Asia/Tokyo]", None),
            ("2026-02-30T15:00:00", None),
            ("tomorrow", None),
        ] {
            let found = validated(&moment, json!(given)).map(|good| good.args["x"].clone());
            assert_eq!(found.ok(), expected.map(Value::from), "{given}");
        }
        let time = json!({"type": "string", "format": "time"});
        for good in ["14:30", "14:30:00", "14:30:00.5", "14:30Z", "23:59:60Z", "14:30:00+02:00"] {
            assert_eq!(validated(&time, json!(good)).unwrap().args["x"], good);
        }
        for bad in ["24:00", "14:60", "2 pm", "14", "14:30:", "1:30", "14:30:00.", "14:30+2", "14:30:00+0200"]
        {
            let error = validated(&time, json!(bad)).unwrap_err();
            assert_eq!(error, "argument `x` must be a time such as 14:30", "{bad}");
        }
    }
}
