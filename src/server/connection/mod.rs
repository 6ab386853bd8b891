//! One connection of a client, over HTTP/1.1: reads requests, has them answered one after the other, and sends the
//! responses. All of it runs on one task.

mod response;
mod timer;
mod wire;

use std::future::{Future, poll_fn};
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::client::Peer;
use super::connections::Endpoint;
use super::graceful::ShutdownWatcher;
use crate::http1::request::{BadHead, HeadReader, RequestHead};
use crate::in_place::pinned;

use response::{Facts, SentBody, write_head, write_rejection};
use timer::Timer;
use wire::Wire;

pub(super) use wire::{Incoming, Stream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client that reads nothing of a response for this long is disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Up to this size, the parts of a response are sent in one write.
const MAX_COPIED: usize = 16 * 1024;

/// How many bytes most heads of responses have at most.
const ROOM_FOR_HEAD: usize = 256;

/// How long a client may go on sending a request that has been rejected. Many clients read the response only after they
/// have sent the whole request, and see a connection error if the connection is closed before.
const LEAVING_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that sends nothing for this long has finished its request.
const LEAVING_SILENCE: Duration = Duration::from_secs(1);

/// How many bytes of a rejected request are read and discarded at most.
const MAX_DISCARDED: usize = 4 * 1024 * 1024;

/// The timeout for closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is served.
pub(super) struct Service<E> {
    pub(super) endpoint: E,
    pub(super) peer: Peer,
    /// The timeout for the head of a request, and for an idle connection.
    pub(super) head_timeout: Duration,
    pub(super) shutdown: ShutdownWatcher,
}

/// What follows a response.
enum After {
    Next,
    Close,
    /// The client may still be sending.
    Leave,
    /// The client had disconnected before.
    Gone,
}

/// What comes next of the body of a response.
enum Part {
    Data(Bytes),
    /// Nothing yet.
    Pending,
    End,
}

/// Serves a connection until it ends.
///
/// # Errors
/// The connection was lost.
pub(super) async fn serve(stream: impl Stream, service: &Service<impl Endpoint>) -> io::Result<()> {
    let begun = pin!(service.shutdown.begun());
    let sleep = pin!(tokio::time::sleep(service.head_timeout));
    let wire = Arc::new(Mutex::new(Wire::new(stream)));
    let mut connection = Connection { wire, timer: Timer::new(sleep), begun };
    loop {
        let after = match connection.next(Instant::now() + service.head_timeout).await? {
            Some(Ok(head)) => connection.exchange(head, service).await?,
            Some(Err(bad)) => {
                service.endpoint.note_bad_head(service.peer, &bad);
                connection.reject(bad).await?
            }
            None => After::Close,
        };
        match after {
            After::Next => {}
            After::Close => return connection.close().await,
            After::Leave => return connection.leave().await,
            After::Gone => return Ok(()),
        }
    }
}

struct Connection<'a, F> {
    wire: Arc<Mutex<Wire>>,
    timer: Timer<'a>,
    /// Ends when the server shuts down.
    begun: Pin<&'a mut F>,
}

