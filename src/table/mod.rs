//! The table as written: the main file, its included files and its templates, with the place of every key and value.
//!
//! The compiler decides what the table means.

mod absolute;
pub(crate) mod add;
pub(crate) mod document;
pub(crate) mod edit;
mod extent;
mod include;
mod merge;
pub(crate) mod misplaced_keys;
pub(crate) mod raw;
mod read;
pub(crate) mod reader;
pub(crate) mod shape;
mod syntax;
mod test_files;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use crate::diagnostic::{Code, Diagnostic, FileId, Sources, Span, list, nearest};

use document::Located;
use raw::{RawDefaults, RawForm, RawLog, RawPlatform, RawRoute, RawServer, RawState, RawTraces, RawUpstream};
use reader::{Key, WithJson};

pub(crate) use absolute::absolute;
pub(crate) use read::TEMPLATES;
pub(crate) use read::read;
pub(crate) use test_files::read_tests;
pub(crate) use text::read_text;

/// Everything that was read, all files merged.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) server: RawServer,
    pub(crate) log: RawLog,
    pub(crate) traces: Key<RawTraces>,
    pub(crate) state: Key<RawState>,
    pub(crate) platforms: Entry<RawPlatform>,
    pub(crate) upstreams: Entry<WithJson<RawUpstream>>,
    pub(crate) defaults: RawDefaults,
    /// The content of all `[defaults]` as JSON, to detect changes.
    pub(crate) defaults_json: String,
    pub(crate) vars: Entry<document::Kind>,
    pub(crate) routes: Entry<WithJson<RawRoute>>,
    pub(crate) forms: Entry<WithJson<RawForm>>,
    /// The platform, the event's name, its entry.
    pub(crate) events: Vec<EventEntry>,
    /// The template files by their path under `templates/`.
    pub(crate) templates: BTreeMap<String, FileId>,
    /// The template files that cannot be read, with the reason.
    pub(crate) unreadable_templates: BTreeMap<String, String>,
    /// The JSON Schema files that routes refer to, by their name there.
    pub(crate) schemas: BTreeMap<String, Result<FileId, String>>,
    /// The files that were not parsed, because their routes are kept from the last load.
    pub(crate) kept: Vec<FileId>,
    /// The included files that were parsed and contain only routes.
    pub(crate) only_routes: Vec<FileId>,
    /// The test files among those that `include` matches. They are not part of the table.
    test_files: Vec<PathBuf>,
    /// The folder of the main file. Relative paths are relative to it.
    pub(crate) folder: PathBuf,
    /// The main file.
    pub(crate) main: FileId,
    /// The parts of files that syntax errors make meaningless.
    pub(crate) lost: Vec<Span>,
}

/// Named entries of one kind, from all files.
pub(crate) type Entry<T> = Vec<(Located<String>, Key<T>)>;

/// An event: its platform, its name and its entry.
pub(crate) type EventEntry = (Located<String>, Located<String>, Key<WithJson<RawRoute>>);

/// The files and folders that the table depends on, for the watcher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Files that were read or looked for.
    pub files: BTreeSet<PathBuf>,
    /// Folders in which a new file may matter.
    pub folders: BTreeSet<PathBuf>,
}

impl Dependencies {
    /// All files and folders.
    pub fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.files.into_iter().chain(self.folders)
    }
}

/// Why there is no table at all.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    /// The main file.
    pub path: PathBuf,
    /// The error of the operating system.
    #[source]
    pub source: io::Error,
}

/// Recognizes diagnostics that may only be consequences of syntax errors: they lie in a part that syntax errors make
/// meaningless, or miss a name that may be defined there.
pub(crate) struct FollowUps {
    /// The meaningless parts, in order, without overlaps.
    lost: Vec<(FileId, usize, usize)>,
    hides_names: bool,
}

impl FollowUps {
    /// Whether a diagnostic is one of them.
    pub(crate) fn include(&self, diagnostic: &Diagnostic) -> bool {
        let always_shown =
            matches!(diagnostic.code, Code::TomlSyntax | Code::DuplicateName | Code::TableTooLarge);
        if self.lost.is_empty() || always_shown {
            return false;
        }
        let Span { file, start, .. } = diagnostic.span;
        let before = self.lost.partition_point(|(lost, from, _)| (*lost, *from) <= (file, start));
        let is_lost = before.checked_sub(1).and_then(|last| self.lost.get(last));
        is_lost.is_some_and(|(lost, _, end)| *lost == file && start < *end)
            || diagnostic.code == Code::UnknownName && self.hides_names
    }
}

impl Table {
    /// The diagnostics that may only be consequences of syntax errors.
    pub(crate) fn follow_ups(&self, sources: &Sources) -> FollowUps {
        let mut lost: Vec<(FileId, usize, usize)> =
            self.lost.iter().map(|span| (span.file, span.start, span.end)).collect();
        lost.sort_unstable();
        lost.dedup_by(|next, last| {
            let overlap = next.0 == last.0 && next.1 <= last.2;
            if overlap {
                last.2 = last.2.max(next.2);
            }
            overlap
        });
        // Names come from other tables too: constants, and headers that platforms pass on.
        let hides_names = ["[vars", "[platforms"].iter().any(|header| self.hides(header, sources));
        FollowUps { lost, hides_names }
    }

    /// Whether syntax errors may hide entries whose headers start with `header`. If so, a missing entry is not an
    /// error.
    pub(crate) fn hides(&self, header: &str, sources: &Sources) -> bool {
        self.lost.iter().any(|lost| lost.start == 0 || sources.text(*lost).contains(header))
    }

    /// The help for a template file that does not exist.
    pub(crate) fn template_help(&self, name: &str) -> String {
        let known: Vec<&str> = self.templates.keys().map(String::as_str).collect();
        let bare = name.trim_start_matches("./").trim_start_matches("templates/");
        if let Some(near) = nearest(bare, known.iter().copied()) {
            return format!("did you mean `{near}`? names are relative to the templates folder");
        }
        if known.is_empty() {
            return "put the file in the folder `templates` beside the main file".to_owned();
        }
        format!("in the templates folder: {}", list(&known[..known.len().min(30)]))
    }
}
