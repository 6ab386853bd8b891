//! One test.

use serde_json::{Map, Value};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::plan::testing::{CallChanges, Expectation, Expected, Test, TestInput};
use crate::platform::{self, Platform};
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawTest, RawTestCall};
use crate::table::reader::{Key, Named, missing_key, wrong_type};

use crate::compile::cx::Cx;
use crate::compile::server::platforms;
use crate::compile::state;

use super::files::read_file;
use super::per_step::PerStep;
use super::subject::Subject;
use super::{Found, canned, expected};

/// The time of a call if the test does not set one.
const NOW: &str = "2026-01-01T12:00:00Z";

/// Compiles a test; `None` after errors.
pub(super) fn compile(cx: &mut Cx<'_>, found: &Found<'_>) -> Option<Test> {
    let Found { place, test, subject } = found;
    let before = cx.diagnostics.len();
    let raw = &test.value;
    if raw.name.is_absent() {
        cx.report(missing_key(test.span, "this test has no `name`", "add `name = \"an unknown city\"`"));
    }
    let expected = expected::compile(test.span, &raw.expect, subject, cx.diagnostics);
    let platform = platform(raw, subject, &expected, cx.diagnostics);
    let input = input(cx, raw, subject);
    if let (TestInput::Body(_), Some(platform)) = (&input, platform) {
        check_answers(platform, &expected, cx.diagnostics);
    }
    let call = raw.call.get().map(|call| call_changes(&call.value, cx.diagnostics));
    let now = now(&raw.now, cx.diagnostics);
    let upstreams = PerStep { one: ("upstream", &raw.upstream), many: ("upstreams", &raw.upstreams) };
    let upstreams = upstreams.read(subject, cx.diagnostics).into_iter();
    let canned = upstreams.filter_map(|(step, raw)| Some((step, canned::compile(cx, raw)?))).collect();
    let test = Test {
        name: raw.name.get()?.value.clone(),
        route: subject.name.clone(),
        event: subject.event.map(|(_, name)| name.to_owned()),
        place: test.span,
        in_route: place.in_route,
        index: place.index,
        platform: platform?,
        input,
        call: call.unwrap_or_default(),
        memory: memory(cx, &raw.memory),
        now,
        canned,
        expected,
    };
    (cx.diagnostics.len() == before).then_some(test)
}

/// What earlier calls remembered.
fn memory(cx: &mut Cx<'_>, raw: &Key<Named<Kind>>) -> Map<String, Value> {
    let known = state::memory::names(cx);
    let mut memory = Map::new();
    for (name, value) in raw.entries() {
        if !known.contains_key(&name.value) {
            cx.report(
                Diagnostic::new(Code::UnknownName, name.span, format!("no route remembers `{}`", name.value))
                    .maybe_help(suggest(&name.value, known.keys().map(String::as_str))),
            );
        }
        memory.extend(value.get().map(|value| (name.value.clone(), value.to_json())));
    }
    memory
}

/// The platform that calls: the one that the test names, or the only one whose answer it expects. Otherwise it is
/// `http`, or the first platform that may call the route.
fn platform(
    raw: &RawTest,
    subject: &Subject<'_>,
    expected: &[Expected],
    diagnostics: &mut Diagnostics,
) -> Option<&'static dyn Platform> {
    if let Some((platform, _)) = subject.event {
        return Some(platform);
    }
    if let Some(name) = raw.platform.get() {
        return platforms::find(name, diagnostics);
    }
    let mut answered = expected.iter().filter_map(|expected| match &expected.what {
        Expectation::Answer(platform, _) => Some(*platform),
        _ => None,
    });
    if let (Some(only), None) = (answered.next(), answered.next()) {
        return Some(only);
    }
    let limited = subject.raw.platforms.get().map(|limited| limited.value.as_slice());
    let first = limited
        .filter(|limited| !limited.iter().any(|name| name.value == "http"))
        .and_then(|limited| limited.first());
    platform::find(first.map_or("http", |name| &name.value))
}

/// The arguments of the call, or the body of a platform's request.
fn input(cx: &mut Cx<'_>, raw: &RawTest, subject: &Subject<'_>) -> TestInput {
    let mut args = Map::new();
    for (name, value) in raw.args.entries() {
        if let Some(value) = value.get() {
            args.insert(name.value.clone(), value.to_json());
        }
    }
    let Some(file) = raw.request_file.get() else { return TestInput::Args(Value::Object(args)) };
    if let Some(span) = raw.args.span() {
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, span, "`args` and `request_file` exclude each other")
                .help("remove one of them: the file contains the arguments"),
        );
    }
    if raw.platform.is_absent() && subject.event.is_none() {
        cx.report(missing_key(
            file.span,
            "a `request_file` needs a `platform`",
            "add `platform = \"swaig\"`, or the platform that sends the request",
        ));
    }
    TestInput::Body(read_file(cx, file).unwrap_or_default())
}

/// Reports each expected answer of a platform that did not send the request.
fn check_answers(platform: &dyn Platform, expected: &[Expected], diagnostics: &mut Diagnostics) {
    for expected in expected {
        if let Expectation::Answer(other, _) = &expected.what
            && other.name() != platform.name()
        {
            diagnostics.push(
                Diagnostic::new(
                    Code::ConflictingKeys,
                    expected.place,
                    format!(
                        "the request comes from {}, so there is no answer from {}",
                        platform.name(),
                        other.name()
                    ),
                )
                .help("use `args` instead of the file, which works for every platform"),
            );
        }
    }
}

fn now(raw: &Key<Kind>, diagnostics: &mut Diagnostics) -> String {
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
    let header = |(name, value): &(Located<String>, Key<String>)| {
        Some((name.value.to_ascii_lowercase(), Value::from(value.get()?.value.as_str())))
    };
    let headers = raw.headers.get().map(|headers| headers.value.0.iter().filter_map(header).collect());
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
