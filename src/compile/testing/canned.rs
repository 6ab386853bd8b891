//! The simulated responses of upstreams in a test.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::call::FailureKind;
use crate::compile::cx::Cx;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::testing::Canned;
use crate::table::document::{Kind, Located};
use crate::table::raw::RawCanned;
use crate::table::reader::{Key, Named};

use super::files::read_file;

/// A simulated response, or a failure; `None` after errors.
pub(super) fn compile(cx: &mut Cx<'_>, raw: &Located<RawCanned>) -> Option<Canned> {
    let raw = &raw.value;
    if let Some(failure) = raw.failure.get() {
        return compile_failure(raw, failure, cx.diagnostics);
    }
    let status = match raw.status.get() {
        None => Some(StatusCode::OK),
        Some(status) => compile_status(status, cx.diagnostics),
    };
    let (content_type, body) = compile_body(cx, raw)?;
    let mut headers = HeaderMap::new();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    headers.extend(header_values(&raw.headers, cx.diagnostics));
    Some(Canned::Reply { status: status?, headers, body })
}

/// A request that fails without a response.
fn compile_failure(
    raw: &RawCanned,
    failure: &Located<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Canned> {
    let response = [raw.status.span(), raw.headers.span(), raw.body.span(), raw.body_file.span()];
    for span in response.into_iter().flatten() {
        diagnostics.push(
            Diagnostic::new(Code::ConflictingKeys, span, "a failed request has no response")
                .related(failure.span, "the failure")
                .help("remove the failure or the response"),
        );
    }
    match FailureKind::from_slug(&failure.value) {
        Some(FailureKind::Timeout) => Some(Canned::Timeout),
        Some(FailureKind::Unreachable) => Some(Canned::Unreachable),
        _ => {
            diagnostics.push(
                Diagnostic::new(
                    Code::UnknownFailure,
                    failure.span,
                    format!("an upstream cannot fail with `{}`", failure.value),
                )
                .help("use \"timeout\" or \"unreachable\"; describe anything else as a response with a status or a body"),
            );
            None
        }
    }
}

fn compile_status(status: &Located<u64>, diagnostics: &mut Diagnostics) -> Option<StatusCode> {
    let code = u16::try_from(status.value).ok().filter(|code| (200..=599).contains(code));
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    if code.is_none() {
        diagnostics.push(
            Diagnostic::new(Code::InvalidStatus, status.span, "invalid response status")
                .help("use a number from 200 to 599"),
        );
    }
    code
}

/// The body, and the content type that its form or its file implies.
fn compile_body(cx: &mut Cx<'_>, raw: &RawCanned) -> Option<(Option<&'static str>, Bytes)> {
    let RawCanned { body, body_file, .. } = raw;
    if let (Some(span), Some(file)) = (body.span(), body_file.span()) {
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, span, "`body` and `body_file` exclude each other")
                .related(file, "the file")
                .help("remove one of them"),
        );
    }
    Some(match (body.get(), body_file.get()) {
        (Some(Located { value: Kind::String(text), .. }), _) => (None, Bytes::from(text.clone())),
        (Some(body), _) => (Some("application/json"), Bytes::from(body.to_json().to_string())),
        (None, Some(file)) => {
            let content_type = match file.value.rsplit_once('.') {
                Some((_, "json")) => Some("application/json"),
                Some((_, "xml")) => Some("application/xml"),
                _ => None,
            };
            (content_type, read_file(cx, file)?)
        }
        (None, None) => (None, Bytes::new()),
    })
}

fn header_values(raw: &Key<Named<String>>, diagnostics: &mut Diagnostics) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = Vec::new();
    for (name, value) in raw.entries() {
        let Some(value) = value.get() else { continue };
        match (HeaderName::from_bytes(name.value.as_bytes()), HeaderValue::from_str(&value.value)) {
            (Ok(name), Ok(value)) => out.push((name, value)),
            (Err(_), _) => diagnostics.push(invalid_header_name(name)),
            (_, Err(_)) => diagnostics.push(
                Diagnostic::new(Code::InvalidHeader, value.span, "invalid header value")
                    .help("write the value as one line"),
            ),
        }
    }
    out
}

/// The error about an invalid header name.
pub(super) fn invalid_header_name(name: &Located<String>) -> Diagnostic {
    Diagnostic::new(Code::InvalidHeader, name.span, format!("invalid header name `{}`", name.value))
        .help("use letters, digits and hyphens, as in `x-api-key`")
}
