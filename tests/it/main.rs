//! Tests from outside.

mod dailybots;
mod millis;
mod platform_docs;
mod platforms;
#[allow(dead_code, reason = "shared with tests of other parts")]
mod support;
