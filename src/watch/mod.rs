//! Detects changes to a set of paths and debounces them.
//!
//! It knows only files and folders, not tables or plans. The caller reads the files and compares.
//!
//! It watches folders as well as files, because editors replace files. A `Survey` finds out which folders. It is taken
//! again, and the watches are renewed, just before [`Watcher::changed`] returns. So everything that the caller then
//! reads is watched already, including what lies behind a link that has just been swapped.

mod survey;
pub mod unlinked;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};

use survey::Survey;

/// A change is reported after this long without further changes.
pub const QUIET: Duration = Duration::from_millis(200);
/// A change is reported at the latest this long after its first event.
pub const MAX_WAIT: Duration = Duration::from_secs(2);
/// How often to poll in poll mode, and wherever the system cannot send events.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How often to poll while events are on: some changes (a mount, most network file systems) send none.
const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// How changes are detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By events of the system.
    Events,
    /// By polling, for file systems that send no events; see [`POLL_INTERVAL`].
    Poll(Duration),
}

/// Watches a set of paths.
///
/// ```text
/// load; watch(files read)
/// loop { changed().await; load; if !has_changed().await { compare, swap; watch(files read) } }
/// ```
pub struct Watcher {
    shared: Arc<SharedState>,
    /// Not part of `shared`: notify's thread holds that, and dropping the watcher must drop the backend.
    backend: Arc<Mutex<Backend>>,
    /// Whether some folder could not be watched, so that polling has to replace events.
    blind: bool,
    polled_at: Instant,
}

impl Watcher {
    /// A watcher without paths. If events are not available, it logs a warning and polls.
    pub fn new(mode: Mode) -> Self {
        let now = Instant::now();
        let (paths, survey) = Default::default();
        let state = WatchState { mode, paths, survey, changes: 0, reported: 0, first: now, last: now };
        Self {
            shared: Arc::new(SharedState { state: Mutex::new(state), wake: Notify::new() }),
            backend: Arc::default(),
            blind: false,
            polled_at: now,
        }
    }

    /// Replaces the watched paths: files and folders, whether they exist yet or not. In a folder every entry counts,
    /// but not the contents of its subfolders.
    ///
    /// A set that differs from the previous one counts as a change, because its new files may have changed between
    /// being read and being watched.
    pub fn watch(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        let paths = paths.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
        let mut state = self.shared.state();
        if *state.paths != paths {
            state.paths = Arc::new(paths);
            drop(state);
            self.shared.record_change();
        }
    }

    /// Sets how changes are detected. A different mode counts as a change.
    pub fn set_mode(&mut self, mode: Mode) {
        let mut state = self.shared.state();
        if state.mode != mode {
            state.mode = mode;
            drop(state);
            self.shared.record_change();
        }
    }

    /// Waits for a change since the last return. Returns after [`QUIET`] without further changes, or after
    /// [`MAX_WAIT`]. Later changes are reported next time. Cancel-safe.
    pub async fn changed(&mut self) {
        loop {
            let Some((changes, due)) = self.shared.pending() else {
                let wake = timeout_at(self.polled_at + self.interval(), self.shared.wake.notified());
                if wake.await.is_err() {
                    self.poll_files().await;
                }
                continue;
            };
            if Instant::now() < due {
                sleep_until(due).await;
                if self.interval() < SAFETY_INTERVAL {
                    self.poll_files().await;
                }
                continue;
            }
            self.renew().await;
            return self.shared.mark_reported(changes);
        }
    }

    /// Whether something has changed since [`Watcher::changed`] last returned. If so, files read since then may be
    /// inconsistent. `changed` will report the change as well.
    pub async fn has_changed(&mut self) -> bool {
        self.poll_files().await;
        self.shared.pending().is_some()
    }

    fn interval(&self) -> Duration {
        match self.shared.state().mode {
            Mode::Poll(interval) => interval,
            Mode::Events if self.blind => POLL_INTERVAL,
            Mode::Events => SAFETY_INTERVAL,
        }
    }

    /// Polls by comparing the current state with the last survey. Like `renew`, it runs to its end even if the future
    /// is dropped, and leaves the change pending, so that nothing is lost.
    async fn poll_files(&mut self) {
        let shared = Arc::clone(&self.shared);
        let poll = spawn_blocking(move || {
            let paths = Arc::clone(&shared.state().paths);
            let survey = Survey::of(&paths, SystemTime::now());
            let mut state = shared.state();
            if state.survey != survey {
                state.survey = survey;
                drop(state);
                shared.record_change();
            }
        });
        if let Err(error) = poll.await {
            tracing::warn!(%error, "cannot check for changed files: {error}");
        }
        self.polled_at = Instant::now();
    }

