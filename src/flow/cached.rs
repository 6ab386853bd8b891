//! Safe requests of routes with a cache: a response from the cache, or else from the upstream.

use std::time::Instant;

use sha2::{Digest, Sha256};
use tokio::time::timeout_at;

use crate::lang::template::{Scope, StepOutput};
use crate::plan::route::{CachePolicy, ResponseError};
use crate::single_flight::{FlightKey, FlightLookup, Retention};
use crate::upstream::delivery::DeliveryError;
use crate::upstream::{Request, Response, TransportError};

use super::step::{StepRecord, StepRun};
use super::{CacheUse, CallError, Phase, cache};

/// Gets the response to a safe request: from the cache, or else from the upstream.
pub(super) async fn fetch(
    run: &StepRun<'_>,
    policy: CachePolicy,
    request: Request,
    record: &mut StepRecord,
    output: &mut StepOutput,
) -> Result<(), CallError> {
    let (taken, stale) = match run.env.cache.find(key(&request, run), Instant::now()) {
        FlightLookup::Hit(result) => {
            record.cache = Some(CacheUse::Hit);
            record.phase_times.note(Phase::Cache);
            (take(run, &result, record, output), None)
        }
        FlightLookup::InFlight(follower) => {
            let stale = follower.stale.clone();
            let began = Instant::now();
            let shared = timeout_at(run.deadline.into(), follower.result()).await;
            record.wait_time += began.elapsed();
            record.phase_times.note(Phase::Cache);
            let result = match shared {
                Ok(Some(result)) if !is_timeout(&result) => {
                    record.cache = Some(CacheUse::Shared);
                    result
                }
                // The other call gave up or timed out. This call may have time left, so it sends its own request.
                _ => {
                    record.cache = Some(CacheUse::Miss);
                    run.deliver(request, record).await
                }
            };
            (take(run, &result, record, output), stale)
        }
        FlightLookup::Leader(lead) => {
            record.cache = Some(CacheUse::Miss);
            let stale = lead.stale.clone();
            let result = run.deliver(request, record).await;
            let taken = take(run, &result, record, output);
            let is_failure = taken.is_ok() && is_declared_failure(run, output);
            match &result {
                Ok(response) if taken.is_ok() && response.status.is_success() && !is_failure => {
                    let (bytes, owner) = (cache::bytes(response), run.route.fingerprint);
                    let compact = response.compact();
                    let retention = Retention { fresh: policy.fresh, stale: policy.stale, bytes, owner };
                    lead.keep(Ok(compact), retention, Instant::now());
                }
                _ => lead.hand_out(result),
            }
            (taken, stale)
        }
    };
    match (taken, stale) {
        (Err(error), Some(stale)) if !is_definitive(&error) => {
            record.cache = Some(CacheUse::Stale);
            record.refresh_error = Some(error);
            take(run, &stale, record, output)
        }
        (taken, _) => taken,
    }
}

/// Whether a reply case declares the call a failure because of this step's output. Only the last step can tell.
fn is_declared_failure(run: &StepRun<'_>, output: &StepOutput) -> bool {
    let is_last = run.route.steps.last().is_some_and(|last| std::ptr::eq(last, run.step));
    if !is_last || !run.route.replies.can_declare_failure() {
        return false;
    }
    let mut steps = run.scope.steps.to_vec();
    // The other steps of the same group are not known yet.
    steps.resize_with(run.route.steps.len() - 1, StepOutput::default);
    steps.push(output.clone());
    run.route.replies.declares_failure(&Scope { steps: &steps, ..run.scope })
}

fn take(
    run: &StepRun<'_>,
    result: &Result<Response, DeliveryError>,
    record: &mut StepRecord,
    output: &mut StepOutput,
) -> Result<(), CallError> {
    match result {
        Ok(response) => run.take(response.clone(), record, output),
        Err(error) => Err(error.clone().into()),
    }
}

/// Whether the upstream refused the request with a status that is not transient. A stale response would then be wrong.
fn is_definitive(error: &CallError) -> bool {
    let CallError::Response(ResponseError::Status(status) | ResponseError::Credential { status, .. }) = error
    else {
        return false;
    };
    // These statuses are transient.
    (400..500).contains(status) && ![408, 425, 429].contains(status)
}

fn is_timeout(result: &Result<Response, DeliveryError>) -> bool {
    matches!(result, Err(DeliveryError::Transport(TransportError::Timeout { .. })))
}

/// The cache key: a hash of the request, the route's fingerprint, and the credential, which is not yet part of the
/// request.
fn key(request: &Request, run: &StepRun<'_>) -> FlightKey {
    let delivery = &run.step.request.upstream.delivery;
    let mut hash = Sha256::new();
    hash.update(run.route.fingerprint);
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
