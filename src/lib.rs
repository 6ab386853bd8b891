//! Jackfield is a proxy that turns ordinary HTTP APIs into tools for voice-AI agents, configured by one routing table.
//!
//! The map of the code, in reading order. A module uses only modules below it in this list; `tests/it/layers.rs` fails
//! otherwise.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the commands; the only place that prints |
//! | [`server`] | HTTP in: the listener for platforms and the admin listener |
//! | [`testing`] | runs the tests of a table |
//! | [`reload`] | replaces the running plan when its files change |
//! | [`deliveries`] | the worker that sends the requests of calls whose platform no longer waits |
//! | [`dispatch`] | the execution of calls: deadlines, deduplication, limits, detached calls; no HTTP |
//! | [`observe`] | metrics, spans, history, the call log, masking |
//! | [`flow`] | one call from its arguments to its outcome, and its record |
//! | [`live`] | the running plan and its resources, swapped as one |
//! | [`last_good`] | the last accepted table, as a copy on disk |
//! | [`load`] | from a file to a plan; besides the compiler, the only user of the table |
//! | [`watch`] | detects changes of files |
//! | `compile` | from the table to the plan, every error collected; a folder per family of keys |
//! | [`plan`] | what runs: data, immutable; no clock, no I/O |
//! | [`lang`] | templates, JSONPath, XML, patterns and values; knows no route |
//! | `table` | the configuration as written: TOML with the position of every key and value |
//! | [`upstream`] | requests and responses as values, the HTTP client, credentials, delivery, live state |
//! | [`http1`] | the codec of HTTP/1.1, without I/O |
//! | [`platform`] | the callers: a folder per platform, one trait, one list; inbound auth |
//! | [`scheme`] | the description of an auth scheme: its keys and what it builds |
//! | [`diagnostic`] | errors and warnings in the table, with their places |
//! | [`state`] | jobs, memory of conversations and claimed calls that outlive the process; their engines |
//! | [`single_flight`] | results that several calls share; also the cache of such results |
//! | [`secret`] | values that never print themselves |
//! | `fingerprint` | SHA-256 over length-prefixed parts |
//! | `percent` | percent-encoding of values in URLs |
//! | [`traceparent`] | the trace context of a call |
//! | `utc` | times as text |
//! | `in_place` | large values on the heap, built where they stay |
//! | [`guard`] | breaks up character pairs that a platform would expand in a value |
//! | [`memory`] | budgets for the memory of large bodies |
//! | `bounded_io` | work on files within a time limit |
//! | [`printable`] | text without characters that a terminal would act on |
//! | [`call`] | calls, contexts, outcomes and replies |
//! | [`json`] | JSON documents over their bytes, and values that may be part of one |
//! | [`demo`] | the sample API of `serve --demo` |

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cli;

pub mod server;
pub mod testing;

pub mod reload;

pub mod deliveries;
pub mod dispatch;
pub mod observe;

pub mod flow;
pub mod last_good;
pub mod live;
pub mod load;
pub mod watch;

mod compile;
pub mod plan;

pub mod lang;
mod table;

pub mod http1;
pub mod platform;
pub mod upstream;

mod bounded_io;
pub mod call;
pub mod diagnostic;
mod fingerprint;
pub mod guard;
mod in_place;
pub mod json;
pub mod memory;
mod percent;
pub mod printable;
pub mod scheme;
pub mod secret;
pub mod single_flight;
pub mod state;
pub mod traceparent;
mod utc;

pub mod demo;
