//! One HTTP/1.1 connection, driven by the task that uses it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::Outbound;
use super::stream::Stream;

/// A connection that carries one request at a time.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// Hyper's side of a connection: it reads and writes when it is polled. It is dropped as soon as it ends. The drop
/// returns a request that hyper has not started to send.
struct Driver(Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>);

impl Connection {
    /// Starts HTTP on a stream.
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        // Bodies are small: copying head and body into one buffer is cheaper than a vectored write.
        builder.writev(false);
        // Like curl and browsers, tolerate the malformed headers of some devices and security services: skip a header
        // that cannot be parsed. An invalid length or transfer encoding is still an error.
        builder
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Driver(Some(connection)) })
    }

    /// Whether the connection can carry another request: the peer has not closed it and has sent nothing after the last
    /// response. This also replaces the connection's waker, so that it does not keep a finished task in memory.
    pub(super) fn is_idle(&mut self) -> bool {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        self.driver.0.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// Hyper reads before it writes. If the peer has closed the connection by then, nothing is written and the error
    /// contains the request.
    pub(super) async fn send(
        &mut self,
        request: Outbound,
    ) -> Result<http::Response<Incoming>, TrySendError<Outbound>> {
        let Self { sender, driver } = self;
        let mut response = pin!(sender.try_send_request(request));
        poll_fn(|context| {
            driver.poll(context);
            response.as_mut().poll(context)
        })
        .await
    }

    /// The next chunk of a body; `None` after the last one.
    pub(super) async fn chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            let frame = poll_fn(|context| {
                let polled = Pin::new(&mut *body).poll_frame(context);
                if polled.is_ready() {
                    return polled;
                }
                self.driver.poll(context);
                Pin::new(&mut *body).poll_frame(context)
            });
            match frame.await.transpose()?.map(Frame::into_data) {
                None => return Ok(None),
                Some(Ok(data)) => return Ok(Some(data)),
                // Skip trailers.
                Some(Err(_)) => {}
            }
        }
    }
}

impl Driver {
    /// Drives the connection. Its errors are returned by the future of the response or of the body.
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(context).is_ready()
        {
            self.0 = None;
        }
    }
}
