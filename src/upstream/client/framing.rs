//! The headers that the client itself puts on a request.

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, HOST, HeaderValue, RANGE, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, Method, Uri};
use http_body_util::Full;

use super::Outbound;
use super::origin::Origin;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("jackfield/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const CODINGS: HeaderValue = HeaderValue::from_static("gzip,br");

/// Adds what the request does not say itself. Its body's length is always the real one: a wrong one would make the
/// upstream read the rest as another request.
pub(super) fn complete(method: &Method, headers: &mut HeaderMap, body: &Bytes, origin: &Origin) {
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    if body.is_empty() && matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        // Hyper leaves it out, and some servers insist on it (411).
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    headers.entry(ACCEPT).or_insert(ANYTHING);
    headers.entry(USER_AGENT).or_insert(AGENT);
    if !headers.contains_key(RANGE) {
        headers.entry(ACCEPT_ENCODING).or_insert(CODINGS);
    }
    headers.entry(HOST).or_insert_with(|| origin.header.clone());
}

/// A request for hyper, which adds the length of the body.
pub(super) fn outbound(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Outbound {
    let mut outbound = Outbound::new(Full::new(body));
    *outbound.method_mut() = method;
    *outbound.uri_mut() = uri;
    *outbound.headers_mut() = headers;
    outbound
}
