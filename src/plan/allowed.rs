//! Allowed values: an argument whose value must be in a list that the platform supplies, so that the model cannot
//! choose freely.

use serde_json::Value;
use thiserror::Error;

use super::arguments::InvalidArguments;
use crate::json::Kind;
use crate::lang::template::{Evaluated, RenderError, Scope, Template};
use crate::lang::value::equal;

/// The arguments of a route whose values the platform restricts.
#[derive(Debug, Default)]
pub struct Allowed(pub(crate) Vec<AllowedArgument>);

/// A restricted argument.
#[derive(Debug)]
pub(crate) struct AllowedArgument {
    pub(crate) name: String,
    /// One expression whose value comes from the platform, never from the model or an API.
    pub(crate) list: Template,
    /// Whether the argument is a list, each item of which must be allowed.
    pub(crate) each: bool,
}

/// Arguments whose values are not allowed. The error never contains a value, not even for operators.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct NotAllowed {
    refused: Vec<Disallowed>,
}

/// An argument that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("argument `{name}` is refused: {why}")]
struct Disallowed {
    name: String,
    why: DisallowedReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum DisallowedReason {
    #[error("its value is not among the allowed ones")]
    NotListed,
    #[error("the list of allowed values is missing")]
    Missing,
    #[error("the source of the allowed values is not a list")]
    NotAList,
    #[error("the list of allowed values cannot be rendered: {0}")]
    Render(RenderError),
    #[error("the platform does not authenticate itself, so its list of allowed values is not trusted")]
    Untrusted,
}

impl NotAllowed {
    /// The text for the model. It says what the model can fix, but does not reveal the allowed values.
    pub fn model_text(&self) -> String {
        let unchecked = self.refused.iter().find(|refused| refused.why != DisallowedReason::NotListed);
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
    /// Checks each restricted argument that was given. `believed` says whether the platform's context is trusted.
    ///
    /// # Errors
    /// A value is not in its list, or the list is missing or cannot be used.
    pub fn check(&self, scope: &Scope<'_>, believed: bool) -> Result<(), NotAllowed> {
        let refused: Vec<Disallowed> = self
            .0
            .iter()
            .filter_map(|argument| {
                let value = scope.args.get(&argument.name)?;
                let why = argument.check(value, scope, believed)?;
                Some(Disallowed { name: argument.name.clone(), why })
            })
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(NotAllowed { refused }) }
    }
}

impl AllowedArgument {
    fn check(&self, value: &Value, scope: &Scope<'_>, believed: bool) -> Option<DisallowedReason> {
        if !believed {
            return Some(DisallowedReason::Untrusted);
        }
        let list = match self.list.evaluate(scope) {
            Ok(list) => list,
            Err(error) => return Some(DisallowedReason::Render(error)),
        };
        let list = match list.as_ref().map(Evaluated::get) {
            Some(list) if list.kind() == Kind::Array => list,
            Some(value) if !value.is_null() => return Some(DisallowedReason::NotAList),
            _ => return Some(DisallowedReason::Missing),
        };
        let is_listed = |value| list.items().any(|allowed| equal(value, allowed));
        let is_allowed = match value {
            Value::Array(items) if self.each => items.iter().all(is_listed),
            value => is_listed(value),
        };
        (!is_allowed).then_some(DisallowedReason::NotListed)
    }
}
