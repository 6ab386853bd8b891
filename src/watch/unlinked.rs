//! Files that have no name any more, although they can be read: a file that was mounted alone, for example into a
//! container, and then replaced outside. Changes of the new file are never seen.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bounded_io::{is_any_stuck, within_limit};

/// The paths whose file has been removed or replaced outside of this mount; `None` if a file system does not answer.
pub fn unlinked(paths: Arc<BTreeSet<PathBuf>>) -> Option<Vec<PathBuf>> {
    if is_any_stuck() {
        return None;
    }
    within_limit(Path::new(""), move |_| paths.iter().filter(|path| is_unlinked(path)).cloned().collect())
        .ok()
}

fn is_unlinked(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.nlink() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    fn looked_for(paths: &[PathBuf]) -> Vec<PathBuf> {
        unlinked(Arc::new(paths.iter().cloned().collect())).unwrap()
    }

    #[test]
    fn a_file_without_a_name_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        fs::write(&path, "").unwrap();
        let open = fs::File::open(&path).unwrap();
        // A path to the file itself, not to its name, as a mount is.
        let mounted = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let paths = [path.clone(), mounted.clone(), folder.path().to_owned()];
        assert!(looked_for(&paths).is_empty());
        fs::write(folder.path().join("new.toml"), "").unwrap();
        fs::rename(folder.path().join("new.toml"), &path).unwrap();
        assert_eq!(looked_for(&paths), [mounted]);
    }
}
