//! A stream of pieces as an HTTP response.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

use crate::dispatch::Streamed;

/// The response; its body is the pieces, as they come.
pub(super) fn response(content_type: &'static str, streamed: Streamed) -> Response {
    let body = match streamed {
        Streamed::Whole(body) => Body::from(body),
        Streamed::Pieces(mut pieces) => Body::from_stream(futures_util::stream::poll_fn(move |context| {
            pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
        })),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
