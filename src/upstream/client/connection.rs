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

/// A connection that one request at a time uses.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// Hyper's side of a connection: it reads and writes whenever it is polled. It is dropped as soon as it has ended, which
/// hands back a request that it had not begun to send.
struct Driver(Option<http1::Connection<TokioIo<Stream>, Full<Bytes>>>);

impl Connection {
    /// A connection over a stream that is ready for HTTP.
    pub(super) async fn new(stream: Stream) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        // Bodies are small: it is cheaper to write head and body from one buffer than to list them for the system.
        builder.writev(false);
        // What devices and protection services write into heads, curl and browsers take: a header that cannot be read
        // is passed over. Lengths and transfer encodings that are read and make no sense are still refused.
        builder
            .ignore_invalid_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, driver: Driver(Some(connection)) })
    }

    /// Whether the connection can carry another request: its peer has not closed it, and has said nothing more than
    /// the last response. Nobody is woken by it from now on, so it holds no finished task in memory.
    pub(super) fn is_idle(&mut self) -> bool {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        self.driver.0.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// Hyper reads before it writes. When the peer has closed the connection by then, nothing is written and the
    /// request comes back in the error.
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

    /// The next piece of a body; `None` after the last one.
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
                // Trailers.
                Some(Err(_)) => {}
            }
        }
    }
}

impl Driver {
    /// Errors reach whoever waits for the response or the body.
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.0
            && Pin::new(connection).poll(context).is_ready()
        {
            self.0 = None;
        }
    }
}
