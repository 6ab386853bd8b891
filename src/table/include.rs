//! `include`: the files that a pattern matches.

use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::bounded_io::within_limit;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

use super::Dependencies;
use super::document::Located;

/// What the file system says about a pattern.
#[derive(Default)]
struct Listing {
    entries: Vec<Entry>,
    /// Hidden files that the pattern would match otherwise.
    hidden: Vec<PathBuf>,
    /// The existing folders in which a file or a folder could appear that the pattern matches.
    folders: Vec<PathBuf>,
    /// Whether the pattern is the name of a folder.
    is_folder: bool,
}

/// What a pattern matches.
enum Entry {
    File(IncludedFile),
    /// A link to a file that does not exist.
    BrokenLink(PathBuf),
    /// A folder or a file that cannot be read, with the reason.
    Unreadable(PathBuf, String),
}

/// A file that a pattern matches.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IncludedFile {
    pub(super) path: PathBuf,
    /// The path without links.
    pub(super) real: PathBuf,
}

/// The files that an include pattern matches, in the order of their names. `main` is the main file.
pub(super) fn matching(
    pattern: &Located<String>,
    main: &Path,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Vec<IncludedFile> {
    let folder = main.parent().unwrap_or(Path::new(""));
    let full = folder.join(&pattern.value);
    let Some(full) = full.to_str().map(str::to_owned) else { return Vec::new() };
    let fixed = fixed_folder(&full);
    let is_pattern = is_pattern(&pattern.value);
    // Noted before the file system is asked, which may fail.
    if is_pattern {
        dependencies.folders.insert(fixed.clone());
    } else {
        dependencies.files.insert(PathBuf::from(&full));
    }
    let listed = within_limit(Path::new(&full), {
        let (full, fixed) = (full.clone(), fixed.clone());
        move |_| list(&full, &fixed, is_pattern)
    });
    let listing = match listed {
        Ok(Ok(listing)) => listing,
        Ok(Err(error)) => {
            diagnostics.push(
                Diagnostic::new(
                    Code::IncludePattern,
                    pattern.span,
                    format!("invalid pattern `{}`: {}", pattern.value, error.msg),
                )
                .help("use `*` for part of a name, `?` for one character, `**` for any number of folders"),
            );
            return Vec::new();
        }
        Err(error) => {
            let place = if is_pattern { unanswering(&fixed) } else { None };
            let place = place.unwrap_or_else(|| PathBuf::from(&full));
            diagnostics.push(unreadable(pattern, &place, &error.to_string()));
            return Vec::new();
        }
    };
    dependencies.folders.extend(listing.folders);
    report_hidden(pattern, &listing.hidden, diagnostics);
    let mut found = existing(pattern, listing.entries, dependencies, diagnostics);
    if found.iter().any(|file| file.path == main) {
        diagnostics.push(
            Diagnostic::new(Code::IncludePattern, pattern.span, "this pattern matches the main file itself")
                .help("put included files in their own folder, such as routes.d/*.toml"),
        );
        found.retain(|file| file.path != main);
    } else if found.is_empty() {
        diagnostics.push(no_match(pattern, listing.is_folder));
    }
    found.sort();
    found
}

/// Asks the file system what a pattern matches.
fn list(full: &str, fixed: &Path, is_pattern: bool) -> Result<Listing, glob::PatternError> {
    let entries = glob::glob_with(full, AS_A_SHELL)?.filter_map(entry).collect();
    let (mut hidden, mut folders) = (Vec::new(), Vec::new());
    if is_pattern {
        hidden = glob::glob(full)?.flatten().filter(|path| path.is_file()).collect();
        let as_a_shell = glob::Pattern::new(full)?;
        hidden.retain(|path| !as_a_shell.matches_path_with(path, AS_A_SHELL));
        folders = folders_of(full, fixed);
    }
    Ok(Listing { entries, hidden, folders, is_folder: !is_pattern && Path::new(full).is_dir() })
}

fn entry(found: glob::GlobResult) -> Option<Entry> {
    match found {
        Ok(path) if path.is_file() => {
            let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            Some(Entry::File(IncludedFile { path, real }))
        }
        Ok(path) if is_broken_link(&path) => Some(Entry::BrokenLink(path)),
        Ok(path) if path.exists() && !path.is_dir() => {
            Some(Entry::Unreadable(path, "it is not a regular file".to_owned()))
        }
        Ok(_) => None,
        Err(error) => Some(Entry::Unreadable(error.path().to_owned(), error.error().to_string())),
    }
}

/// The first entry of a folder that the file system says nothing about in time.
fn unanswering(folder: &Path) -> Option<PathBuf> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()));
        entries.map(Iterator::collect).unwrap_or_default()
    };
    let Ok(mut entries) = within_limit::<Vec<PathBuf>>(folder, names) else { return Some(folder.to_owned()) };
    entries.sort();
    entries.into_iter().find(|entry| within_limit(entry, |entry| drop(fs::metadata(entry))).is_err())
}

