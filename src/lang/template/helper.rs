//! What a helper of the template language is: its name, its parameters, and the function behind it.

use serde_json::Value;

use super::evaluated::Evaluated;
use crate::json::ValueRef;

pub(super) type Params<'a> = [Evaluated<'a>];
pub(super) type NamedParams<'a> = [(&'static str, Evaluated<'a>)];
pub(super) type HelperFn = fn(&Params<'_>, &NamedParams<'_>) -> Result<HelperOutput, String>;

/// The result of a helper. Parameters are referred to, not copied.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HelperOutput {
    /// A new value.
    Value(Value),
    /// The parameter with this index.
    Param(usize),
    /// The member or item of the first parameter with this name or index.
    Part(String),
}

impl<T: Into<Value>> From<T> for HelperOutput {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// A helper.
pub(super) struct Helper {
    pub(super) name: &'static str,
    /// An example of its use, for messages.
    pub(super) usage: &'static str,
    /// The minimum and maximum number of parameters.
    pub(super) params: (usize, usize),
    /// The names of its named parameters.
    pub(super) named: &'static [&'static str],
    /// Whether it also gets the time zone of the table, under [`TABLE_ZONE`].
    pub(super) in_zone: bool,
    /// Whether it is called with null for a missing value. Otherwise its result is missing.
    pub(super) sees_missing: bool,
    /// Whether it reads whole lists and objects, however large.
    pub(super) reads_all: bool,
    /// Whether its first parameter must be a list or an object.
    pub(super) takes_apart: bool,
    pub(super) run: HelperFn,
}

impl std::fmt::Debug for Helper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The name of the value that holds the zone of the table. No template can write it.
pub(super) const TABLE_ZONE: &str = "[defaults] tz";

pub(super) fn named<'a>(params: &'a NamedParams<'_>, name: &str) -> Option<ValueRef<'a>> {
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.get())
}
