//! Argument schemas as SignalWire's published schema accepts them.
//!
//! Its types are closed (`SchemaType` and `AISidecarParamProperty` in `specs/swml` of signalwire/docs): a keyword that
//! they do not have makes the whole function invalid. So a constraint without a keyword becomes a part of the
//! description, which the model reads anyway; Jackfield enforces it.

use serde_json::{Map, Value, json};

/// Who reads a declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `ai` and `amazon_bedrock`.
    Agent,
    /// `ai_sidecar`, which knows fewer keywords.
    Sidecar,
}

/// The formats of strings, as JSON Schema and as SignalWire writes them.
const FORMATS: &[(&str, &str)] = &[
    ("date-time", "date_time"),
    ("time", "time"),
    ("date", "date"),
    ("duration", "duration"),
    ("email", "email"),
    ("hostname", "hostname"),
    ("ipv4", "ipv4"),
    ("ipv6", "ipv6"),
    ("uri", "uri"),
    ("uuid", "uuid"),
];

/// Keywords that say nothing about a value, or that every declaration implies.
const ANNOTATIONS: &[&str] = &[
    "title",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "additionalProperties",
    "definitions",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// How deep schemas are followed.
const MAX_DEPTH: usize = 64;

/// The parameters of a function, and what they cannot express, as a sentence for its description.
pub(super) fn parameters(schema: &Value, form: Form) -> (Value, String) {
    let cx = Conversion { root: schema, form };
    let mut rest = cx.object(schema);
    rest.remove("type");
    rest.remove("description");
    let mut out = json!({"type": "object", "properties": {}});
    cx.take_properties(&mut rest, &mut out, 0);
    (out, sentence(&[], &rest))
}

struct Conversion<'s> {
    root: &'s Value,
    form: Form,
}