    /// Surveys the paths again and renews the watches.
    async fn renew(&mut self) {
        let (shared, backend) = (Arc::clone(&self.shared), Arc::clone(&self.backend));
        let renew = spawn_blocking(move || backend.lock().renew(&shared));
        self.blind = renew.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot watch files: {error}");
            true
        });
        self.polled_at = Instant::now();
    }
}

/// What the watcher and notify's thread share.
struct SharedState {
    state: Mutex<WatchState>,
    wake: Notify,
}

struct WatchState {
    /// What to watch, and how. Shared, so that even a renewal whose future was dropped uses the latest.
    mode: Mode,
    paths: Arc<BTreeSet<PathBuf>>,
    /// The last survey. It decides which events count.
    survey: Survey,
    /// The number of changes. Those above `reported` are pending; `first` and `last` are their times.
    changes: u64,
    reported: u64,
    first: Instant,
    last: Instant,
}

impl SharedState {
    fn state(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock()
    }

    fn record_change(&self) {
        let mut state = self.state();
        state.last = Instant::now();
        if state.changes == state.reported {
            state.first = state.last;
        }
        state.changes += 1;
        drop(state);
        self.wake.notify_one();
    }

    fn handle(&self, event: notify::Result<notify::Event>) {
        let counts = match &event {
            Ok(event) => event.need_rescan() || self.state().survey.concerns(event),
            Err(error) => {
                tracing::warn!(%error, "watching files: {error}");
                true
            }
        };
        if counts {
            self.record_change();
        }
    }

    /// The number of changes and when to report them; `None` if all are reported.
    fn pending(&self) -> Option<(u64, Instant)> {
        let state = self.state();
        let due = (state.last + QUIET).min(state.first + MAX_WAIT);
        (state.changes != state.reported).then_some((state.changes, due))
    }

    fn mark_reported(&self, changes: u64) {
        let mut state = self.state();
        state.reported = changes;
        state.first = state.last;
    }
}

/// The watches of the system.
#[derive(Default)]
struct Backend {
    notify: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// Whether some place could not be watched, so that this is logged once.
    refused: bool,
}

impl Backend {
    /// Takes a new survey and watches its places. Returns whether some place could not be watched.
    fn renew(&mut self, shared: &Arc<SharedState>) -> bool {
        let (mode, paths) = {
            let state = shared.state();
            (state.mode, Arc::clone(&state.paths))
        };
        let now = SystemTime::now();
        let survey = Survey::of(&paths, now);
        shared.state().survey = survey.clone();
        if mode != Mode::Events {
            *self = Self::default();
            return false;
        }
        let result = self.watch(survey.places(), shared);
        if Survey::of(&paths, now) != survey {
            // A change before the watch began has sent no event.
            shared.record_change();
        } else if let Err(error) = &result
            && !self.refused
        {
            tracing::warn!(%error, "the system sends no events of some files, polling as well: {error}");
        }
        self.refused = result.is_err();
        self.refused
    }

    /// Watches as many of the places as it can; the error is the first one.
    fn watch(&mut self, places: BTreeSet<PathBuf>, shared: &Arc<SharedState>) -> notify::Result<()> {
        let notify = match &mut self.notify {
            Some(notify) => notify,
            none => {
                let shared = Arc::clone(shared);
                none.insert(notify::recommended_watcher(move |event| shared.handle(event))?)
            }
        };
        // Drop all watches first, not only obsolete ones: a watch belongs to the folder that once had the name, and
        // notify drops every name of that folder when one is unwatched.
        for place in &self.watched {
            // Fails for places that were removed.
            let _ = notify.unwatch(place);
        }
        self.watched = places;
        let mut result = Ok(());
        // From the root down, so that the parent's watch detects a folder that is swapped after it was watched.
        for place in &self.watched {
            result = result.and(notify.watch(place, RecursiveMode::NonRecursive));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions, Permissions};
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use futures_util::future::{FutureExt as _, join_all};
    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    /// Only to end a test that would hang; shorter than [`SAFETY_INTERVAL`], which would hide lost events.
    const GUARD: Duration = Duration::from_secs(10);
    const MODES: [Mode; 2] = [Mode::Events, Mode::Poll(Duration::from_millis(20))];

    /// A temporary folder for one test.
    pub(super) struct Scratch(TempDir);

    impl Scratch {
        pub(super) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(super) fn path(&self) -> &Path {
            self.0.path()
        }

        /// Writes a file and sets its modification time to the past.
        pub(super) fn file(&self, name: &str) -> PathBuf {
            let path = self.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "old").unwrap();
            age(&path);
            path
        }
    }

