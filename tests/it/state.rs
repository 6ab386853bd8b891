//! What outlives a call: the memory of a conversation, and calls that are delivered after the platform has its reply.

mod async_delivery;
mod instances;
mod memory;
mod operators;
mod table_tests;
