//! A JSONPath with the templates whose values its filters compare with.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::jsonpath::JsonPath;
use super::template::{Evaluated, RenderError, Scope, Template};
use crate::json::ValueRef;

/// A path, and what it needs of a call.
#[derive(Debug, Clone)]
pub(crate) struct BoundPath {
    path: Arc<JsonPath>,
    /// Empty for most paths.
    values: Box<[BoundValue]>,
}

/// A template in a path.
#[derive(Debug, Clone)]
pub(crate) struct BoundValue {
    pub(crate) template: Template,
    /// Whether the value is always a string, because the template is in quotes.
    pub(crate) is_text: bool,
}

impl fmt::Display for BoundPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl BoundPath {
    pub(crate) fn new(path: Arc<JsonPath>, values: Vec<BoundValue>) -> Self {
        Self { path, values: values.into() }
    }

    /// Checks that every template has a value.
    pub(crate) fn check(&self, scope: &Scope<'_>) -> Result<(), RenderError> {
        self.values.iter().try_for_each(|value| value.of(scope).map(drop))
    }

    /// Its templates.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.values.iter().map(|value| &value.template)
    }

    /// Searches a body by the path, with the values of the call; fails if one of them is missing.
    pub(crate) fn search<'v, T>(
        &self,
        body: ValueRef<'v>,
        scope: &Scope<'_>,
        search: impl FnOnce(&JsonPath, ValueRef<'_>, &[ValueRef<'_>]) -> T,
    ) -> Result<T, RenderError> {
        if self.values.is_empty() {
            return Ok(search(&self.path, body, &[]));
        }
        let values: Vec<Evaluated<'_>> =
            self.values.iter().map(|value| value.of(scope)).collect::<Result<_, _>>()?;
        let bound: Vec<ValueRef<'_>> = values.iter().map(Evaluated::get).collect();
        Ok(search(&self.path, body, &bound))
    }
}

impl BoundValue {
    fn of<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Evaluated<'s>, RenderError> {
        match self.is_text {
            true => self.template.text(scope).map(|text| Evaluated::Owned(Value::String(text))),
            false => self.template.required(scope),
        }
    }
}