/// `*` does not match a file whose name starts with a dot: editors and other systems leave such files behind.
const AS_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

/// Warns about hidden files that the pattern would match otherwise.
fn report_hidden(pattern: &Located<String>, hidden: &[PathBuf], diagnostics: &mut Diagnostics) {
    // An editor's lock or backup file is not meant to be a part of the table.
    for path in hidden.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        diagnostics.push(
            Diagnostic::new(
                Code::HiddenFile,
                pattern.span,
                format!("the hidden file `{name}` is not included"),
            )
            .help("delete it, or rename it without the dot if its routes are wanted"),
        );
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The folder of a pattern up to its first part that is not a plain name.
fn fixed_folder(full: &str) -> PathBuf {
    let parts = Path::new(full).components();
    let fixed: PathBuf = parts.take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy())).collect();
    // In a relative path, the working directory is the empty path.
    if fixed == Path::new("") { PathBuf::from(".") } else { fixed }
}

/// The existing folders in which a file or a folder could appear that a pattern matches.
fn folders_of(pattern: &str, fixed: &Path) -> Vec<PathBuf> {
    let parents = Path::new(pattern)
        .ancestors()
        .skip(1)
        .take_while(|parent| *parent != fixed && *parent != Path::new(""));
    parents
        .filter_map(|parent| glob::glob(parent.to_str()?).ok())
        .flat_map(|found| found.flatten().filter(|path| path.is_dir()))
        .collect()
}

/// The files among these entries. Reports the others.
fn existing(
    pattern: &Located<String>,
    entries: Vec<Entry>,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Vec<IncludedFile> {
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Entry::File(file) => {
                if let Some(parent) = file.path.parent().filter(|_| is_pattern(&pattern.value)) {
                    dependencies.folders.insert(parent.to_owned());
                }
                dependencies.files.insert(file.path.clone());
                found.push(file);
            }
            Entry::BrokenLink(path) => {
                diagnostics.push(broken_link(pattern, &path));
                dependencies.files.insert(path);
            }
            Entry::Unreadable(path, why) => diagnostics.push(unreadable(pattern, &path, &why)),
        }
    }
    found
}

/// The error about a place that a pattern names and that cannot be looked at.
fn unreadable(pattern: &Located<String>, path: &Path, why: &str) -> Diagnostic {
    let message = format!("`{}` cannot be read: {why}", path.display());
    Diagnostic::new(Code::UnreadableFile, pattern.span, message)
        .help("make it readable, or remove it from `include`")
}

/// Whether a path is a link to a file that does not exist. Hidden links do not count: some editors mark an open file
/// with one.
fn is_broken_link(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && path.is_symlink() && !path.exists()
}

/// The error about a link whose target is missing: without it, the routes of a volume that is not mounted would be gone
/// without a word.
fn broken_link(pattern: &Located<String>, path: &Path) -> Diagnostic {
    let message = format!("`{}` cannot be read: it is a link to a file that does not exist", path.display());
    Diagnostic::new(Code::UnreadableFile, pattern.span, message)
        .help("restore the target of the link, or remove the link")
}

/// The error about a pattern or a name that matches no file.
fn no_match(pattern: &Located<String>, is_folder: bool) -> Diagnostic {
    let name = &pattern.value;
    let (code, message, help) = if is_pattern(name) {
        (
            Code::EmptyInclude,
            format!("no file matches `{name}`"),
            "check the pattern; files that appear later are loaded automatically".to_owned(),
        )
    } else if is_folder {
        (
            Code::UnreadableFile,
            format!("`{name}` is a folder"),
            format!("write `\"{}/*.toml\"` to include its files", name.trim_end_matches('/')),
        )
    } else {
        (
            Code::UnreadableFile,
            format!("file `{name}` not found"),
            "create the file or remove it from `include`; paths are relative to the main file's folder"
                .to_owned(),
        )
    };
    Diagnostic::new(code, pattern.span, message).help(help)
}
