//! The HTTP/1.1 client on the path of a call: one per pool, shared by all requests to targets with equal settings.
//!
//! The task that makes a request also drives its connection, so no byte passes through another task. Whatever comes
//! back is hostile input: hyper limits the head (100 headers, about 400 KiB), the caller limits body and time.

mod connect;
mod connection;
mod decode;
mod error;
mod framing;
mod origin;
mod redirect;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::phase::{FOLLOWING, Progress};
use super::{Redirects, Request, Response, Target, TransportError};

use connect::Connector;
use connection::Connection;
use decode::BodyBuffer;
use origin::{Origin, Origins};

pub(super) use error::detail;
pub(super) use redirect::MAX_REDIRECTS;

/// A request as hyper takes it.
type Outbound = http::Request<Full<Bytes>>;

/// Sends requests over pooled connections.
pub(super) struct Client {
    connector: Connector,
    origins: Origins,
    redirects: Redirects,
}

/// A response whose body is still on the connection.
struct Inbound {
    head: http::response::Parts,
    body: Incoming,
    connection: Box<Connection>,
}

impl Client {
    /// A client without connections for requests to `target`, and to targets with the same settings.
    pub(super) fn new(target: &Target, tls: ClientConfig) -> Self {
        let connector = Connector {
            tls: TlsConnector::from(Arc::new(tls)),
            network: target.network,
            proxy: target.proxy.clone(),
        };
        Self { connector, origins: Origins::default(), redirects: target.redirects }
    }

    /// Sends one request, follows its redirects and reads the response. The caller sets the deadline.
    pub(super) async fn send(
        &self,
        request: Request,
        progress: &Progress,
    ) -> Result<Response, TransportError> {
        let Request { target, method, mut url, mut headers, body, .. } = request;
        // Nothing resolves a literal address. Redirects stay on this host.
        target.network.admit(&url)?;
        let origin = self.origins.of(&url)?;
        let mut body = body.unwrap_or_default();
        framing::complete(&method, &mut headers, &body, &origin);
        if self.redirects == Redirects::None {
            let outbound = framing::outbound(method, self.uri(&origin, &url)?, headers, body);
            let inbound = self.exchange(&origin, outbound, progress).await?;
            return self.read(&origin, inbound, target.max_body, progress).await;
        }
        let mut method = method;
        for followed in 0.. {
            let uri = self.uri(&origin, &url)?;
            let outbound = framing::outbound(method.clone(), uri, headers.clone(), body.clone());
            let inbound = self.exchange(&origin, outbound, progress).await.map_err(|error| {
                // The upstream got the original request: only the redirected one was not sent.
                match error {
                    TransportError::Connect { detail } | TransportError::Unsendable { detail }
                        if followed > 0 =>
                    {
                        TransportError::Lost { detail: format!("{FOLLOWING}: {detail}") }
                    }
                    error => error,
                }
            })?;
            let next = redirect::target(&inbound.head, &url).filter(|_| followed < MAX_REDIRECTS);
            let Some(next) = next else {
                return self.read(&origin, inbound, target.max_body, progress).await;
            };
            progress.following();
            redirect::rewrite(inbound.head.status, &mut method, &mut headers, &mut body);
            url = next;
            if inbound.body.is_end_stream() {
                origin.put(inbound.connection).await;
            }
        }
        unreachable!("the last redirect is the reply")
    }

    /// What the request line names: the path, or the whole URL when a proxy forwards the request.
    fn uri(&self, origin: &Origin, url: &url::Url) -> Result<http::Uri, TransportError> {
        origin.uri(url, self.connector.forwards(origin))
    }

    /// Gets a response from an idle connection, or from a new one.
    async fn exchange(
        &self,
        origin: &Arc<Origin>,
        mut outbound: Outbound,
        progress: &Progress,
    ) -> Result<Inbound, TransportError> {
        self.connector.authorize(origin, outbound.headers_mut());
        loop {
            progress.connecting();
            let (mut connection, reused) = match origin.take().await {
                Some(connection) => (connection, true),
                None => (Box::new(self.connector.open(origin).await?), false),
            };
            progress.waiting();
            match connection.send(outbound).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Inbound { head, body, connection });
                }
                Err(mut failed) => match failed.take_message() {
                    // The peer closed the connection before hyper wrote a byte of the request.
                    Some(unsent) if reused => outbound = unsent,
                    _ => return Err(error::failure(&failed.into_error())),
                },
            }
        }
    }

    /// Reads the body, and keeps the connection for the next request.
    async fn read(
        &self,
        origin: &Arc<Origin>,
        inbound: Inbound,
        limit: usize,
        progress: &Progress,
    ) -> Result<Response, TransportError> {
        progress.reading();
        let Inbound { mut head, mut body, mut connection } = inbound;
        let mut headers = std::mem::take::<HeaderMap>(&mut head.headers);
        let mut buffer = BodyBuffer::new(&mut headers, &body, limit)?;
        while let Some(chunk) = connection.chunk(&mut body).await.map_err(|error| error::failure(&error))? {
            buffer.add(&chunk)?;
        }
        let body = buffer.finish()?;
        origin.put(connection).await;
        Ok(Response { status: head.status, headers, body })
    }
}