impl Conversion<'_> {
    /// The keywords of a schema, with those of its `$ref`, and without those that say nothing.
    fn object(&self, schema: &Value) -> Map<String, Value> {
        let mut out = schema.as_object().cloned().unwrap_or_default();
        for _ in 0..MAX_DEPTH {
            let Some(Value::String(target)) = out.remove("$ref") else { break };
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            for (key, value) in target.and_then(Value::as_object).into_iter().flatten() {
                out.entry(key.as_str()).or_insert_with(|| value.clone());
            }
        }
        out.retain(|key, _| !key.starts_with('$') && !ANNOTATIONS.contains(&key.as_str()));
        out
    }

    fn property(&self, schema: &Value, depth: usize) -> Value {
        let mut rest = self.object(schema);
        if depth > MAX_DEPTH {
            return json!({"type": "string"});
        }
        let description = match rest.remove("description") {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let Some(kind) = self.kind(&mut rest) else {
            return self.alternatives(rest, &description, depth);
        };
        let mut out = json!({"type": kind.name});
        let mut words = Vec::new();
        if kind.nullable {
            match self.form {
                Form::Agent => out["nullable"] = json!(true),
                Form::Sidecar => words.push("or null".to_owned()),
            }
        }
        if kind.name == "array" {
            let items = rest.remove("items").unwrap_or(json!({}));
            out["items"] = self.property(&items, depth + 1);
        }
        if kind.name == "object" {
            self.take_properties(&mut rest, &mut out, depth);
        }
        self.take_values(kind.name, &mut rest, &mut out, &mut words);
        self.take_text_rules(kind.name, &mut rest, &mut out, &mut words);
        take_bounds(&mut rest, &mut words);
        describe(&mut out, &description, &sentence(&words, &rest));
        if kind.name == "null" && out.get("description").is_none() {
            out["description"] = json!("No value.");
        }
        out
    }

    /// The type of a schema, taken out of it; `None` if it has no single type.
    fn kind(&self, rest: &mut Map<String, Value>) -> Option<SchemaKind> {
        let (name, nullable) = match rest.get("type") {
            Some(Value::String(name)) => (name.clone(), false),
            Some(Value::Array(names)) => {
                let others: Vec<&str> =
                    names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect();
                match others.as_slice() {
                    [one] => ((*one).to_owned(), names.len() > 1),
                    _ => return None,
                }
            }
            _ => (implied_type(rest)?.to_owned(), false),
        };
        if self.form == Form::Sidecar && name == "null" {
            return None;
        }
        rest.remove("type");
        let names = ["string", "integer", "number", "boolean", "array", "object", "null"];
        names.into_iter().find(|known| *known == name).map(|name| SchemaKind { name, nullable })
    }

    /// A schema without a single type: `anyOf` and the like, several types, or any value.
    fn alternatives(&self, mut rest: Map<String, Value>, description: &str, depth: usize) -> Value {
        if self.form == Form::Sidecar {
            // It knows no alternatives: a text, and the rules in words.
            let mut out = json!({"type": "string"});
            describe(&mut out, description, &sentence(&[], &rest));
            return out;
        }
        let (keyword, branches) = match rest.remove("type") {
            Some(Value::Array(kinds)) => {
                let branch = |kind: Value| {
                    let mut branch = rest.clone();
                    branch.insert("type".to_owned(), kind);
                    Value::Object(branch)
                };
                ("anyOf", kinds.into_iter().map(branch).collect())
            }
            _ => match ["anyOf", "oneOf", "allOf"].into_iter().find(|key| rest.contains_key(*key)) {
                Some(keyword) => (keyword, self.branches(keyword, rest)),
                None => {
                    let kinds = ["string", "number", "boolean", "object"];
                    ("anyOf", kinds.map(|kind| json!({"type": kind})).to_vec())
                }
            },
        };
        let branches = branches.iter().map(|branch| {
            let mut branch = self.property(branch, depth + 1);
            if !["anyOf", "oneOf", "allOf"].iter().any(|key| branch.get(*key).is_some()) {
                let own = branch.as_object_mut().and_then(|branch| branch.remove("description"));
                describe(&mut branch, description, own.as_ref().and_then(Value::as_str).unwrap_or_default());
            }
            branch
        });
        let branches: Vec<Value> = branches.collect();
        json!({ keyword: branches })
    }

    /// The branches of `anyOf` and the like, each with the keywords beside it.
    fn branches(&self, keyword: &str, mut rest: Map<String, Value>) -> Vec<Value> {
        let branches = rest.remove(keyword).unwrap_or_default();
        let branches = branches.as_array().cloned().unwrap_or_default();
        branches
            .iter()
            .map(|branch| {
                let mut branch = self.object(branch);
                for (key, value) in &rest {
                    branch.entry(key.as_str()).or_insert_with(|| value.clone());
                }
                Value::Object(branch)
            })
            .collect()
    }

    fn take_properties(&self, rest: &mut Map<String, Value>, out: &mut Value, depth: usize) {
        if let Some(Value::Object(properties)) = rest.remove("properties") {
            let properties: Map<String, Value> = properties
                .iter()
                .map(|(name, schema)| (name.clone(), self.property(schema, depth + 1)))
                .collect();
            out["properties"] = Value::Object(properties);
        }
        if let Some(Value::Array(required)) = rest.remove("required")
            && !required.is_empty()
        {
            out["required"] = Value::Array(required);
        }
    }

    /// `enum`, `const` and `default`.
    fn take_values(
        &self,
        kind: &str,
        rest: &mut Map<String, Value>,
        out: &mut Value,
        words: &mut Vec<String>,
    ) {
        let values = match (rest.remove("enum"), rest.remove("const")) {
            (_, Some(only)) => Some(vec![only]),
            (Some(Value::Array(values)), None) => Some(values),
            _ => None,
        };
        if let Some(values) = values {
            let listed = matches!(kind, "string" | "integer" | "number");
            if listed && values.iter().all(|value| is_of(kind, value)) {
                out["enum"] = Value::Array(values);
            } else {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                words.push(format!("one of {}", values.join(", ")));
            }
        }
        if let Some(default) = rest.remove("default") {
            let simple = !matches!(kind, "array" | "object" | "null");
            if is_of(kind, &default) && (simple || self.form == Form::Agent && kind != "null") {
                out["default"] = default;
            } else {
                words.push(format!("{default} by default"));
            }
        }
    }

    /// `pattern` and `format`.
    fn take_text_rules(
        &self,
        kind: &str,
        rest: &mut Map<String, Value>,
        out: &mut Value,
        words: &mut Vec<String>,
    ) {
        let (pattern, format) = (rest.remove("pattern"), rest.remove("format"));
        if kind != "string" {
            return;
        }
        if let Some(Value::String(pattern)) = pattern {
            match self.form {
                Form::Agent => out["pattern"] = pattern.into(),
                Form::Sidecar => words.push(format!("matching the pattern {pattern}")),
            }
        }
        if let Some(Value::String(format)) = format {
            match FORMATS.iter().find(|(name, _)| *name == format) {
                Some((_, theirs)) if self.form == Form::Agent => out["format"] = (*theirs).into(),
                _ => words.push(format!("in the format {format}")),
            }
        }
    }
}

