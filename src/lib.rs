//! Jackfield is a proxy that turns ordinary HTTP APIs into tools for voice-AI agents, as one routing table says.
//!
//! The map of the code, in reading order. A module uses only modules below it in this list; `tests/it/layers.rs` keeps it
//! so.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands; the only place that prints |
//! | [`server`] | HTTP in: the listener for platforms and the admin listener |
//! | [`testing`] | runs the tests of a table |
//! | [`reload`] | keeps the running plan true to its files |
//! | [`dispatch`] | the execution of calls: deadlines, deduplication, limits; knows no HTTP |
//! | [`observe`] | what is observed of calls: metrics, spans, history, log, masking |
//! | [`flow`] | one call as one sentence, and its record |
//! | [`live`] | the running plan, swapped as a whole |
//! | [`load`] | from a file to a plan: besides the compiler, the only user of the table |
//! | [`watch`] | notices that files changed |
//! | `compile` | from the table to the plan, every error collected |
//! | [`plan`] | what runs: data, immutable; no clock, no I/O |
//! | [`lang`] | templates, JSONPath, XML, patterns and values; knows no route |
//! | `table` | what is written: TOML with the place of every key and value |
//! | [`upstream`] | requests and responses as values, transports, credentials, delivery |
//! | [`platform`] | who calls us: a folder per platform, one trait, one list; logins |
//! | [`scheme`] | the description of an auth scheme: its keys and what it builds |
//! | [`diagnostic`] | errors and warnings in the table, with their places |
//! | [`single_flight`] | results that several calls share |
//! | [`secret`] | values that never print themselves |
//! | `fingerprint` | SHA-256 over parts that are preceded by their length |
//! | `percent` | percent-encoding of values in URLs |
//! | [`traceparent`] | the trace that a call is part of |
//! | [`guard`] | breaks up what a platform would expand in a value |
//! | [`call`] | the words that all layers share |
//! | [`json`] | JSON that is read where it is: documents over their bytes, and values that may be part of one |
//! | [`demo`] | the sample API of `serve --demo` |

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cli;

pub mod server;
pub mod testing;

pub mod reload;

pub mod dispatch;
pub mod observe;

pub mod flow;
pub mod live;
pub mod load;
pub mod watch;

mod compile;
pub mod plan;

pub mod lang;
mod table;

pub mod platform;
pub mod upstream;

pub mod call;
pub mod diagnostic;
mod fingerprint;
pub mod guard;
pub mod json;
mod percent;
pub mod scheme;
pub mod secret;
pub mod single_flight;
pub mod traceparent;

pub mod demo;
