//! The cost of a JSON Schema, computed at load: its values, with references followed, and the positions of its
//! patterns.
//!
//! A value is checked against a part of the schema at most as often as references reach that part. Loops are rejected,
//! so the weight of the schema times the weight of the arguments bounds the work of a check.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::lang::pattern::{self, BadPattern};

/// The most values of a schema. The target of a reference counts each time it is referenced.
const MAX_VALUES: usize = 10_000;

/// The deepest nesting of a schema, with references followed.
const MAX_DEPTH: usize = 64;

/// The most work of one check: values of the schema times values of the arguments, plus positions of patterns times
/// bytes of text.
const MAX_WORK: usize = 10_000_000;

/// The weight of a schema, which determines the cost of a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    values: usize,
    positions: usize,
}

impl Weight {
    /// Computes the weight of a schema.
    ///
    /// # Errors
    /// The schema is too large or too deep, a reference is recursive or points outside the schema, or a pattern cannot
    /// be used.
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let mut count = Count { root: schema, following: Vec::new(), depth: 0, weight: Self::default() };
        count.schema(schema)?;
        Ok(count.weight)
    }

    /// Whether the arguments are small enough to be checked.
    pub(super) fn allows(self, args: &Value) -> bool {
        let (mut values, mut bytes) = (0, 0);
        measure(args, &mut values, &mut bytes);
        self.values.saturating_mul(values).saturating_add(self.positions.saturating_mul(bytes)) <= MAX_WORK
    }
}

struct Count<'s> {
    root: &'s Value,
    /// The references that are being followed.
    following: Vec<&'s str>,
    depth: usize,
    weight: Weight,
}

