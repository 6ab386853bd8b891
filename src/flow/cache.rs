//! The cache of replies: what an upstream answered to the same request lately stands for asking it again.

use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::time::timeout_at;

use crate::lang::template::StepOutput;
use crate::plan::route::{CachePolicy, ReplyError};
use crate::single_flight::{FlightKey, Lookup, Retention, SingleFlight};
use crate::upstream::delivery::DeliveryError;
use crate::upstream::{Request, Response, TransportError};

use super::step::{StepRecord, StepRun};
use super::{CallError, Phase};

/// Responses by the request that they answer. Only good ones are kept; others are handed to those that wait for them.
pub type Cache = SingleFlight<Result<Response, DeliveryError>>;

/// The most that is kept of them, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// About what an entry takes beside its headers and body, in bytes.
const OVERHEAD: usize = 512;

/// How the cache answered for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// A reply was there.
    Hit,
    /// Another call had just asked for the same.
    Shared,
    /// The upstream failed, and an older reply was there.
    Stale,
    /// It did not: the upstream was asked.
    Miss,
}

impl CacheUse {
    /// The name in the log.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Stale => "stale",
            Self::Miss => "miss",
        }
    }
}

/// Answers a request that changes nothing: from the cache, else by its upstream.
pub(super) async fn ask(
    asked: &StepRun<'_>,
    policy: CachePolicy,
    request: Request,
    went: &mut StepRecord,
    brought: &mut StepOutput,
) -> Result<(), CallError> {
    let (used, stale) = match asked.env.cache.find(key(&request, asked), Instant::now()) {
        Lookup::Hit(known) => {
            went.cache = Some(CacheUse::Hit);
            went.marks.note(Phase::Cache);
            (take(asked, &known, went, brought), None)
        }
        Lookup::InFlight(waiting) => {
            let stale = waiting.stale.clone();
            let began = Instant::now();
            let found = timeout_at(asked.env.deadline.into(), waiting.result()).await;
            went.awaited += began.elapsed();
            went.marks.note(Phase::Cache);
            let ended = match found {
                Ok(Some(ended)) if !is_timeout(&ended) => {
                    went.cache = Some(CacheUse::Shared);
                    ended
                }
                // Whoever was asking gave up, or ran out of time, which says nothing about a call that has some left.
                _ => {
                    went.cache = Some(CacheUse::Miss);
                    asked.deliver(request, went).await
                }
            };
            (take(asked, &ended, went, brought), stale)
        }
        Lookup::Leader(claim) => {
            went.cache = Some(CacheUse::Miss);
            let stale = claim.stale.clone();
            let ended = asked.deliver(request, went).await;
            let used = take(asked, &ended, went, brought);
            match &ended {
                Ok(response) if used.is_ok() && response.status.is_success() => {
                    let (bytes, owner) = (size(response), asked.route.fingerprint);
                    let keeping = Retention { fresh: policy.fresh, stale: policy.stale, bytes, owner };
                    claim.keep(ended, keeping, Instant::now());
                }
                _ => claim.hand_out(ended),
            }
            (used, stale)
        }
    };
    match (used, stale) {
        (Err(error), Some(stale)) if !is_an_answer(&error) => {
            went.cache = Some(CacheUse::Stale);
            went.stale_for = Some(error);
            take(asked, &stale, went, brought)
        }
        (used, _) => used,
    }
}

fn take(
    asked: &StepRun<'_>,
    ended: &Result<Response, DeliveryError>,
    went: &mut StepRecord,
    brought: &mut StepOutput,
) -> Result<(), CallError> {
    match ended {
        Ok(response) => asked.take(response.clone(), went, brought),
        Err(error) => Err(error.clone().into()),
    }
}

/// Whether the upstream said that what is asked for is not to be had: an older reply would not be true any more.
fn is_an_answer(error: &CallError) -> bool {
    let CallError::Reply(ReplyError::Status(status)) = error else { return false };
    // Too slow, too early and too often speak of the moment only.
    (400..500).contains(status) && ![408, 425, 429].contains(status)
}

fn is_timeout(ended: &Result<Response, DeliveryError>) -> bool {
    matches!(ended, Err(DeliveryError::Transport(TransportError::Timeout { .. })))
}

/// A hash of all that decides what is answered: the request, the route as it is, and the credential, which is not on
/// the request yet.
fn key(request: &Request, asked: &StepRun<'_>) -> FlightKey {
    let delivery = &asked.step.request.upstream.delivery;
    let mut hash = Sha256::new();
    hash.update(asked.route.fingerprint);
    hash.update(delivery.credential);
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    add(request.target.name.as_bytes());
    add(request.method.as_str().as_bytes());
    add(request.url.as_str().as_bytes());
    for (name, value) in &request.headers {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    add(request.body.as_deref().unwrap_or_default());
    hash.finalize().into()
}

/// About what a response takes in memory, in bytes.
fn size(response: &Response) -> usize {
    let headers = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
    headers.sum::<usize>() + response.body.len() + OVERHEAD
}
