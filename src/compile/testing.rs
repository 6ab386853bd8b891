//! `[[routes.x.tests]]` and the files of tests: what is made up, and what must come of it.

mod canned;
mod expected;

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::plan::testing::{CallChanges, Canned, Expectation, Expected, Test, TestInput, Testable, Tests};
use crate::platform::{self, Platform};
use crate::table::Table;
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawRoute, RawTest, RawTestCall};
use crate::table::reader::{Key, Named, missing_key, wrong_type};

use super::secrets::Environment;
use super::server::known_platform;

/// The time of a call for which a test gives none.
const NOW: &str = "2026-01-01T12:00:00Z";

/// Compiles the tests that stand in the table and those that were `written` in files of their own.
pub(crate) fn compile_tests(
    table: &Table,
    written: &[Located<RawTest>],
    environment: &Environment<'_>,
    diagnostics: &mut Diagnostics,
) -> Tests {
    let mut out = Tests::default();
    let mut names: Vec<(String, &Located<String>)> = Vec::new();
    let mut found: Vec<(TestHome, &Located<RawTest>, Subject<'_>)> = Vec::new();
    for (name, route) in &table.routes {
        let Some(route) = route.get() else { continue };
        let raw = &route.value.entry;
        let cases = raw.reply.get().map(|replies| replies.value.0.as_slice()).unwrap_or_default();
        let cases = cases.iter().map(|case| case.span).collect();
        out.routes.push(Testable { name: name.value.clone(), place: name.span, cases });
        let tests = raw.tests.get().map(|tests| tests.value.as_slice()).unwrap_or_default();
        for (index, test) in tests.iter().enumerate() {
            for (key, other) in [("route", &test.value.route), ("event", &test.value.event)] {
                if let Some(span) = other.span() {
                    diagnostics.push(
                        Diagnostic::new(
                            Code::ConflictingKeys,
                            span,
                            "a test inside a route always tests that route",
                        )
                        .help(format!("remove `{key}`; it is for tests in a `*.test.toml` file")),
                    );
                }
            }
            let subject = Subject { name: name.value.clone(), raw, event: None };
            found.push((TestHome { in_route: true, index }, test, subject));
        }
    }
    for (position, test) in written.iter().enumerate() {
        let before = written[..position].iter().filter(|other| other.span.file == test.span.file);
        let home = TestHome { in_route: false, index: before.count() };
        if let Some(event) = test.value.event.get() {
            found.extend(self::event(table, test, event, diagnostics).map(|subject| (home, test, subject)));
            continue;
        }
        let Some(wanted) = test.value.route.get() else {
            if test.value.route.is_absent() && test.value.event.is_absent() {
                diagnostics.push(missing_key(
                    test.span,
                    "this test names no route",
                    "add `route = \"…\"` with the tested function, or `event = \"voicedock.status_update\"`",
                ));
            }
            continue;
        };
        match table.routes.iter().find(|(name, _)| name.value == wanted.value) {
            Some((name, Key::Is(route))) => {
                let subject = Subject { name: name.value.clone(), raw: &route.value.entry, event: None };
                found.push((home, test, subject));
            }
            Some(_) => {}
            None => diagnostics.push(
                Diagnostic::new(Code::UnknownRoute, wanted.span, format!("unknown route `{}`", wanted.value))
                    .maybe_help(suggest(
                        &wanted.value,
                        table.routes.iter().map(|(name, _)| name.value.as_str()),
                    )),
            ),
        }
    }
    for (home, test, subject) in found {
        if let Some(name) = test.value.name.get() {
            let same = names.iter().find(|(of, known)| *of == subject.name && known.value == name.value);
            match same {
                Some((_, first)) => diagnostics.push(
                    Diagnostic::new(
                        Code::DuplicateName,
                        name.span,
                        format!("duplicate test `{}` of `{}`", name.value, subject.name),
                    )
                    .label("defined again here")
                    .related(first.span, "first defined here")
                    .help("give each test of a route its own name"),
                ),
                None => names.push((subject.name.clone(), name)),
            }
        }
        let steps = steps(subject.raw);
        let compiler = TestCompiler { table, environment, subject, steps };
        out.tests.extend(compiler.test(home, test, diagnostics));
    }
    out
}

/// Where a test stands, and which it is there.
#[derive(Clone, Copy)]
struct TestHome {
    in_route: bool,
    index: usize,
}

/// What is tested.
struct Subject<'a> {
    /// The route's name, or the event's with its platform's before it.
    name: String,
    raw: &'a RawRoute,
    /// Who sends it and its own name, if it is an event.
    event: Option<(&'static dyn Platform, &'a str)>,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} `{}`", if self.event.is_some() { "event" } else { "route" }, self.name)
    }
}

