//! Loads a plan from its files: read, then compile.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::compile::{CompiledTable, advice, compile, testing};
use crate::diagnostic::{Diagnostic, Diagnostics, Overtaken, Sources, Span};
use crate::plan::Plan;
use crate::plan::testing::Tests;
use crate::table;

pub use crate::compile::{
    BoundAddresses, DEMO, Environment, Kept, ListenerOptions, UpstreamProbe, schema, test_schema,
};
pub(crate) use crate::table::absolute;
pub use crate::table::add::{NewEntry, with_test};
pub use crate::table::edit::{Edit, can_be_written, edited};
pub use crate::table::{Dependencies, Unreadable};

/// A loaded table.
#[derive(Debug)]
pub struct Loaded {
    /// The plan; `None` if a diagnostic is an error.
    pub plan: Option<Plan>,
    /// All diagnostics, in the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that the diagnostics point into.
    pub sources: Sources,
    /// The files and folders that the table depends on, even if it has errors.
    pub dependencies: Dependencies,
    /// The compiled routes that the next load may reuse.
    pub kept: Kept,
    /// The folder with a copy of the last accepted table, if the table names one, or if that part of it cannot be read.
    pub last_good: Option<PathBuf>,
}

/// The folder of `server.last_good` that is looked into if the table cannot be read.
pub fn default_last_good(main: &Path) -> PathBuf {
    main.parent().unwrap_or(Path::new("")).join(".jackfield/last-good")
}

/// Reads and compiles the table at `path`.
///
/// # Errors
/// The main file cannot be read; every other problem is a diagnostic.
pub fn load(path: &Path, environment: &Environment<'_>) -> Result<Loaded, Unreadable> {
    load_changed(path, environment, &Kept::default())
}

/// Reads and compiles the table at `path` again. The routes of unchanged files are reused from `kept`.
///
/// # Errors
/// The main file cannot be read; every other problem is a diagnostic.
pub fn load_changed(path: &Path, environment: &Environment<'_>, kept: &Kept) -> Result<Loaded, Unreadable> {
    Ok(Loading::begin(path, environment, kept)?.end())
}

/// Reads and compiles the table at `path` and its tests. An error in a test is an error of the table only here, because
/// a table runs without its tests.
///
/// # Errors
/// The main file cannot be read; every other problem is a diagnostic.
pub fn load_with_tests(path: &Path, environment: &Environment<'_>) -> Result<(Loaded, Tests), Unreadable> {
    let mut loading = Loading::begin(path, environment, &Kept::default())?;
    let tests = loading.tests(environment);
    Ok((loading.end(), tests))
}

/// What `check --online` probes.
#[derive(Debug)]
pub struct Probes {
    /// The upstreams.
    pub upstreams: Vec<UpstreamProbe>,
    /// Where the table names the state database.
    pub state: Span,
}

/// Reads and compiles the table at `path` and its tests. The diagnostics include advice, and there is a probe for each
/// upstream.
///
/// # Errors
/// The main file cannot be read; every other problem is a diagnostic.
pub fn check(path: &Path, environment: &Environment<'_>) -> Result<(Loaded, Probes), Unreadable> {
    let mut loading = Loading::begin(path, environment, &Kept::default())?;
    let tests = loading.tests(environment);
    if loading.plan.is_some() {
        let mut advice = std::mem::take(&mut loading.advice);
        advice::untested(&loading.table, &tests, &mut advice);
        advice.silence(0, &advice::allowed_codes(&loading.table.defaults.allow));
        loading.diagnostics.append(advice);
    }
    let upstreams = std::mem::take(&mut loading.probes);
    let table = &loading.table;
    let url = table.state.get().and_then(|state| state.value.url.span());
    let state = url.unwrap_or_else(|| Span::start_of(table.main));
    Ok((loading.end(), Probes { upstreams, state }))
}

/// A table while it is loaded.
struct Loading {
    table: table::Table,
    plan: Option<Plan>,
    sources: Sources,
    dependencies: Dependencies,
    diagnostics: Diagnostics,
    advice: Diagnostics,
    probes: Vec<UpstreamProbe>,
    kept: Kept,
}

impl Loading {
    fn begin(path: &Path, environment: &Environment<'_>, kept: &Kept) -> Result<Self, Unreadable> {
        let mut sources = Sources::default();
        let mut dependencies = Dependencies::default();
        let mut diagnostics = Diagnostics::of_load(environment.overtaken.clone());
        let table = table::read(path, &mut sources, &mut dependencies, &mut diagnostics, &|path, text| {
            kept.has(path, text)
        })?;
        let Some(compiled) = compile(&table, &sources, environment, kept, &mut diagnostics) else {
            // Something that the kept routes depend on has changed, so compile all routes.
            return Self::begin(path, environment, &Kept::default());
        };
        let CompiledTable { plan, advice, probes, secret_files, kept } = compiled;
        dependencies.files.extend(secret_files);
        Ok(Self { table, plan, sources, dependencies, diagnostics, advice, probes, kept })
    }

    fn tests(&mut self, environment: &Environment<'_>) -> Tests {
        let Self { table, sources, diagnostics, .. } = self;
        let written = table::read_tests(table, sources, diagnostics);
        if diagnostics.is_full() {
            self.plan = None;
            return Tests::default();
        }
        let tests = testing::compile(table, &written, sources, environment, diagnostics);
        if diagnostics.has_errors() {
            self.plan = None;
        }
        tests
    }

    fn end(self) -> Loaded {
        let Self { table, plan, sources, dependencies, diagnostics, kept, .. } = self;
        let follow_ups = table.follow_ups(&sources);
        let diagnostics = diagnostics.into_shown(|diagnostic| !follow_ups.include(diagnostic));
        let named = table.server.last_good.get().map(|folder| table.folder.join(&folder.value));
        let is_hidden = named.is_none() && !table.lost.is_empty();
        let last_good = named.or_else(|| is_hidden.then(|| default_last_good(&sources.get(table.main).path)));
        Loaded { plan, diagnostics, sources, dependencies, kept, last_good }
    }
}

/// The environment of this process: its environment variables and its file system.
pub fn process_environment<'a>() -> Environment<'a> {
    Environment {
        variable: &|name| std::env::var(name).ok(),
        file: &|path| table::read_text(path),
        without_secrets: false,
        now: Timestamp::now(),
        demo: None,
        options: ListenerOptions::default(),
        addresses: BoundAddresses::default(),
        overtaken: Overtaken::default(),
    }
}
