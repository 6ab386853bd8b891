//! Reload: when the files of the table change, Jackfield reads and compiles them again. The new plan replaces the
//! running one only if it has no errors. Otherwise the running plan stays, and the log has the reason.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::{interval, sleep};

use crate::diagnostic::{self, Diagnostic, JsonDiagnostic, Overtaken, Severity, Sources};
use crate::flow::Cache;
use crate::last_good;
use crate::live::Live;
use crate::load::{
    BoundAddresses, Dependencies, Environment, Kept, ListenerOptions, Loaded, Unreadable, load_changed,
    process_environment,
};
use crate::observe::log;
use crate::plan::{Plan, Watch};
use crate::upstream::http::HttpTransport;
use crate::watch::unlinked::unlinked;
use crate::watch::{Mode, POLL_INTERVAL, Watcher};

/// Where the table is and how to load it.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The main file.
    pub path: PathBuf,
    /// The address that `[upstreams.demo]` gets with `--demo`.
    pub demo: Option<url::Url>,
    /// The addresses that the command line gives instead of the table's.
    pub options: ListenerOptions,
}

impl ConfigSource {
    /// Loads the table.
    ///
    /// # Errors
    /// The main file cannot be read.
    pub fn load(&self) -> Result<Loaded, Unreadable> {
        self.load_behind(process_environment(), &Kept::default())
    }

    fn load_behind(&self, given: Environment<'_>, kept: &Kept) -> Result<Loaded, Unreadable> {
        let environment = Environment { demo: self.demo.clone(), options: self.options, ..given };
        load_changed(&self.path, &environment, kept)
    }

    fn environment(&self) -> Environment<'static> {
        Environment { demo: self.demo.clone(), options: self.options, ..process_environment() }
    }

    /// Loads the copy of the last accepted table below `folder`; `None` if there is none that can be served. Returns the
    /// plan and when it was saved.
    pub fn load_last_good(&self, folder: &Path) -> Option<(Plan, Timestamp)> {
        let copy = last_good::find(folder, &self.path)?;
        let loaded = copy.load(&self.environment());
        match loaded.map(|loaded| (loaded.plan, loaded.diagnostics, loaded.sources)) {
            Ok((Some(plan), ..)) => Some((plan, copy.saved_at)),
            Ok((None, diagnostics, sources)) => {
                let text = diagnostic::to_text(&diagnostics, &sources, false);
                tracing::error!("the last accepted table cannot be served either:\n{}", text.trim_end());
                None
            }
            Err(error) => {
                tracing::error!("the last accepted table cannot be read: {error}");
                None
            }
        }
    }
}

/// Saves a copy of an accepted table, if it has a `server.last_good`. If that fails, the table runs anyway.
pub fn save_last_good(plan: &Plan, sources: &Sources) {
    let Some(folder) = &plan.server.last_good else { return };
    if let Err(error) = last_good::save(folder, sources, &plan.revision) {
        let folder = folder.display();
        tracing::warn!(%folder, "the table could not be saved to `server.last_good`: {error}");
    }
}

/// How many times in a row a reload is postponed because the files changed while they were read.
const MAX_POSTPONED: u32 = 3;

/// How often a rejected configuration is loaded again without a change. The cause may lie outside its files, such as a
/// lack of file descriptors.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How often to look for files that were replaced outside of their mount. No event reports that.
const LINK_INTERVAL: Duration = Duration::from_secs(10);

/// What a reload replaces or prunes.
pub struct Reloadable {
    /// The running plan and its resources.
    pub live: Arc<Live>,
    /// The connection pools.
    pub transport: Arc<HttpTransport>,
    /// The cached responses.
    pub cache: Arc<Cache>,
}

/// Keeps the running plan in line with its files.
pub struct Reloader {
    source: ConfigSource,
    running: Reloadable,
    watcher: Watcher,
    /// The plan that opened the listeners.
    opened: Arc<Plan>,
    /// What the next load may keep of the running plan.
    kept: Arc<Kept>,
    /// The files that the last load read or looked for.
    files: Arc<BTreeSet<PathBuf>>,
    /// The diagnostics of the last load, so that the same ones are not logged twice.
    last: Vec<JsonDiagnostic>,
    /// Whether an operator requested this reload. Its result is then logged even if nothing changed.
    requested: bool,
    /// How many times in a row the reload was postponed.
    postponed: u32,
}

