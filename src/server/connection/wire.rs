//! The bytes of one connection. The connection and the request that it carries share them: the request reads its body,
//! the connection everything else.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http1::chunked::{Chunked, Found};
use crate::http1::request::Framing;

/// How much is read at once. It is read onto the stack, so that an idle connection holds no buffer.
const MAX_READ: usize = 16 * 1024;

/// A body of a known length arrives in pieces of at least this size. Most bodies are a single piece.
const PIECE: usize = 64 * 1024;

/// How many pieces of a body that nobody has read may be discarded without waiting.
const MAX_UNREAD: usize = 16;

/// The response that asks for the body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A byte stream: TCP, or TLS over it.
pub(in crate::server) trait Stream:
    AsyncRead + AsyncWrite + Unpin + Send + 'static
{
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The bytes of one connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    /// What has been received and not been consumed.
    pub(super) received: Bytes,
    unread: Unread,
    /// What is left to send of [`CONTINUE`], before the body is read.
    interim: &'static [u8],
}

/// What has not been read of the body of a request.
#[derive(Debug)]
enum Unread {
    Nothing,
    Length(u64),
    Chunked(Chunked),
    /// The rest can't be read any more: the coding is invalid, or the connection was lost.
    Lost,
}

impl Wire {
    pub(super) fn new(stream: impl Stream) -> Self {
        Self { stream: Box::new(stream), received: Bytes::new(), unread: Unread::Nothing, interim: &[] }
    }

    /// Begins the body of a request. Returns whether it has one.
    pub(super) fn begin_body(&mut self, framing: Framing, expects_continue: bool) -> bool {
        self.unread = match framing {
            Framing::Length(0) => Unread::Nothing,
            Framing::Length(length) => Unread::Length(length),
            Framing::Chunked => Unread::Chunked(Chunked::of_request()),
        };
        self.interim = if expects_continue { CONTINUE } else { &[] };
        framing != Framing::Length(0)
    }

    /// Whether the body of the request has been read to its end.
    fn has_ended(&self) -> bool {
        matches!(self.unread, Unread::Nothing)
    }

    /// The length of what is left of the body; `None` if it is not known.
    fn left(&self) -> Option<u64> {
        match self.unread {
            Unread::Nothing => Some(0),
            Unread::Length(left) => Some(left),
            Unread::Chunked(_) | Unread::Lost => None,
        }
    }

    /// Receives bytes. Returns how many; 0 at the end of the stream. A buffer that must grow gets room for `expected`
    /// bytes.
    pub(super) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        expected: usize,
    ) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; MAX_READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        self.add(room.filled(), expected);
        Poll::Ready(Ok(room.filled().len()))
    }

    fn add(&mut self, bytes: &[u8], expected: usize) {
        if self.received.is_empty() && expected <= bytes.len() {
            self.received = Bytes::copy_from_slice(bytes);
            return;
        }
        let mut all = match std::mem::take(&mut self.received).try_into_mut() {
            Ok(received) => received,
            // The request holds a part of it.
            Err(received) => {
                let length = (received.len() + bytes.len()).max(expected);
                let mut all = BytesMut::with_capacity(length);
                all.extend_from_slice(&received);
                all
            }
        };
        all.extend_from_slice(bytes);
        self.received = all.freeze();
    }

    /// The next part of the body; `None` at its end.
    pub(super) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let polled = self.poll_next_data(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.unread = Unread::Lost;
        }
        polled
    }

    fn poll_next_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        ready!(self.poll_interim(context))?;
        loop {
            let expected = match &mut self.unread {
                Unread::Nothing | Unread::Lost => return Poll::Ready(None),
                Unread::Length(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX);
                    let piece = length.min(PIECE);
                    if self.received.len() >= piece {
                        let data = self.received.split_to(length.min(self.received.len()));
                        *left -= data.len() as u64;
                        if *left == 0 {
                            self.unread = Unread::Nothing;
                        }
                        return Poll::Ready(Some(Ok(data)));
                    }
                    piece
                }
                Unread::Chunked(chunked) => {
                    let step = chunked
                        .advance(&self.received)
                        .map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
                    self.received.advance(step.passed);
                    match step.found {
                        Found::Data(length) => {
                            return Poll::Ready(Some(Ok(self.received.split_to(length))));
                        }
                        Found::End => {
                            self.unread = Unread::Nothing;
                            return Poll::Ready(None);
                        }
                        Found::Incomplete => 0,
                    }
                }
            };
            if ready!(self.poll_fill(context, expected))? == 0 {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// Asks for the body, if the client waits for that.
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(self.poll_write(context, self.interim))?;
            self.interim = self.interim.get(written..).unwrap_or_default();
            if self.interim.is_empty() {
                return self.poll_flush(context);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the reading of the body. Returns whether the connection can carry another request, and what must be sent
    /// before the response.
    pub(super) fn end_body(&mut self, context: &mut Context<'_>) -> (bool, &'static [u8]) {
        let interim = std::mem::take(&mut self.interim);
        // A client that was not asked for the body may or may not send it.
        if interim.len() == CONTINUE.len() {
            return (false, &[]);
        }
        for _ in 0..MAX_UNREAD {
            if self.has_ended() || !matches!(self.poll_data(context), Poll::Ready(Some(Ok(_)))) {
                break;
            }
        }
        (self.has_ended(), interim)
    }

    /// Waits until the client has disconnected. What it has sent after the request is kept, and then a disconnection is
    /// not noticed.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.has_ended() || !self.received.is_empty() {
            return Poll::Pending;
        }
        match self.poll_fill(context, 0) {
            Poll::Ready(Ok(1..)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(()),
        }
    }

    /// Writes a part of `bytes`. Returns its length, which is not 0.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stream).poll_write(context, bytes))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            length => Poll::Ready(Ok(length)),
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Closes the direction to the client.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of a request, read from its connection.
pub(in crate::server) struct Incoming(Option<Arc<Mutex<Wire>>>);

impl Incoming {
    pub(super) fn new(wire: Option<Arc<Mutex<Wire>>>) -> Self {
        Self(wire)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(wire) = &self.0 else { return Poll::Ready(None) };
        let polled = wire.lock().poll_data(context);
        polled.map(|data| data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|wire| wire.lock().has_ended())
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_ref().map(|wire| wire.lock().left()) {
            None => SizeHint::with_exact(0),
            Some(Some(left)) => SizeHint::with_exact(left),
            Some(None) => SizeHint::default(),
        }
    }
}
