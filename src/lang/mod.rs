//! The languages used in a table: templates, JSONPath, XML and patterns. They know nothing of routes, the table or the
//! clock.

pub(crate) mod body;
pub(crate) mod bound_path;
mod charset;
pub(crate) mod decimal;
pub mod jsonpath;
pub(crate) mod pattern;
pub mod template;
pub(crate) mod value;
pub(crate) mod xml;
