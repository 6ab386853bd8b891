//! `jackfield memory`: deletes what a conversation remembers.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::print;
use super::shared::{Stored, counted, plan_and_store};

/// Arguments of `memory`.
#[derive(Debug, Args)]
pub(super) struct Memory {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Delete everything that one conversation remembers.
    Forget(Forget),
}

#[derive(Debug, Args)]
struct Forget {
    /// The id of the conversation.
    #[arg(long, value_name = "ID")]
    conversation: String,
    /// Only the conversation of this platform; by default, of every platform.
    #[arg(long, value_name = "NAME")]
    platform: Option<String>,
}

pub(super) fn run(command: &Memory, path: &Path) -> anyhow::Result<ExitCode> {
    let Stored { store, runtime, .. } = match plan_and_store(path)? {
        Ok(stored) => stored,
        Err(code) => return Ok(code),
    };
    let Action::Forget(Forget { conversation, platform }) = &command.action;
    let forgotten = runtime.block_on(store.forget(platform.as_deref(), conversation));
    runtime.shutdown_background();
    print(&format!("{} forgotten", counted(forgotten?, "value")))?;
    Ok(ExitCode::SUCCESS)
}
