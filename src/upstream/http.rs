//! Carries requests over HTTP/1.1, in the clear or under TLS: one attempt, its times, one cap on the body.
//!
//! Each upstream has a pool of connections of its own. Nothing is retried here; only a request that never left,
//! because its pooled connection had just been closed, is put on another connection by the pool itself. Whatever
//! comes back is hostile input: it is read no further than its deadline and its cap.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use tokio::time::timeout_at;

use super::egress::NotPublic;
use super::phase::{self, CONNECTING, FOLLOWING, NoteConnecting, READING};
use super::resolver::PublicOnly;
use super::tls::Tls;
use super::{
    EgressPolicy, Redirects, Request, Response, ResponseFuture, Target, Times, Transport, TransportError,
};

/// The most redirects that are followed for one request; the next one is the reply.
const MAX_REDIRECTS: usize = 5;
/// The most that is set aside for a body on the word of its `content-length` alone.
const MAX_RESERVED: usize = 64 * 1024;
/// The most characters of an error's text: a certificate may list hundreds of names.
const MAX_DETAIL: usize = 300;
/// Said in place of what rustls says.
const NO_TLS: &str = "what answers there does not speak TLS; `http://` may be meant";

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
    client: Client,
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

    fn client(&self, target: &Target) -> Result<Client, ClientError> {
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

    fn build(&self, target: &Target) -> Result<Client, ClientError> {
        let tls = if target.tls == Tls::default() { Ok(self.tls.clone()) } else { target.tls.client() };
        let tls = tls.map_err(|error| ClientError { detail: detail(&error) })?;
        let builder = match target.network {
            EgressPolicy::Any => Client::builder(),
            EgressPolicy::Public => Client::builder().dns_resolver(PublicOnly),
        };
        builder
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("jackfield/", env!("CARGO_PKG_VERSION")))
            .redirect(match target.redirects {
                Redirects::None => Policy::none(),
                Redirects::SameOrigin => Policy::custom(|attempt| {
                    let asked = attempt.previous();
                    let stays = asked.first().is_some_and(|first| first.origin() == attempt.url().origin());
                    if !stays || asked.len() > MAX_REDIRECTS {
                        return attempt.stop();
                    }
                    phase::note(FOLLOWING);
                    attempt.follow()
                }),
            })
            // A `referer` would carry the query of a URL, and with it perhaps a key.
            .referer(false)
            .retry(reqwest::retry::never())
            .no_proxy()
            .tcp_nodelay(true)
            .connector_layer(NoteConnecting)
            .build()
            .map_err(|error| ClientError { detail: detail(&error.without_url()) })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request, times: Times) -> ResponseFuture<'_> {
        Box::pin(async move {
            let started = Instant::now();
            let client = self
                .client(&request.target)
                .map_err(|error| TransportError::Unsendable { detail: error.detail })?;
            if times.sent_by <= started {
                return Err(TransportError::Timeout { after_ms: 0, phase: CONNECTING });
            }
            phase::scope(async {
                let mut attempt = pin!(attempt(&client, request));
                let mut ended = timeout_at(times.sent_by.into(), &mut attempt).await;
                // What is on a connection by now has been sent, and may have more time than what is not.
                if ended.is_err() && phase::current() != CONNECTING {
                    ended = timeout_at(times.answered_by.into(), &mut attempt).await;
                }
                ended.unwrap_or_else(|_| {
                    let after_ms = started.elapsed().as_millis();
                    Err(TransportError::Timeout { after_ms, phase: phase::current() })
                })
            })
            .await
        })
    }
}

async fn attempt(client: &Client, request: Request) -> Result<Response, TransportError> {
    let limit = request.target.max_body;
    // No resolver is asked about an address. A redirect that is followed stays on this host.
    request.target.network.admit(&request.url)?;
    let mut outbound = reqwest::Request::new(request.method, request.url);
    *outbound.headers_mut() = request.headers;
    frame(&mut outbound, request.body.unwrap_or_default());
    let mut inbound =
        phase::waiting(client.execute(outbound)).await.map_err(|error| match failure(error) {
            // It arrived before it was redirected: only what it was redirected to was not sent.
            TransportError::Connect { detail } | TransportError::Unsendable { detail }
                if phase::current() == FOLLOWING =>
            {
                TransportError::Lost { detail: format!("{FOLLOWING}: {detail}") }
            }
            error => error,
        })?;

    phase::note(READING);
    let body = read_body(&mut inbound, limit).await?;
    Ok(Response { status: inbound.status(), headers: std::mem::take(inbound.headers_mut()), body })
}

