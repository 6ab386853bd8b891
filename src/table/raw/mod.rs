//! The raw structure of `routes.toml`: one struct per table, one field per key. No logic.

mod file;
mod reply;
mod route;
mod server;
mod state;
mod testing;
mod toml_table;
mod upstream;

pub(crate) use super::reader::Strings;
pub(crate) use file::{RawDefaults, RawFile};
pub(crate) use reply::{RawReplies, RawReply, RawWhen};
pub(crate) use route::{RawArgument, RawExtract, RawForm, RawRequest, RawResponse, RawRoute, RawStep};
pub(crate) use server::{RawLog, RawPlatform, RawServer, RawTls, RawTraces};
pub(crate) use state::RawState;
pub(crate) use testing::{
    RawCanned, RawDelivered, RawExpect, RawExpectedRequest, RawTest, RawTestCall, RawTestFile,
};
pub(crate) use upstream::{RawBreaker, RawLimit, RawRetry, RawUpstream};
