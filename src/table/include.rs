//! `include`: the files that a pattern matches.

use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};

use super::Dependencies;
use super::document::Located;

/// The files that an include pattern matches, in the order of their names. `main` is the main file.
pub(super) fn matching(
    pattern: &Located<String>,
    main: &Path,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Vec<PathBuf> {
    let folder = main.parent().unwrap_or(Path::new(""));
    let full = folder.join(&pattern.value);
    let Some(full) = full.to_str() else { return Vec::new() };
    let paths = match glob::glob_with(full, AS_A_SHELL) {
        Ok(paths) => paths,
        Err(error) => {
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
    };
    note_place(pattern, full, dependencies);
    report_hidden(pattern, full, diagnostics);
    let mut found = existing(pattern, paths, dependencies, diagnostics);
    if found.iter().any(|path| path == main) {
        diagnostics.push(
            Diagnostic::new(Code::IncludePattern, pattern.span, "this pattern matches the main file itself")
                .help("put included files in their own folder, such as routes.d/*.toml"),
        );
        found.retain(|path| path != main);
    } else if found.is_empty() {
        diagnostics.push(no_match(pattern, Path::new(full)));
    }
    found.sort();
    found
}

/// `*` does not match a file whose name starts with a dot: editors and other systems leave such files behind.
const AS_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

/// Warns about hidden files that the pattern would match otherwise.
fn report_hidden(pattern: &Located<String>, full: &str, diagnostics: &mut Diagnostics) {
    let Ok(all) = glob::glob(full) else { return };
    if !is_pattern(&pattern.value) {
        return;
    }
    let as_a_shell = glob::Pattern::new(full).ok();
    for path in all.flatten().filter(|path| path.is_file()) {
        let is_left_out =
            as_a_shell.as_ref().is_some_and(|pattern| !pattern.matches_path_with(&path, AS_A_SHELL));
        // An editor's lock or backup file is not meant to be a part of the table.
        if is_left_out && path.extension().is_some_and(|extension| extension == "toml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
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
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Adds the folders in which a matching file could appear to the dependencies.
fn note_place(pattern: &Located<String>, full: &str, dependencies: &mut Dependencies) {
    if !is_pattern(&pattern.value) {
        dependencies.files.insert(PathBuf::from(full));
        return;
    }
    let parts = Path::new(full).components();
    let fixed: PathBuf = parts.take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy())).collect();
    // In a relative path, the working directory is the empty path.
    let fixed = if fixed == Path::new("") { PathBuf::from(".") } else { fixed };
    dependencies.folders.extend(folders_of(full, &fixed));
    dependencies.folders.insert(fixed);
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

/// The files among these paths.
fn existing(
    pattern: &Located<String>,
    paths: glob::Paths,
    dependencies: &mut Dependencies,
    diagnostics: &mut Diagnostics,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        match path {
            Ok(path) if path.is_file() => {
                if let Some(parent) = path.parent().filter(|_| is_pattern(&pattern.value)) {
                    dependencies.folders.insert(parent.to_owned());
                }
                dependencies.files.insert(path.clone());
                found.push(path);
            }
            Ok(path) if is_broken_link(&path) => {
                dependencies.files.insert(path.clone());
                diagnostics.push(broken_link(pattern, &path));
            }
            Ok(_) => {}
            Err(error) => diagnostics.push(
                Diagnostic::new(
                    Code::UnreadableFile,
                    pattern.span,
                    format!("`{}` cannot be read: {}", error.path().display(), error.error()),
                )
                .help("make the folder readable"),
            ),
        }
    }
    found
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
fn no_match(pattern: &Located<String>, full: &Path) -> Diagnostic {
    let name = &pattern.value;
    let (code, message, help) = if is_pattern(name) {
        (
            Code::EmptyInclude,
            format!("no file matches `{name}`"),
            "check the pattern; files that appear later are loaded automatically".to_owned(),
        )
    } else if full.is_dir() {
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
