//! One attempt to deliver a call. It uses the running table, even if another one accepted the call.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::dispatch::Dispatcher;
use crate::flow::{
    self, ATTEMPT_TIMEOUT, CallEnv, CallKey, DeliveryAttempt, DeliveryRecord, NoCaller, Record, StoredCall,
    Traced,
};
use crate::live::Running;
use crate::observe::DeliveryEnded;
use crate::plan::Route;
use crate::platform::{self, Platform};
use crate::state::{Job, JobOutcome, Work, WorkKind};
use crate::traceparent::Link;

use super::verdict::{self, Progress};

/// Delivers a call, and returns the outcome.
pub(super) async fn run(dispatcher: &Arc<Dispatcher>, job: Job) -> JobOutcome {
    let running = dispatcher.live.running();
    let (began, progress) = (Instant::now(), Progress::of(&job));
    let (mut outcome, record) = match prepare(&running, &job) {
        Ok(Prepared { stored, platform, route }) => {
            if job.is_interrupted {
                warn_of_repeat(&job);
            }
            let record = deliver(dispatcher, &running, &job, (stored, platform, &route)).await;
            dispatcher.state.note_call(&record);
            let is_other = job.revision != running.plan.revision;
            let accepted_by = is_other.then_some(&*job.revision);
            let outcome = verdict::of_record(&record, progress, accepted_by);
            (outcome, Some((record, route)))
        }
        Err(reason) => (progress.hand_back(reason), None),
    };
    // The command line shows stored reasons, perhaps without the secrets that would have to be hidden.
    if let Some(reason) = outcome.reason_mut() {
        *reason = running.plan.masks.show(reason);
    }
    let (record, route) = record.unzip();
    let Job { lease, work, platform, conversation, attempt, accepted_at, .. } = job;
    let since_accepted = Timestamp::now().duration_since(accepted_at);
    dispatcher.observers.note_delivery(DeliveryEnded {
        id: lease.id,
        name: &work.name,
        platform: &platform,
        conversation: conversation.as_deref(),
        attempt,
        outcome: &outcome,
        time: began.elapsed(),
        since_accepted: since_accepted.try_into().unwrap_or_default(),
        record,
        plan: &running.plan,
        route: route.as_ref(),
    });
    outcome
}

fn warn_of_repeat(job: &Job) {
    let (delivery, attempt) = (job.lease.id, job.attempt);
    tracing::warn!(
        %delivery, attempt,
        "the previous attempt was interrupted: the upstream may get the request of this delivery twice"
    );
}

/// A stored call, and what delivers it.
struct Prepared {
    stored: StoredCall,
    platform: &'static dyn Platform,
    route: Arc<Route>,
}

/// Finds the route that delivers a job in the running table. Otherwise, returns why this instance cannot deliver it.
fn prepare(running: &Running, job: &Job) -> Result<Prepared, String> {
    let platform = platform::find(&job.platform)
        .ok_or_else(|| format!("this version of Jackfield knows no platform `{}`", job.platform))?;
    let Work { kind, name } = &job.work;
    let route = match kind {
        WorkKind::Route => running.plan.routes.get(name),
        WorkKind::Event => running.plan.event(platform.name(), name),
    };
    let route = route.ok_or_else(|| {
        let revision = &running.plan.revision;
        format!("the running table (revision {revision}) has no {} `{name}`", kind.as_str())
    })?;
    let payload = job.payload.as_ref().map_err(ToString::to_string)?;
    let stored = StoredCall::decode(platform.name(), payload)
        .ok_or("what was stored of the call is damaged, or was stored by a newer version of Jackfield")?;
    Ok(Prepared { stored, platform, route: Arc::clone(route) })
}

async fn deliver(
    dispatcher: &Arc<Dispatcher>,
    running: &Running,
    job: &Job,
    (stored, platform, route): (StoredCall, &'static dyn Platform, &Arc<Route>),
) -> Box<Record> {
    let plan = &running.plan;
    let share = plan.traces.as_ref().map(|traces| traces.sample);
    let traced = Link::of(None, share).map(|link| Traced::decoded(link, Instant::now()));
    let delivery = DeliveryRecord {
        id: job.lease.id,
        is_ordered: job.is_ordered,
        attempt: Some(DeliveryAttempt {
            number: job.attempt,
            accepted_at: job.accepted_at,
            revision: job.revision.clone(),
        }),
    };
    let now = stored.now.clone();
    let state = dispatcher.state.access(plan);
    let began = Instant::now();
    let env = CallEnv {
        plan,
        resources: &running.resources,
        platform,
        transport: &*dispatcher.transport,
        began,
        deadline: began + ATTEMPT_TIMEOUT,
        now: &now,
        key: CallKey::of_delivery(job.seed),
        cache: &dispatcher.cache,
        traced: traced.as_ref(),
        caller: &NoCaller,
        state: state.as_ref(),
    };
    flow::deliver(stored, delivery, route, &env).await
}
