//! The pages of the diagnostic codes, and the list of all codes.

use std::fmt::Write as _;

use crate::diagnostic::{Code, Severity};

/// Every code with its meaning.
pub(in crate::cli) fn list() -> String {
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

/// Formats a page for a terminal. A fenced block of the Markdown becomes an indented block with a title.
pub(in crate::cli) fn page(code: Code) -> String {
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
        // Writing to a string never fails.
        let _ = written;
    }
    out
}
