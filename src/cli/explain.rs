//! `jackfield explain`: explains a diagnostic code and how to fix it.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::diagnostic::{Code, nearest};

use super::output::page::{list, page};
use super::print;
use super::words::Words;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code that `check` prints in brackets.
    #[arg(value_parser = Words::codes(), hide_possible_values = true)]
    code: Option<String>,
}

pub(super) fn run(command: &Explain) -> anyhow::Result<ExitCode> {
    match &command.code {
        None => print(&list())?,
        Some(name) => {
            // Also accept what `check` prints, such as `error[unknown-key]`.
            let (_, slug) = name.split_once('[').unwrap_or(("", name));
            let slug = slug.trim_end_matches([']', ':']).to_lowercase();
            match Code::from_slug(&slug) {
                Some(code) => print(page(code).trim_end())?,
                None => bail!("unknown code `{name}`\nhelp: {}", help(&slug)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Suggests a code, or the list of all codes.
fn help(slug: &str) -> String {
    match nearest(slug, Code::ALL.iter().map(|code| code.slug())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`jackfield explain` lists all codes".to_owned(),
    }
}
