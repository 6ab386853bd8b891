//! One call is one sentence: [`answer`]. Each verb takes what the one before it gave, and the [`Record`] sees it all.
//!
//! The two doors of the sentence, decode and encode, are the server's.

use std::fmt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{Call, FailureKind, Outcome, Reply};
use crate::plan::allowed::NotAllowed;
use crate::plan::arguments::{InvalidArguments, Validated};
use crate::plan::replies::{PickError, Picked};
use crate::plan::request::{RequestError, Upstream};
use crate::plan::route::{ReplyError, Step};
use crate::plan::{Brought, Plan, Route, Scope};
use crate::platform::Platform;
use crate::upstream::auth::CredentialError;
use crate::upstream::{Request, Response, Transport, TransportError};

/// What every step of one call saw. The log line and `call --explain` print this and nothing else.
#[derive(Debug)]
pub struct Record {
    /// The call as it was decoded.
    pub call: Call,
    /// The arguments after validation.
    pub validated: Option<Validated>,
    /// What the steps brought, in the order of the route's steps.
    pub brought: Vec<Brought>,
    /// How the steps went, in the same order.
    pub steps: Vec<StepRecord>,
    /// The reply case that was taken, counted from 0.
    pub case: Option<usize>,
    /// Why values of the platform's own keys were left out of the reply.
    pub dropped: Vec<String>,
    /// Why the call failed, if it did.
    pub error: Option<CallError>,
    /// Why the failure could not be answered as the route says, if so.
    pub failure_error: Option<PickError>,
    /// What the call came to.
    pub outcome: Outcome,
    /// How long the whole call took.
    pub time: Duration,
}

/// How one step went.
#[derive(Debug, Default)]
pub struct StepRecord {
    /// The request as it was sent, or as far as it came; `None` when it could not be rendered.
    pub request: Option<Request>,
    /// How long the upstream took, if the request was sent to it.
    pub time: Option<Duration>,
    /// Whether its conditions did not hold.
    pub skipped: bool,
    /// Why it failed, if it did.
    pub error: Option<CallError>,
}

/// Why a call failed: one variant per verb. `Display` is for operators, [`CallError::spoken`] for the assistant.
#[derive(Debug, Error)]
pub enum CallError {
    /// No route answers this function for this platform.
    #[error("no route answers this function")]
    UnknownFunction,
    /// The arguments do not fit.
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
    /// A value is not one of those that the platform allows.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The request could not be rendered.
    #[error("the request was not sent: {0}")]
    Request(#[from] RequestError),
    /// The credential could not be applied.
    #[error("the request was not sent: {0}")]
    Credential(#[from] CredentialError),
    /// No reply came back.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The reply cannot be used.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// No reply could be made.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The call ended in a fault of our own.
    #[error("the call ended in a fault of the proxy itself")]
    Panicked,
}

impl CallError {
    /// The kind, as the table and the log name it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::UnknownFunction => FailureKind::UnknownFunction,
            Self::Arguments(_) | Self::NotAllowed(_) => FailureKind::InvalidArgs,
            Self::Request(error) if error.missing_argument().is_some() => FailureKind::InvalidArgs,
            Self::Credential(CredentialError::TooLate(_)) => FailureKind::Timeout,
            Self::Request(_) | Self::Credential(_) => FailureKind::Refused,
            Self::Transport(error) => match error {
                TransportError::Timeout { .. } => FailureKind::Timeout,
                TransportError::Connect { .. } | TransportError::Lost { .. } => FailureKind::Unreachable,
                TransportError::Invalid { .. } | TransportError::TooLarge { .. } => FailureKind::BadResponse,
                TransportError::Unsendable { .. } => FailureKind::Refused,
            },
            Self::Reply(_) | Self::Pick(_) | Self::Panicked => FailureKind::BadResponse,
        }
    }

    /// What the assistant hears when the table says nothing else: no detail, except what the model can mend.
    pub fn spoken(&self) -> String {
        match self {
            Self::Arguments(invalid) => invalid.spoken(),
            Self::NotAllowed(refused) => refused.spoken(),
            Self::Request(error) => match error.missing_argument() {
                Some(name) => {
                    InvalidArguments { problems: vec![format!("argument `{name}` is required")] }.spoken()
                }
                None => self.kind().built_in_text().to_owned(),
            },
            other => other.kind().built_in_text().to_owned(),
        }
    }
}

