//! `[traces]`.

use http::{HeaderMap, HeaderValue, header};
use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::Traces;
use crate::table::document::{Kind, Located};
use crate::table::raw::RawTraces;
use crate::table::reader::{Key, missing_key};
use crate::upstream::delivery::Delivery;
use crate::upstream::tls::Tls;
use crate::upstream::{EgressPolicy, Redirects, Target};

use crate::compile::cx::{Cx, SERVICE};
use crate::compile::values;

const DEFAULT_SERVICE: &str = "jackfield";

/// The largest response of the collector that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// `[traces]`; `None` if it is absent, and after errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>) -> Option<Traces> {
    let raw = cx.table.traces.get()?;
    let endpoint = match &raw.value.endpoint {
        Key::Is(text) => endpoint(cx, text),
        Key::Faulty => None,
        Key::Absent => {
            cx.report(missing_key(
                raw.span,
                "`[traces]` has no `endpoint`",
                "add `endpoint = \"http://127.0.0.1:4318/v1/traces\"`, or remove `[traces]`",
            ));
            None
        }
    };
    let headers = headers(cx, &raw.value);
    let sample = raw.value.sample.get().map_or(Some(1.0), |share| fraction(share, cx.diagnostics));
    let service = raw.value.service.get();
    if let Some(text) = service {
        cx.no_secret_in(&text.value, text.span, SERVICE);
        values::no_template(&text.value, text.span, SERVICE, cx.diagnostics);
    }
    let target = Target {
        name: "[traces]".to_owned(),
        timeout: None,
        root: String::new(),
        max_body: MAX_ANSWER,
        redirects: Redirects::None,
        tls: Tls::default(),
        network: EgressPolicy::Any,
        proxy: None,
    };
    let delivery = Delivery::plain(target);
    let service = service.map_or_else(|| DEFAULT_SERVICE.to_owned(), |text| text.value.clone());
    Some(Traces { endpoint: endpoint?, headers, delivery, sample: sample?, service })
}

fn endpoint(cx: &mut Cx<'_>, text: &Located<String>) -> Option<Url> {
    if !values::no_template(&text.value, text.span, "`endpoint`", cx.diagnostics) {
        return None;
    }
    let resolved = cx.resolve(&text.value, text.span)?;
    if resolved.placeholder {
        return None;
    }
    let is_good = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && values::has_host(&resolved.text)
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let url = Url::parse(&resolved.text).ok().filter(is_good);
    if url.is_none() {
        cx.report(
            // The message must not quote the URL, because it may contain a secret.
            Diagnostic::new(Code::InvalidUrl, text.span, "invalid collector URL").help(
                "write a scheme, a host and a path: \"http://127.0.0.1:4318/v1/traces\"; put a login in `headers`",
            ),
        );
    }
    url
}

fn headers(cx: &mut Cx<'_>, raw: &RawTraces) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (key, text) in raw.headers.entries() {
        let name = values::header_name(key, cx.diagnostics);
        let Some(text) = text.get() else { continue };
        if !values::no_template(&text.value, text.span, "a header of `[traces]`", cx.diagnostics) {
            continue;
        }
        let resolved = cx.resolve(&text.value, text.span);
        let (Some(name), Some(resolved)) = (name, resolved) else { continue };
        let Some(mut value) = values::header_value(&resolved.text, text.span, cx.diagnostics) else {
            continue;
        };
        value.set_sensitive(resolved.secret);
        headers.insert(name, value);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

/// A fraction from 0 to 1.
fn fraction(share: &Located<Kind>, diagnostics: &mut Diagnostics) -> Option<f64> {
    let number = values::number(share, diagnostics)?;
    if (0.0..=1.0).contains(&number) {
        return Some(number);
    }
    diagnostics.push(
        Diagnostic::new(Code::UnknownValue, share.span, "`sample` must be between 0 and 1")
            .help("set 0.1 for one trace in ten, 1 for all, or 0 for those that callers have sampled"),
    );
    None
}
