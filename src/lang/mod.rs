//! The languages that a table is written in: templates, JSONPath, XML, patterns. They know no route, table or clock.

pub(crate) mod body;
mod charset;
pub mod jsonpath;
pub(crate) mod pattern;
pub mod template;
pub(crate) mod value;
pub(crate) mod xml;
