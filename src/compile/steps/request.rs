//! `[routes.x.request]`: the request to an upstream.

use std::sync::Arc;

use http::Method;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, place_in_string};
use crate::lang::template::{Names, Template};
use crate::plan::request::{RequestTemplate, Upstream};
use crate::table::document::Located;
use crate::table::raw::RawRequest;
use crate::table::reader::missing_key;

use crate::compile::cx::Cx;
use crate::compile::steps::{body, parameters};
use crate::compile::upstreams::CompiledUpstream;
use crate::compile::upstreams::headers::{self, HeaderOwner};
use crate::compile::values;

/// The methods that Jackfield knows. Any other token is a method too, and may change something.
pub(in crate::compile) const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// The methods that change nothing by their definition, beside those that [`Method::is_safe`] knows: RFC 4918, RFC 3253,
/// RFC 5323, and the QUERY method.
const SAFE_METHODS: [&str; 4] = ["PROPFIND", "QUERY", "REPORT", "SEARCH"];

/// A request; `None` after errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Located<RawRequest>,
    known: Option<&CompiledUpstream<'_>>,
    names: &Names<'_>,
) -> Option<RequestTemplate> {
    let before = cx.diagnostics.len();
    let RawRequest { method, safe, path, query, headers, body, form, body_file, .. } = &raw.value;
    let has_body = !(body.is_absent() && form.is_absent() && body_file.is_absent());
    let method = match method.get() {
        Some(text) => parse_method(text, cx.diagnostics),
        None if has_body && method.is_absent() => {
            cx.report(missing_key(
                raw.span,
                "a request with a body needs a `method`",
                "add `method = \"POST\"`",
            ));
            None
        }
        None => Some(Method::GET),
    };
    let path = match path.get() {
        Some(text) => compile_path(cx, text, names),
        None => Some(Template::default()),
    };
    let query = parameters::compile(cx, query, names);
    let own_headers = headers::templates(cx, headers, names, HeaderOwner::Request);
    let body = body::compile(cx, &raw.value, names);
    if cx.diagnostics.len() > before {
        return None;
    }
    let method = method?;
    let safe = is_safe(&method, safe.get(), cx.diagnostics);
    let known = known?;
    let upstream: Arc<Upstream> = Arc::clone(known.upstream.as_ref()?);
    Some(RequestTemplate {
        upstream,
        step: Arc::default(),
        method,
        safe,
        path: path?,
        query,
        headers: Arc::clone(&known.headers),
        own_headers,
        body: body?,
    })
}

/// An HTTP method.
pub(in crate::compile) fn parse_method(
    text: &Located<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Method> {
    let written = text.value.as_str();
    let meant = METHODS.into_iter().find(|known| written != *known && written.eq_ignore_ascii_case(known));
    let (message, help) = match (meant, Method::from_bytes(written.as_bytes())) {
        (Some(known), _) => {
            (format!("unknown request method `{written}`"), format!("write it in upper case: `{known}`"))
        }
        // It would ask for a tunnel.
        (None, Ok(Method::CONNECT)) => (
            "`CONNECT` is not a request of a route".to_owned(),
            "set the upstream's `proxy` instead".to_owned(),
        ),
        (None, Ok(method)) => return Some(method),
        (None, Err(_)) => (
            format!("invalid request method `{written}`"),
            "write one word, such as `GET`, `POST` or `REPORT`".to_owned(),
        ),
    };
    diagnostics.push(Diagnostic::new(Code::InvalidMethod, text.span, message).help(help));
    None
}

/// Whether a request changes nothing: by `safe`, or by its method.
fn is_safe(method: &Method, safe: Option<&Located<bool>>, diagnostics: &mut Diagnostics) -> bool {
    let by_method = method.is_safe() || SAFE_METHODS.contains(&method.as_str());
    if let Some(safe) = safe.filter(|safe| safe.value == by_method) {
        let what = if by_method { "is safe by default" } else { "is a write by default" };
        diagnostics.push(
            Diagnostic::new(Code::NoEffect, safe.span, format!("`safe` has no effect: {method} {what}"))
                .label("has no effect")
                .help("remove it"),
        );
    }
    safe.map_or(by_method, |safe| safe.value)
}

fn compile_path(cx: &mut Cx<'_>, text: &Located<String>, names: &Names<'_>) -> Option<Template> {
    cx.no_secret_in(&text.value, text.span, "requests");
    for (range, message, help) in values::path_errors(&text.value) {
        let span = place_in_string(cx.sources.text(text.span), text.span, range);
        cx.report(Diagnostic::new(Code::InvalidPath, span, message).help(help));
    }
    cx.template(text, names)
}
