//! `[routes.x.request]`: the request to an upstream.

use std::sync::Arc;

use http::Method;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, place_in_string, suggest};
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

pub(in crate::compile) const METHODS: [&str; 7] =
    ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// A request; `None` after errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Located<RawRequest>,
    known: Option<&CompiledUpstream<'_>>,
    names: &Names<'_>,
) -> Option<RequestTemplate> {
    let before = cx.diagnostics.len();
    let RawRequest { method, path, query, headers, body, form, body_file, .. } = &raw.value;
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
    let known = known?;
    let upstream: Arc<Upstream> = Arc::clone(known.upstream.as_ref()?);
    Some(RequestTemplate {
        upstream,
        step: Arc::default(),
        method: method?,
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
    if METHODS.contains(&text.value.as_str()) {
        return Method::from_bytes(text.value.as_bytes()).ok();
    }
    diagnostics.push(
        Diagnostic::new(Code::InvalidMethod, text.span, format!("unknown request method `{}`", text.value))
            .maybe_help(suggest(&text.value, METHODS)),
    );
    None
}

fn compile_path(cx: &mut Cx<'_>, text: &Located<String>, names: &Names<'_>) -> Option<Template> {
    cx.no_secret_in(&text.value, text.span, "requests");
    for (range, message, help) in values::path_errors(&text.value) {
        let span = place_in_string(cx.sources.text(text.span), text.span, range);
        cx.report(Diagnostic::new(Code::InvalidPath, span, message).help(help));
    }
    cx.template(text, names)
}
