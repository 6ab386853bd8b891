//! `jackfield man`: the manual pages, from the same definitions as `--help`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::{Cli, print};

pub(super) const EXAMPLES: &str = "\
Examples:
  jackfield man | man -l -                            show the page of jackfield
  jackfield man --dir ~/.local/share/man/man1         install all pages";

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManPages {
    /// Write the pages of all commands to this folder, as jackfield.1, jackfield-serve.1 and so on.
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub(super) fn run(command: &ManPages) -> anyhow::Result<ExitCode> {
    let cli = Cli::command();
    match &command.dir {
        Some(folder) => clap_mangen::generate_to(cli, folder)
            .with_context(|| format!("cannot write the pages to `{}`", folder.display()))?,
        None => {
            let mut page = Vec::new();
            Man::new(cli).render(&mut page)?;
            print(String::from_utf8(page)?.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
