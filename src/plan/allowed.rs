//! Allowed values: an argument that must be one of a list which the platform supplied, and not the model.

use serde_json::Value;
use thiserror::Error;

use super::arguments::InvalidArguments;
use crate::json::Kind;
use crate::lang::template::{Evaluated, RenderError, Scope, Template};
use crate::lang::value::equal;

/// The arguments of a route whose values must be in a list of the platform's.
#[derive(Debug, Default)]
pub struct Allowed(pub(crate) Vec<AllowedArgument>);

/// One of them.
#[derive(Debug)]
pub(crate) struct AllowedArgument {
    pub(crate) name: String,
    /// One expression; it holds nothing that the model or an API could have written.
    pub(crate) list: Template,
    /// Whether the argument is a list, each item of which must be allowed.
    pub(crate) each: bool,
}

/// Values that are not allowed. No value is ever told, not even to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NotAllowed {
    refused: Vec<Disallowed>,
}

/// An argument that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("argument `{name}` is refused: {why}")]
struct Disallowed {
    name: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Why {
    #[error("its value is not among the allowed ones")]
    NotListed,
    #[error("the list of its allowed values is missing")]
    Missing,
    #[error("what should be the list of its allowed values is no list")]
    NotAList,
    #[error("the list of its allowed values cannot be made: {0}")]
    Unmade(RenderError),
    #[error("the platform does not prove who it is, so its list of allowed values is not believed")]
    NotBelieved,
}

impl NotAllowed {
    /// What the model is told: what it can mend, and nothing of what is allowed.
    pub fn model_text(&self) -> String {
        let unchecked = self.refused.iter().find(|refused| refused.why != Why::NotListed);
        if let Some(Disallowed { name, .. }) = unchecked {
            return format!(
                "The function was not called: argument `{name}` cannot be checked for this caller. Do not call it again."
            );
        }
        let must = |refused: &Disallowed| {
            format!("argument `{}` must be one of the values of this caller", refused.name)
        };
        InvalidArguments { problems: self.refused.iter().map(must).collect() }.model_text()
    }
}

impl Allowed {
    /// Looks at each argument that was given. `believed` says whether the platform has proved who it is.
    ///
    /// # Errors
    /// A value is not in its list, or there is no list to look into.
    pub fn check(&self, scope: &Scope<'_>, believed: bool) -> Result<(), NotAllowed> {
        let refused: Vec<Disallowed> = self
            .0
            .iter()
            .filter_map(|argument| {
                let value = scope.args.get(&argument.name)?;
                let why = argument.refuses(value, scope, believed)?;
                Some(Disallowed { name: argument.name.clone(), why })
            })
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(NotAllowed { refused }) }
    }
}

impl AllowedArgument {
    fn refuses(&self, value: &Value, scope: &Scope<'_>, believed: bool) -> Option<Why> {
        if !believed {
            return Some(Why::NotBelieved);
        }
        let list = match self.list.evaluate(scope) {
            Ok(list) => list,
            Err(error) => return Some(Why::Unmade(error)),
        };
        let list = match list.as_ref().map(Evaluated::get) {
            Some(list) if list.kind() == Kind::Array => list,
            Some(value) if !value.is_null() => return Some(Why::NotAList),
            _ => return Some(Why::Missing),
        };
        let is_listed = |value| list.items().any(|allowed| equal(value, allowed));
        let good = match value {
            Value::Array(items) if self.each => items.iter().all(is_listed),
            value => is_listed(value),
        };
        (!good).then_some(Why::NotListed)
    }
}
