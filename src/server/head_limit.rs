//! Limits the size of reads, so that the size limit of a request head is exact.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream in which no read crosses the first `most` bytes after a write.
///
/// Hyper checks the size of a head only between two reads. A large read would let it accept a head
/// beyond the limit.
#[derive(Debug)]
pub(super) struct HeadLimit<S> {
    stream: S,
    most: usize,
    /// How many of the `most` bytes have not been read.
    left: usize,
}

impl<S> HeadLimit<S> {
    pub(super) fn new(stream: S, most: usize) -> Self {
        Self { stream, most, left: most }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HeadLimit<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, left, .. } = self.get_mut();
        let stream = Pin::new(stream);
        if *left > 0 && *left < buffer.remaining() {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(*left));
            ready!(stream.poll_read(context, &mut part))?;
            let length = part.filled().len();
            buffer.advance(length);
            *left -= length;
        } else {
            let before = buffer.filled().len();
            ready!(stream.poll_read(context, buffer))?;
            *left = left.saturating_sub(buffer.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeadLimit<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // A response is being sent: what is read next is another request.
        this.left = this.most;
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
