//! The request of a step: rendered from the call, and confined to the upstream's base URL.

mod body;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use percent_encoding::percent_decode;
use serde_json::Value;
use thiserror::Error;
use url::Url;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use body::BodyTemplate;

use crate::upstream::delivery::Delivery;
use crate::upstream::probe::Probe;
use crate::upstream::{Request, RequestUrl};

use crate::json::{Kind, ValueRef};
use crate::lang::template::{
    Evaluated, HeaderSink, MAX_RENDERED_BYTES, PathSink, RenderError, Scope, Sink as _, Template, Written,
    encode_query,
};

/// An upstream, compiled.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub(crate) base_url: Arc<Url>,
    /// How requests to it are sent.
    pub delivery: Delivery,
}

impl Upstream {
    /// The URL for a path below the base URL and a query.
    fn at(&self, path: &str, query: &str) -> RequestUrl {
        let base = self.base_url.path();
        if path.is_empty() {
            return RequestUrl::new(&self.base_url, base, query);
        }
        let mut whole = String::with_capacity(base.len() + path.len() + 1);
        whole.push_str(base.trim_end_matches('/'));
        whole.push('/');
        whole.push_str(path.trim_start_matches('/'));
        RequestUrl::new(&self.base_url, &whole, query)
    }

    /// The request with which `check --online` tests the upstream and its credential. It includes only headers that are
    /// the same for every call.
    pub(crate) fn probe(&self, health: &str, headers: &[HeaderTemplate]) -> Probe {
        let mut fixed = HeaderMap::new();
        for header in headers {
            if let Some(value) = &header.fixed {
                fixed.insert(header.name.clone(), value.clone());
            }
        }
        let Delivery { target, auth, .. } = &self.delivery;
        Probe {
            is_authenticated: auth.is_some() || fixed.values().any(HeaderValue::is_sensitive),
            auth: auth.clone(),
            request: Request {
                target: Arc::clone(target),
                step: None,
                method: Method::GET,
                url: self.at(health, ""),
                headers: fixed,
                body: None,
            },
        }
    }
}

/// The request of a step, compiled.
#[derive(Debug)]
pub struct RequestTemplate {
    /// The upstream that it is sent to.
    pub upstream: Arc<Upstream>,
    /// The name of the step; empty for the only request of a route.
    pub(crate) step: Arc<str>,
    pub(crate) method: Method,
    /// Whether the request is safe (RFC 9110, section 9.2.1): by its method, or because the table says so.
    pub(crate) safe: bool,
    pub(crate) path: Template,
    pub(crate) query: Vec<(String, Parameter)>,
    /// The shared headers of `[defaults]` and the upstream; later ones take precedence.
    pub(crate) headers: Arc<[HeaderTemplate]>,
    pub(crate) own_headers: Vec<HeaderTemplate>,
    pub(crate) body: BodyTemplate,
}

/// The value of a query parameter or form field.
#[derive(Debug)]
pub(crate) enum Parameter {
    /// One value; a list repeats the parameter.
    One(Template),
    /// A list written in the table.
    Many(Vec<Template>),
}

/// A header of a request.
#[derive(Debug, Clone)]
pub(crate) struct HeaderTemplate {
    pub(crate) name: HeaderName,
    pub(crate) value: Template,
    /// Whether the value contains a secret of the table.
    pub(crate) sensitive: bool,
    /// The value, if it is the same for every call.
    fixed: Option<HeaderValue>,
}

/// Why a request was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A part of the request could not be rendered.
    #[error("{part}: {source}")]
    Render {
        /// The part, as the table names it.
        part: String,
        /// The cause.
        #[source]
        source: RenderError,
    },
    /// The URL would be outside the upstream's base URL.
    #[error("the URL would be outside the upstream's `base_url`")]
    Escaped,
}

impl RequestError {
    /// The name of the argument that the request needs and the model left out, if that is the error.
    pub fn missing_argument(&self) -> Option<&str> {
        match self {
            Self::Render { source: RenderError::Missing { name }, .. } => name.strip_prefix("args."),
            _ => None,
        }
    }
}

impl RequestTemplate {
    /// Whether the request is safe: it changes nothing at the upstream.
    pub fn is_safe(&self) -> bool {
        self.safe
    }

    /// Whether the table sets this header.
    pub(crate) fn sets_header(&self, name: &HeaderName) -> bool {
        self.headers.iter().chain(&self.own_headers).any(|header| header.name == *name)
    }

