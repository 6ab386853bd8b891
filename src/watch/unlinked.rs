//! Files that have no name any more, although they can be read: a file that was mounted alone, for example into a
//! container, and then replaced outside. Changes of the new file are never seen.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The paths whose file has been removed or replaced outside of this mount.
pub fn unlinked<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().filter(|path| is_unlinked(path)).cloned().collect()
}

fn is_unlinked(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_file_without_a_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        fs::write(&path, "").unwrap();
        let open = fs::File::open(&path).unwrap();
        // A path to the file itself, not to its name, as a mount is.
        let mounted = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let paths = [path.clone(), mounted.clone(), folder.path().to_owned()];
        assert!(unlinked(&paths).is_empty());
        fs::write(folder.path().join("new.toml"), "").unwrap();
        fs::rename(folder.path().join("new.toml"), &path).unwrap();
        assert_eq!(unlinked(&paths), [mounted]);
    }
}
