//! One call is one sentence: [`answer`]. Each verb takes what the one before it gave, and the [`Record`] sees it all.
//!
//! The two doors of the sentence, decode and encode, are the server's.

use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::call::{Call, FailureKind, Outcome, Reply};
use crate::plan::arguments::{InvalidArguments, Validated};
use crate::plan::extraction::Values;
use crate::plan::replies::{PickError, Picked};
use crate::plan::request::RequestError;
use crate::plan::route::ReplyError;
use crate::plan::{Plan, Reading, Route, Scope};
use crate::platform::Platform;
use crate::upstream::auth::CredentialError;
use crate::upstream::{Request, Transport, TransportError};

/// What every step of one call saw. The log line and `call --explain` print this and nothing else.
#[derive(Debug)]
pub struct Record {
    /// The call as it was decoded.
    pub call: Call,
    /// The arguments after validation.
    pub validated: Option<Validated>,
    /// The request as it was sent.
    pub request: Option<Request>,
    /// The reply as templates see it.
    pub reading: Option<Reading>,
    /// The extracted values, in the order of the route's extracts.
    pub values: Values,
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
    /// How long the upstream took, if it was asked.
    pub upstream_time: Option<Duration>,
    /// How long the whole call took.
    pub time: Duration,
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
            Self::Arguments(_) => FailureKind::InvalidArgs,
            Self::Request(error) if error.missing_argument().is_some() => FailureKind::InvalidArgs,
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
}

impl fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Means")
            .field("platform", &self.platform.name())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Answers one call. Whatever happens, the record's outcome is something that can be said.
pub async fn answer(call: Call, means: Means<'_>) -> Record {
    let started = Instant::now();
    let mut record = Record::new(call);
    let route = means.plan.route(&record.call.context.function, means.platform.name());
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
            let reply = failed(route.map(AsRef::as_ref), &error, means, &mut record);
            let failure = Some(error.kind());
            record.error = Some(error);
            Outcome { reply, failure }
        }
    };
    admit(means.platform, &mut record);
    record.time = started.elapsed();
    record
}

/// The sentence.
async fn run(route: &Route, means: Means<'_>, record: &mut Record) -> Result<Picked, CallError> {
    record.validated = Some(route.arguments.validate(&record.call.args)?);
    if let Some(template) = &route.request {
        let mut request = template.render(&record.scope(means.now))?;
        let deadline =
            route.timeout.map_or(means.deadline, |timeout| means.deadline.min(Instant::now() + timeout));
        if let Some(auth) = &template.upstream.auth {
            auth.apply(&mut request, means.transport, deadline).await?;
        }
        let sent = Instant::now();
        record.request = Some(request.clone());
        let response = means.transport.send(request, deadline).await;
        record.upstream_time = Some(sent.elapsed());
        let reading = record.reading.insert(route.read(&response?));
        record.values = route.extract(reading)?;
    }
    let guard = means.platform.guard();
    Ok(route.replies.pick(
        &record.scope(means.now),
        &route.extraction,
        &record.values,
        means.platform.name(),
        guard,
    )?)
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
fn admit(platform: &dyn Platform, record: &mut Record) {
    for (key, value) in std::mem::take(&mut record.outcome.reply.own) {
        let (admitted, dropped) = platform.admit_own(&key, value);
        record.dropped.extend(dropped);
        if let Some(value) = admitted {
            record.outcome.reply.own.insert(key, value);
        }
    }
}

impl Record {
    fn new(call: Call) -> Self {
        Self {
            call,
            validated: None,
            request: None,
            reading: None,
            values: Values::new(),
            case: None,
            dropped: Vec::new(),
            error: None,
            failure_error: None,
            outcome: Outcome { reply: Reply::default(), failure: None },
            upstream_time: None,
            time: Duration::ZERO,
        }
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
            extracts: &self.values,
            response: self.reading.as_ref(),
            now,
        }
    }
}
