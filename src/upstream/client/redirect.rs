//! Which redirects are followed, and what becomes of the request.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING};
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::upstream::TransportError;
use crate::upstream::phase::FOLLOWING;

/// The most redirects that are followed for one request; the next one is the reply.
pub(in crate::upstream) const MAX_REDIRECTS: usize = 5;

/// Where a response redirects to, if that is on the same origin.
pub(super) fn target(head: &Parts, from: &Url) -> Option<Url> {
    if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = std::str::from_utf8(head.headers.get(LOCATION)?.as_bytes()).ok()?;
    let to = from.join(location).ok().filter(|_| !location.is_empty())?;
    (to.origin() == from.origin()).then_some(to)
}

/// Why a redirect led nowhere. The upstream got the original request; only the redirected one was not sent.
pub(super) fn not_followed(error: TransportError) -> TransportError {
    match error {
        TransportError::Connect { detail } | TransportError::Unsendable { detail } => {
            TransportError::Lost { detail: format!("{FOLLOWING}: {detail}") }
        }
        error => error,
    }
}

/// Makes a request the one to send next, as browsers do: a POST becomes a GET, except after 307 and 308.
pub(super) fn rewrite(status: StatusCode, method: &mut Method, headers: &mut HeaderMap, body: &mut Bytes) {
    let becomes_get = match status {
        StatusCode::SEE_OTHER => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
        _ => false,
    };
    if !becomes_get {
        return;
    }
    if *method != Method::HEAD {
        *method = Method::GET;
    }
    *body = Bytes::new();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}