/// Gives a request its body, and the length of that body whatever the headers say: a wrong one would make the upstream
/// take the rest for another request.
fn frame(outbound: &mut reqwest::Request, body: Bytes) {
    outbound.headers_mut().remove(TRANSFER_ENCODING);
    outbound.headers_mut().remove(CONTENT_LENGTH);
    if !body.is_empty() {
        *outbound.body_mut() = Some(body.into());
    } else if matches!(*outbound.method(), Method::POST | Method::PUT | Method::PATCH) {
        // The client leaves it out, and some servers insist on it (411).
        outbound.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}

async fn read_body(inbound: &mut reqwest::Response, limit: usize) -> Result<Bytes, TransportError> {
    // Unknown when the body is compressed: the cap is on what comes out of the decoder.
    let declared = usize::try_from(inbound.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(TransportError::TooLarge { limit });
    }
    let mut body = BytesMut::with_capacity(declared.min(MAX_RESERVED));
    while let Some(chunk) = inbound.chunk().await.map_err(failure)? {
        if chunk.len() > limit - body.len() {
            return Err(TransportError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Sorts an error of the client by what it says about the request: not sent, perhaps sent, or answered badly.
fn failure(error: reqwest::Error) -> TransportError {
    let detail = detail(&error);
    if error.is_builder() {
        return TransportError::Unsendable { detail };
    }
    if let Some(refused) = causes(&error).find_map(|cause| cause.downcast_ref::<NotPublic>()) {
        return TransportError::Forbidden(*refused);
    }
    if error.is_connect() || error.is_dns() {
        return TransportError::Connect { detail };
    }
    let malformed = causes(&error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| {
        // So hyper calls bad chunks, the decoders bad input, and rustls a record that makes no sense.
        matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) && !is_alert(cause)
    });
    match causes(&error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
        Some(hyper) if hyper.is_user() => TransportError::Unsendable { detail },
        Some(hyper) if hyper.is_parse() || malformed => TransportError::Invalid { detail },
        Some(_) => TransportError::Lost { detail },
        // Without the connection in it, the error is the pool's about the request, or a decoder's about the body.
        None if error.is_request() => TransportError::Unsendable { detail },
        None => TransportError::Invalid { detail },
    }
}

/// Whether the upstream closed the connection in words of TLS. It refuses a client certificate only after the client
/// takes the connection for made (TLS 1.3), so that this is met while waiting for the response.
fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

/// Whether the upstream answered the handshake with something else, such as plain HTTP.
fn is_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_no_tls(wrapped);
    }
    matches!(
        error.downcast_ref(),
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
    )
}

/// The causes of an error in one line, without the layers that only wrap (and of which one would show the URL).
fn detail(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::once(error).chain(causes(error)) {
        let wraps = cause.is::<reqwest::Error>() || cause.is::<hyper_util::client::legacy::Error>();
        let text = if is_no_tls(cause) { NO_TLS.to_owned() } else { cause.to_string() };
        // Some causes repeat their own cause.
        if !wraps && !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        texts.push("the cause is not known".to_owned());
    }
    let mut line = String::new();
    for character in texts.join(": ").chars().take(MAX_DETAIL) {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(error.source(), |&cause| cause.source())
}

impl Pools {
    fn client(&self, target: &Target) -> Option<Client> {
        let pool = self.0.get(&target.name)?.iter().find(|pool| pool.serves(target))?;
        Some(pool.client.clone())
    }

    fn add(&mut self, target: &Target, client: Client) {
        let pools = self.0.entry(target.name.clone()).or_default();
        if !pools.iter().any(|pool| pool.serves(target)) {
            let (redirects, tls, network) = (target.redirects, target.tls.clone(), target.network);
            pools.push(Pool { redirects, tls, network, client });
        }
    }
}

impl Pool {
    fn serves(&self, target: &Target) -> bool {
        self.redirects == target.redirects && self.tls == target.tls && self.network == target.network
    }
}

#[cfg(test)]
mod tests;
