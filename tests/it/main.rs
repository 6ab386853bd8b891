//! Tests from outside.

mod call_command;
mod doors;
mod injection;
mod lifecycle;
mod platforms;
mod support;
