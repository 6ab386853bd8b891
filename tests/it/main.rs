//! Tests from outside.

mod allowed;
mod cache;
mod call_command;
mod check;
mod closing;
mod dailybots;
mod declare;
mod delivery;
mod doors;
mod egress;
mod events;
mod failures;
mod faults;
mod fuzz;
mod injection;
mod layers;
mod lifecycle;
mod log;
mod malformed;
mod millis;
mod outbound_auth;
mod outbound_tls;
mod overload;
mod platform_docs;
mod platforms;
mod readme;
mod reload;
mod repeats;
mod replies;
mod requests;
mod robust;
mod steps;
#[allow(dead_code, reason = "shared: not every test uses all of it")]
mod support;
mod tls;
mod xml;
