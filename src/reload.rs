//! Reload: when the files of the table change, it is read and compiled again, and put in force only if nothing is
//! wrong with it. Otherwise the running plan goes on and the log says why.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::diagnostic::{self, Diagnostic, JsonDiagnostic, Severity};
use crate::live::Live;
use crate::load::{Loaded, Unreadable, load, process_environment};
use crate::plan::{Plan, Watch};
use crate::upstream::http::HttpTransport;
use crate::watch::{Mode, POLL_INTERVAL, Watcher};

/// Where the table is, and how it is loaded each time.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The main file.
    pub path: PathBuf,
    /// Where `[upstreams.demo]` points, under `--demo`.
    pub demo: Option<url::Url>,
}

impl Origin {
    /// Loads the table as it is now.
    ///
    /// # Errors
    /// The main file cannot be read.
    pub fn load(&self) -> Result<Loaded, Unreadable> {
        load(&self.path, &crate::load::Environment { demo: self.demo.clone(), ..process_environment() })
    }
}

/// Keeps the running plan true to its files.
pub struct Reloader {
    origin: Origin,
    live: Arc<Live>,
    transport: Arc<HttpTransport>,
    watcher: Watcher,
    /// What was found the last time, so that the same is not said twice.
    last: Vec<JsonDiagnostic>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Reloader {
    /// Watches what the running plan depends on.
    pub fn new(origin: Origin, live: Arc<Live>, transport: Arc<HttpTransport>) -> Self {
        let plan = live.plan();
        let mut watcher = Watcher::new(mode(plan.server.watch));
        watcher.watch(plan.dependencies.files.iter().chain(&plan.dependencies.folders).cloned());
        Self { origin, live, transport, watcher, last: Vec::new() }
    }

    /// Reloads whenever the files change or `asked` says so, for ever.
    pub async fn run(mut self, mut asked: tokio::sync::mpsc::Receiver<()>) {
        let mut can_ask = true;
        loop {
            tokio::select! {
                () = self.watcher.changed() => {}
                more = asked.recv(), if can_ask => {
                    can_ask = more.is_some();
                    if !can_ask {
                        continue;
                    }
                }
            }
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let origin = self.origin.clone();
        // A large table takes a while to compile, which must not hold up the calls on this thread.
        let loaded = match spawn_blocking(move || origin.load()).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!("the table could not be loaded, the running plan stays: {error}");
                return;
            }
        };
        match loaded {
            Ok(loaded) => {
                let dependencies = loaded.dependencies.clone();
                self.take(loaded);
                self.watcher.watch(dependencies.files.into_iter().chain(dependencies.folders));
            }
            Err(error) => {
                let found = vec![JsonDiagnostic::unreadable(&error.path, &error.source)];
                if found != self.last {
                    tracing::error!(file = %error.path.display(), "the table cannot be read, the running plan stays: {error}");
                }
                self.live.reject(found.clone());
                self.last = found;
            }
        }
    }

    fn take(&mut self, loaded: Loaded) {
        let Loaded { plan, diagnostics, sources, .. } = loaded;
        let found = diagnostic::to_json(&diagnostics, &sources);
        let is_new = found != self.last;
        let Some(plan) = plan else {
            if is_new {
                let count = errors(&diagnostics);
                let text = diagnostic::to_text(&diagnostics, &sources, false);
                let revision = self.live.plan().revision.clone();
                tracing::error!(errors = count, %revision, "the changed table has faults and is not taken, the running plan stays\n{text}");
            }
            // The time of a rejection is when its faults were first found.
            if is_new || self.live.rejected().is_none() {
                self.live.reject(found.clone());
            }
            self.last = found;
            return;
        };
        if is_new && !diagnostics.is_empty() {
            tracing::warn!("{}", diagnostic::to_text(&diagnostics, &sources, false).trim_end());
        }
        self.last = found;
        self.put_in_force(plan);
    }

    fn put_in_force(&mut self, plan: Plan) {
        let running = self.live.plan();
        if plan.identity == running.identity {
            if self.live.rejected().is_some() {
                tracing::info!(revision = %plan.revision, "the table is again as it runs");
            }
            self.live.confirm();
            return;
        }
        if let Err(error) = self.transport.prepare(plan.targets.iter().map(AsRef::as_ref)) {
            tracing::error!("the changed table is not taken, the running plan stays: {error}");
            return;
        }
        self.watcher.set_mode(mode(plan.server.watch));
        let changes = plan.changes_since(&running);
        tracing::info!(
            revision = %plan.revision,
            routes = plan.routes.len(),
            added = %names(&changes.added),
            removed = %names(&changes.removed),
            changed = %names(&changes.changed),
            "the changed table is in force"
        );
        let restart = restart_needed(&running, &plan);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            tracing::warn!(%keys, "these keys take effect at the next start only: {keys}");
        }
        self.live.swap(plan);
        tell_tls(&running, &self.live.plan());
    }
}

/// Says what a reload means for TLS at the platforms' door, if anything.
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

/// The keys that differ between the plan that opened the doors and `plan`, and take effect at a start only.
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