    /// The part of `url` after the upstream's `base_url`; all of it if it is elsewhere.
    pub fn below_base<'u>(&self, url: &'u RequestUrl) -> &'u str {
        let base = self.upstream.base_url.as_str().trim_end_matches('/');
        url.as_str().strip_prefix(base).unwrap_or(url.as_str())
    }

    /// The parts that contain expressions: their names in the table, and their templates as written.
    pub fn written(&self) -> Vec<(String, Written<'_>)> {
        let named = |part: &str, name: &str| format!("{part}.{name}");
        let mut parts = vec![("path".to_owned(), Written::of(&self.path))];
        parts.extend(self.query.iter().map(|(name, value)| (named("query", name), value.written())));
        for header in self.headers.iter().chain(&self.own_headers) {
            parts.push((named("headers", header.name.as_str()), Written::of(&header.value)));
        }
        match &self.body {
            BodyTemplate::None => {}
            BodyTemplate::Json(tree) => parts.push(("body".to_owned(), Written::Tree(tree.written()))),
            BodyTemplate::Form(fields) => {
                parts.extend(fields.iter().map(|(name, value)| (named("form", name), value.written())));
            }
            BodyTemplate::JsonFile { template, .. }
            | BodyTemplate::XmlFile { template, .. }
            | BodyTemplate::TextFile { template, .. } => {
                parts.push(("body".to_owned(), Written::of(template)));
            }
        }
        parts.retain(|(_, written)| written.has_expression());
        parts
    }

    /// Renders the request for one call.
    ///
    /// # Errors
    /// A value is missing, or does not fit its place.
    pub fn render(&self, scope: &Scope<'_>) -> Result<Request, RequestError> {
        let url = self.url(scope)?;
        let mut headers = HeaderMap::with_capacity(self.headers.len() + self.own_headers.len() + 2);
        let mut left = MAX_RENDERED_BYTES;
        let (content_type, body) = self.body.render(scope)?;
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        for template in self.headers.iter().chain(&self.own_headers) {
            // An optional header whose value is missing does not remove a header of the same name from the upstream or
            // the defaults.
            if let Some(value) = template.render(scope)? {
                left = left.checked_sub(value.len()).ok_or_else(|| too_large("headers"))?;
                headers.insert(template.name.clone(), value);
            }
        }
        Ok(Request {
            target: Arc::clone(&self.upstream.delivery.target),
            step: Some(Arc::clone(&self.step)),
            method: self.method.clone(),
            url,
            headers,
            body,
        })
    }

    fn url(&self, scope: &Scope<'_>) -> Result<RequestUrl, RequestError> {
        let mut path = PathSink::new();
        self.path.render(scope, &mut path).map_err(in_part("path"))?;
        let path = path.into_path().map_err(in_part("path"))?;
        let query = self.query(scope)?;
        // Escaping already ensures this. The check is independent of it, as a second line of defence.
        if !is_confined(&path) || !query.bytes().all(is_of_query) {
            return Err(RequestError::Escaped);
        }
        Ok(self.upstream.at(&path, &query))
    }

    fn query(&self, scope: &Scope<'_>) -> Result<String, RequestError> {
        let mut query = String::with_capacity(if self.query.is_empty() { 0 } else { 128 });
        for (name, parameter) in &self.query {
            let add = &mut |below: &str, value: &str| {
                if !query.is_empty() {
                    query.push('&');
                }
                query.extend(encode_query(name));
                query.extend(encode_query(below));
                query.push('=');
                query.extend(encode_query(value));
                if query.len() > MAX_RENDERED_BYTES { Err(RenderError::TooLarge) } else { Ok(()) }
            };
            parameter.each_value(scope, add).map_err(in_part_named("query", name))?;
        }
        Ok(query)
    }
}

/// Whether every parser of URLs reads this path as it is, without a segment that leads elsewhere.
fn is_confined(path: &str) -> bool {
    let is = |segment: &[u8], dots: &[u8]| percent_decode(segment).eq(dots.iter().copied());
    let is_dots =
        |segment: &[u8]| matches!(segment, [b'.' | b'%', ..]) && (is(segment, b".") || is(segment, b".."));
    path.bytes().all(is_of_path) && !path.as_bytes().split(|byte| *byte == b'/').any(is_dots)
}

/// Whether a path may contain this character, which no parser then changes.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'?' | b'#' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | b'|')
}

/// Whether a query may contain this character, which no parser then changes.
fn is_of_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\'' | b'"' | b'<' | b'>')
}

fn too_large(part: &str) -> RequestError {
    in_part(part)(RenderError::TooLarge)
}

fn in_part(part: &str) -> impl FnOnce(RenderError) -> RequestError {
    move |source| RequestError::Render { part: part.to_owned(), source }
}

fn in_part_named(part: &str, name: &str) -> impl FnOnce(RenderError) -> RequestError {
    move |source| RequestError::Render { part: format!("{part}.{name}"), source }
}

impl HeaderTemplate {
    /// Creates a header; `sensitive` says whether its value contains a secret of the table.
    pub(crate) fn new(name: HeaderName, value: Template, sensitive: bool) -> Self {
        let fixed = value.as_literal().and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
        let fixed = fixed.map(|mut value| {
            value.set_sensitive(sensitive);
            value
        });
        Self { name, value, sensitive, fixed }
    }

