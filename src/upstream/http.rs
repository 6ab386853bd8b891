//! Carries requests over HTTP/1.1, in the clear or under TLS: one attempt, its times, one cap on the body.
//!
//! Each upstream has a pool of connections of its own. Nothing is retried here; only a request that never left,
//! because its pooled connection had just been closed, is put on another connection by the pool itself. Whatever
//! comes back is hostile input: it is read no further than its deadline and its cap.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::time::timeout_at;

use super::client::{Client, detail};
use super::phase::{CONNECTING, Progress};
use super::proxy::Proxy;
use super::tls::Tls;
use super::{EgressPolicy, Redirects, Request, ResponseFuture, Target, Times, Transport, TransportError};

/// Carries requests over HTTP, from a pool of connections per upstream.
pub struct HttpTransport {
    /// For the upstreams about whose TLS nothing is particular, which share what they remember of sessions.
    tls: ClientConfig,
    pools: ArcSwap<Pools>,
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built: {detail}")]
pub struct ClientError {
    /// What stood in the way.
    pub detail: String,
}

/// The clients by the name of their target.
#[derive(Clone, Default)]
struct Pools(HashMap<String, Vec<Pool>>);

/// A client with what makes it differ from others of its name; everything else about a target is applied per request.
#[derive(Clone)]
struct Pool {
    redirects: Redirects,
    tls: Tls,
    network: EgressPolicy,
    proxy: Option<Proxy>,
    client: Arc<Client>,
}

impl HttpTransport {
    /// A transport without connections, trusting the certificate authorities that are compiled in.
    pub fn new() -> Result<Self, ClientError> {
        let tls = Tls::default().client().map_err(|error| ClientError { detail: detail(&error) })?;
        Ok(Self { tls, pools: ArcSwap::default() })
    }

    /// Readies a pool for each of `targets` and drops the pools of all others.
    ///
    /// To be called after each reload: pools that are still listed keep their connections, and calls that are
    /// under way keep theirs. A call that still runs on the old plan makes a dropped pool anew if it needs it; the
    /// next `prepare` drops that again. After an error the pools are as they were.
    pub fn prepare<'a>(&self, targets: impl Iterator<Item = &'a Target>) -> Result<(), ClientError> {
        let present = self.pools.load_full();
        let mut listed = Pools::default();
        for target in targets {
            if listed.client(target).is_none() {
                let client = present.client(target).map_or_else(|| self.build(target), Ok)?;
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
        // When two calls build at the same time, the first to be added is the one that both use.
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
        Box::pin(async move {
            let started = Instant::now();
            let client = self
                .client(&request.target)
                .map_err(|error| TransportError::Unsendable { detail: error.detail })?;
            if times.sent_by <= started {
                return Err(TransportError::Timeout { after_ms: 0, phase: CONNECTING });
            }
            let progress = Progress::default();
            let mut attempt = pin!(client.send(request, &progress));
            let mut ended = timeout_at(times.sent_by.into(), &mut attempt).await;
            // The upstream may be working on a request that was sent, so it gets the longer time.
            if ended.is_err() && progress.phase() != CONNECTING {
                ended = timeout_at(times.answered_by.into(), &mut attempt).await;
            }
            ended.unwrap_or_else(|_| {
                let after_ms = started.elapsed().as_millis();
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
