//! `jackfield explain`: what a kind of fault means, and how to mend it.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::diagnostic::{Code, Severity, nearest};

use crate::cli::print;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The code, as `check` prints it in brackets.
    code: Option<String>,
}

pub(in crate::cli) fn run(command: &Explain) -> anyhow::Result<ExitCode> {
    match &command.code {
        None => print(&list())?,
        Some(name) => {
            // As `check` prints it, with its weight before the brackets.
            let (_, slug) = name.split_once('[').unwrap_or(("", name));
            let slug = slug.trim_end_matches([']', ':']).to_lowercase();
            match Code::from_slug(&slug) {
                Some(code) => print(page(code).trim_end())?,
                None => bail!("there is no code `{name}`\nhelp: {}", help(&slug)),
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

/// Every code with its meaning.
fn list() -> String {
    let width = Code::ALL.iter().map(|code| code.slug().len()).max().unwrap_or_default();
    let lines = Code::ALL.iter().map(|code| {
        let weight = match code.severity() {
            Severity::Error => "",
            Severity::Warning => " A warning.",
            Severity::Note => " A note.",
        };
        format!("{:width$}  {}{weight}", code.slug(), code.meaning())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A page as a terminal shows it: what is fenced in Markdown stands indented below a word for what it is.
fn page(code: Code) -> String {
    let mut out = String::new();
    let mut is_example = false;
    for line in code.page().lines() {
        let written = match (line.strip_prefix("```"), line.strip_prefix("# ")) {
            (Some(words), _) => {
                is_example = !is_example;
                if !is_example {
                    continue;
                }
                let title = if words.contains(" bad") { "Bad" } else { "Good" };
                match words.split(' ').find_map(|word| word.strip_prefix("file=")) {
                    Some(file) => writeln!(out, "{title}, {file}:\n"),
                    None => writeln!(out, "{title}:\n"),
                }
            }
            (None, Some(slug)) => writeln!(out, "{}[{slug}]", code.severity().name()),
            (None, None) if is_example && !line.is_empty() => writeln!(out, "    {line}"),
            (None, None) => writeln!(out, "{line}"),
        };
        // A text takes whatever is written to it.
        let _ = written;
    }
    out
}
