//! Sends requests over HTTP/1.1, plain or with TLS: one attempt, with timeouts and a size limit on the body.
//!
//! Each upstream has its own connection pool. There are no retries here, except that the pool uses another connection
//! for a request that was not sent because its pooled connection had just been closed. Responses are hostile input:
//! reading stops at the deadline and at the size limit.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::task::yield_now;
use tokio::time::timeout_at;

use crate::in_place::pinned;

use super::client::{Client, detail};
use super::phase::{CONNECTING, Progress};
use super::proxy::Proxy;
use super::tls::Tls;
use super::{EgressPolicy, Redirects, Request, ResponseFuture, Target, Times, Transport, TransportError};

/// Sends requests over HTTP, with a connection pool per upstream.
pub struct HttpTransport {
    /// For upstreams with default TLS settings, which share a session cache.
    tls: ClientConfig,
    pools: ArcSwap<Pools>,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built: {detail}")]
pub struct ClientError {
    /// The cause.
    pub detail: String,
}

/// The clients, by the name of their target.
#[derive(Clone, Default)]
struct Pools(BTreeMap<String, Vec<Pool>>);

/// A client and the settings it was built with. The other settings of a target are applied per request.
#[derive(Clone)]
struct Pool {
    redirects: Redirects,
    tls: Tls,
    network: EgressPolicy,
    proxy: Option<Proxy>,
    client: Arc<Client>,
}

impl HttpTransport {
    /// A transport without connections. It trusts the built-in certificate authorities.
    pub fn new() -> Result<Self, ClientError> {
        let tls = Tls::default().client().map_err(|error| ClientError { detail: detail(&error) })?;
        Ok(Self { tls, pools: ArcSwap::default() })
    }

    /// Prepares a pool for each of `targets` and drops all other pools.
    ///
    /// Call it after each reload. Pools of listed targets keep their connections, and so do calls in flight. A call on
    /// the old plan rebuilds a dropped pool if it needs one, and the next `prepare` drops it. On an error the pools
    /// stay unchanged.
    pub fn prepare<'a>(&self, targets: impl Iterator<Item = &'a Target>) -> Result<(), ClientError> {
        let current = self.pools.load_full();
        let mut listed = Pools::default();
        for target in targets {
            if listed.client(target).is_none() {
                let client = current.client(target).map_or_else(|| self.build(target), Ok)?;
                listed.add(target, client);
            }
        }
        self.pools.store(Arc::new(listed));
        Ok(())
    }

    fn client(&self, target: &Target) -> Result<Arc<Client>, ClientError> {
        if let Some(client) = self.pools.load().client(target) {
            return Ok(client);
        }
        let built = self.build(target)?;
        self.pools.rcu(|pools| {
            let mut pools = Pools::clone(pools);
            pools.add(target, built.clone());
            pools
        });
        // If two calls build a client at the same time, both use the one that is added first.
        Ok(self.pools.load().client(target).unwrap_or(built))
    }

    fn build(&self, target: &Target) -> Result<Arc<Client>, ClientError> {
        let tls = if target.tls == Tls::default() { Ok(self.tls.clone()) } else { target.tls.client() };
        let tls = tls.map_err(|error| ClientError { detail: detail(&error) })?;
        Ok(Arc::new(Client::new(target, tls)))
    }
}

impl Transport for HttpTransport {
    fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a> {
        pinned(|| async move {
            let client = self
                .client(&request.target)
                .map_err(|error| TransportError::Unsendable { detail: error.detail })?;
            if times.sent_by <= times.began {
                return Err(TransportError::Timeout { after_ms: 0, phase: CONNECTING });
            }
            // Compute all calls that are ready before sending any of their requests, so that an upstream on the same
            // machine wakes up once for all of them. Under load, one wake-up per request took a quarter of the CPU time
            // of a call. `yield_now` also polls the sockets. A connection that the upstream has just closed is therefore
            // not reused.
            yield_now().await;
            let progress = Progress::of(times);
            let mut attempt = pin!(client.send(request, &progress));
            let mut ended = timeout_at(times.sent_by.into(), &mut attempt).await;
            // The upstream may be processing a request that was sent, so that request gets the longer timeout.
            if ended.is_err() && progress.phase() != CONNECTING {
                ended = timeout_at(times.answered_by.into(), &mut attempt).await;
            }
            ended.unwrap_or_else(|_| {
                let after_ms = times.began.elapsed().as_millis();
                Err(TransportError::Timeout { after_ms, phase: progress.phase() })
            })
        })
    }
}

impl Pools {
    fn client(&self, target: &Target) -> Option<Arc<Client>> {
        let pool = self.0.get(&target.name)?.iter().find(|pool| pool.serves(target))?;
        Some(pool.client.clone())
    }

    fn add(&mut self, target: &Target, client: Arc<Client>) {
        let pools = self.0.entry(target.name.clone()).or_default();
        if !pools.iter().any(|pool| pool.serves(target)) {
            let (redirects, tls, network) = (target.redirects, target.tls.clone(), target.network);
            pools.push(Pool { redirects, tls, network, proxy: target.proxy.clone(), client });
        }
    }
}

impl Pool {
    fn serves(&self, target: &Target) -> bool {
        self.redirects == target.redirects
            && self.network == target.network
            && self.tls == target.tls
            && self.proxy == target.proxy
    }
}

#[cfg(test)]
mod tests;
