//! JSON trees with expressions in their strings: request bodies, `data` and extension values.

use serde_json::Value;

use crate::guard::ExpansionFilter;
use crate::json::{JsonText, push_string, push_value};

use super::place::QuotedSink;
use super::{MAX_RENDERED_BYTES, RenderError, Scope, Sink as _, Template};
use crate::lang::value::Scale;

/// A JSON tree in which strings may be templates.
#[derive(Debug, Clone)]
pub(crate) enum JsonTemplate {
    /// A value without expressions.
    Literal(Value),
    /// A string that is a single expression, and keeps the JSON type of its value.
    Sole(Template),
    /// A string that contains expressions.
    Text(Template),
    List(Vec<Self>),
    Object(Vec<(ObjectKey, Self)>),
}

/// A key of an object.
#[derive(Debug, Clone)]
pub(crate) struct ObjectKey {
    name: String,
    /// The key as JSON, with the colon.
    json: String,
}

impl ObjectKey {
    pub(crate) fn new(name: &str) -> Self {
        let mut json = String::new();
        push_string(&mut json, name);
        json.push(':');
        Self { name: name.to_owned(), json }
    }
}

impl JsonTemplate {
    /// Renders the value; `None` if it is a single expression whose value is missing or null. Its key is then left out.
    pub(crate) fn render(
        &self,
        scope: &Scope<'_>,
        guard: ExpansionFilter,
    ) -> Result<Option<JsonText>, RenderError> {
        let mut out = String::with_capacity(256);
        let writer = &mut Writer { out: &mut out, left: MAX_RENDERED_BYTES, scope, guard };
        Ok(writer.write(self)?.then(|| JsonText::written(out)))
    }

    /// Renders the value as a tree; `None` if it is a single expression whose value is missing or null.
    pub(crate) fn to_value(&self, scope: &Scope<'_>) -> Result<Option<Value>, RenderError> {
        match self {
            Self::Literal(value) => Ok(Some(value.clone())),
            Self::Sole(template) => {
                let value = template.evaluate(scope)?.filter(|value| !value.get().is_null());
                let Some(value) = value else { return Ok(None) };
                Scale::WORK.take(value.get(), &mut { MAX_RENDERED_BYTES }).ok_or(RenderError::TooLarge)?;
                Ok(Some(value.into_value()))
            }
            Self::Text(_) | Self::List(_) | Self::Object(_) => {
                let json = self.render(scope, ExpansionFilter::default())?;
                json.map(|json| serde_json::from_str(json.as_str()).map_err(|_| RenderError::TooDeep))
                    .transpose()
            }
        }
    }

    /// The tree as written, for people.
    pub(crate) fn written(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Sole(template) | Self::Text(template) => template.written().into(),
            Self::List(items) => items.iter().map(Self::written).collect(),
            Self::Object(entries) => {
                entries.iter().map(|(key, template)| (key.name.clone(), template.written())).collect()
            }
        }
    }

    /// Writes the value as JSON. Returns `false` and writes nothing if it is a single expression whose value is missing
    /// or null. Its key is then left out.
    pub(crate) fn write(&self, out: &mut String, scope: &Scope<'_>) -> Result<bool, RenderError> {
        Writer { out, left: MAX_RENDERED_BYTES, scope, guard: ExpansionFilter::default() }.write(self)
    }
}

/// Writes a tree as JSON.
struct Writer<'w> {
    out: &'w mut String,
    /// How many bytes may still be rendered. Literals from the table do not count.
    left: usize,
    scope: &'w Scope<'w>,
    guard: ExpansionFilter,
}

impl Writer<'_> {
    /// Returns `false` and writes nothing for a single expression whose value is missing or null.
    fn write(&mut self, tree: &JsonTemplate) -> Result<bool, RenderError> {
        match tree {
            JsonTemplate::Literal(value) => push_value(self.out, value),
            JsonTemplate::Sole(template) => match template.evaluate(self.scope)? {
                Some(value) if !value.get().is_null() => {
                    Scale::WORK.take(value.get(), &mut self.left).ok_or(RenderError::TooLarge)?;
                    self.guard.push_json(self.out, value.get());
                }
                _ => return Ok(false),
            },
            JsonTemplate::Text(template) => {
                self.out.push('"');
                let mut text = QuotedSink::new(self.out, self.guard);
                template.render(self.scope, &mut text)?;
                self.left = self.left.checked_sub(text.len()).ok_or(RenderError::TooLarge)?;
                self.out.push('"');
            }
            JsonTemplate::List(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push(',');
                    }
                    self.item(item)?;
                }
                self.out.push(']');
            }
            JsonTemplate::Object(entries) => {
                self.out.push('{');
                let first = self.out.len();
                for (key, value) in entries {
                    let before = self.out.len();
                    if before > first {
                        self.out.push(',');
                    }
                    self.out.push_str(&key.json);
                    if !self.write(value)? {
                        self.out.truncate(before);
                    }
                }
                self.out.push('}');
            }
        }
        Ok(true)
    }

    /// Leaving out an item would move the others. So null stays null, and a missing value is an error.
    fn item(&mut self, item: &JsonTemplate) -> Result<(), RenderError> {
        if self.write(item)? {
            return Ok(());
        }
        if let JsonTemplate::Sole(template) = item {
            template.required(self.scope)?;
        }
        self.out.push_str("null");
        Ok(())
    }
}