/// How a reload ended.
#[derive(Debug, PartialEq, Eq)]
enum Reloaded {
    /// The configuration was taken or rejected, or a later change will load it.
    Done,
    /// The files changed while they were loaded, so they have to be loaded again now.
    Overtaken,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Watches the dependencies of the running plan. `found` holds the diagnostics of its load, and
    /// `kept` what the next one may keep.
    pub fn new(
        source: ConfigSource,
        running: Reloadable,
        dependencies: Dependencies,
        found: Vec<JsonDiagnostic>,
        kept: Kept,
    ) -> Self {
        let opened = running.live.plan();
        let mut watcher = Watcher::new(mode(opened.server.watch));
        let files = Arc::new(dependencies.files.clone());
        watcher.watch(dependencies.into_paths());
        let kept = Arc::new(kept);
        Self { source, running, watcher, opened, kept, files, last: found, requested: false, postponed: 0 }
    }

    /// Reloads when the files change or a request arrives, and retries while the configuration is rejected. Never ends.
    pub async fn run(mut self, mut requests: tokio::sync::mpsc::Receiver<()>) {
        let mut can_be_requested = true;
        let mut links = interval(LINK_INTERVAL);
        loop {
            let is_rejected = self.running.live.state().rejected.is_some();
            tokio::select! {
                () = self.watcher.changed() => {}
                () = sleep(RETRY_INTERVAL), if is_rejected => {}
                _ = links.tick() => {
                    self.check_links().await;
                    continue;
                }
                request = requests.recv(), if can_be_requested => {
                    can_be_requested = request.is_some();
                    if !can_be_requested {
                        continue;
                    }
                    self.requested = true;
                }
            }
            while self.reload().await == Reloaded::Overtaken {}
        }
    }

    /// Warns about files that were replaced outside of their mount.
    async fn check_links(&self) {
        let files = Arc::clone(&self.files);
        let Ok(Some(found)) = spawn_blocking(move || unlinked(files)).await else { return };
        let known = &self.running.live.state().unlinked;
        if found[..] == known[..] {
            return;
        }
        for file in found.iter().filter(|file| !known.contains(file)).map(|file| file.display()) {
            tracing::warn!(
                %file,
                "`{file}` was replaced outside of its mount, and changes are not seen: mount its folder instead of the file"
            );
        }
        self.running.live.note_unlinked(found);
    }

