//! One HTTP/1.1 connection, read and written by the task that uses it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use http::{Method, StatusCode};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::buffer::Buffer;
use super::error::{failure, invalid, lost};
use super::head::{self, Framing, Head, NOT_HTTP};
use super::outgoing::Outgoing;
use super::stream::Stream;
use crate::http1::chunked::{Chunked, Found};
use crate::http1::head_length;
use crate::upstream::TransportError;

/// The largest head of a response, in bytes.
const MAX_HEAD: usize = 256 * 1024;
/// How many interim responses (1xx) may precede a response.
const MAX_INTERIM: usize = 100;
/// How much of a body is read at once.
const MAX_READ: usize = 64 * 1024;
/// Up to this size, a body is copied behind the head, so that both are sent in one write.
const MAX_COPIED: usize = 16 * 1024;

/// A connection that carries one request at a time.
pub(super) struct Connection {
    stream: Stream,
    received: Buffer,
    /// The head of the request, and its body if that is small. Kept to be used again.
    outgoing: Vec<u8>,
    body: Body,
    /// Whether the connection can carry another request after the current response.
    keeps_alive: bool,
    /// How many of the received bytes do not contain the end of a head.
    searched: usize,
    /// The number of interim responses to the current request.
    interim: usize,
}

/// What is left of the body of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// Why there is no response.
pub(super) enum SendError {
    /// The peer had closed the connection before anything was sent.
    Unsent,
    Failed(TransportError),
}

impl From<TransportError> for SendError {
    fn from(error: TransportError) -> Self {
        Self::Failed(error)
    }
}

