//! How results are printed: for people, as JSON, as JUnit's XML, as SARIF.

pub(super) mod explain;
pub(super) mod junit;
pub(super) mod page;
pub(super) mod results;
pub(super) mod sarif;
