//! Tests from outside.

mod doors;
mod injection;
mod lifecycle;
mod platforms;
mod support;