/// What a call is answered with.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// The plan that the whole call sees.
    pub plan: &'a Plan,
    /// Who calls.
    pub platform: &'static dyn Platform,
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// When the answer must be on its way.
    pub deadline: Instant,
    /// The time of the call, RFC 3339.
    pub now: &'a str,
    /// Takes what the platform is to be told at once.
    pub announce: &'a (dyn Fn(Map<String, Value>) + Sync),
}

impl fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means")
            .field("platform", &self.platform.name())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Answers one call, or one event, by the route that is for it. Whatever happens, the record's outcome is something
/// that can be said.
pub async fn answer(call: Call, route: Option<&Route>, means: Means<'_>) -> Record {
    let started = Instant::now();
    let mut record = Record::new(call);
    let answered = match route {
        Some(route) => run(route, means, &mut record).await,
        None => Err(CallError::UnknownFunction),
    };
    record.outcome = match answered {
        Ok(picked) => {
            record.case = picked.case;
            Outcome { reply: picked.reply, failure: None }
        }
        Err(error) => {
            let reply = failed(route, &error, means, &mut record);
            let failure = Some(error.kind());
            record.error = Some(error);
            Outcome { reply, failure }
        }
    };
    let own = std::mem::take(&mut record.outcome.reply.own);
    record.outcome.reply.own = admit(means.platform, own, &mut record.dropped);
    record.time = started.elapsed();
    record
}

/// The sentence.
async fn run(route: &Route, means: Means<'_>, record: &mut Record) -> Result<Picked, CallError> {
    record.validated = Some(route.arguments.validate(&record.call.args)?);
    route.allowed.check(&record.scope(means.now), means.plan.believes(means.platform))?;
    announce(route, means, record);
    let deadline =
        route.timeout.map_or(means.deadline, |timeout| means.deadline.min(Instant::now() + timeout));
    ask(route, Means { deadline, ..means }, record).await?;
    let scope = record.scope(means.now);
    let extracted = || route.extracted(&record.brought);
    Ok(route.replies.pick(&scope, extracted, means.platform.name(), means.platform.guard())?)
}

/// Tells the platform what it is to know at once. What cannot be rendered is left out; the call goes on.
fn announce(route: &Route, means: Means<'_>, record: &mut Record) {
    let platform = means.platform;
    match route.announcement(&record.scope(means.now), platform.name(), platform.guard()) {
        Ok(own) if own.is_empty() => {}
        Ok(own) => (means.announce)(admit(platform, own, &mut record.dropped)),
        Err(error) => record.dropped.push(format!("what should be told at once is left out: {error}")),
    }
}