    fn age(path: &Path) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }

    fn with(path: &Path, extension: &str) -> PathBuf {
        path.with_extension(extension)
    }

    /// A watcher with nothing pending.
    async fn settled<const N: usize>(mode: Mode, paths: [&Path; N]) -> Watcher {
        let mut watcher = Watcher::new(mode);
        watcher.watch(paths.map(Path::to_owned));
        changed(&mut watcher, "the first watch").await;
        assert_eq!(watcher.shared.pending(), None);
        assert!(!watcher.blind, "polling would hide lost events");
        watcher
    }

    async fn changed(watcher: &mut Watcher, what: &str) {
        let mode = watcher.shared.state().mode;
        timeout(GUARD, watcher.changed())
            .await
            .unwrap_or_else(|_| panic!("{mode:?}: {what} was not detected"));
    }

    async fn in_both_modes(test: impl AsyncFn(Mode)) {
        tokio::join!(test(MODES[0]), test(MODES[1]));
    }

    fn change_count(watcher: &Watcher) -> u64 {
        watcher.shared.state().changes
    }

    #[tokio::test]
    async fn every_way_of_saving_is_detected() {
        type Save = fn(&Path);
        let ways: [(&str, Save); 9] = [
            ("write in place", |file| fs::write(file, "new!").unwrap()),
            ("append", |file| {
                OpenOptions::new().append(true).open(file).unwrap().write_all(b"new").unwrap();
            }),
            ("same length and time", |file| {
                fs::write(file, "new").unwrap();
                age(file);
            }),
            ("rename over", |file| {
                fs::write(with(file, "tmp"), "new").unwrap();
                fs::rename(with(file, "tmp"), file).unwrap();
            }),
            ("backup and write", |file| {
                fs::rename(file, with(file, "bak")).unwrap();
                fs::write(file, "new").unwrap();
                fs::remove_file(with(file, "bak")).unwrap();
            }),
            ("delete", |file| fs::remove_file(file).unwrap()),
            ("delete and recreate", |file| {
                fs::remove_file(file).unwrap();
                fs::write(file, "new").unwrap();
            }),
            ("permissions", |file| fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap()),
            ("link in its place", |file| {
                fs::write(with(file, "other"), "new").unwrap();
                fs::remove_file(file).unwrap();
                symlink(with(file, "other"), file).unwrap();
            }),
        ];
        let tries = MODES.iter().flat_map(|mode| ways.iter().map(move |way| (*mode, way)));
        join_all(tries.map(async |(mode, (name, save))| {
            let scratch = Scratch::new();
            let file = scratch.file("conf/routes.toml");
            let mut watcher = settled(mode, [&file]).await;
            save(&file);
            changed(&mut watcher, name).await;
            // The file that replaced it is watched as well.
            fs::write(&file, "newer").unwrap();
            changed(&mut watcher, &format!("a write after {name}")).await;
        }))
        .await;
    }

    #[tokio::test]
    async fn a_write_under_another_name_is_detected() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let file = scratch.file("inside/routes.toml");
            let outside = scratch.path().join("outside.toml");
            fs::hard_link(&file, &outside).unwrap();
            let mut watcher = settled(mode, [&file]).await;
            fs::write(&outside, "new!").unwrap();
            changed(&mut watcher, "a write through another name").await;
        })
        .await;
    }

    /// Updates a mounted volume as kubelet does: a folder for the version, and a new link that is renamed to `..data`.
    fn mount(volume: &Path, version: &str) {
        let data = volume.join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("routes.toml"), version).unwrap();
        age(&data.join("routes.toml"));
        symlink(version, volume.join("..data_tmp")).unwrap();
        let before = fs::read_link(volume.join("..data"));
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(volume.join(before)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_swapped_config_map_is_detected() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            mount(scratch.path(), "..2026_01_01");
            let file = scratch.path().join("routes.toml");
            symlink("..data/routes.toml", &file).unwrap();
            let mut watcher = settled(mode, [&file]).await;
            for version in ["..2026_01_02", "..2026_01_03"] {
                mount(scratch.path(), version);
                changed(&mut watcher, version).await;
                assert_eq!(fs::read_to_string(&file).unwrap(), version);
            }
            fs::write(scratch.path().join("..data/routes.toml"), "new").unwrap();
            changed(&mut watcher, "a write behind the links").await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_swapped_parent_folder_is_detected() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            for release in ["1", "2", "3"] {
                scratch.file(&format!("{release}/conf/routes.toml"));
            }
            let current = scratch.path().join("current");
            symlink("1", &current).unwrap();
            let file = current.join("conf/routes.toml");
            let mut watcher = settled(mode, [&file]).await;
            symlink("2", scratch.path().join("next")).unwrap();
            fs::rename(scratch.path().join("next"), &current).unwrap();
            changed(&mut watcher, "a link swapped").await;
            fs::rename(scratch.path().join("2"), scratch.path().join("old")).unwrap();
            fs::rename(scratch.path().join("3"), scratch.path().join("2")).unwrap();
            changed(&mut watcher, "a folder swapped").await;
            fs::write(scratch.path().join("2/conf/routes.toml"), "new!").unwrap();
            changed(&mut watcher, "a write in the new folder").await;
        })
        .await;
    }

    #[tokio::test]
    async fn changed_entries_of_a_folder_are_detected() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let file = scratch.file("routes.toml");
            let old = scratch.file("templates/x/old.txt");
            let folder = scratch.path().join("templates/x");
            let mut watcher = settled(mode, [&file, &folder]).await;
            fs::write(folder.join("new.txt"), "new").unwrap();
            changed(&mut watcher, "a new file").await;
            fs::write(&old, "new!").unwrap();
            changed(&mut watcher, "a file written").await;
            fs::remove_file(folder.join("new.txt")).unwrap();
            changed(&mut watcher, "a file removed").await;
        })
        .await;
    }

    #[tokio::test]
    async fn folders_may_be_created_removed_and_created_again() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let folder = scratch.path().join("etc/jackfield");
            let file = folder.join("routes.toml");
            let mut watcher = settled(mode, [&file]).await;
            for round in ["first", "second"] {
                fs::create_dir(scratch.path().join("etc")).unwrap();
                changed(&mut watcher, "the outer folder").await;
                fs::create_dir(&folder).unwrap();
                changed(&mut watcher, "the inner folder").await;
                watcher.watch([file.clone()]);
                fs::write(&file, round).unwrap();
                changed(&mut watcher, "the file").await;
                fs::remove_dir_all(scratch.path().join("etc")).unwrap();
                changed(&mut watcher, "the folder removed").await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_between_two_calls_stays_pending() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let (file, other) = (scratch.file("routes.toml"), scratch.file("other/more.toml"));
            let watcher = settled(mode, [&file]).await;
            fs::write(&file, "new!").unwrap();
            // Events arrive on another thread, and the next call may come from yet another.
            let mut watcher = thread::spawn(move || watcher).join().unwrap();
            changed(&mut watcher, "a change between two calls").await;
            assert_eq!(watcher.shared.pending(), None);
            watcher.watch([file.clone(), other]);
            assert!(watcher.shared.pending().is_some(), "new paths may have changed since they were read");
            changed(&mut watcher, "another set of paths").await;
        })
        .await;
    }

    #[tokio::test]
    async fn reads_and_unrelated_files_do_not_count_as_changes() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let file = scratch.file("conf/routes.toml");
            let template = scratch.file("conf/templates/a.txt");
            let folder = template.parent().unwrap();
            let mut watcher = settled(mode, [&file, folder]).await;
            let before = change_count(&watcher);
            for round in 0..50 {
                fs::read(&file).unwrap();
                fs::read(&template).unwrap();
                assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
                File::open(scratch.path().join("conf")).unwrap();
                fs::write(scratch.path().join("conf/jackfield.log"), format!("{round}")).unwrap();
                fs::write(scratch.path().join("beside.txt"), format!("{round}")).unwrap();
            }
            // Events arrive in order. When this one has arrived, so have all earlier ones.
            symlink("nowhere", folder.join("sentinel")).unwrap();
            changed(&mut watcher, "the sentinel").await;
            assert_eq!(change_count(&watcher) - before, 1, "{mode:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn a_change_is_reported_after_quiet_or_the_maximum_wait() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let file = scratch.file("routes.toml");
            let mut watcher = settled(mode, [&file]).await;
            fs::write(&file, "new!").unwrap();
            changed(&mut watcher, "a write").await;
            let last = watcher.shared.state().last;
            assert!(last.elapsed() >= QUIET, "{mode:?}");

            let stop = Arc::new(AtomicBool::new(false));
            let writer = thread::spawn({
                let stop = Arc::clone(&stop);
                move || {
                    loop {
                        let last = stop.load(Ordering::Relaxed);
                        fs::write(&file, "newer").unwrap();
                        if last {
                            break;
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            });
            changed(&mut watcher, "unending writing").await;
            stop.store(true, Ordering::Relaxed);
            writer.join().unwrap();
            changed(&mut watcher, "the last write").await;
        })
        .await;
    }

    #[tokio::test]
    async fn changed_may_be_dropped_and_called_again() {
        in_both_modes(async |mode| {
            let scratch = Scratch::new();
            let file = scratch.file("routes.toml");
            let mut watcher = settled(mode, [&file]).await;
            fs::write(&file, "new!").unwrap();
            let often =
                async { while timeout(Duration::from_millis(5), watcher.changed()).await.is_err() {} };
            timeout(GUARD, often).await.unwrap();
            watcher.shared.record_change();
            let (_, due) = watcher.shared.pending().unwrap();
            sleep_until(due).await;
            // The future is polled once and then dropped while the watches are being renewed.
            if watcher.changed().now_or_never().is_none() {
                assert!(watcher.shared.pending().is_some(), "{mode:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn the_mode_may_change() {
        let scratch = Scratch::new();
        let file = scratch.file("routes.toml");
        let mut watcher = settled(MODES[0], [&file]).await;
        for mode in [MODES[1], MODES[0]] {
            watcher.set_mode(mode);
            changed(&mut watcher, "another mode").await;
            assert_eq!(watcher.backend.lock().notify.is_some(), mode == Mode::Events);
            fs::write(&file, format!("{mode:?}")).unwrap();
            changed(&mut watcher, "a write in another mode").await;
        }
    }

    #[tokio::test]
    async fn polling_replaces_unavailable_events() {
        let scratch = Scratch::new();
        let file = scratch.file("routes.toml");
        let mut watcher = settled(Mode::Events, [&file]).await;
        *watcher.backend.lock() = Backend::default();
        watcher.blind = true;
        fs::write(&file, "new!").unwrap();
        changed(&mut watcher, "a write without events").await;
    }

    #[test]
    fn errors_and_lost_events_count_as_changes_and_are_merged() {
        let handle = |event| {
            let watcher = Watcher::new(Mode::Events);
            watcher.shared.handle(event);
            watcher
        };
        use notify::event::{AccessKind, Event, EventKind, Flag};
        assert_eq!(handle(Ok(Event::new(EventKind::Access(AccessKind::Any)))).shared.pending(), None);
        assert!(handle(Err(notify::Error::generic("broken"))).shared.pending().is_some());
        let watcher = handle(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        let (first, _) = watcher.shared.pending().unwrap();
        for _ in 0..1000 {
            watcher.shared.record_change();
        }
        watcher.shared.mark_reported(first);
        let (all, _) = watcher.shared.pending().expect("changes during a report stay pending");
        watcher.shared.mark_reported(all);
        assert_eq!(watcher.shared.pending(), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_overflow_counts_as_a_change() {
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let scratch = Scratch::new();
        let file = scratch.file("routes.toml");
        let beside = [scratch.path().join("a"), scratch.path().join("b")];
        let mut watcher = settled(Mode::Events, [&file]).await;
        {
            // Block notify's thread while irrelevant events fill its queue.
            let _state = watcher.shared.state.lock();
            for _ in 0..limit.trim().parse::<u32>().unwrap().min(1 << 20) {
                beside.iter().for_each(|path| fs::write(path, "x").unwrap());
            }
        }
        changed(&mut watcher, "an overflow").await;
    }

    #[tokio::test]
    async fn dropping_the_watcher_ends_its_thread() {
        let scratch = Scratch::new();
        let watcher = settled(Mode::Events, [scratch.path()]).await;
        let shared = Arc::downgrade(&watcher.shared);
        assert_eq!(shared.strong_count(), 2, "ours and notify's");
        drop(watcher);
        let ended = async {
            while shared.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(GUARD, ended).await.expect("notify's thread is still running");
    }
}