    /// Loads the files, and takes or rejects what they say. If they change meanwhile, the load is given up.
    async fn reload(&mut self) -> Reloaded {
        let source = self.source.clone();
        let addresses =
            BoundAddresses { listen: Some(self.opened.server.listen), admin: self.opened.server.admin };
        // Compiling a large table takes time and must not block the calls on this thread.
        let kept = Arc::clone(&self.kept);
        let overtaken = Overtaken::default();
        let seen = overtaken.clone();
        let mut load = spawn_blocking(move || {
            source.load_behind(Environment { addresses, overtaken: seen, ..process_environment() }, &kept)
        });
        let loaded = loop {
            let can_be_overtaken = self.postponed < MAX_POSTPONED && !overtaken.is_set();
            tokio::select! {
                loaded = &mut load => break loaded,
                () = self.watcher.changed(), if can_be_overtaken => overtaken.set(),
            }
        };
        if overtaken.is_set() {
            self.postponed += 1;
            return Reloaded::Overtaken;
        }
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                let revision = &self.running.live.plan().revision;
                tracing::error!(
                    "configuration rejected, keeping revision {revision}: it could not be loaded: {error}"
                );
                return Reloaded::Done;
            }
        };
        // Files that changed while they were read may be inconsistent: read them again once they stop changing. If they
        // never do, use what was read.
        if self.watcher.has_changed().await && self.postponed < MAX_POSTPONED {
            self.postponed += 1;
            return Reloaded::Done;
        }
        self.postponed = 0;
        match loaded {
            Ok(loaded) => {
                let dependencies = loaded.dependencies.clone();
                self.files = Arc::new(dependencies.files.clone());
                self.take(loaded);
                self.watcher.watch(dependencies.into_paths());
            }
            Err(error) => {
                let found = vec![JsonDiagnostic::unreadable(&error.path, &error.source)];
                let revision = self.running.live.plan().revision.clone();
                self.reject(found, || {
                    let file = error.path.display();
                    tracing::error!(code = "unreadable-file", %file, line = 1, %revision, "configuration rejected, keeping revision {revision}: it cannot be read: {error}");
                });
            }
        }
        self.requested = false;
        Reloaded::Done
    }

    fn take(&mut self, loaded: Loaded) {
        let Loaded { plan, diagnostics, sources, kept, .. } = loaded;
        let found = diagnostic::to_json(&diagnostics, &sources);
        let text = || diagnostic::to_text(&diagnostics, &sources, false);
        let Some(plan) = plan else {
            let revision = self.running.live.plan().revision.clone();
            let first = found.iter().find(|found| found.is_error()).cloned();
            self.reject(found, || {
                let count = errors(&diagnostics);
                let place = first.as_ref().map(JsonDiagnostic::place);
                let (code, file, line) = (place.map(|at| at.0), place.map(|at| at.1), place.map(|at| at.2));
                tracing::error!(errors = count, code, file, line, %revision, "configuration rejected, keeping revision {revision}: {count} errors\n{}", text());
            });
            return;
        };
        if (self.requested || found != self.last) && !diagnostics.is_empty() {
            tracing::warn!("{}", text().trim_end());
        }
        self.last = found;
        self.apply(plan, kept);
        let plan = self.running.live.plan();
        if plan.server.last_good.is_some() {
            // Writing files takes time and must not block the calls on this thread.
            drop(spawn_blocking(move || save_last_good(&plan, &sources)));
        }
    }

    /// Rejects the configuration. `log` runs unless the same rejection was logged before.
    fn reject(&mut self, found: Vec<JsonDiagnostic>, log: impl FnOnce()) {
        let is_known = found == self.last && self.running.live.state().rejected.is_some();
        // The time of a rejection is the time when its errors first appeared. Record it before logging it, so that the
        // status already has it when the log line appears.
        if !is_known {
            self.running.live.reject(found.clone());
        }
        if self.requested || !is_known {
            log();
        } else {
            tracing::debug!("the configuration still has its errors");
        }
        self.last = found;
    }

    fn apply(&mut self, plan: Plan, kept: Kept) {
        let running = self.running.live.plan();
        if plan.identity == running.identity {
            let revision = &plan.revision;
            let was_rejected = self.running.live.state().rejected.is_some();
            self.running.live.confirm();
            if was_rejected {
                tracing::info!(%revision, "configuration valid again: it equals the running one");
            } else if self.requested {
                tracing::info!(%revision, "configuration unchanged");
            } else {
                tracing::debug!(%revision, "files changed, configuration unchanged");
            }
            return;
        }
        // Keep the pools of both plans until no new call sees the old one: such a call would create its pool again.
        let both = running.targets().chain(plan.targets());
        if let Err(error) = self.running.transport.prepare(both) {
            tracing::error!("configuration rejected, keeping revision {}: {error}", running.revision);
            return;
        }
        self.watcher.set_mode(mode(plan.server.watch));
        self.running.live.swap(plan);
        self.kept = Arc::new(kept);
        let plan = self.running.live.plan();
        if let Err(error) = self.running.transport.prepare(plan.targets()) {
            tracing::warn!("cannot close the connections of the previous configuration: {error}");
        }
        let in_force: HashSet<_> = plan.fingerprints().collect();
        self.running.cache.retain(|route| in_force.contains(route));
        let changes = plan.changes_since(&running);
        let secrets = changes.secret_files.join(", ");
        let secrets = (!secrets.is_empty()).then_some(secrets);
        let shown = secrets.as_ref().map(|names| format!(" (secret files: {names})")).unwrap_or_default();
        tracing::info!(
            revision = %plan.revision,
            routes = plan.routes.len(),
            added = %names(&changes.added),
            removed = %names(&changes.removed),
            changed = %names(&changes.changed),
            secret_files = secrets,
            "configuration reloaded: {} routes added, {} removed, {} changed{shown}",
            changes.added.len(),
            changes.removed.len(),
            changes.changed.len()
        );
        let restart = restart_needed(&self.opened, &plan);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!(%keys, "restart required: changes to {keys} take effect at the next start");
        }
        log_tls_change(&running, &plan);
        log::set_level(plan.log.level);
    }
}

/// Logs what a reload changes about TLS at the listener for platforms.
fn log_tls_change(before: &Plan, now: &Plan) {
    match (&before.server.tls, &now.server.tls) {
        (Some(old), Some(new)) if old != new => {
            tracing::info!("TLS certificate replaced: open connections keep the old one");
        }
        (None, Some(_)) => tracing::info!("TLS enabled: open connections stay unencrypted"),
        (Some(_), None) => tracing::warn!("TLS disabled: new connections are unencrypted"),
        _ => {}
    }
}

fn mode(watch: Watch) -> Mode {
    match watch {
        Watch::Events => Mode::Events,
        Watch::Poll => Mode::Poll(POLL_INTERVAL),
    }
}

fn errors(diagnostics: &[Diagnostic]) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.code.severity() == Severity::Error).count()
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The keys that changed since the listeners were opened and that take effect only at a start.
pub fn restart_needed(opened: &Plan, plan: &Plan) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if opened.server.listen != plan.server.listen {
        keys.push("server.listen");
    }
    if opened.server.admin != plan.server.admin {
        keys.push("server.admin");
    }
    keys
}
