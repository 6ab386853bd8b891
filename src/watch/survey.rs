//! A survey of the watched paths: every file-system entry on the way to them, with a fingerprint of its state.
//!
//! A path is walked part by part from the root down, through every link. All folders on the way are watched, but only
//! the entries on the path count. So a replaced file, a `..data` link swapped by Kubernetes and a renamed folder are
//! detected, and a log file beside the table is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind};

use crate::bounded_io::{is_any_stuck, within_limit};

/// The coarsest resolution of file times: a younger file may change again without a visible difference.
const COARSEST_TIME: Duration = Duration::from_secs(2);
/// The limit of links on one path, as in Linux.
const MAX_LINKS: usize = 40;

/// Everything found on the way to the paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Survey {
    /// Every entry that a walk went through, by its real path, and the entries of the folders it ended in.
    entries: BTreeMap<PathBuf, Print>,
    /// The real files and folders that the walks ended in.
    ends: BTreeSet<PathBuf>,
}

impl Survey {
    /// Walks all paths. A path that does not answer in time is marked as stuck, and the others are still walked.
    pub(super) fn of(paths: &Arc<BTreeSet<PathBuf>>, now: SystemTime) -> Self {
        if !is_any_stuck() {
            let all = Arc::clone(paths);
            if let Ok(survey) = within_limit(Path::new(""), move |_| Self::of_all(all.iter(), now)) {
                return survey;
            }
        }
        let mut survey = Self::default();
        for path in paths.iter() {
            match within_limit(path, move |path| Self::of_all([path], now)) {
                Ok(Self { entries, ends }) => {
                    survey.entries.extend(entries);
                    survey.ends.extend(ends);
                }
                Err(_) => drop(survey.entries.insert(path.clone(), Print::Stuck)),
            }
        }
        survey
    }

    fn of_all(paths: impl IntoIterator<Item = impl AsRef<Path>>, now: SystemTime) -> Self {
        let mut survey = Self::default();
        for path in paths {
            survey.walk(path.as_ref(), now);
        }
        survey
    }

    fn walk(&mut self, path: &Path, now: SystemTime) {
        let (mut at, mut ahead, mut links) = (PathBuf::new(), path.to_owned(), 0);
        loop {
            let mut parts = ahead.components();
            let Some(part) = parts.next() else { break };
            let mut rest = parts.as_path().to_owned();
            match part {
                Component::CurDir => {}
                Component::ParentDir => _ = at.pop(),
                // Pushing a root replaces the path, as a link to an absolute path does.
                Component::Prefix(_) | Component::RootDir => at.push(part),
                Component::Normal(name) => {
                    let entry = at.join(name);
                    let print = Print::of(&entry, now);
                    self.entries.insert(entry.clone(), print.clone());
                    match print {
                        Print::Missing | Print::Stuck => return,
                        Print::Link(_) if links == MAX_LINKS => return,
                        Print::Link(target) => {
                            links += 1;
                            rest = target.join(rest);
                        }
                        Print::Folder(_) | Print::File { .. } => at = entry,
                    }
                }
            }
            ahead = rest;
        }
        if let Ok(folder) = fs::read_dir(&at) {
            for entry in folder.flatten() {
                self.entries.insert(entry.path(), Print::of(&entry.path(), now));
            }
        }
        self.ends.insert(at);
    }

    /// The places to watch. Folders report replaced files. Files also report writes under another name (mounted alone
    /// into a container, or hard-linked).
    pub(super) fn places(&self) -> BTreeSet<PathBuf> {
        let folders = self.entries.keys().filter_map(|entry| entry.parent());
        folders.map(Path::to_owned).chain(self.ends.iter().cloned()).collect()
    }

    pub(super) fn concerns(&self, event: &notify::Event) -> bool {
        // Our own reads must not count, or each reload would trigger the next.
        let written = AccessKind::Close(AccessMode::Write);
        let reading = matches!(event.kind, EventKind::Access(access) if access != written);
        let ours = |path: &PathBuf| {
            self.entries.contains_key(path) || path.parent().is_some_and(|folder| self.ends.contains(folder))
        };
        !reading && (event.paths.is_empty() || event.paths.iter().any(ours))
    }
}