impl Connection {
    /// Starts HTTP on a stream.
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            received: Buffer::default(),
            outgoing: Vec::new(),
            body: Body::Length(0),
            keeps_alive: true,
            searched: 0,
            interim: 0,
        }
    }

    /// Whether the connection can carry another request: the last response has been read, the peer has not closed the
    /// connection and has sent nothing more. This also replaces the connection's waker, so that it does not keep a
    /// finished task in memory.
    pub(super) fn is_idle(&mut self) -> bool {
        self.keeps_alive && self.has_ended() && self.is_silent(&mut Context::from_waker(Waker::noop()))
    }

    /// Whether the body of the response has been read to its end.
    pub(super) fn has_ended(&self) -> bool {
        match self.body {
            Body::Length(left) => left == 0,
            Body::Chunked(chunked) => chunked.has_ended(),
            Body::UntilClose => false,
        }
    }

    /// The declared length of the body that follows the head, in bytes.
    pub(super) fn declared(&self) -> Option<u64> {
        match self.body {
            Body::Length(length) => Some(length),
            Body::Chunked(_) | Body::UntilClose => None,
        }
    }

    /// Gives back the memory that an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        self.received.shrink();
        if self.outgoing.capacity() > MAX_COPIED {
            self.outgoing = Vec::new();
        }
    }

    /// Sends a request and waits for the head of the response. A connection that `is_reused` must be idle. If the peer
    /// has closed it since, nothing is sent. What a new connection receives first belongs to the response, such as an
    /// alert about the client's certificate.
    pub(super) async fn send(&mut self, request: &Outgoing<'_>, is_reused: bool) -> Result<Head, SendError> {
        if is_reused && !poll_fn(|context| Poll::Ready(self.is_silent(context))).await {
            return Err(SendError::Unsent);
        }
        (self.searched, self.interim) = (0, 0);
        // Until the response has been read, the connection cannot be used again.
        self.keeps_alive = false;
        let mut outgoing = std::mem::take(&mut self.outgoing);
        outgoing.clear();
        let closes = request.write_head(&mut outgoing);
        let mut body = request.body;
        if body.len() <= MAX_COPIED {
            outgoing.extend_from_slice(body);
            body = &[];
        }
        let mut early = self.write(&outgoing, request.method).await?;
        if early.is_none() && !body.is_empty() {
            early = self.write(body, request.method).await?;
        }
        self.outgoing = outgoing;
        let was_sent = early.is_none();
        let head = match early {
            Some(head) => head,
            None => self.head(request.method).await?,
        };
        self.keeps_alive = head.keeps_alive && was_sent && !closes;
        self.body = match head.framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::of_response()),
            Framing::Close => Body::UntilClose,
        };
        Ok(head)
    }

    /// The next bytes of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<&[u8]>, TransportError> {
        let length = loop {
            let available = self.received.unread().len();
            match &mut self.body {
                Body::Length(0) => return Ok(None),
                Body::Length(left) if available > 0 => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
                    *left -= length as u64;
                    break length;
                }
                Body::UntilClose if available > 0 => break available,
                Body::Length(_) | Body::UntilClose => {}
                Body::Chunked(chunked) => {
                    let step = chunked.advance(self.received.unread()).map_err(|bad| invalid(bad.0))?;
                    self.received.consume(step.passed);
                    match step.found {
                        Found::Data(length) => break length,
                        Found::End => return Ok(None),
                        Found::Incomplete => {}
                    }
                }
            }
            let read = poll_fn(|context| self.poll_fill(context, MAX_READ)).await;
            if read.map_err(|error| failure(&error))? == 0 {
                if self.body == Body::UntilClose {
                    self.body = Body::Length(0);
                    return Ok(None);
                }
                return Err(lost("it was closed before the end of the body"));
            }
        };
        Ok(Some(self.received.consume(length)))
    }

    /// Writes `bytes`. Returns the response, if the peer sends it before it has taken everything.
    async fn write(&mut self, bytes: &[u8], method: &Method) -> Result<Option<Head>, TransportError> {
        let mut left = bytes;
        poll_fn(|context| {
            loop {
                let stream = Pin::new(&mut self.stream);
                let written = if left.is_empty() {
                    stream.poll_flush(context).map_ok(|()| None)
                } else {
                    stream.poll_write(context, left).map_ok(Some)
                };
                let failed = match written {
                    Poll::Ready(Ok(None)) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Ok(Some(length))) if length > 0 => {
                        left = left.get(length..).unwrap_or_default();
                        continue;
                    }
                    Poll::Ready(Ok(Some(_))) => Some(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Err(error)) => Some(error),
                    Poll::Pending => None,
                };
                // A peer that refuses a request may respond and stop reading.
                match (self.poll_fill(context, MAX_HEAD), failed) {
                    (Poll::Ready(Ok(1..)), _) => match self.buffered_head(method) {
                        Ok(None) => {}
                        done => return Poll::Ready(done),
                    },
                    (_, Some(error)) | (Poll::Ready(Err(error)), None) => {
                        return Poll::Ready(Err(failure(&error)));
                    }
                    (Poll::Ready(Ok(0)), None) => return Poll::Ready(Err(closed_early())),
                    (Poll::Pending, None) => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Waits for the head of the response.
    async fn head(&mut self, method: &Method) -> Result<Head, TransportError> {
        poll_fn(|context| {
            loop {
                match ready!(self.poll_fill(context, MAX_HEAD)) {
                    Ok(0) => return Poll::Ready(Err(closed_early())),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(failure(&error))),
                }
                if let Some(head) = self.buffered_head(method)? {
                    return Poll::Ready(Ok(head));
                }
            }
        })
        .await
    }

    /// Takes the head of the response out of the received bytes, if it is complete. Skips interim responses.
    fn buffered_head(&mut self, method: &Method) -> Result<Option<Head>, TransportError> {
        loop {
            if self.searched == 0 {
                let is_break = |byte: &&u8| matches!(byte, b'\r' | b'\n');
                let breaks = self.received.unread().iter().take_while(is_break).count();
                self.received.consume(breaks);
            }
            let unread = self.received.unread();
            if !head::may_be(unread) {
                return Err(invalid(NOT_HTTP));
            }
            let Some(length) = head_length(unread, self.searched) else {
                self.searched = unread.len();
                if unread.len() >= MAX_HEAD {
                    return Err(invalid("its head is larger than 256 KiB"));
                }
                return Ok(None);
            };
            self.searched = 0;
            let head = head::parse(self.received.consume(length), method)?;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(invalid("more than 100 interim responses precede it"));
            }
        }
    }

    /// Receives bytes. Returns how many; 0 at the end of the stream.
    fn poll_fill(&mut self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(self.received.room(most));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let length = room.filled().len();
        self.received.received(length);
        Poll::Ready(Ok(length))
    }

    /// Whether the stream is open and nothing has been received.
    fn is_silent(&mut self, context: &mut Context<'_>) -> bool {
        self.received.is_empty() && self.poll_fill(context, MAX_READ).is_pending()
    }
}

fn closed_early() -> TransportError {
    lost("it was closed before the response")
}