/// The event that a test is about, and what such a test must have.
fn event<'a>(
    table: &'a Table,
    test: &Located<RawTest>,
    wanted: &Located<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Subject<'a>> {
    let raw = &test.value;
    for (key, span) in
        [("route", raw.route.span()), ("platform", raw.platform.span()), ("args", raw.args.span())]
    {
        if let Some(span) = span {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    span,
                    format!("a test of an event cannot have `{key}`"),
                )
                .related(wanted.span, "the event")
                .help(format!("remove `{key}`; the event and its request file determine it")),
            );
        }
    }
    if raw.request_file.is_absent() {
        diagnostics.push(missing_key(
            test.span,
            "a test of an event needs a `request_file`",
            "add `request_file = \"…\"`: a file with the whole body that the platform posts",
        ));
    }
    let full = |platform: &str, name: &str| format!("{platform}.{name}");
    let known =
        table.events.iter().find(|(platform, name, _)| full(&platform.value, &name.value) == wanted.value);
    let Some((platform, name, entry)) = known else {
        let names: Vec<String> =
            table.events.iter().map(|(platform, name, _)| full(&platform.value, &name.value)).collect();
        diagnostics.push(
            Diagnostic::new(
                Code::UnknownEvent,
                wanted.span,
                format!("no entry for the event `{}`", wanted.value),
            )
            .maybe_help(suggest(&wanted.value, names.iter().map(String::as_str))),
        );
        return None;
    };
    // What is wrong with the entry itself has been said.
    let (platform, entry) = (platform::find(&platform.value)?, entry.get()?);
    let event = Some((platform, name.value.as_str()));
    Some(Subject { name: wanted.value.clone(), raw: &entry.value.entry, event })
}

/// The names of a route's steps; the name of its only one is empty.
fn steps(raw: &RawRoute) -> Vec<&str> {
    match raw.steps.get() {
        Some(steps) => {
            let names = steps.value.iter().filter_map(|step| step.value.name.get());
            names.map(|name| name.value.as_str()).collect()
        }
        None if raw.request.is_absent() => Vec::new(),
        None => vec![""],
    }
}

/// What one test is compiled with.
struct TestCompiler<'a> {
    table: &'a Table,
    environment: &'a Environment<'a>,
    subject: Subject<'a>,
    steps: Vec<&'a str>,
}