/// The state of an entry, compared to detect changes.
#[derive(Clone, Debug, PartialEq)]
enum Print {
    Missing,
    /// The file system did not answer in time.
    Stuck,
    Link(PathBuf),
    /// Without its times, which change with every entry. Entries that matter have fingerprints of their own.
    Folder(Inode),
    File {
        inode: Inode,
        length: u64,
        modified: Option<SystemTime>,
        /// The time of the status change, in seconds and nanoseconds. It also reveals a write that restored the old
        /// time.
        changed: (i64, i64),
        /// Whether the file is so young that the next write may leave the same times. Ageing out counts as a change.
        fresh: bool,
    },
}

impl Print {
    fn of(path: &Path, now: SystemTime) -> Self {
        let Ok(metadata) = fs::symlink_metadata(path) else { return Self::Missing };
        let (inode, changed) = inode(&metadata);
        if metadata.is_symlink() {
            return fs::read_link(path).map_or(Self::Missing, Self::Link);
        }
        if metadata.is_dir() {
            return Self::Folder(inode);
        }
        let modified = metadata.modified().ok();
        let age = modified.and_then(|modified| now.duration_since(modified).ok());
        let fresh = age.is_none_or(|age| age < COARSEST_TIME);
        Self::File { inode, length: metadata.len(), modified, changed, fresh }
    }
}

/// Device, number, permissions.
type Inode = (u64, u64, u32);

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (Inode, (i64, i64)) {
    use std::os::unix::fs::MetadataExt;
    let inode = (metadata.dev(), metadata.ino(), metadata.mode());
    (inode, (metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> (Inode, (i64, i64)) {
    Default::default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::watch::tests::Scratch;

    fn survey(path: PathBuf) -> Survey {
        Survey::of(&Arc::new(BTreeSet::from([path])), SystemTime::now())
    }

    #[test]
    fn a_walk_ends_in_the_real_file_and_records_links_and_folders() {
        let scratch = Scratch::new();
        let root = fs::canonicalize(scratch.path()).unwrap();
        fs::create_dir_all(root.join("releases/1/conf")).unwrap();
        fs::write(root.join("releases/1/conf/a.toml"), "").unwrap();
        symlink("./releases/../releases/1", root.join("current")).unwrap();
        symlink(root.join("current/conf/a.toml"), root.join("table")).unwrap();
        let survey = survey(scratch.path().join("table"));
        assert_eq!(survey.ends, BTreeSet::from([root.join("releases/1/conf/a.toml")]));
        for entry in ["table", "current", "releases", "releases/1", "releases/1/conf"] {
            assert!(survey.entries.contains_key(&root.join(entry)), "{entry}");
        }
        let places = survey.places();
        for place in ["", "releases", "releases/1", "releases/1/conf", "releases/1/conf/a.toml"] {
            assert!(places.contains(&root.join(place)), "{place}");
        }
        assert!(places.contains(Path::new("/")));
    }

    #[test]
    fn a_walk_ends_at_a_missing_entry() {
        let scratch = Scratch::new();
        let root = fs::canonicalize(scratch.path()).unwrap();
        let missing = survey(root.join("conf/a.toml"));
        assert_eq!(missing.entries[&root.join("conf")], Print::Missing);
        assert!(missing.ends.is_empty() && missing.places().contains(&root));
        symlink("loop", root.join("loop")).unwrap();
        assert!(survey(root.join("loop/a.toml")).ends.is_empty());
        assert_eq!(survey(PathBuf::new()).entries, BTreeMap::new());
    }

    #[test]
    fn a_young_file_counts_as_changed_when_it_ages_out() {
        let scratch = Scratch::new();
        let file = scratch.file("a.toml");
        let now = fs::metadata(&file).unwrap().modified().unwrap();
        let after = |seconds| Print::of(&file, now + Duration::from_secs(seconds));
        assert_eq!(after(0), after(1));
        assert_ne!(after(1), after(2));
        assert_eq!(after(2), after(1000));
        // A file from a machine whose clock is ahead.
        assert_eq!(Print::of(&file, now - Duration::from_secs(1000)), after(0));
    }
}
