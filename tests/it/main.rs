//! Tests from outside.

mod call_command;
mod doors;
mod injection;
mod lifecycle;
mod log;
mod platforms;
#[allow(dead_code, reason = "shared: not every test uses all of it")]
mod support;