    /// The value; `None` if the template is one expression whose value is missing or null.
    fn render(&self, scope: &Scope<'_>) -> Result<Option<HeaderValue>, RequestError> {
        if self.fixed.is_some() {
            return Ok(self.fixed.clone());
        }
        let part = || in_part_named("headers", self.name.as_str());
        let mut sink = HeaderSink::default();
        if self.value.is_sole() {
            let value = self.value.evaluate(scope).map_err(part())?;
            let Some(value) = value.as_ref().map(Evaluated::get).filter(|value| !value.is_null()) else {
                return Ok(None);
            };
            sink.value(value).map_err(part())?;
        } else {
            self.value.render(scope, &mut sink).map_err(part())?;
        }
        if sink.len() > MAX_RENDERED_BYTES {
            return Err(part()(RenderError::TooLarge));
        }
        let mut value = sink.into_value().map_err(part())?;
        value.set_sensitive(self.sensitive);
        Ok(Some(value))
    }
}

impl Parameter {
    /// The template as written.
    fn written(&self) -> Written<'_> {
        match self {
            Self::One(template) => Written::of(template),
            Self::Many(templates) => {
                Written::Tree(templates.iter().map(|template| Value::from(template.written())).collect())
            }
        }
    }

    /// Passes each value to `take`: none if the template is one expression whose value is missing or null, several for
    /// a list or an object. The first parameter of `take` is the place of a value in an object, such as `[from][day]`,
    /// and otherwise empty.
    fn each_value(&self, scope: &Scope<'_>, take: &mut TakeValue<'_>) -> Result<(), RenderError> {
        match self {
            Self::One(template) if template.is_sole() => {
                let value = template.evaluate(scope)?;
                let value = value.as_ref().map_or(ValueRef::NULL, Evaluated::get);
                match value.kind() {
                    Kind::Null => Ok(()),
                    Kind::Array => value.items().try_for_each(|item| take("", &one_value(item)?)),
                    Kind::Object => each_member(value, &mut String::new(), take),
                    _ => take("", &one_value(value)?),
                }
            }
            Self::One(template) => take("", &template.text(scope)?),
            Self::Many(templates) => templates.iter().try_for_each(|template| {
                let value = template.evaluate(scope)?;
                match value.as_ref().map(Evaluated::get).filter(|value| !value.is_null()) {
                    Some(value) => take("", &one_value(value)?),
                    None => Ok(()),
                }
            }),
        }
    }
}

/// Takes the values of a parameter: the place of each one in an object, and the value.
type TakeValue<'t> = dyn FnMut(&str, &str) -> Result<(), RenderError> + 't;

/// Passes each value of an object to `take`, with its place below `at`. A list repeats its place.
fn each_member(object: ValueRef<'_>, at: &mut String, take: &mut TakeValue<'_>) -> Result<(), RenderError> {
    let before = at.len();
    for (key, value) in object.entries() {
        if key.is_empty() || key.contains(['[', ']']) {
            return Err(RenderError::Place {
                problem: "an empty key or one with a bracket cannot be part of a parameter's name".to_owned(),
            });
        }
        at.push('[');
        at.push_str(&key);
        at.push(']');
        match value.kind() {
            Kind::Null => {}
            Kind::Array => value.items().try_for_each(|item| take(at, &one_value(item)?))?,
            Kind::Object => each_member(value, at, take)?,
            _ => take(at, &one_value(value)?)?,
        }
        at.truncate(before);
    }
    Ok(())
}

fn one_value(value: ValueRef<'_>) -> Result<Cow<'_, str>, RenderError> {
    if matches!(value.kind(), Kind::Object | Kind::Array) {
        return Err(RenderError::Place {
            problem: "an object or a list in a list cannot be a parameter".to_owned(),
        });
    }
    Ok(value.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parser of URLs changes or ends a path that is not confined.
    #[test]
    fn a_path_is_confined_if_a_parser_leaves_it_as_it_is() {
        let pieces = [
            "a", "/", ".", "..", "%2e", "%2E", "%2f", "...", "?", "#", "\\", " ", "\t", "\u{e9}", "\"", "<",
            "{", "`", "^", "%", "~", "@", ":", ";", "=", "&", "'", "[", "|", "$", "",
        ];
        for one in pieces {
            for other in pieces {
                for path in [format!("{one}{other}"), format!("{one}/{other}/x"), format!("x/{one}{other}.")]
                {
                    let whole = format!("/v1/{path}");
                    let parsed = Url::parse(&format!("http://api{whole}")).unwrap();
                    let is_kept = parsed.path() == whole && parsed.query().or(parsed.fragment()).is_none();
                    // The table's own text never has these two: they are escaped when it is rendered.
                    if !path.contains(['^', '|']) {
                        assert_eq!(is_confined(&path), is_kept, "{path:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_query_is_kept_if_a_parser_leaves_it_as_it_is() {
        for byte in 0..=127_u8 {
            let query = format!("a{}b", char::from(byte));
            let parsed = Url::parse(&format!("http://api/?{query}")).unwrap();
            let is_kept = parsed.query() == Some(&query) && parsed.fragment().is_none();
            assert_eq!(is_of_query(byte), is_kept, "{query:?}");
        }
        assert!(!"\u{e9}".bytes().all(is_of_query));
    }
}
