//! The last accepted table, as a copy on disk: if the table has errors when the process starts, the copy is served.
//!
//! The copy has the files of the table with their folders, from the deepest folder that contains all of them. Files with
//! secrets, certificates and keys are not copied: they are read from their place.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bounded_io::within_limit;
use crate::diagnostic::{Overtaken, Sources};
use crate::load::{Environment, Kept, Loaded, Unreadable, absolute, load_changed};

/// The file that names the current copy.
const MANIFEST: &str = "current.json";

/// The permissions of the folder and of its files: tables may contain secrets.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What [`MANIFEST`] holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// The folder that the copy reproduces.
    original: PathBuf,
    /// The main file, relative to that folder.
    main: PathBuf,
    revision: String,
    saved_at: String,
}

/// A saved table.
#[derive(Debug)]
pub struct LastGood {
    /// When it was saved.
    pub saved_at: Timestamp,
    /// The folder that the copy reproduces.
    original: PathBuf,
    /// The copy of that folder.
    root: PathBuf,
    /// The main file in the copy.
    main: PathBuf,
}

/// Saves the files of an accepted table below `folder`. Nothing is written if they are there already.
///
/// # Errors
/// A file or folder cannot be written, or the folder does not answer.
pub fn save(folder: &Path, sources: &Sources, revision: &str) -> io::Result<()> {
    let files: Vec<(PathBuf, &str)> =
        sources.iter().map(|source| (absolute(&source.path), source.text.as_str())).collect();
    let Some((main, _)) = files.first() else { return Ok(()) };
    let original = common_folder(files.iter().map(|(path, _)| path.as_path()));
    let relative = |path: &Path| path.strip_prefix(&original).map(Path::to_owned).map_err(io::Error::other);
    let main = relative(main)?;
    if read_manifest(folder)?.is_some_and(|known| known.revision == revision && known.main == main) {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    // The folder may have been created by hand.
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
    let root = folder.join(revision);
    for (path, text) in &files {
        write(&root.join(relative(path)?), text.as_bytes())?;
    }
    let manifest =
        Manifest { original, main, revision: revision.to_owned(), saved_at: Timestamp::now().to_string() };
    let new = folder.join("current.json.new");
    write(&new, &serde_json::to_vec_pretty(&manifest)?)?;
    fs::rename(&new, folder.join(MANIFEST))?;
    remove_others(folder, revision)
}

/// The copy below `folder` of the table whose main file is `main`, if there is one.
pub fn find(folder: &Path, main: &Path) -> Option<LastGood> {
    let Manifest { original, main: saved, revision, saved_at } = read_manifest(folder).ok()??;
    // Another table may use the same folder.
    if original.join(&saved) != absolute(main) || !is_revision(&revision) {
        return None;
    }
    let root = absolute(&folder.join(revision));
    let saved_at = saved_at.parse().ok()?;
    Some(LastGood { saved_at, original, main: root.join(saved), root })
}

impl LastGood {
    /// Loads the copy. Secrets, certificates and keys come from their own files.
    ///
    /// # Errors
    /// The main file of the copy cannot be read.
    pub fn load(&self, environment: &Environment<'_>) -> Result<Loaded, Unreadable> {
        let file = |path: &Path| match path.strip_prefix(&self.root) {
            Ok(below) => (environment.file)(&self.original.join(below)),
            Err(_) => (environment.file)(path),
        };
        let demo = environment.demo.clone();
        load_changed(
            &self.main,
            &Environment { file: &file, demo, overtaken: Overtaken::default(), ..*environment },
            &Kept::default(),
        )
    }
}

/// The manifest of a folder, if it has one.
///
/// # Errors
/// The folder does not answer, so nothing should be written there either.
fn read_manifest(folder: &Path) -> io::Result<Option<Manifest>> {
    let read = within_limit(&folder.join(MANIFEST), |path| fs::read(path))?;
    Ok(read.ok().and_then(|text| serde_json::from_slice(&text).ok()))
}

/// Writes a file of the copy, with its folders.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes the copies of other revisions. Everything else in the folder stays.
fn remove_others(folder: &Path, revision: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let is_old = name.to_str().is_some_and(|name| is_revision(name) && name != revision);
        if is_old && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn is_revision(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The deepest folder that contains all files.
fn common_folder<'p>(paths: impl Iterator<Item = &'p Path>) -> PathBuf {
    let folders = paths.filter_map(Path::parent).map(Path::to_owned);
    let common = |one: PathBuf, other: PathBuf| {
        one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    };
    folders.reduce(common).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_folder_contains_all_files() {
        let common = |paths: &[&str]| common_folder(paths.iter().map(Path::new));
        assert_eq!(common(&["/a/b/routes.toml"]), Path::new("/a/b"));
        assert_eq!(common(&["/a/b/routes.toml", "/a/b/routes.d/x.toml"]), Path::new("/a/b"));
        assert_eq!(common(&["/a/b/routes.toml", "/a/c/x.toml"]), Path::new("/a"));
        assert_eq!(common(&["/a/bb/routes.toml", "/a/b/x.toml"]), Path::new("/a"));
        assert_eq!(common(&["/a/routes.toml", "/b/x.toml"]), Path::new("/"));
    }
}