impl<F: Future<Output = ()>> Connection<'_, F> {
    /// Waits for the head of a request; `None` if the client has closed the connection or was idle for too long, or the
    /// server is shutting down.
    async fn next(&mut self, deadline: Instant) -> io::Result<Option<Result<RequestHead, BadHead>>> {
        let mut reader = HeadReader::default();
        poll_fn(|context| {
            let mut wire = self.wire.lock();
            loop {
                if let Some(head) = reader.read(&mut wire.received).transpose() {
                    return Poll::Ready(Ok(Some(head)));
                }
                match wire.poll_fill(context, 0)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(None)),
                    Poll::Ready(_) => {}
                    Poll::Pending => break,
                }
            }
            let is_over = wire.received.is_empty() && self.begun.as_mut().poll(context).is_ready();
            if is_over || self.timer.poll_passed(context, deadline).is_ready() {
                return Poll::Ready(Ok(None));
            }
            Poll::Pending
        })
        .await
    }

    /// Has a request answered, and sends the response.
    async fn exchange<E: Endpoint>(&mut self, head: RequestHead, service: &Service<E>) -> io::Result<After> {
        let has_body = self.wire.lock().begin_body(head.framing, head.expects_continue);
        let mut request = Request::new(Incoming::new(has_body.then(|| Arc::clone(&self.wire))));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        let Some(response) = self.answer(request, service).await else { return Ok(After::Gone) };
        let (is_read, interim) = poll_fn(|context| Poll::Ready(self.wire.lock().end_body(context))).await;
        let (parts, body) = response.into_parts();
        let facts = Facts {
            method: &head.method,
            version: head.version,
            length: if body.is_end_stream() { Some(0) } else { body.size_hint().exact() },
            keeps_alive: head.keeps_alive && is_read && !service.shutdown.has_begun(),
        };
        let copied = facts.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut out = Vec::with_capacity(ROOM_FOR_HEAD + copied.min(MAX_COPIED));
        out.extend_from_slice(interim);
        let sending = write_head(&mut out, parts.status, &parts.headers, &facts);
        self.send(out, body, sending.body).await?;
        let may_send_more = !is_read || !self.wire.lock().received.is_empty();
        Ok(match sending.keeps_alive {
            true => After::Next,
            false if may_send_more => After::Leave,
            false => After::Close,
        })
    }

    /// Waits for the response; `None` if the client disconnects before.
    async fn answer<E: Endpoint>(
        &self,
        request: Request<Incoming>,
        service: &Service<E>,
    ) -> Option<Response<E::Body>> {
        // On the heap, so that an idle connection needs little memory.
        let mut answering = pinned(|| service.endpoint.clone().answer(service.peer, request));
        poll_fn(|context| match answering.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => self.wire.lock().poll_gone(context).map(|()| None),
        })
        .await
    }

    /// Sends a response, of which `out` is the head.
    async fn send<B: Body<Data = Bytes, Error: Into<BoxError>>>(
        &mut self,
        mut out: Vec<u8>,
        body: B,
        sent: SentBody,
    ) -> io::Result<()> {
        let mut body = pin!(body);
        let mut left = match sent {
            SentBody::Nothing => 0,
            SentBody::Length(length) => length,
            SentBody::Chunked | SentBody::Close => u64::MAX,
        };
        while left > 0 {
            match self.part(body.as_mut(), !out.is_empty()).await? {
                Part::Data(data) => {
                    left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
                    self.send_part(&mut out, &data, sent).await?;
                }
                Part::Pending => {
                    self.write(&out).await?;
                    out.clear();
                }
                Part::End if matches!(sent, SentBody::Length(_)) => return Err(wrong_length()),
                Part::End => break,
            }
        }
        if sent == SentBody::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.write(&out).await
    }

    /// The next part of a body, which is not empty. Does not wait for it if something `is_unsent`.
    async fn part<B: Body<Data = Bytes, Error: Into<BoxError>>>(
        &self,
        mut body: Pin<&mut B>,
        is_unsent: bool,
    ) -> io::Result<Part> {
        poll_fn(|context| {
            loop {
                match body.as_mut().poll_frame(context) {
                    Poll::Ready(None) => return Poll::Ready(Ok(Part::End)),
                    Poll::Ready(Some(frame)) => match frame.map_err(io::Error::other)?.into_data() {
                        Ok(data) if !data.is_empty() => return Poll::Ready(Ok(Part::Data(data))),
                        _ => {}
                    },
                    Poll::Pending if is_unsent => return Poll::Ready(Ok(Part::Pending)),
                    Poll::Pending => return self.wire.lock().poll_gone(context).map(|()| Err(gone())),
                }
            }
        })
        .await
    }

    /// Adds a part of a body to `out`, and sends what has become large.
    async fn send_part(&mut self, out: &mut Vec<u8>, data: &Bytes, sent: SentBody) -> io::Result<()> {
        if sent == SentBody::Chunked {
            // Writing to a `Vec` cannot fail.
            let _ = write!(out, "{:x}\r\n", data.len());
        }
        if out.len() + data.len() <= MAX_COPIED {
            out.extend_from_slice(data);
        } else {
            self.write(out).await?;
            out.clear();
            self.write(data).await?;
        }
        if sent == SentBody::Chunked {
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut left, mut deadline) = (bytes, None);
        poll_fn(|context| {
            let mut wire = self.wire.lock();
            loop {
                let written = if left.is_empty() {
                    wire.poll_flush(context)?.map(|()| 0)
                } else {
                    wire.poll_write(context, left)?
                };
                match written {
                    Poll::Ready(0) => return Poll::Ready(Ok(())),
                    Poll::Ready(length) => {
                        (left, deadline) = (left.get(length..).unwrap_or_default(), None);
                    }
                    Poll::Pending => break,
                }
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + WRITE_TIMEOUT);
            if self.timer.poll_passed(context, deadline).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            wire.poll_gone(context).map(|()| Err(gone()))
        })
        .await
    }

    /// Answers a head that breaks the rules of HTTP.
    async fn reject(&mut self, bad: BadHead) -> io::Result<After> {
        let status = match bad {
            BadHead::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            BadHead::Malformed(_) => StatusCode::BAD_REQUEST,
            BadHead::Http2 => return Ok(After::Close),
        };
        let mut out = Vec::new();
        write_rejection(&mut out, status);
        self.write(&out).await?;
        Ok(After::Leave)
    }

    /// Ends the direction to the client.
    async fn close(&mut self) -> io::Result<()> {
        let closing = poll_fn(|context| self.wire.lock().poll_shutdown(context));
        timeout(CLOSE_TIMEOUT, closing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends the direction to the client, and discards what the client still sends.
    async fn leave(mut self) -> io::Result<()> {
        self.close().await?;
        let wire = &self.wire;
        let discarding = async {
            let mut discarded = 0;
            while discarded < MAX_DISCARDED {
                let filling = poll_fn(|context| {
                    let mut wire = wire.lock();
                    wire.received = Bytes::new();
                    wire.poll_fill(context, 0)
                });
                match timeout(LEAVING_SILENCE, filling).await {
                    Ok(Ok(length)) if length > 0 => discarded += length,
                    _ => break,
                }
            }
        };
        tokio::select! {
            _ = timeout(LEAVING_TIMEOUT, discarding) => {}
            () = self.begun => {}
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the client disconnected before the end of its response")
}

fn wrong_length() -> io::Error {
    io::Error::other("the body of the response does not have its declared length")
}

#[cfg(test)]
mod tests;
