//! What the table determines about the fields of a value, and the errors about fields that it does not have.

use std::collections::BTreeMap;

use crate::diagnostic::suggest;

use super::bad_name::BadName;

/// The fields of a value, as far as the table determines them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fields {
    /// Any field.
    Open,
    /// Only these fields.
    Closed(BTreeMap<String, Self>),
    /// A string, which has a `length`.
    Text,
    /// No fields: a number or boolean.
    Leaf,
}

impl Fields {
    /// Checks the field names `below` this value. Messages call the value `parent`.
    pub(super) fn check(&self, parent: &str, below: &[String]) -> Result<(), BadName> {
        let Some((name, rest)) = below.split_first() else { return Ok(()) };
        match self {
            Self::Open => Ok(()),
            Self::Text if below == ["length"] => Ok(()),
            Self::Text | Self::Leaf => Err(BadName::new(format!("`{parent}` has no fields"), None)),
            Self::Closed(fields) => match fields.get(name) {
                Some(field) => field.check(&format!("{parent}.{name}"), rest),
                None if parent == "args" => Err(BadName::new(
                    format!("unknown argument `{name}`"),
                    Some(match suggest(name, fields.keys().map(String::as_str)) {
                        Some(help) => help,
                        None => format!(
                            "this route takes no arguments; declare it: `args.{name} = {{ type = \"string\" }}`"
                        ),
                    }),
                )),
                None => Err(BadName::new(
                    format!("`{parent}` has no field `{name}`"),
                    suggest(name, fields.keys().map(String::as_str)),
                )),
            },
        }
    }
}
