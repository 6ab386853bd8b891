//! Defaults that depend on the call. They are filled in before the arguments are checked.

use serde_json::Value;

use super::Validated;
use super::shape::{Converter, Path, Shape};
use crate::lang::template::Scope;
use crate::lang::template::json::JsonTemplate;

/// A default that contains templates.
#[derive(Debug, Clone)]
pub(crate) struct CallDefault {
    /// Where its argument is.
    pub(crate) place: Vec<Below>,
    pub(crate) value: JsonTemplate,
}

/// A step to an argument inside the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Below {
    Property(String),
    Items,
}

impl CallDefault {
    /// Fills the default in wherever its argument is absent. A default whose value is missing or cannot be rendered is
    /// left out, as if there were none.
    pub(super) fn fill(
        &self,
        args: &mut Value,
        shape: &Shape,
        converter: &mut Converter<'_>,
        scope: &Scope<'_>,
    ) {
        let mut value = None;
        fill(args, &self.place, shape, &mut |shape| {
            value
                .get_or_insert_with(|| self.value.to_value(scope).ok().flatten())
                .as_ref()
                .map(|value| converter.value(shape, value.into(), Path::Top))
        });
    }
}

fn fill(value: &mut Value, place: &[Below], shape: &Shape, default: &mut dyn FnMut(&Shape) -> Option<Value>) {
    match (value, place) {
        (Value::Object(entries), [Below::Property(name)]) if !entries.contains_key(name) => {
            if let Some(value) = shape.property(name).and_then(default) {
                entries.insert(name.clone(), value);
            }
        }
        (Value::Object(entries), [Below::Property(name), below @ ..]) if !below.is_empty() => {
            if let (Some(value), Some(shape)) = (entries.get_mut(name), shape.property(name)) {
                fill(value, below, shape, default);
            }
        }
        (Value::Array(items), [Below::Items, below @ ..]) => {
            if let Some(shape) = shape.items() {
                items.iter_mut().for_each(|item| fill(item, below, shape, default));
            }
        }
        _ => {}
    }
}

/// Fills in all defaults, each converted to the type of its argument. What is converted or dropped in them is not
/// recorded: the model did not give it.
pub(super) fn fill_all(
    defaults: &[CallDefault],
    args: &mut Value,
    shape: &Shape,
    converter: &Converter<'_>,
    scope: &Scope<'_>,
) {
    let mut unrecorded = Validated::default();
    let mut converter = Converter { validated: &mut unrecorded, zone: converter.zone };
    for default in defaults {
        default.fill(args, shape, &mut converter, scope);
    }
}