struct SchemaKind {
    name: &'static str,
    nullable: bool,
}

/// The type of a schema that does not name it.
fn implied_type(rest: &Map<String, Value>) -> Option<&'static str> {
    if rest.contains_key("properties") {
        return Some("object");
    }
    if rest.contains_key("items") {
        return Some("array");
    }
    let values = match (rest.get("const"), rest.get("enum")) {
        (Some(value), _) => std::slice::from_ref(value),
        (None, Some(Value::Array(values))) => values.as_slice(),
        _ => &[],
    };
    let kinds = ["string", "integer", "number", "boolean"];
    kinds.into_iter().find(|kind| !values.is_empty() && values.iter().all(|value| is_of(kind, value)))
}

/// Whether a value has this type.
fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    }
}

/// The constraints that no type of SignalWire's has, in words.
fn take_bounds(rest: &mut Map<String, Value>, words: &mut Vec<String>) {
    for (keyword, before, after) in [
        ("minimum", "at least ", ""),
        ("exclusiveMinimum", "more than ", ""),
        ("maximum", "at most ", ""),
        ("exclusiveMaximum", "less than ", ""),
        ("multipleOf", "a multiple of ", ""),
        ("minLength", "at least ", " characters"),
        ("maxLength", "at most ", " characters"),
        ("minItems", "at least ", " items"),
        ("maxItems", "at most ", " items"),
        ("minProperties", "at least ", " fields"),
        ("maxProperties", "at most ", " fields"),
    ] {
        if let Some(bound) = rest.remove(keyword) {
            let after = if bound == 1 { after.strip_suffix('s').unwrap_or(after) } else { after };
            words.push(format!("{before}{bound}{after}"));
        }
    }
    if rest.remove("uniqueItems") == Some(Value::Bool(true)) {
        words.push("no item twice".to_owned());
    }
}

/// Constraints as a sentence: `At least 1, at most 7.` What has no words follows as JSON Schema.
fn sentence(words: &[String], rest: &Map<String, Value>) -> String {
    let mut out = words.join(", ");
    if let Some(first) = out.get(..1) {
        out = format!("{}{}.", first.to_uppercase(), &out[1..]);
    }
    if !rest.is_empty() {
        let rules = format!("It must fit this JSON Schema: {}", Value::Object(rest.clone()));
        out = joined(&out, &rules);
    }
    out
}

fn describe(out: &mut Value, description: &str, more: &str) {
    let description = joined(description, more);
    if !description.is_empty() {
        out["description"] = description.into();
    }
}

