//! The bodies of responses to platforms: complete, or a stream of pieces.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
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
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
