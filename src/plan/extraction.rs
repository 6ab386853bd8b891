//! Extraction: named values from an upstream's response.

use serde_json::{Map, Value};

use crate::json::{Kind, SharedValue, ValueRef};
use crate::lang::bound_path::BoundPath;
use crate::lang::jsonpath::MAX_VISITS;
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{RenderError, Scope, StepOutput};
use crate::lang::value::Scale;

/// The largest total weight of the values extracted from one response. Each value counts 1, and so do 32 bytes of text.
/// Matches may be nested in each other, and each match may be copied.
const MAX_WEIGHT: usize = 4_000_000;

/// The extracts of a route, compiled.
#[derive(Debug, Default)]
pub struct Extraction {
    /// The names, in the order of the table.
    pub(crate) names: Vec<String>,
    /// The extracts, in the same order.
    pub(crate) extracts: Vec<Extract>,
}

/// One extract.
#[derive(Debug)]
pub(crate) struct Extract {
    pub(crate) path: BoundPath,
    /// Whether all matches are extracted, as a list.
    pub(crate) all: bool,
    /// The value if there is no match, or only null.
    pub(crate) default: Option<ExtractDefault>,
    /// Whether a response without this value is an error.
    pub(crate) required: bool,
    /// Whether the value is hidden wherever calls are shown.
    pub(crate) sensitive: bool,
}

/// The value of an extract that finds nothing.
#[derive(Debug)]
pub(crate) enum ExtractDefault {
    /// The same for every call.
    Fixed(SharedValue),
    /// One that depends on the call. If it is missing, so is the extract.
    PerCall(JsonTemplate),
}

/// The extracted values, in the order of the names; a missing one is `None`.
pub type Values = Vec<Option<SharedValue>>;

impl Extraction {
    /// The names, in the order of the table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The paths as written, in the same order.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.extracts.iter().map(|extract| extract.path.to_string())
    }

    /// Checks that the paths have the values of the call that they compare with. This is known before a request is sent.
    ///
    /// # Errors
    /// The name of the extract, and the error.
    pub(crate) fn check(&self, scope: &Scope<'_>) -> Result<(), (&str, RenderError)> {
        let mut extracts = self.names().zip(&self.extracts);
        extracts.try_for_each(|(name, extract)| extract.path.check(scope).map_err(|error| (name, error)))
    }

    /// Extracts the values from a response body. A value beyond the weight limit is missing.
    pub fn extract(&self, body: &SharedValue, scope: &Scope<'_>) -> Values {
        let (mut left, mut visits) = (MAX_WEIGHT, MAX_VISITS);
        self.extracts.iter().map(|extract| extract.value(body, scope, &mut left, &mut visits)).collect()
    }

    /// The name of the first required value that is missing.
    pub fn missing(&self, values: &Values) -> Option<&str> {
        let is_missing = |(extract, value): (&Extract, &Option<SharedValue>)| {
            let is_nothing = |value: ValueRef<'_>| {
                value.is_null() || extract.all && value.kind() == Kind::Array && value.is_empty()
            };
            extract.required && value.as_ref().is_none_or(|value| is_nothing(value.get()))
        };
        self.extracts.iter().zip(values).position(is_missing).map(|index| self.names[index].as_str())
    }

    /// Whether the value of an extract is hidden wherever calls are shown.
    pub fn is_sensitive(&self, name: &str) -> bool {
        self.names().zip(&self.extracts).any(|(known, extract)| known == name && extract.sensitive)
    }

    /// Whether any value is hidden wherever calls are shown.
    pub fn has_sensitive(&self) -> bool {
        self.extracts.iter().any(|extract| extract.sensitive)
    }

    /// The values of sensitive extracts: those that were extracted, and those in a response that was not used.
    pub fn sensitive_values(&self, output: &StepOutput, scope: &Scope<'_>) -> Vec<SharedValue> {
        let (mut left, mut visits) = (MAX_WEIGHT, MAX_VISITS);
        let sensitive = self.extracts.iter().enumerate().filter(|(_, extract)| extract.sensitive);
        let values = sensitive.filter_map(|(place, extract)| {
            let extracted = output.values.get(place).cloned().flatten();
            extracted.or_else(|| {
                let body = output.response.as_ref()?.body();
                extract.value(body, scope, &mut left, &mut visits)
            })
        });
        values.collect()
    }

    /// The values by name, without the missing ones.
    pub fn to_object(&self, values: &Values) -> Map<String, Value> {
        self.names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| value.as_ref().map(|value| (name.clone(), value.to_value())))
            .collect()
    }
}