impl TestCompiler<'_> {
    fn test(&self, home: TestHome, test: &Located<RawTest>, diagnostics: &mut Diagnostics) -> Option<Test> {
        let before = diagnostics.len();
        let raw = &test.value;
        if raw.name.is_absent() {
            diagnostics.push(missing_key(
                test.span,
                "this test has no `name`",
                "add `name = \"an unknown city\"`",
            ));
        }
        let expected = self.expected(test.span, &raw.expect, diagnostics);
        let platform = self.platform(raw, &expected, diagnostics);
        let asked = self.asked(raw, platform, &expected, diagnostics);
        let call = raw.call.get().map(|call| call_changes(&call.value, diagnostics)).unwrap_or_default();
        let now = self.now(&raw.now, diagnostics);
        let canned: Vec<(String, Canned)> = self
            .per_step(("upstream", &raw.upstream), ("upstreams", &raw.upstreams), diagnostics)
            .into_iter()
            .filter_map(|(step, canned)| Some((step, self.canned(canned, diagnostics)?)))
            .collect();
        let name = raw.name.get()?.value.clone();
        (diagnostics.len() == before).then_some(Test {
            name,
            route: self.subject.name.clone(),
            event: self.subject.event.map(|(_, name)| name.to_owned()),
            place: test.span,
            in_route: home.in_route,
            index: home.index,
            platform: platform?,
            asked,
            call,
            now,
            canned,
            expected,
        })
    }

    /// Who calls: whoever the test names, else the only one whose answer it expects, else whoever shows most.
    fn platform(
        &self,
        raw: &RawTest,
        expected: &[Expected],
        diagnostics: &mut Diagnostics,
    ) -> Option<&'static dyn Platform> {
        if let Some((platform, _)) = self.subject.event {
            return Some(platform);
        }
        if let Some(name) = raw.platform.get() {
            return known_platform(name, diagnostics);
        }
        let mut answered = expected.iter().filter_map(|expected| match &expected.what {
            Expectation::Answer(platform, _) => Some(*platform),
            _ => None,
        });
        if let (Some(only), None) = (answered.next(), answered.next()) {
            return Some(only);
        }
        let limited = self.subject.raw.platforms.get().map(|limited| limited.value.as_slice());
        let first = limited
            .filter(|limited| !limited.iter().any(|name| name.value == "http"))
            .and_then(|limited| limited.first());
        platform::find(first.map_or("http", |name| &name.value))
    }

    fn asked(
        &self,
        raw: &RawTest,
        platform: Option<&'static dyn Platform>,
        expected: &[Expected],
        diagnostics: &mut Diagnostics,
    ) -> TestInput {
        let mut args = Map::new();
        for (name, value) in raw.args.get().map(|args| args.value.0.as_slice()).unwrap_or_default() {
            if let Some(value) = value.get() {
                args.insert(name.value.clone(), value.to_json());
            }
        }
        let Some(file) = raw.request_file.get() else { return TestInput::Args(Value::Object(args)) };
        if let Some(span) = raw.args.span() {
            diagnostics.push(
                Diagnostic::new(Code::ConflictingKeys, span, "`args` and `request_file` exclude each other")
                    .help("remove one of them: the file contains the arguments"),
            );
        }
        if raw.platform.is_absent() && self.subject.event.is_none() {
            diagnostics.push(missing_key(
                file.span,
                "a `request_file` needs a `platform`",
                "add `platform = \"swaig\"`, or the platform that sends the request",
            ));
        }
        for expected in expected {
            if let (Expectation::Answer(other, _), Some(platform)) = (&expected.what, platform)
                && other.name() != platform.name()
            {
                diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        expected.place,
                        format!(
                            "the request is one of {}, so {} gives no answer",
                            platform.name(),
                            other.name()
                        ),
                    )
                    .help("use `args` instead of the file: they work for every platform"),
                );
            }
        }
        TestInput::Body(self.file(file, diagnostics).unwrap_or_default())
    }

    fn file(&self, name: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Bytes> {
        match (self.environment.file)(&self.table.folder.join(&name.value)) {
            Ok(text) => Some(Bytes::from(text)),
            Err(error) => {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnreadableFile,
                        name.span,
                        format!("`{}` cannot be read: {error}", name.value),
                    )
                    .help("check the path: it is relative to the main file's folder"),
                );
                None
            }
        }
    }

    fn now(&self, raw: &Key<Kind>, diagnostics: &mut Diagnostics) -> String {
        let Some(raw) = raw.get() else { return NOW.to_owned() };
        let text = match &raw.value {
            Kind::Datetime(text) | Kind::String(text) => text.as_str(),
            _ => "",
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Err(_) => {
                diagnostics.push(
                    Diagnostic::new(Code::UnknownValue, raw.span, "invalid date and time")
                        .help("write a date, a time and a zone: `now = 2026-06-19T19:30:00Z`"),
                );
                NOW.to_owned()
            }
        }
    }

    /// What is written for a route's only request, or for each of its steps.
    fn per_step<'r, T>(
        &self,
        (one_key, one): (&str, &'r Key<T>),
        (many_key, many): (&str, &'r Key<Named<T>>),
        diagnostics: &mut Diagnostics,
    ) -> Vec<(String, &'r Located<T>)> {
        let mut out = Vec::new();
        let none = |span| {
            Diagnostic::new(Code::NeedsRequest, span, format!("{} sends no request", self.subject))
                .help("remove this: it replies without a request")
        };
        if let Some(one) = one.get() {
            match self.steps.as_slice() {
                [] => diagnostics.push(none(one.span)),
                [""] => out.push((String::new(), one)),
                [first, ..] => diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        one.span,
                        format!("{} has steps, but this names none of them", self.subject),
                    )
                    .help(format!("name the step: `{many_key}.{first} = {{ … }}`")),
                ),
            }
        }
        for (name, value) in many.get().map(|many| many.value.0.as_slice()).unwrap_or_default() {
            let Some(value) = value.get() else { continue };
            match self.steps.as_slice() {
                [] => diagnostics.push(none(name.span)),
                [""] => diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownName,
                        name.span,
                        format!("{} has a single request and no steps", self.subject),
                    )
                    .help(format!("write `{one_key} = {{ … }}`")),
                ),
                steps if steps.contains(&name.value.as_str()) => out.push((name.value.clone(), value)),
                steps => diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownName,
                        name.span,
                        format!("{} has no step `{}`", self.subject, name.value),
                    )
                    .maybe_help(suggest(&name.value, steps.iter().copied())),
                ),
            }
        }
        out
    }
}

fn no_header(name: &Located<String>) -> Diagnostic {
    Diagnostic::new(Code::InvalidHeader, name.span, format!("invalid header name `{}`", name.value))
        .help("use letters, digits and hyphens, as in `x-api-key`")
}

fn call_changes(raw: &RawTestCall, diagnostics: &mut Diagnostics) -> CallChanges {
    let text = |key: &Key<String>| key.get().map(|text| text.value.clone());
    let mut object = |key: &Key<Kind>| {
        let node = key.get()?;
        if matches!(node.value, Kind::Table(_)) {
            return Some(node.to_json());
        }
        wrong_type(node, "a table", diagnostics)
    };
    let (metadata, global) = (object(&raw.metadata), object(&raw.global));
    let headers = raw.headers.get().map(|headers| {
        let given = headers.value.0.iter();
        given
            .filter_map(|(name, value)| {
                Some((name.value.to_ascii_lowercase(), Value::from(value.get()?.value.as_str())))
            })
            .collect()
    });
    CallChanges {
        id: text(&raw.id),
        conversation: text(&raw.conversation),
        caller: text(&raw.caller),
        called: text(&raw.called),
        metadata,
        global,
        headers,
    }
}
