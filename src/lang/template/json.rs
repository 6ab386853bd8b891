//! JSON trees with expressions in their strings: request bodies, `data` and extension values.

use serde_json::{Map, Value};

use crate::guard::ExpansionFilter;
use crate::json::{push_string, push_value};

use super::place::QuotedSink;
use super::{Evaluated, MAX_RENDERED_BYTES, RenderError, Scope, Sink as _, Template, TextSink};
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
    Object(Vec<(String, Self)>),
}

impl JsonTemplate {
    /// Renders the value; `None` if it is a single expression whose value is missing or null. Its key is then left out.
    pub(crate) fn render(
        &self,
        scope: &Scope<'_>,
        guard: ExpansionFilter,
    ) -> Result<Option<Value>, RenderError> {
        self.render_within(&mut { MAX_RENDERED_BYTES }, scope, guard)
    }

    /// The tree as written, for people.
    pub(crate) fn written(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Sole(template) | Self::Text(template) => template.written().into(),
            Self::List(items) => items.iter().map(Self::written).collect(),
            Self::Object(entries) => {
                entries.iter().map(|(key, template)| (key.clone(), template.written())).collect()
            }
        }
    }

    /// Renders the tree, and subtracts the size from `left`. Literals from the table do not count.
    fn render_within(
        &self,
        left: &mut usize,
        scope: &Scope<'_>,
        guard: ExpansionFilter,
    ) -> Result<Option<Value>, RenderError> {
        Ok(Some(match self {
            Self::Literal(value) => value.clone(),
            Self::Sole(template) => match template.evaluate(scope)? {
                Some(value) if !value.get().is_null() => {
                    Scale::WORK.take(value.get(), left).ok_or(RenderError::TooLarge)?;
                    guard.value(value.into_value())
                }
                _ => return Ok(None),
            },
            Self::Text(template) => {
                let mut text = TextSink::new(guard);
                template.render(scope, &mut text)?;
                let text = text.into_text();
                *left = left.checked_sub(text.len()).ok_or(RenderError::TooLarge)?;
                Value::String(text)
            }
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for item in items {
                    // Leaving out an item would move the others. So null stays null, and a missing value is an error.
                    match item.render_within(left, scope, guard)? {
                        Some(value) => list.push(value),
                        None => list.push(item.null_or_missing(scope)?),
                    }
                }
                Value::Array(list)
            }
            Self::Object(entries) => {
                let mut object = Map::with_capacity(entries.len());
                for (key, template) in entries {
                    if let Some(value) = template.render_within(left, scope, guard)? {
                        object.insert(key.clone(), value);
                    }
                }
                Value::Object(object)
            }
        }))
    }

    /// Writes the value as JSON. Returns `false` and writes nothing if it is a single expression whose value is missing
    /// or null. Its key is then left out.
    pub(crate) fn write(&self, out: &mut String, scope: &Scope<'_>) -> Result<bool, RenderError> {
        self.write_within(&mut { MAX_RENDERED_BYTES }, out, scope)
    }

    fn write_within(
        &self,
        left: &mut usize,
        out: &mut String,
        scope: &Scope<'_>,
    ) -> Result<bool, RenderError> {
        match self {
            Self::Literal(value) => push_value(out, value),
            Self::Sole(template) => match template.evaluate(scope)? {
                Some(value) if !value.get().is_null() => {
                    Scale::WORK.take(value.get(), left).ok_or(RenderError::TooLarge)?;
                    value.get().write_json(out);
                }
                _ => return Ok(false),
            },
            Self::Text(template) => {
                out.push('"');
                let mut text = QuotedSink::new(out);
                template.render(scope, &mut text)?;
                *left = left.checked_sub(text.len()).ok_or(RenderError::TooLarge)?;
                out.push('"');
            }
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    // As in `render_within`, an item cannot be left out.
                    if !item.write_within(left, out, scope)? {
                        push_value(out, &item.null_or_missing(scope)?);
                    }
                }
                out.push(']');
            }
            Self::Object(entries) => {
                out.push('{');
                let first = out.len();
                for (key, template) in entries {
                    let before = out.len();
                    if before > first {
                        out.push(',');
                    }
                    push_string(out, key);
                    out.push(':');
                    if !template.write_within(left, out, scope)? {
                        out.truncate(before);
                    }
                }
                out.push('}');
            }
        }
        Ok(true)
    }

    fn null_or_missing(&self, scope: &Scope<'_>) -> Result<Value, RenderError> {
        match self {
            Self::Sole(template) => template.required(scope).map(Evaluated::into_value),
            _ => Ok(Value::Null),
        }
    }
}
