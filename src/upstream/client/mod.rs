//! The HTTP/1.1 client for calls: one per pool, shared by all requests to targets with equal settings.
//!
//! The task that makes a request also drives its connection, so no byte passes through another task. Responses are
//! hostile input: hyper limits the head (100 headers, about 400 KiB), and the caller limits the body and the time.

mod connect;
mod connection;
mod decode;
mod error;
mod framing;
mod origin;
mod redirect;
mod stream;
mod tunnel;

use std::sync::Arc;

use bytes::Bytes;
use http::header::PROXY_AUTHORIZATION;
use http::{StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;
use url::Url;

use super::phase::Progress;
use super::{Redirects, Request, Response, Target, TransportError};

use connect::Connector;
use connection::Connection;
use decode::BodyBuffer;
use origin::{Origin, Origins};

pub(super) use error::detail;
pub(super) use redirect::MAX_REDIRECTS;

/// A request in hyper's form.
type Outbound = http::Request<Full<Bytes>>;

/// Sends requests over pooled connections.
pub(super) struct Client {
    connector: Connector,
    origins: Origins,
    redirects: Redirects,
}

/// A response whose body has not been read from the connection.
struct UnreadResponse {
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
        request: &Request,
        progress: &Progress,
    ) -> Result<Response, TransportError> {
        // Literal addresses are checked here, resolved ones when connecting. Redirects stay on this host.
        request.target.network.admit(&request.url)?;
        let origin = self.origins.of(&request.url)?;
        let mut outbound = Outbound::new(Full::new(request.body.clone().unwrap_or_default()));
        *outbound.method_mut() = request.method.clone();
        *outbound.uri_mut() = self.uri(&origin, &request.url)?;
        *outbound.headers_mut() = framing::headers(request, &origin);
        let inbound = self.exchange(&origin, outbound, progress).await?;
        let next = match self.redirects {
            Redirects::None => None,
            Redirects::SameOrigin => redirect::target(&inbound.head, &request.url),
        };
        let inbound = match next {
            Some(next) => Box::pin(self.follow(request, &origin, inbound, next, progress)).await?,
            None => inbound,
        };
        let is_success = inbound.head.status.is_success();
        let response = read(&origin, inbound, request.target.max_body, progress).await;
        response.map_err(|error| match is_success {
            true => TransportError::Incomplete { error: Box::new(error) },
            false => error,
        })
    }

    /// Follows a chain of redirects. If it exceeds the limit, returns the last redirect as the response.
    async fn follow(
        &self,
        request: &Request,
        origin: &Arc<Origin>,
        mut inbound: UnreadResponse,
        mut next: Url,
        progress: &Progress,
    ) -> Result<UnreadResponse, TransportError> {
        progress.following();
        let mut method = request.method.clone();
        let mut headers = framing::headers(request, origin);
        let mut body = request.body.clone().unwrap_or_default();
        for followed in 1.. {
            redirect::rewrite(inbound.head.status, &mut method, &mut headers, &mut body);
            if inbound.body.is_end_stream() {
                origin.put(inbound.connection);
            }
            let mut outbound = Outbound::new(Full::new(body.clone()));
            *outbound.method_mut() = method.clone();
            *outbound.headers_mut() = headers.clone();
            let sent = match self.uri(origin, &next) {
                Ok(uri) => {
                    *outbound.uri_mut() = uri;
                    self.exchange(origin, outbound, progress).await
                }
                Err(error) => Err(error),
            };
            inbound = sent.map_err(redirect::not_followed)?;
            match redirect::target(&inbound.head, &next) {
                Some(after) if followed < MAX_REDIRECTS => next = after,
                _ => break,
            }
        }
        Ok(inbound)
    }

    /// The target of the request line: path and query, or the whole URL if a proxy forwards the request.
    fn uri(&self, origin: &Origin, url: &Url) -> Result<Uri, TransportError> {
        origin.uri(url, self.connector.forwards(origin).is_some())
    }

    /// Sends a request on an idle connection or a new one, and waits for the head of the response.
    async fn exchange(
        &self,
        origin: &Origin,
        mut outbound: Outbound,
        progress: &Progress,
    ) -> Result<UnreadResponse, TransportError> {
        let proxy = self.connector.forwards(origin);
        if let Some(credential) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
            outbound.headers_mut().insert(PROXY_AUTHORIZATION, credential.clone());
        }
        loop {
            progress.connecting();
            let (mut connection, is_reused) = match origin.take() {
                Some(connection) => (connection, true),
                None => (Box::new(Box::pin(self.connector.open(origin)).await?), false),
            };
            progress.waiting();
            match connection.send(outbound).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    framing::check(&head.headers)?;
                    if let Some(proxy) =
                        proxy.filter(|_| head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED)
                    {
                        return Err(proxy.refused(head.status));
                    }
                    return Ok(UnreadResponse { head, body, connection });
                }
                Err(mut failed) => match failed.take_message() {
                    // The peer closed the pooled connection before hyper wrote a byte of the request. Try another one.
                    Some(unsent) if is_reused => outbound = unsent,
                    _ => return Err(error::failure(&failed.into_error())),
                },
            }
        }
    }
}

/// Reads the body and keeps the connection for the next request. If the body is not read to its end, the connection is
/// closed.
async fn read(
    origin: &Arc<Origin>,
    inbound: UnreadResponse,
    limit: usize,
    progress: &Progress,
) -> Result<Response, TransportError> {
    progress.reading();
    let UnreadResponse { mut head, mut body, mut connection } = inbound;
    let mut buffer = BodyBuffer::new(&mut head.headers, &body, limit)?;
    while let Some(chunk) = connection.chunk(&mut body).await.map_err(|error| error::failure(&error))? {
        buffer.add(&chunk)?;
    }
    let body = buffer.finish()?;
    origin.put(connection);
    Ok(Response { status: head.status, headers: head.headers, body })
}
