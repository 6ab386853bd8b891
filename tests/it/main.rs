//! Tests from outside.

mod call_command;
mod check;
mod closing;
mod doors;
mod events;
mod failures;
mod injection;
mod layers;
mod lifecycle;
mod log;
mod outbound_auth;
mod outbound_tls;
mod platforms;
mod readme;
mod reload;
mod replies;
mod requests;
mod robust;
mod steps;
#[allow(dead_code, reason = "shared: not every test uses all of it")]
mod support;
