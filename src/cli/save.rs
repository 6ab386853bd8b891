//! `jackfield call --save-test`: saves a call as a test, beside the route's other tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::load::{NewEntry, with_test};
use crate::plan::Plan;
use crate::testing;
use crate::testing::capture::{CapturedCall, CapturedInput, draft};
use crate::upstream::resources::Resources;

use super::output::results::{faults, place};
use super::report;
use super::test::{Ready, ReportFormat};

/// A test to save, and the existing tests.
pub(super) struct Saving<'a> {
    /// The main file.
    main: &'a Path,
    name: &'a str,
    ready: Ready,
}

/// The file that a test is added to.
struct SaveTarget {
    path: PathBuf,
    /// Its current text.
    text: String,
    /// Whether the test goes into its route instead of a file of tests.
    in_route: bool,
}

impl<'a> Saving<'a> {
    /// Checks that the name is free. If the existing tests have errors, returns the exit code.
    pub(super) fn prepare(
        main: &'a Path,
        name: &'a str,
        function: Option<&str>,
    ) -> anyhow::Result<Result<Self, ExitCode>> {
        if name.trim().is_empty() {
            bail!("a test needs a descriptive name, such as --save-test \"an unknown city\"");
        }
        let ready = match Ready::read(main, ReportFormat::Human)? {
            Ok(ready) => ready,
            Err(code) => return Ok(Err(code)),
        };
        let mut tests = ready.tests.tests.iter();
        if let Some(known) = tests.find(|test| function == Some(&test.route) && test.name == name) {
            bail!(
                "`{}` already has a test `{name}` ({}): choose another name, or remove that test",
                known.route,
                place(known.place, &ready.sources)
            );
        }
        Ok(Ok(Self { main, name, ready }))
    }

    /// The plan without secrets that the tests run on, and its live state.
    pub(super) fn subject(&self) -> (&Plan, &Resources) {
        (&self.ready.plan, &self.ready.resources)
    }

    /// Saves a call as a test and checks that the test passes.
    pub(super) async fn save(&self, captured: CapturedCall<'_>) -> anyhow::Result<()> {
        let function = &captured.call.record.call.context.function;
        let beside;
        let captured = match captured.input {
            CapturedInput::Args => captured,
            CapturedInput::Request { file, body } => {
                beside = self.relative(file)?;
                CapturedCall { input: CapturedInput::Request { file: &beside, body }, ..captured }
            }
        };
        let route = self.ready.tests.routes.iter().find(|route| route.name == *function);
        let route = route.with_context(|| format!("test not saved: unknown function `{function}`"))?;
        let mut draft = draft(&self.ready.plan, &self.ready.resources, route, self.name, captured)
            .await
            .with_context(|| format!("test of `{function}` not saved"))?;
        let target = self.target(function)?;
        if !target.in_route {
            draft.entries.insert(0, (vec!["route".to_owned()], function.as_str().into()));
        }
        self.write(&target, function, &draft.entries).await?;
        for note in &draft.notes {
            report(&format!("note: {note}"));
        }
        Ok(())
    }

    /// The path of a request file relative to the main file's folder, as tests refer to it.
    fn relative(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let whole =
            |path: &Path| fs::canonicalize(path).with_context(|| format!("cannot find `{}`", path.display()));
        let (file, main) = (whole(file)?, whole(self.main)?);
        let folder = main.parent().unwrap_or(&main);
        match file.strip_prefix(folder) {
            Ok(below) => Ok(below.to_owned()),
            Err(_) => bail!(
                "test not saved: `{}` is not in the folder of the table; move it there so that the test can refer to it",
                file.display()
            ),
        }
    }

    /// The file that already has tests of `function`; otherwise the one for separate tests.
    fn target(&self, function: &str) -> anyhow::Result<SaveTarget> {
        let tests = &self.ready.tests.tests;
        let own = self.main.with_extension("test.toml");
        let path_of = |test: &crate::plan::testing::Test| &self.ready.sources.get(test.place.file).path;
        let in_files = || tests.iter().filter(|test| !test.in_route);
        let near = tests
            .iter()
            .rfind(|test| test.route == function)
            .or_else(|| in_files().rfind(|test| *path_of(test) == own))
            .or_else(|| in_files().next_back().filter(|_| !own.exists()));
        let (path, in_route) = match near {
            Some(test) => (path_of(test).clone(), test.in_route),
            None => (own, false),
        };
        let text = match path.exists() {
            true => fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?,
            false => String::new(),
        };
        Ok(SaveTarget { path, text, in_route })
    }

    async fn write(&self, target: &SaveTarget, function: &str, entries: &[NewEntry]) -> anyhow::Result<()> {
        let shown = target.path.display();
        let text = with_test(&target.text, target.in_route.then_some(function), entries);
        let text = text.with_context(|| {
            format!("test not saved: cannot add a test to `{shown}`; write its tests as `[[tests]]`")
        })?;
        fs::write(&target.path, text).with_context(|| format!("cannot write `{shown}`"))?;
        let Err(problem) = self.passes(function).await else {
            report(&format!(
                "{shown}: added test `{}` of `{function}`; review it before you commit",
                self.name
            ));
            return Ok(());
        };
        // Do not leave a failing test behind.
        let undone = match target.text.is_empty() {
            true => fs::remove_file(&target.path),
            false => fs::write(&target.path, &target.text),
        };
        undone.with_context(|| format!("cannot write `{shown}`"))?;
        Err(problem.context(format!("test not saved, because it would fail; `{shown}` was not changed")))
    }

    /// Reads the tests again and runs the new one.
    async fn passes(&self, function: &str) -> anyhow::Result<()> {
        let Ok(ready) = Ready::read(self.main, ReportFormat::Human)? else {
            bail!("the table would have errors")
        };
        let mut tests = ready.tests.tests.iter();
        let test = tests.find(|test| test.route == function && test.name == self.name);
        let test = test.context("cannot find the new test")?;
        let ran = testing::run(&ready.plan, &ready.resources, test).await;
        match ran.faults.is_empty() {
            true => Ok(()),
            false => bail!("{}", faults(&ran, &ready.sources).join("\n")),
        }
    }
}
