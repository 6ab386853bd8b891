//! What must come of a test.

use http::{HeaderName, Method};

use crate::compile::failure_kind;
use crate::compile::request::METHODS;
use crate::compile::server::known_platform;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::plan::testing::{Expectation, Expected, Part};
use crate::table::document::Located;
use crate::table::raw::{RawExpect, RawExpectedRequest};
use crate::table::reader::{Key, missing_key};

use super::{TestCompiler, no_header};

impl TestCompiler<'_> {
    pub(super) fn expected(
        &self,
        test: Span,
        raw: &Key<RawExpect>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<Expected> {
        let mut out = Vec::new();
        if let Some(Located { value: raw, .. }) = raw.get() {
            out.extend(raw.text.get().map(|text| expect(text.span, Expectation::Text(text.value.clone()))));
            out.extend(raw.data.get().map(|data| expect(data.span, Expectation::Data(data.to_json()))));
            if let Some(kind) = raw.failure.get() {
                let known = failure_kind(&kind.value, kind.span, diagnostics);
                out.extend(known.map(|known| expect(kind.span, Expectation::Failure(known))));
            }
            let requests = self.per_step(
                ("expect.request", &raw.request),
                ("expect.requests", &raw.requests),
                diagnostics,
            );
            for (step, request) in requests {
                for (span, part) in parts(&request.value, diagnostics) {
                    out.push(expect(span, Expectation::Sent(step.clone(), part)));
                }
            }
            let answers = raw.as_platform.get().map(|answers| answers.value.0.as_slice()).unwrap_or_default();
            for (name, answer) in answers {
                if let (Some(platform), Some(answer)) = (known_platform(name, diagnostics), answer.get()) {
                    out.push(expect(answer.span, Expectation::Answer(platform, answer.to_json())));
                }
            }
        }
        let is_empty = |raw: &RawExpect| {
            let RawExpect { text, data, failure, request, requests, as_platform } = raw;
            let keys = [text.is_absent(), data.is_absent(), failure.is_absent(), request.is_absent()];
            let all = keys.into_iter().chain([requests.is_absent(), as_platform.is_absent()]);
            all.into_iter().all(|none| none)
        };
        // A key that is only misspelled has been said, and is not none.
        let misspelled = |raw: Span| {
            let inside = |span: Span| span.file == raw.file && (raw.start..raw.end).contains(&span.start);
            diagnostics.iter().any(|known| known.code == Code::UnknownKey && inside(known.span))
        };
        if raw.get().map_or(raw.is_absent(), |raw| is_empty(&raw.value) && !misspelled(raw.span)) {
            diagnostics.push(missing_key(
                raw.span().unwrap_or(test),
                "this test expects nothing",
                "add the expected result, such as `expect.text = \"…\"` or `expect.failure = \"timeout\"`",
            ));
        }
        out
    }
}

fn expect(place: Span, what: Expectation) -> Expected {
    Expected { place, what }
}

/// The parts of a request that must be sent.
fn parts(raw: &RawExpectedRequest, diagnostics: &mut Diagnostics) -> Vec<(Span, Part)> {
    let mut out = Vec::new();
    if let Some(text) = raw.method.get() {
        match Method::from_bytes(text.value.as_bytes()) {
            Ok(method) if METHODS.contains(&text.value.as_str()) => {
                out.push((text.span, Part::Method(method)));
            }
            _ => diagnostics.push(
                Diagnostic::new(
                    Code::InvalidMethod,
                    text.span,
                    format!("unknown request method `{}`", text.value),
                )
                .maybe_help(suggest(&text.value, METHODS)),
            ),
        }
    }
    out.extend(raw.url.get().map(|url| (url.span, Part::Url(url.value.clone()))));
    for (name, value) in raw.headers.get().map(|headers| headers.value.0.as_slice()).unwrap_or_default() {
        let Some(value) = value.get() else { continue };
        match HeaderName::from_bytes(name.value.as_bytes()) {
            Ok(header) => out.push((value.span, Part::Header(header, value.value.clone()))),
            Err(_) => diagnostics.push(no_header(name)),
        }
    }
    out.extend(raw.body.get().map(|body| (body.span, Part::Body(body.to_json()))));
    out
}
