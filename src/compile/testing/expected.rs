//! The expected results of a test.

use http::HeaderName;
use serde_json::Value;

use crate::compile::failures;
use crate::compile::server::platforms;
use crate::compile::state::delivery;
use crate::compile::steps::request::parse_method;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::plan::testing::{DeliveredPart, Expectation, Expected, Part, emptied};
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawDelivered, RawExpect, RawExpectedRequest};
use crate::table::reader::{Key, Named, missing_key};

use super::canned::invalid_header_name;
use super::per_step::PerStep;
use super::subject::Subject;

/// What a test expects. `test` is its place.
pub(super) fn compile(
    test: Span,
    raw: &Key<RawExpect>,
    subject: &Subject<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Expected> {
    // A misspelled key has been reported already, so do not report a missing expectation as well.
    let misspelled = |raw: Span| {
        let inside = |span: Span| span.file == raw.file && (raw.start..raw.end).contains(&span.start);
        diagnostics.iter().any(|known| known.code == Code::UnknownKey && inside(known.span))
    };
    if raw.get().map_or(raw.is_absent(), |raw| is_empty(&raw.value) && !misspelled(raw.span)) {
        diagnostics.push(missing_key(
            raw.span().unwrap_or(test),
            "this test has no expectations",
            "add the expected result, such as `expect.text = \"…\"` or `expect.failure = \"timeout\"`",
        ));
    }
    let mut out = Vec::new();
    let Some(Located { value: raw, .. }) = raw.get() else { return out };
    out.extend(raw.text.get().map(|text| expect(text.span, Expectation::Text(text.value.clone()))));
    out.extend(raw.data.get().map(|data| expect(data.span, Expectation::Data(data.to_json()))));
    if let Some(kind) = raw.failure.get() {
        let known = failures::kind_of(&kind.value, kind.span, diagnostics);
        out.extend(known.map(|known| expect(kind.span, Expectation::Failure(known))));
    }
    let requests =
        PerStep { one: ("expect.request", &raw.request), many: ("expect.requests", &raw.requests) };
    for (step, request) in requests.read(subject, diagnostics) {
        for (span, part) in parts(&request.value, diagnostics) {
            out.push(expect(span, Expectation::Sent(step.clone(), part)));
        }
    }
    for (name, value) in raw.memory.entries() {
        if let Some(value) = value.get() {
            let what = Expectation::Memory(name.value.clone(), emptied(value.to_json()));
            out.push(expect(value.span, what));
        }
    }
    out.extend(delivered(raw, subject, diagnostics));
    for (name, answer) in raw.as_platform.entries() {
        if let (Some(platform), Some(answer)) = (platforms::find(name, diagnostics), answer.get()) {
            out.push(expect(answer.span, Expectation::Answer(platform, answer.to_json())));
        }
    }
    out
}

/// What is expected of the delivery that is stored.
fn delivered(raw: &RawExpect, subject: &Subject<'_>, diagnostics: &mut Diagnostics) -> Vec<Expected> {
    let Some(Located { value: raw, span }) = raw.delivered.get() else { return Vec::new() };
    if !delivery::is_async(subject.raw) {
        diagnostics.push(
            Diagnostic::new(Code::NoEffect, *span, "this route stores no delivery")
                .label("never stored")
                .help("add `delivery = \"async\"` to the route, or remove the expectation"),
        );
        return Vec::new();
    }
    let RawDelivered { route, args, event, platform, conversation, memory, ordered } = raw;
    let text = |key: &Key<String>| key.get().map(|text| (text.span, text.value.as_str().into()));
    let table = |key: &Key<Named<Kind>>| {
        let value =
            |(name, value): &(Located<String>, Key<Kind>)| Some((name.value.clone(), value.get()?.to_json()));
        key.get().map(|table| (table.span, Value::Object(table.value.0.iter().filter_map(value).collect())))
    };
    let parts = [
        (DeliveredPart::Route, text(route)),
        (DeliveredPart::Args, table(args)),
        (DeliveredPart::Event, event.get().map(|event| (event.span, event.to_json()))),
        (DeliveredPart::Platform, text(platform)),
        (DeliveredPart::Conversation, text(conversation)),
        (DeliveredPart::Memory, table(memory)),
        (DeliveredPart::Ordered, ordered.get().map(|ordered| (ordered.span, ordered.value.into()))),
    ];
    let parts = parts.into_iter().filter_map(|(part, found)| {
        let (span, value) = found?;
        Some(expect(span, Expectation::Delivered(Some((part, value)))))
    });
    std::iter::once(expect(*span, Expectation::Delivered(None))).chain(parts).collect()
}

fn is_empty(raw: &RawExpect) -> bool {
    let RawExpect { text, data, failure, request, requests, memory, delivered, as_platform } = raw;
    text.is_absent()
        && data.is_absent()
        && failure.is_absent()
        && request.is_absent()
        && requests.is_absent()
        && memory.is_absent()
        && delivered.is_absent()
        && as_platform.is_absent()
}

fn expect(place: Span, what: Expectation) -> Expected {
    Expected { place, what }
}

/// The parts of a request that must be sent.
fn parts(raw: &RawExpectedRequest, diagnostics: &mut Diagnostics) -> Vec<(Span, Part)> {
    let mut out = Vec::new();
    if let Some(text) = raw.method.get() {
        out.extend(parse_method(text, diagnostics).map(|method| (text.span, Part::Method(method))));
    }
    out.extend(raw.url.get().map(|url| (url.span, Part::Url(url.value.clone()))));
    out.extend(raw.path.get().map(|path| (path.span, Part::Path(path.value.clone()))));
    for (name, value) in raw.query.entries() {
        let Some(value) = value.get() else { continue };
        match parameter(&value.to_json()) {
            Some(values) => out.push((value.span, Part::Query(name.value.clone(), values))),
            None => diagnostics.push(
                Diagnostic::new(
                    Code::WrongType,
                    value.span,
                    "a query parameter is a text or a list of texts",
                )
                .help("write a string, a number, `true` or `false`, or a list of them"),
            ),
        }
    }
    for (name, value) in raw.headers.entries() {
        let Some(value) = value.get() else { continue };
        match HeaderName::from_bytes(name.value.as_bytes()) {
            Ok(header) => out.push((value.span, Part::Header(header, value.value.clone()))),
            Err(_) => diagnostics.push(invalid_header_name(name)),
        }
    }
    out.extend(raw.body.get().map(|body| (body.span, Part::Body(body.to_json()))));
    out
}

/// The value of a query parameter as text; `None` for tables.
fn parameter(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
        Value::Array(values) => {
            values.iter().map(|value| parameter(value).filter(Value::is_string)).collect()
        }
        Value::Object(_) | Value::Null => None,
    }
}
