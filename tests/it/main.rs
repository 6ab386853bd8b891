//! Tests from outside.

mod injection;
mod lifecycle;
mod platforms;
mod support;
