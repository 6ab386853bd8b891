//! `jackfield completions`: prints a shell completion script.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};

pub(super) const EXAMPLES: &str = "\
Install the script:
  jackfield completions bash > ~/.local/share/bash-completion/completions/jackfield
  jackfield completions zsh > \"${fpath[1]}/_jackfield\"
  jackfield completions fish > ~/.config/fish/completions/jackfield.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell to generate the script for.
    shell: Shell,
}

pub(super) fn run(command: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut cli = Cli::command();
    let name = cli.get_name().to_owned();
    clap_complete::generate(command.shell, &mut cli, name, &mut script);
    print(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
