//! Jackfield answers the function calls of voice-AI platforms through ordinary HTTP APIs, as one table says.
//!
//! The map of the code, in reading order. Arrows of use point downwards in this list only, except where a module
//! says otherwise; `tests/it/layers.rs` keeps it so.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands; the only place that prints |
//! | [`server`] | the platforms' door and the admin door |
//! | [`testing`] | runs the tests of a table |
//! | [`in_process`] | a platform's request, tried as a whole outside of its door |
//! | [`reload`] | keeps the running plan true to its files |
//! | [`observe`] | what is seen of calls: metrics, spans, history, log, masking |
//! | [`flow`] | one call as one sentence, and the record of it |
//! | [`repeats`] | tells calls that a platform makes twice |
//! | [`live`] | the running plan, swapped whole |
//! | [`load`] | from a file to a plan: the only user of the table besides the compiler |
//! | [`watch`] | notices that files changed |
//! | [`single_flight`] | results that several calls share |
//! | `compile` | from the table to the plan, every error collected |
//! | [`plan`] | what runs: immutable, compiled, no I/O |
//! | [`lang`] | templates, JSONPath, XML, patterns and values; knows no route |
//! | `table` | what is written: TOML with the place of every key and value |
//! | [`upstream`] | requests, responses and the two ways to carry them; credentials |
//! | [`platform`] | who calls us: one file per platform, and their logins |
//! | [`diagnostic`] | faults of the table, with their places |
//! | [`secret`] | what never prints itself |
//! | `fingerprint` | SHA-256 over parts of known length |
//! | [`traceparent`] | which trace a call is part of |
//! | [`guard`] | what a platform would expand in a value, broken up |
//! | [`call`] | the words that all layers share |
//! | [`demo`] | the sample API of `serve --demo` |

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cli;
pub mod server;

pub mod in_process;
pub mod testing;

pub mod reload;

pub mod observe;

pub mod flow;
pub mod live;
pub mod load;
pub mod repeats;
pub mod watch;

pub mod single_flight;

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
pub mod secret;
pub mod traceparent;

pub mod demo;