impl<'s> Count<'s> {
    fn schema(&mut self, schema: &'s Value) -> Result<(), String> {
        self.add(1)?;
        let Value::Object(entries) = schema else { return Ok(()) };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        for (keyword, value) in entries {
            match (keyword.as_str(), value) {
                ("$ref", Value::String(target)) => self.reference(target)?,
                ("pattern", Value::String(pattern)) => self.pattern(pattern)?,
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(format!("`{keyword}` is not supported; write `$ref`"));
                }
                // References below it would be resolved relative to it.
                ("$id" | "id", Value::String(_)) if self.depth > 1 => {
                    return Err("a `$id` stands below the top".to_owned());
                }
                // Checking this format compiles the given text as a pattern of unlimited size.
                ("format", Value::String(format)) if format == "regex" => {
                    return Err("the format `regex` is not supported".to_owned());
                }
                ("patternProperties", Value::Object(schemas)) => {
                    for (pattern, schema) in schemas {
                        self.pattern(pattern)?;
                        self.schema(schema)?;
                    }
                }
                ("properties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(schemas)) => {
                    schemas.values().try_for_each(|schema| self.schema(schema))?;
                }
                ("items" | "allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(schemas)) => {
                    schemas.iter().try_for_each(|schema| self.schema(schema))?;
                }
                (
                    "items"
                    | "additionalItems"
                    | "contains"
                    | "not"
                    | "if"
                    | "then"
                    | "else"
                    | "propertyNames"
                    | "additionalProperties"
                    | "unevaluatedProperties",
                    schema,
                ) => self.schema(schema)?,
                (_, value) => {
                    let mut values = 0;
                    measure(value, &mut values, &mut 0);
                    self.add(values)?;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn reference(&mut self, target: &'s str) -> Result<(), String> {
        if self.following.contains(&target) || matches!(target, "#" | "#/") {
            return Err(format!("the reference `{target}` leads back to itself"));
        }
        let pointer =
            target.strip_prefix('#').filter(|pointer| pointer.starts_with('/')).ok_or_else(|| {
                "a `$ref` leads out of the schema; only `#/…` inside the same file is followed".to_owned()
            })?;
        let pointer = percent_decode_str(pointer).decode_utf8_lossy();
        let schema =
            self.root.pointer(&pointer).ok_or_else(|| format!("the reference `{target}` leads nowhere"))?;
        self.following.push(target);
        self.schema(schema)?;
        self.following.pop();
        Ok(())
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        let positions = pattern::positions(pattern).map_err(|bad| match bad {
            BadPattern::Syntax => {
                "a pattern cannot be used; patterns have no look-around and no back-references".to_owned()
            }
            BadPattern::TooLarge => format!("a pattern is too large; {}", bad.help()),
        })?;
        self.weight.positions = self.weight.positions.saturating_add(positions);
        Ok(())
    }

    fn add(&mut self, values: usize) -> Result<(), String> {
        self.weight.values = self.weight.values.saturating_add(values);
        if self.weight.values > MAX_VALUES {
            return Err(format!("it has more than {MAX_VALUES} values, references followed"));
        }
        Ok(())
    }
}

/// Counts `value` and all values in it, and the bytes of their strings and names.
fn measure(value: &Value, values: &mut usize, bytes: &mut usize) {
    *values += 1;
    match value {
        Value::String(text) => *bytes += text.len(),
        Value::Array(items) => items.iter().for_each(|item| measure(item, values, bytes)),
        Value::Object(entries) => entries.iter().for_each(|(name, value)| {
            *bytes += name.len();
            measure(value, values, bytes);
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_target_of_a_reference_counts_at_each_reference() {
        let schema = json!({
            "type": "object",
            "properties": {"from": {"$ref": "#/$defs/a%20place"}, "to": {"$ref": "#/$defs/a%20place"}},
            "$defs": {"a place": {"type": "string", "pattern": "^a{5}$"}},
        });
        let weight = Weight::of(&schema).unwrap();
        assert_eq!(weight.positions, 3 * 7);
        assert!(weight.allows(&json!({"from": "aaaaa", "to": "a".repeat(100_000)})));
        assert!(!weight.allows(&json!({"from": "aaaaa", "to": "a".repeat(500_000)})));
        assert!(!weight.allows(&json!({"from": vec![0; 1_000_000]})));
    }

    #[test]
    fn schemas_with_unbounded_cost_are_rejected() {
        let doubling: serde_json::Map<String, Value> = (0..30)
            .map(|n| {
                let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
                (format!("d{n}"), json!({"anyOf": [next, next]}))
            })
            .chain([("d30".to_owned(), json!({"type": "integer"}))])
            .collect();
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        for (schema, problem) in [
            (json!({"properties": {"a": {"$ref": "#"}}}), "back to itself"),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "back to itself"),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
                "back to itself",
            ),
            (json!({"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}), "back to itself"),
            (json!({"$ref": "#/%24defs/a", "$defs": {"a": {"$ref": "#/%24defs/a"}}}), "back to itself"),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/%24defs/a"}}}), "back to itself"),
            (json!({"$ref": "#/$defs/none"}), "leads nowhere"),
            (json!({"$ref": "https://example.com/x.json"}), "leads out"),
            (json!({"$ref": "file:///etc/passwd"}), "leads out"),
            (json!({"$ref": "../x.json#/a"}), "leads out"),
            (json!({"$ref": "#anchor"}), "leads out"),
            (json!({"$ref": "#/$defs/d0", "$defs": doubling}), "more than 10000"),
            (json!({"enum": vec![0; 20_000]}), "more than 10000"),
            (deep, "deep"),
            (json!({"pattern": "(a{100}){100}"}), "too large"),
            (json!({"patternProperties": {"(": {}}}), "look-around"),
            (json!({"format": "regex"}), "not supported"),
            (json!({"items": {"$dynamicRef": "#x"}}), "not supported"),
            (json!({"items": {"$id": "https://example.com/", "$ref": "#/$defs/a"}}), "below the top"),
        ] {
            let found = Weight::of(&schema).unwrap_err();
            assert!(found.contains(problem), "{schema}: {found}");
        }
        // A `$ref` that is data or the name of a property is not a reference.
        assert!(
            Weight::of(&json!({"const": {"$ref": "#"}, "properties": {"$ref": {"type": "string"}}})).is_ok()
        );
    }
}
