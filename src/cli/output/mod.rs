//! The output formats: text for people, JSON, JUnit XML and SARIF.

pub(super) mod explain;
pub(super) mod junit;
pub(super) mod page;
pub(super) mod results;
pub(super) mod sarif;
