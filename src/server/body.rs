//! The bodies of responses to platforms: complete, or a stream of pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::dispatch::Streamed;
use crate::platform::Answer;

/// The body of a response to a platform.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Whole(Full<Bytes>),
    /// A stream of pieces, sent as they are produced.
    Pieces(UnboundedReceiver<Bytes>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A response with a complete body.
pub(super) fn whole(answer: Answer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Full::new(answer.body)));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

/// A response whose body is a stream.
pub(super) fn stream(content_type: &'static str, streamed: Streamed) -> Response<AnswerBody> {
    let body = match streamed {
        Streamed::Whole(body) => AnswerBody::Whole(Full::new(body)),
        Streamed::Pieces(pieces) => AnswerBody::Pieces(pieces),
    };
    as_stream(Response::new(body), content_type)
}

/// A response with the headers of a stream: neither caches nor reverse proxies may hold it back. nginx would, without
/// `x-accel-buffering`.
pub(super) fn as_stream<B>(mut response: Response<B>, content_type: &'static str) -> Response<B> {
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
