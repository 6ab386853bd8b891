//! Tests from outside.

mod outbound_auth;
mod outbound_tls;
mod platforms;
#[allow(dead_code, reason = "shared with tests that are not here yet")]
mod support;
