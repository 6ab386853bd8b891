//! The test files of a table.

use std::collections::BTreeSet;
use std::fs;
use std::iter::successors;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Sources, Span};

use super::Table;
use super::document::{self, Located};
use super::misplaced_keys::reader;
use super::raw::{RawTest, RawTestFile};
use super::reader::{FromNode, Key};
use super::text::read_text;

/// The suffix of test files.
const TEST_FILE: &str = ".test.toml";

/// Reads the test files: those beside the main file, and those that `include` matches. A table runs without them.
pub(crate) fn read_tests(
    table: &mut Table,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<Located<RawTest>> {
    let folder = if table.folder == Path::new("") { Path::new(".") } else { &table.folder };
    let beside = fs::read_dir(folder).into_iter().flatten().flatten();
    // Diagnostics show these names, so omit the `./` of a relative path.
    let beside = beside.map(|entry| table.folder.join(entry.file_name()));
    let main = &sources.get(table.main).path;
    let mut paths: Vec<PathBuf> = beside
        .filter(|path| is_test_file(path) && path != main && !belongs_to_another_table(path, sources))
        .collect();
    paths.sort();
    let mut seen = BTreeSet::new();
    let mut tests = Vec::new();
    for path in paths.into_iter().chain(std::mem::take(&mut table.test_files)) {
        if !seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
            continue;
        }
        match read_text(&path) {
            Ok(text) => {
                let id = sources.add(&path, text);
                let (entries, lost) = document::parse(&sources.get(id).text, id, diagnostics);
                table.lost.extend(lost);
                let node = Located { value: document::Kind::Table(entries), span: Span::start_of(id) };
                let file = RawTestFile::from_node(&node, &mut reader(diagnostics)).unwrap_or_default();
                if let Key::Is(theirs) = file.tests {
                    tests.extend(theirs.value);
                }
            }
            Err(error) => diagnostics.push(
                Diagnostic::new(
                    Code::UnreadableFile,
                    Span::start_of(table.main),
                    format!("`{}` cannot be read: {error}", path.display()),
                )
                .help("make it readable or remove it: every `*.test.toml` file is loaded"),
            ),
        }
    }
    tests
}

/// Whether a file is a test file, by its name.
pub(super) fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(TEST_FILE) && !name.starts_with('.')
}

/// Whether a test file belongs to another table in the same folder, by its name: `first.toml` may lie beside
/// `routes.toml` and `routes.test.toml`.
fn belongs_to_another_table(path: &Path, sources: &Sources) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // `routes.orders.test.toml` belongs to `routes.orders.toml` if it exists, otherwise to `routes.toml`.
    let longest = name.strip_suffix(TEST_FILE);
    let names = successors(longest, |name| name.rsplit_once('.').map(|(shorter, _)| shorter));
    let mut tables = names.map(|name| path.with_file_name(format!("{name}.toml")));
    let table = tables.find(|table| table.is_file());
    table.is_some_and(|table| sources.iter().all(|source| source.path != table))
}