/// Two texts as sentences.
pub(super) fn joined(first: &str, second: &str) -> String {
    let first = first.trim();
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second.to_owned(),
        (_, true) => first.to_owned(),
        _ if first.ends_with(['.', '!', '?', ':', ';']) => format!("{first} {second}"),
        _ => format!("{first}. {second}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published types, closed: the keywords of each, and the formats of strings.
    fn is_valid(schema: &Value, form: Form) -> bool {
        let object = schema.as_object().unwrap();
        let property = |schema: &Value| is_valid(schema, form);
        for keyword in ["anyOf", "oneOf", "allOf"] {
            if let Some(branches) = object.get(keyword) {
                let branches = branches.as_array().unwrap();
                return form == Form::Agent
                    && object.len() == 1
                    && !branches.is_empty()
                    && branches.iter().all(property);
            }
        }
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        let (agent, sidecar): (&[&str], &[&str]) = match kind {
            "string" => (&["enum", "default", "pattern", "format"], &["enum", "default"]),
            "integer" | "number" => (&["enum", "default"], &["enum", "default"]),
            "boolean" => (&["default"], &["default"]),
            "array" => (&["default", "items"], &["items"]),
            "object" => (&["default", "properties", "required"], &["properties", "required"]),
            "null" => {
                return form == Form::Agent && object.len() == 2 && object.contains_key("description");
            }
            _ => return false,
        };
        let more: &[&str] =
            if form == Form::Agent { &["type", "description", "nullable"] } else { &["type", "description"] };
        let keywords = if form == Form::Agent { agent } else { sidecar };
        let known = |key: &String| keywords.contains(&key.as_str()) || more.contains(&key.as_str());
        let formats =
            ["date_time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"];
        object.keys().all(known)
            && object.get("format").is_none_or(|format| formats.contains(&format.as_str().unwrap()))
            && object
                .get("enum")
                .is_none_or(|values| values.as_array().unwrap().iter().all(|value| is_of(kind, value)))
            && object.get("default").is_none_or(|value| is_of(kind, value))
            && (kind != "array" || object.get("items").is_some_and(property))
            && object
                .get("properties")
                .is_none_or(|properties| properties.as_object().unwrap().values().all(property))
    }

    #[test]
    fn constraints_without_a_keyword_move_into_the_description() {
        for (schema, agent, sidecar) in [
            (
                json!({"type": "integer", "description": "Days ahead", "minimum": 1, "maximum": 7}),
                json!({"type": "integer", "description": "Days ahead. At least 1, at most 7."}),
                json!({"type": "integer", "description": "Days ahead. At least 1, at most 7."}),
            ),
            (
                json!({"type": "string", "format": "date-time", "minLength": 1}),
                json!({"type": "string", "format": "date_time", "description": "At least 1 character."}),
                json!({"type": "string", "description": "In the format date-time, at least 1 character."}),
            ),
            (
                json!({"type": "string", "pattern": "^a$", "format": "phone", "enum": ["a"], "default": "a"}),
                json!({"type": "string", "pattern": "^a$", "enum": ["a"], "default": "a",
                       "description": "In the format phone."}),
                json!({"type": "string", "enum": ["a"], "default": "a",
                       "description": "Matching the pattern ^a$, in the format phone."}),
            ),
            (
                json!({"type": "boolean", "const": true}),
                json!({"type": "boolean", "description": "One of true."}),
                json!({"type": "boolean", "description": "One of true."}),
            ),
        ] {
            let converted = |form| Conversion { root: &schema, form }.property(&schema, 0);
            assert_eq!(converted(Form::Agent), agent);
            assert_eq!(converted(Form::Sidecar), sidecar);
        }
    }

    #[test]
    fn every_schema_becomes_one_of_the_published_types() {
        let root = json!({
            "type": "object",
            "additionalProperties": false,
            "$defs": {"day": {"type": "string", "format": "date", "title": "Day"}},
            "properties": {
                "list": {"type": "array", "minItems": 1, "uniqueItems": true, "default": ["a"]},
                "lists": {"type": "array", "items": {"type": "array", "items": {"$ref": "#/$defs/day"}}},
                "day": {"$ref": "#/$defs/day", "description": "The day."},
                "address": {"type": "object", "required": ["street"], "additionalProperties": false,
                            "properties": {"street": {"type": "string", "maxLength": 80}}},
                "nullable": {"type": ["string", "null"], "maxLength": 3},
                "several": {"type": ["string", "integer"], "description": "A name or a number"},
                "either": {"description": "Who", "anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]},
                "one": {"oneOf": [{"type": "integer", "exclusiveMinimum": 0}, {"const": "all"}]},
                "fixed": {"const": {"a": 1}},
                "flags": {"enum": [true, false]},
                "mixed": {"enum": ["a", 1, null]},
                "any": {},
                "rules": {"type": "object", "patternProperties": {"^x": {"type": "string"}}, "if": {"required": ["a"]}},
                "wide": {"type": "number", "multipleOf": 0.5, "default": 1},
                "nothing": {"type": "null"},
                "kinds": {"type": "string", "enum": ["a", "b"], "contentEncoding": "base64"}
            },
            "required": ["day"],
            "dependentRequired": {"list": ["day"]}
        });
        for form in [Form::Agent, Form::Sidecar] {
            let (parameters, note) = parameters(&root, form);
            let keys: Vec<&str> = parameters.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(keys.iter().all(|key| ["type", "properties", "required"].contains(key)), "{keys:?}");
            assert!(note.contains("dependentRequired"), "{note}");
            for (name, property) in parameters["properties"].as_object().unwrap() {
                assert!(is_valid(property, form), "{form:?} {name}: {property}");
            }
            assert_eq!(parameters["properties"].as_object().unwrap().len(), 16);
        }
        let (agent, _) = parameters(&root, Form::Agent);
        let properties = &agent["properties"];
        assert_eq!(properties["day"], json!({"type": "string", "format": "date", "description": "The day."}));
        assert_eq!(
            properties["several"],
            json!({"anyOf": [
                {"type": "string", "description": "A name or a number"},
                {"type": "integer", "description": "A name or a number"},
            ]})
        );
        assert_eq!(
            properties["rules"]["description"],
            "It must fit this JSON Schema: {\"if\":{\"required\":[\"a\"]},\"patternProperties\":{\"^x\":{\"type\":\"string\"}}}"
        );
        assert_eq!(parameters(&json!({}), Form::Agent).0, json!({"type": "object", "properties": {}}));
    }
}
