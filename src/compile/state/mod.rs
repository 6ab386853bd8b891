//! `[state]`, and what routes keep beyond one call: `delivery` and `remember`.

pub(in crate::compile) mod config;
pub(in crate::compile) mod delivery;
pub(in crate::compile) mod memory;
