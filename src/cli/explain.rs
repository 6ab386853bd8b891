//! `jackfield explain`: what a diagnostic code means, and how to fix it.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::diagnostic::{Code, nearest};

use super::output::page::{list, page};
use super::print;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code that `check` prints in brackets.
    code: Option<String>,
}

pub(super) fn run(command: &Explain) -> anyhow::Result<ExitCode> {
    match &command.code {
        None => print(&list())?,
        Some(name) => {
            // As `check` prints it, with its weight before the brackets.
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

/// What may have been meant.
fn help(slug: &str) -> String {
    match nearest(slug, Code::ALL.iter().map(|code| code.slug())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`jackfield explain` lists all codes".to_owned(),
    }
}