/// Asks the route's steps in their order, those of a group together.
async fn ask(route: &Route, means: Means<'_>, record: &mut Record) -> Result<(), CallError> {
    while record.steps.len() < route.steps.len() {
        let together = route.together(record.steps.len());
        let scope = record.scope(means.now);
        let asked = together.map(|index| {
            let step = &route.steps[index];
            let wanted = step.after_failure_of.is_none_or(|earlier| record.steps[earlier].error.is_some());
            async move {
                if wanted && step.when.holds(&scope) {
                    send(step, route, scope, means).await
                } else {
                    (StepRecord { skipped: true, ..StepRecord::default() }, Brought::default())
                }
            }
        });
        for (step, brought) in join_all(asked).await {
            record.steps.push(step);
            record.brought.push(brought);
        }
        // A failure that no later step makes good is the call's; a status that a case names ends the asking.
        for (step, went) in route.steps.iter().zip(&mut record.steps) {
            if went.error.is_some() && !step.has_fallback {
                return Err(went.error.take().unwrap_or(CallError::Panicked));
            }
        }
        let last = record.scope(means.now).response();
        if last.is_some_and(|reading| !(200..300).contains(&reading.status()))
            && record.steps.last().is_some_and(|went| went.error.is_none() && !went.skipped)
        {
            break;
        }
    }
    // A fallback that was wanted but did not run leaves the failure standing.
    let made_good = |failed: usize| {
        route.steps.iter().zip(&record.steps).any(|(step, went)| {
            step.after_failure_of == Some(failed) && !went.skipped && went.error.is_none()
        })
    };
    let standing =
        (0..record.steps.len()).find(|index| record.steps[*index].error.is_some() && !made_good(*index));
    match standing.and_then(|index| record.steps[index].error.take()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// One step: render, deliver, read, extract.
async fn send(step: &Step, route: &Route, scope: Scope<'_>, means: Means<'_>) -> (StepRecord, Brought) {
    let (mut went, mut brought) = (StepRecord::default(), Brought::default());
    let sent = async {
        let request = step.request.render(&scope)?;
        let response = deliver(request, &step.request.upstream, means, &mut went).await?;
        let reading = brought.reading.insert(step.read(&response));
        brought.values = step.extract(reading, &route.replies)?;
        Ok(())
    };
    went.error = sent.await.err();
    (went, brought)
}

/// Apply and send; once more, whatever the method, when the upstream refuses a credential that can be had anew: it did
/// not act upon the request then.
async fn deliver(
    request: Request,
    upstream: &Upstream,
    means: Means<'_>,
    went: &mut StepRecord,
) -> Result<Response, CallError> {
    let response = attempt(request.clone(), upstream, means, went).await?;
    match (&upstream.auth, &went.request) {
        (Some(auth), Some(sent)) if auth.renews(sent, &response) => {
            attempt(request, upstream, means, went).await
        }
        _ => Ok(response),
    }
}

async fn attempt(
    mut request: Request,
    upstream: &Upstream,
    means: Means<'_>,
    went: &mut StepRecord,
) -> Result<Response, CallError> {
    went.request = Some(request.clone());
    if let Some(auth) = &upstream.auth {
        auth.apply(&mut request, means.transport, means.deadline).await?;
        went.request = Some(request.clone());
    }
    let started = Instant::now();
    let response = means.transport.send(request, means.deadline).await;
    went.time = Some(went.time.unwrap_or_default() + started.elapsed());
    Ok(response?)
}

/// What is said on a failure: the route's case for it, else its text, else the defaults', else our own.
fn failed(route: Option<&Route>, error: &CallError, means: Means<'_>, record: &mut Record) -> Reply {
    let kind = error.kind();
    let guard = means.platform.guard();
    let scope = record.scope(means.now);
    let mut failure_error = None;
    let case = route.and_then(|route| {
        route.replies.pick_failure(kind, &scope, means.platform.name(), guard).unwrap_or_else(|error| {
            failure_error = Some(error);
            None
        })
    });
    let text = || {
        let texts = [route.map(|route| &route.failure_texts), Some(&means.plan.failure_texts)];
        // A text that needs a value which is not there says nothing; the next one speaks for it.
        texts.into_iter().flatten().find_map(|texts| texts.spoken(kind, &scope, guard))
    };
    let (case, reply) = match case {
        Some(picked) => (picked.case, picked.reply),
        None => (None, Reply::text(text().unwrap_or_else(|| guard.text(&error.spoken())))),
    };
    record.case = case;
    record.failure_error = failure_error;
    reply
}

/// Lets the platform look at what only it understands; what does not fit is left out, the rest still goes.
fn admit(platform: &dyn Platform, own: Map<String, Value>, dropped: &mut Vec<String>) -> Map<String, Value> {
    own.into_iter()
        .filter_map(|(key, value)| {
            let (admitted, complaints) = platform.admit_own(&key, value);
            dropped.extend(complaints);
            admitted.map(|value| (key, value))
        })
        .collect()
}

impl Record {
    fn new(call: Call) -> Self {
        Self {
            call,
            validated: None,
            brought: Vec::new(),
            steps: Vec::new(),
            case: None,
            dropped: Vec::new(),
            error: None,
            failure_error: None,
            outcome: Outcome { reply: Reply::default(), failure: None },
            time: Duration::ZERO,
        }
    }

    /// Whether some request was rendered whole, whether or not it arrived.
    pub fn was_rendered(&self) -> bool {
        self.steps.iter().any(|step| step.request.is_some())
    }

    /// How long upstreams took, steps added up; `None` when none was asked.
    pub fn upstream_time(&self) -> Option<Duration> {
        self.steps.iter().filter_map(|step| step.time).reduce(|sum, time| sum + time)
    }

    /// The upstreams that requests went to, as one text; `None` if there were none.
    pub fn upstreams(&self) -> Option<String> {
        let mut names: Vec<&str> =
            self.steps.iter().filter_map(|step| Some(step.request.as_ref()?.target.name.as_str())).collect();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The record of a call that ended in a fault of our own.
    pub fn panicked(call: Call) -> Self {
        let error = CallError::Panicked;
        let outcome = Outcome { reply: Reply::text(error.spoken()), failure: Some(error.kind()) };
        Self { error: Some(error), outcome, ..Self::new(call) }
    }

    fn scope<'a>(&'a self, now: &'a str) -> Scope<'a> {
        static NOTHING: serde_json::Value = serde_json::Value::Null;
        Scope {
            args: self.validated.as_ref().map_or(&NOTHING, |validated| &validated.args),
            call: &self.call.context,
            steps: &self.brought,
            now,
        }
    }
}
