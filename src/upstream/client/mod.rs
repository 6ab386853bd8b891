//! The HTTP/1.1 client for calls: one per pool, shared by all requests to targets with equal settings.
//!
//! The task that makes a request also drives its connection, so no byte passes through another task. Responses are
//! hostile input: the head has at most 100 headers and 256 KiB, and the caller limits the body and the time.

mod buffer;
mod connect;
mod connection;
mod decode;
mod error;
mod head;
mod origin;
mod outgoing;
mod redirect;
mod stream;
mod tunnel;

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use crate::memory::{self, Receiving};

use super::phase::Progress;
use super::{Redirects, Request, RequestUrl, Response, Target, TransportError};

use connect::Connector;
use connection::{Connection, SendError};
use decode::BodyBuffer;
use head::Head;
use origin::{Origin, Origins};
use outgoing::Outgoing;

pub(super) use error::detail;
pub(super) use redirect::MAX_REDIRECTS;

/// The longest URL in bytes. Few servers take more than 8 KiB.
const MAX_URL: usize = 64 * 1024;

/// Sends requests over pooled connections.
pub(super) struct Client {
    connector: Connector,
    origins: Origins,
    redirects: Redirects,
}

/// A response whose body has not been read from the connection.
struct UnreadResponse {
    head: Head,
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
        request.target.network.admit(request.url.origin())?;
        let origin = self.origins.of(request.url.origin())?;
        let body = request.body.as_deref().unwrap_or_default();
        let outgoing = self.outgoing(&origin, (&request.method, &request.url), &request.headers, body);
        let inbound = self.exchange(&outgoing, progress).await?;
        let next = match self.redirects {
            Redirects::None => None,
            Redirects::SameOrigin => redirect::target(&inbound.head, &request.url, &request.target.root),
        };
        let inbound = match next {
            Some(next) => Box::pin(self.follow(request, &origin, inbound, next, progress)).await?,
            None => inbound,
        };
        let is_success = inbound.head.status.is_success();
        let response = read(&origin, inbound, request.target.max_body, progress).await;
        response.map_err(|error| {
            if is_success { TransportError::Incomplete { error: Box::new(error) } } else { error }
        })
    }

    /// Follows a chain of redirects. If it exceeds the limit, returns the last redirect as the response.
    async fn follow(
        &self,
        request: &Request,
        origin: &Arc<Origin>,
        mut inbound: UnreadResponse,
        mut next: RequestUrl,
        progress: &Progress,
    ) -> Result<UnreadResponse, TransportError> {
        progress.following();
        let mut method = request.method.clone();
        let mut headers = request.headers.clone();
        let mut body = request.body.as_deref().unwrap_or_default();
        for followed in 1.. {
            redirect::rewrite(inbound.head.status, &mut method, &mut headers, &mut body);
            if inbound.connection.has_ended() {
                origin.put(inbound.connection);
            }
            let outgoing = self.outgoing(origin, (&method, &next), &headers, body);
            inbound = self.exchange(&outgoing, progress).await.map_err(redirect::not_followed)?;
            match redirect::target(&inbound.head, &next, &request.target.root) {
                Some(after) if followed < MAX_REDIRECTS => next = after,
                _ => break,
            }
        }
        Ok(inbound)
    }

    fn outgoing<'a>(
        &'a self,
        origin: &'a Origin,
        (method, url): (&'a Method, &'a RequestUrl),
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Outgoing<'a> {
        let proxy = self.connector.forwards(origin);
        let proxy_authorization = proxy.and_then(|proxy| proxy.authorization.as_ref());
        Outgoing { origin, method, url, headers, body, proxy_authorization, is_forwarded: proxy.is_some() }
    }

    /// Sends a request on an idle connection or a new one, and waits for the head of the response.
    async fn exchange(
        &self,
        outgoing: &Outgoing<'_>,
        progress: &Progress,
    ) -> Result<UnreadResponse, TransportError> {
        let origin = outgoing.origin;
        if outgoing.url.as_str().len() > MAX_URL {
            return Err(TransportError::Unsendable { detail: "the URL is longer than 64 KiB".to_owned() });
        }
        loop {
            progress.connecting();
            let (mut connection, is_reused) = match origin.take(progress.began()) {
                Some(connection) => (connection, true),
                None => (Box::new(Box::pin(self.connector.open(origin)).await?), false),
            };
            progress.waiting();
            let head = match connection.send(outgoing, is_reused).await {
                Ok(head) => head,
                // The peer had closed the pooled connection. Try another one.
                Err(SendError::Unsent) => continue,
                Err(SendError::Failed(error)) => return Err(error),
            };
            return match self.connector.forwards(origin) {
                Some(proxy) if head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    Err(proxy.refused(head.status))
                }
                _ => Ok(UnreadResponse { head, connection }),
            };
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
    let UnreadResponse { mut head, mut connection } = inbound;
    let declared = connection.declared();
    let mut buffer = BodyBuffer::new(&mut head.headers, declared, limit)?;
    let mut receiving = None;
    while let Some(chunk) = connection.chunk().await? {
        buffer.add(chunk)?;
        if receiving.is_none() && buffer.len() > memory::SMALL {
            receiving = Some(Receiving::response(buffer.most(declared), progress.turn_ends()).await?);
        }
    }
    let body = buffer.finish()?;
    origin.put(connection);
    // A body whose compression is not declared may have become large only now.
    if receiving.is_none() && body.len() > memory::SMALL {
        receiving = Some(Receiving::response(body.len(), progress.turn_ends()).await?);
    }
    let body = match receiving {
        Some(receiving) => receiving.hold(body, memory::Use::Indexed, progress.turn_ends()).await?,
        None => body,
    };
    Ok(Response { status: head.status, headers: head.headers, body })
}
