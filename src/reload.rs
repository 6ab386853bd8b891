//! Reload: when the files of the table change, it is read and compiled again, and put in force only if nothing is
//! wrong with it. Otherwise the running plan goes on and the log says why.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::diagnostic::{self, Diagnostic, JsonDiagnostic, Severity};
use crate::flow::Cache;
use crate::live::Live;
use crate::load::{
    BoundAddresses, Dependencies, Environment, Kept, Loaded, Unreadable, load_changed, process_environment,
};
use crate::plan::{Plan, Watch};
use crate::upstream::http::HttpTransport;
use crate::watch::{Mode, POLL_INTERVAL, Watcher};

/// Where the table is, and how it is loaded each time.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    /// The main file.
    pub path: PathBuf,
    /// Where `[upstreams.demo]` points, under `--demo`.
    pub demo: Option<url::Url>,
}

impl ConfigSource {
    /// Loads the table as it is now.
    ///
    /// # Errors
    /// The main file cannot be read.
    pub fn load(&self) -> Result<Loaded, Unreadable> {
        self.load_behind(BoundAddresses::default(), &Kept::default())
    }

    fn load_behind(&self, addresses: BoundAddresses, kept: &Kept) -> Result<Loaded, Unreadable> {
        let demo = self.demo.clone();
        load_changed(&self.path, &Environment { demo, addresses, ..process_environment() }, kept)
    }
}

/// How often in a row a table is put off because its files changed while they were read.
const MOST_PUT_OFF: u32 = 3;

/// How often a rejected table is loaded again though nothing seems to have changed: what stood in its way may have
/// been no fault of its files, such as a lack of file descriptors.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the running plan true to its files.
pub struct Reloader {
    origin: ConfigSource,
    live: Arc<Live>,
    transport: Arc<HttpTransport>,
    cache: Arc<Cache>,
    watcher: Watcher,
    /// The plan that opened the listeners.
    opened: Arc<Plan>,
    /// What the running plan was compiled from, for the next load.
    kept: Arc<Kept>,
    /// What was found the last time, so that the same is not said twice.
    last: Vec<JsonDiagnostic>,
    /// Whether somebody asked for this reload, and wants to hear what came of it, whatever it is.
    asked: bool,
    /// How often in a row the table was put off.
    put_off: u32,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Watches what the running plan depends on. `found` is what was found when it was loaded.
    pub fn new(
        origin: ConfigSource,
        live: Arc<Live>,
        transport: Arc<HttpTransport>,
        cache: Arc<Cache>,
        dependencies: Dependencies,
        found: Vec<JsonDiagnostic>,
    ) -> Self {
        let opened = live.plan();
        let mut watcher = Watcher::new(mode(opened.server.watch));
        watcher.watch(dependencies.into_paths());
        Self {
            origin,
            live,
            transport,
            cache,
            watcher,
            opened,
            last: found,
            asked: false,
            put_off: 0,
            kept: Arc::default(),
        }
    }