impl Extract {
    /// Extracts the value, and subtracts its weight from `left`.
    fn value(
        &self,
        body: &SharedValue,
        scope: &Scope<'_>,
        left: &mut usize,
        visits: &mut usize,
    ) -> Option<SharedValue> {
        let found = self.path.search(body.get(), scope, |path, value, bound| {
            if self.all {
                let matches = path.all(value, bound, visits);
                matches.iter().try_for_each(|value| Scale::MEMORY.take(*value, left))?;
                return match &self.default {
                    Some(default) if matches.is_empty() => default.value(scope),
                    _ => Some(body.keep_all(&matches)),
                };
            }
            let found = path.first(value, bound, visits);
            match (&self.default, found) {
                (Some(default), None) => default.value(scope),
                (Some(default), Some(found)) if found.is_null() => default.value(scope),
                (_, None) => None,
                (_, Some(found)) => {
                    Scale::MEMORY.take(found, left)?;
                    Some(body.keep(found))
                }
            }
        });
        // Without a value to compare with, nothing was sent.
        found.ok().flatten()
    }
}

impl ExtractDefault {
    fn value(&self, scope: &Scope<'_>) -> Option<SharedValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::PerCall(template) => template.to_value(scope).ok().flatten().map(SharedValue::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::call::Context;
    use crate::json::Document;
    use crate::lang::jsonpath::JsonPath;
    use serde_json::json;

    /// Extracts without values of a call.
    fn with_no_call<T>(run: impl FnOnce(&Scope<'_>) -> T) -> T {
        run(&Scope {
            args: &Value::Null,
            call: &Context::default(),
            steps: &[],
            now: "",
            memory: &Value::Null,
        })
    }

    fn extract(path: &str, all: bool, default: Option<Value>, required: bool) -> Extract {
        let default = default.map(|value| ExtractDefault::Fixed(value.into()));
        let (path, _) = JsonPath::parse(path).unwrap();
        let path = BoundPath::new(Arc::new(path), Vec::new());
        Extract { path, all, default, required, sensitive: false }
    }

    /// The body as a tree and as a parsed document.
    fn both(body: &Value) -> [SharedValue; 2] {
        let document = Document::parse(body.to_string().into()).unwrap();
        [SharedValue::from(body.clone()), SharedValue::whole(Arc::new(document))]
    }

    #[test]
    fn values_defaults_and_lists_are_extracted() {
        let body = json!({"a": 1, "n": null, "l": [{"x": 1}, {"x": 2}]});
        for (extract, expected) in [
            (extract("$.a", false, None, false), Some(json!(1))),
            (extract("$.l[*].x", false, None, false), Some(json!(1))),
            (extract("$.l[*].x", true, None, false), Some(json!([1, 2]))),
            (extract("$.a", true, None, false), Some(json!([1]))),
            (extract("$.b", false, None, false), None),
            (extract("$.b", false, Some(json!("d")), false), Some(json!("d"))),
            (extract("$.n", false, Some(json!("d")), false), Some(json!("d"))),
            (extract("$.n", false, None, false), Some(json!(null))),
            (extract("$.b[*]", true, None, false), Some(json!([]))),
            (extract("$.b[*]", true, Some(json!(["d"])), false), Some(json!(["d"]))),
        ] {
            for body in both(&body) {
                let value = with_no_call(|scope| {
                    extract.value(&body, scope, &mut { MAX_WEIGHT }, &mut { MAX_VISITS })
                });
                assert_eq!(value.map(|value| value.to_value()), expected, "{extract:?}");
            }
        }
    }

    #[test]
    fn copies_of_nested_matches_are_limited() {
        let inner = json!({"id": vec![0; 100_000]});
        let body = (0..120).fold(inner, |inner, _| json!({"id": inner}));
        for body in both(&body) {
            let mut left = MAX_WEIGHT;
            let all = extract("$..id", true, None, false);
            assert_eq!(with_no_call(|scope| all.value(&body, scope, &mut left, &mut { MAX_VISITS })), None);
            let extracts = (0..50).map(|_| extract("$..id", false, None, false)).collect();
            let extraction = Extraction { names: vec!["id".to_owned(); 50], extracts };
            let values = with_no_call(|scope| extraction.extract(&body, scope));
            assert_eq!(values.iter().flatten().count(), 39);
        }
    }

    #[test]
    fn a_required_value_is_missing_if_there_is_no_match_or_only_null() {
        for (path, all, missing) in
            [("$.a", false, false), ("$.b", false, true), ("$.n", false, true), ("$.l[*]", true, true)]
        {
            let extraction =
                Extraction { names: vec!["x".to_owned()], extracts: vec![extract(path, all, None, true)] };
            for body in both(&json!({"a": 1, "n": null, "l": []})) {
                let values = with_no_call(|scope| extraction.extract(&body, scope));
                assert_eq!(extraction.missing(&values).is_some(), missing, "{path}");
            }
        }
    }
}
