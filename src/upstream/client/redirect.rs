//! Decides which redirects to follow, and rewrites the request.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::head::Head;
use crate::upstream::phase::FOLLOWING;
use crate::upstream::{RequestUrl, TransportError};

/// The maximum number of redirects to follow for one request. The next one is returned as the response.
pub(in crate::upstream) const MAX_REDIRECTS: usize = 5;

/// The target of a redirect, if it has the same origin as the request and is below the path `root`. On a shared host,
/// another path may belong to somebody else.
pub(super) fn target(head: &Head, from: &RequestUrl, root: &str) -> Option<RequestUrl> {
    if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = std::str::from_utf8(head.headers.get(LOCATION.as_str())?).ok()?;
    let from = Url::parse(from.as_str()).ok()?;
    let to = from.join(location).ok().filter(|_| !location.is_empty())?;
    let below = to.path().strip_prefix(root.trim_end_matches('/'));
    let is_confined = below.is_some_and(|below| below.is_empty() || below.starts_with('/'));
    (to.origin() == from.origin() && is_confined).then(|| to.into())
}

/// The error of a redirected request that could not be sent. The upstream has received the original request, so the
/// error must not claim that nothing was sent.
pub(super) fn not_followed(error: TransportError) -> TransportError {
    match error {
        TransportError::Connect { detail } | TransportError::Unsendable { detail } => {
            TransportError::Lost { detail: format!("{FOLLOWING}: {detail}") }
        }
        error => error,
    }
}

/// Rewrites a request for a redirect as browsers do: a POST becomes a GET, except after 307 and 308.
pub(super) fn rewrite(status: StatusCode, method: &mut Method, headers: &mut HeaderMap, body: &mut &[u8]) {
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
    *body = &[];
    for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}