    /// Keeps what it can of the running plan from the first reload on.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Self {
        Self { kept: Arc::new(kept), ..self }
    }

    /// Reloads whenever the files change or `asked` says so, for ever; now and then also while they are rejected.
    pub async fn run(mut self, mut asked: tokio::sync::mpsc::Receiver<()>) {
        let mut can_ask = true;
        loop {
            let is_rejected = self.live.state().rejected.is_some();
            tokio::select! {
                () = self.watcher.changed() => {}
                () = sleep(RETRY_INTERVAL), if is_rejected => {}
                more = asked.recv(), if can_ask => {
                    can_ask = more.is_some();
                    if !can_ask {
                        continue;
                    }
                    self.asked = true;
                }
            }
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let origin = self.origin.clone();
        let addresses =
            BoundAddresses { listen: Some(self.opened.server.listen), admin: self.opened.server.admin };
        // A large table takes a while to compile, which must not hold up the calls on this thread.
        let kept = Arc::clone(&self.kept);
        let loaded = match spawn_blocking(move || origin.load_behind(addresses, &kept)).await {
            Ok(loaded) => loaded,
            Err(error) => {
                let revision = &self.live.plan().revision;
                tracing::error!(
                    "configuration rejected, keeping revision {revision}: it could not be loaded: {error}"
                );
                return;
            }
        };
        // Files that changed while they were read may not fit together: they are read again when it is quiet. If
        // it never is, what there is must do.
        if self.watcher.has_changed().await && self.put_off < MOST_PUT_OFF {
            self.put_off += 1;
            return;
        }
        self.put_off = 0;
        match loaded {
            Ok(loaded) => {
                let dependencies = loaded.dependencies.clone();
                self.take(loaded);
                self.watcher.watch(dependencies.into_paths());
            }
            Err(error) => {
                let found = vec![JsonDiagnostic::unreadable(&error.path, &error.source)];
                let revision = self.live.plan().revision.clone();
                self.reject(found, || {
                    let file = error.path.display();
                    tracing::error!(%file, %revision, "configuration rejected, keeping revision {revision}: it cannot be read: {error}");
                });
            }
        }
        self.asked = false;
    }

    fn take(&mut self, loaded: Loaded) {
        let Loaded { plan, diagnostics, sources, kept, .. } = loaded;
        let found = diagnostic::to_json(&diagnostics, &sources);
        let text = || diagnostic::to_text(&diagnostics, &sources, false);
        let Some(plan) = plan else {
            let revision = self.live.plan().revision.clone();
            self.reject(found, || {
                let count = errors(&diagnostics);
                tracing::error!(errors = count, %revision, "configuration rejected, keeping revision {revision}: {count} errors\n{}", text());
            });
            return;
        };
        if (self.asked || found != self.last) && !diagnostics.is_empty() {
            tracing::warn!("{}", text().trim_end());
        }
        self.last = found;
        self.put_in_force(plan, kept);
    }

    /// The files are not what runs: `say` logs it, unless that has been said.
    fn reject(&mut self, found: Vec<JsonDiagnostic>, say: impl FnOnce()) {
        let is_known = found == self.last && self.live.state().rejected.is_some();
        if self.asked || !is_known {
            say();
        } else {
            tracing::debug!("the configuration still has its errors");
        }
        // The time of a rejection is when its faults were first found.
        if !is_known {
            self.live.reject(found.clone());
        }
        self.last = found;
    }

    fn put_in_force(&mut self, plan: Plan, kept: Kept) {
        let running = self.live.plan();
        if plan.identity == running.identity {
            let revision = &plan.revision;
            if self.live.state().rejected.is_some() {
                tracing::info!(%revision, "the table is again as it runs");
            } else if self.asked {
                tracing::info!(%revision, "the table is as it runs");
            } else {
                tracing::debug!(%revision, "the files changed, what they say did not");
            }
            self.live.confirm();
            return;
        }
        // The pools of both plans, until no new call sees the old one: else such a call would make its pool anew.
        let both = running.targets().chain(plan.targets());
        if let Err(error) = self.transport.prepare(both) {
            tracing::error!("configuration rejected, keeping revision {}: {error}", running.revision);
            return;
        }
        self.watcher.set_mode(mode(plan.server.watch));
        self.live.swap(plan);
        self.kept = Arc::new(kept);
        let plan = self.live.plan();
        if let Err(error) = self.transport.prepare(plan.targets()) {
            tracing::warn!("the connections of the table before are kept: {error}");
        }
        let in_force: HashSet<_> = plan.fingerprints().collect();
        self.cache.retain(|route| in_force.contains(route));
        let changes = plan.changes_since(&running);
        tracing::info!(
            revision = %plan.revision,
            routes = plan.routes.len(),
            added = %names(&changes.added),
            removed = %names(&changes.removed),
            changed = %names(&changes.changed),
            "configuration reloaded: {} routes added, {} removed, {} changed",
            changes.added.len(),
            changes.removed.len(),
            changes.changed.len()
        );
        let restart = restart_needed(&self.opened, &plan);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!(%keys, "these keys take effect at the next start only: {keys}");
        }
        tell_tls(&running, &plan);
    }
}

/// Says what a reload means for TLS at the listener for platforms, if anything.
fn tell_tls(before: &Plan, now: &Plan) {
    match (&before.server.tls, &now.server.tls) {
        (Some(old), Some(new)) if old != new => {
            tracing::info!("new connections get the new certificate, open ones go on with the old");
        }
        (None, Some(_)) => tracing::info!("new connections are secured by TLS, open ones go on plain"),
        (Some(_), None) => tracing::warn!("new connections are plain, open ones stay secured by TLS"),
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

/// The keys that differ between the plan that opened the listeners and `plan`, and take effect at a start only.
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
