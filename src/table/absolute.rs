//! Absolute paths without `.` and `..`, to compare paths that need not exist.

use std::path::{Component, Path, PathBuf};

/// The absolute form of a path. Symbolic links are not followed.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    // The empty path is the working directory.
    let path = if path == Path::new("") { Path::new(".") } else { path };
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::new();
    for component in full.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
