//! The rules of JSON Schema that compare numbers, by the exact values of the numbers: the validator's own rules compare
//! some of them as 64-bit floats, in which 9007199254740993 is 9007199254740992.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use jsonschema::paths::Location;
use jsonschema::{Keyword, Retrieve, ValidationError, ValidationOptions};
use serde_json::{Map, Value};

use crate::lang::value::{equal, order};

use super::problems::plain;

type Options = ValidationOptions<'static, Arc<dyn Retrieve>>;
type Rule<'s> = Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'s>>;

/// The options with exact rules. What their errors say follows after "must".
pub(super) fn with_exact_numbers(options: Options) -> Options {
    options
        .with_keyword("minimum", |schema, limit, _| at_least(schema, limit))
        .with_keyword("maximum", |schema, limit, _| at_most(schema, limit))
        .with_keyword("exclusiveMinimum", |_, limit, _| bound(limit, "be more than", Ordering::is_gt))
        .with_keyword("exclusiveMaximum", |_, limit, _| bound(limit, "be less than", Ordering::is_lt))
        .with_keyword("enum", |_, options, _: Location| {
            values("be one of", options.as_array().map_or(&[], Vec::as_slice))
        })
        .with_keyword("const", |_, value, _| values("be", std::slice::from_ref(value)))
}

fn at_least<'s>(schema: &Map<String, Value>, limit: &Value) -> Rule<'s> {
    match is_exclusive(schema, "exclusiveMinimum") {
        true => bound(limit, "be more than", Ordering::is_gt),
        false => bound(limit, "be at least", Ordering::is_ge),
    }
}

fn at_most<'s>(schema: &Map<String, Value>, limit: &Value) -> Rule<'s> {
    match is_exclusive(schema, "exclusiveMaximum") {
        true => bound(limit, "be less than", Ordering::is_lt),
        false => bound(limit, "be at most", Ordering::is_le),
    }
}

/// Whether a limit is exclusive, as draft 4 of JSON Schema writes it.
fn is_exclusive(schema: &Map<String, Value>, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

fn bound<'s>(limit: &Value, words: &'static str, fits: fn(Ordering) -> bool) -> Rule<'s> {
    Ok(Box::new(Bound { limit: limit.clone(), words, fits }))
}

fn values<'s>(must: &str, options: &[Value]) -> Rule<'s> {
    let texts = options.iter().filter_map(|option| option.as_str().map(str::to_owned)).collect();
    let others = options.iter().filter(|option| !option.is_string()).cloned().collect();
    let words = options.iter().map(plain).collect::<Vec<_>>().join(", ");
    Ok(Box::new(Values { texts, others, words: format!("{must} {words}") }))
}

/// A limit for numbers. Other values have none.
struct Bound {
    limit: Value,
    words: &'static str,
    fits: fn(Ordering) -> bool,
}

impl<'i> Keyword<'i> for Bound {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom(format!("{} {}", self.words, self.limit))),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        order(instance.into(), (&self.limit).into()).is_none_or(self.fits)
    }
}

/// The values that are allowed.
struct Values {
    texts: BTreeSet<String>,
    others: Vec<Value>,
    words: String,
}

impl<'i> Keyword<'i> for Values {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom(self.words.as_str())),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        match instance {
            Value::String(text) => self.texts.contains(text),
            other => self.others.iter().any(|option| equal(option, other)),
        }
    }
}
