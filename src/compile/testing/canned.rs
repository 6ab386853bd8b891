//! What an upstream is made to answer in a test.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::testing::Canned;
use crate::table::document::{Kind, Located};
use crate::table::raw::RawCanned;
use crate::table::reader::{Key, Named};

use super::{TestCompiler, no_header};

impl TestCompiler<'_> {
    pub(super) fn canned(&self, raw: &Located<RawCanned>, diagnostics: &mut Diagnostics) -> Option<Canned> {
        let RawCanned { status, headers, body, body_file, failure } = &raw.value;
        if let Some(failure) = failure.get() {
            let beside = [status.span(), headers.span(), body.span(), body_file.span()];
            for span in beside.into_iter().flatten() {
                diagnostics.push(
                    Diagnostic::new(Code::ConflictingKeys, span, "a failed request has no response")
                        .related(failure.span, "the failure")
                        .help("remove the failure or the response"),
                );
            }
            let kinds = [FailureKind::Timeout, FailureKind::Unreachable].map(FailureKind::slug);
            return match failure.value.as_str() {
                kind if kind == kinds[0] => Some(Canned::Timeout),
                kind if kind == kinds[1] => Some(Canned::Unreachable),
                other => {
                    diagnostics.push(
                        Diagnostic::new(
                            Code::UnknownFailure,
                            failure.span,
                            format!("an upstream cannot fail with `{other}`"),
                        )
                        .help("use \"timeout\" or \"unreachable\"; describe anything else as a response with a status or a body"),
                    );
                    None
                }
            };
        }
        let code = match status.get() {
            None => Some(StatusCode::OK),
            Some(status) => {
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
        };
        if let (Some(span), Some(file)) = (body.span(), body_file.span()) {
            diagnostics.push(
                Diagnostic::new(Code::ConflictingKeys, span, "`body` and `body_file` exclude each other")
                    .related(file, "the file")
                    .help("remove one of them"),
            );
        }
        let (content_type, bytes) = match (body.get(), body_file.get()) {
            (Some(Located { value: Kind::String(text), .. }), _) => (None, Bytes::from(text.clone())),
            (Some(body), _) => (Some("application/json"), Bytes::from(body.to_json().to_string())),
            (None, Some(file)) => {
                let content_type = match file.value.rsplit_once('.') {
                    Some((_, "json")) => Some("application/json"),
                    Some((_, "xml")) => Some("application/xml"),
                    _ => None,
                };
                (content_type, self.file(file, diagnostics)?)
            }
            (None, None) => (None, Bytes::new()),
        };
        let mut sent = HeaderMap::new();
        if let Some(content_type) = content_type {
            sent.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in header_values(headers, diagnostics) {
            sent.insert(name, value);
        }
        Some(Canned::Reply { status: code?, headers: sent, body: bytes })
    }
}

fn header_values(raw: &Key<Named<String>>, diagnostics: &mut Diagnostics) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = Vec::new();
    for (name, value) in raw.get().map(|raw| raw.value.0.as_slice()).unwrap_or_default() {
        let Some(value) = value.get() else { continue };
        match (HeaderName::from_bytes(name.value.as_bytes()), HeaderValue::from_str(&value.value)) {
            (Ok(name), Ok(value)) => out.push((name, value)),
            (Err(_), _) => diagnostics.push(no_header(name)),
            (_, Err(_)) => diagnostics.push(
                Diagnostic::new(Code::InvalidHeader, value.span, "invalid header value")
                    .help("write the value as one line"),
            ),
        }
    }
    out
}
