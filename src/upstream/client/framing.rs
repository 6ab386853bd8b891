//! Builds the headers of a request from those of the table and the client's defaults, and checks the framing of a
//! response.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, HOST, HeaderValue, RANGE, TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, Method};

use super::origin::Origin;
use crate::upstream::{Request, TransportError};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("jackfield/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const CODINGS: HeaderValue = HeaderValue::from_static("gzip,br");
/// The most headers that the client adds: those below, and the credential for a proxy.
const ADDED: usize = 6;

/// The headers of a request, with defaults for those that it does not set. A configured length or transfer coding is
/// dropped, and hyper adds the actual length: after a wrong one, the upstream would read the rest of the body as
/// another request.
pub(super) fn headers(request: &Request, origin: &Origin) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(request.headers.len() + ADDED);
    for (name, value) in &request.headers {
        if *name != TRANSFER_ENCODING && *name != CONTENT_LENGTH {
            headers.append(name, value.clone());
        }
    }
    let has_body = request.body.as_ref().is_some_and(|body| !body.is_empty());
    if !has_body && matches!(request.method, Method::POST | Method::PUT | Method::PATCH) {
        // Hyper omits the length of an empty body, but some servers require it (411).
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    headers.entry(ACCEPT).or_insert(ANYTHING);
    headers.entry(USER_AGENT).or_insert(AGENT);
    if !headers.contains_key(RANGE) {
        headers.entry(ACCEPT_ENCODING).or_insert(CODINGS);
    }
    headers.entry(HOST).or_insert_with(|| origin.header.clone());
    headers
}

/// Checks that the transfer coding of a response delimits its body.
///
/// # Errors
/// The last coding is not `chunked`. Such a body ends only when the connection closes (RFC 9112, section 6.3), so any
/// other framing would be read as part of the body.
pub(super) fn check(response: &HeaderMap) -> Result<(), TransportError> {
    let Some(codings) = response.get_all(TRANSFER_ENCODING).iter().next_back() else { return Ok(()) };
    let last = codings.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
    if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    Err(TransportError::Invalid {
        detail: "the last transfer coding of the response is not `chunked`".to_owned(),
    })
}
