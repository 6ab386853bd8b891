//! What outlives a call: the memory of a conversation, and calls that are delivered after the platform has its reply.

mod async_delivery;
mod crash;
mod instances;
mod memory;
mod operators;
mod postgres;
#[allow(dead_code, reason = "the tests of the store use more of it")]
#[path = "../state/server.rs"]
mod server;
mod table_tests;
