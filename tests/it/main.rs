//! Tests from outside.

mod platforms;
#[allow(dead_code, reason = "each test needs its own part of it")]
mod support;
mod tls;
mod xml;
