//! Errors and warnings in the table: what is wrong, where, and how to fix it.
//!
//! A [`Diagnostic`] is found while the table is loaded and always has a place in a file. Problems during a call have
//! error types of their own, beside the code that can fail.

mod code;
mod collected;
mod inside;
mod render;

use std::path::{Path, PathBuf};

pub use code::Code;
pub use collected::{Diagnostics, MAX_SHOWN, Overtaken};
pub(crate) use inside::{PlacesInString, place_in_string};
pub use render::{JsonDiagnostic, Place, to_json, to_text, unreadable_help};

/// Identifies the file of a [`Span`] among the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(usize);

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// An empty span at the start of `file`, for diagnostics about the file as a whole.
    pub fn start_of(file: FileId) -> Self {
        Self { file, start: 0, end: 0 }
    }

    /// The part of this span between two offsets from its start, limited to the span.
    pub fn part(self, from: usize, to: usize) -> Self {
        let start = (self.start + from).min(self.end);
        Self { file: self.file, start, end: (self.start + to).clamp(start, self.end) }
    }
}

/// How serious a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The table is rejected.
    Error,
    /// The table is accepted, but something in it has no effect or is unwise.
    Warning,
    /// Information only.
    Note,
}

impl Severity {
    /// The name, as shown and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One error, warning or note about the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of problem; its name never changes.
    pub code: Code,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// The place.
    pub span: Span,
    /// A short label at the place.
    pub label: String,
    /// A related place, with a label.
    pub related: Option<(Span, String)>,
    /// How to fix it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic at `span`.
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span, label: String::new(), related: None, help: None }
    }

    /// Adds a short label at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds how to fix it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds how to fix it, if there is any help.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Adds a related place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// A file that was read, as diagnostics show it.
#[derive(Debug)]
pub struct Source {
    /// The name in diagnostics: the path as it was given or found.
    pub name: String,
    /// The path from which it was read.
    pub path: PathBuf,
    /// The text.
    pub text: String,
}

/// All files that were read for one table, in the order of reading; the main file is the first.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a file and returns its id.
    pub fn add(&mut self, path: &Path, text: String) -> FileId {
        self.0.push(Source { name: path.display().to_string(), path: path.to_owned(), text });
        FileId(self.0.len() - 1)
    }

    /// The file with this id.
    pub fn get(&self, id: FileId) -> &Source {
        &self.0[id.0]
    }

    /// The files in the order of reading.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The text at `span`.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file).text.get(span.start..span.end).unwrap_or("")
    }
}

/// The longest name, in bytes, that is compared with others for a suggestion.
const MAX_COMPARED: usize = 64;

/// The maximum number of names that a name is compared with for a suggestion.
const MAX_CANDIDATES: usize = 2_000;

/// The name among `known` that is closest to `name`, if it is close enough for a suggestion.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MAX_COMPARED {
        return None;
    }
    let length = name.chars().count();
    let limit = match length {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let name = name.to_lowercase();
    known
        .into_iter()
        .take(MAX_CANDIDATES)
        // Names are at least as far apart as their lengths.
        .filter(|candidate| {
            candidate.len() <= MAX_COMPARED && candidate.chars().count().abs_diff(length) <= limit
        })
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The help for an unknown name: "did you mean", or the list of known names.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(name, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let mut names: Vec<&str> = known.into_iter().collect();
    names.dedup();
    match names.len() {
        0 => None,
        1..=40 => Some(format!("known here: {}", list(&names))),
        _ => Some(format!("known here: {}, and {} more", list(&names[..30]), names.len() - 30)),
    }
}

/// Names in backticks, separated by commas.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_close_name_is_suggested() {
        let known = ["city", "unit", "days"];
        assert_eq!(nearest("ciyt", known), Some("city"));
        assert_eq!(nearest("City", known), Some("city"));
        assert_eq!(nearest("latitude", known), None);
        assert_eq!(suggest("latitude", known).as_deref(), Some("known here: `city`, `unit`, `days`"));
        assert_eq!(suggest("x", []), None);
    }
}
