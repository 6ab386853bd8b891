//! Why a call failed, and what is said then.

use thiserror::Error;

use crate::call::{FailureKind, Reply};
use crate::lang::template::Scope;
use crate::plan::allowed::NotAllowed;
use crate::plan::arguments::InvalidArguments;
use crate::plan::replies::{Passed, PickError};
use crate::plan::request::RequestError;
use crate::plan::route::ReplyError;
use crate::plan::{FailureSlot, Route};
use crate::upstream::TransportError;
use crate::upstream::auth::CredentialError;
use crate::upstream::delivery::DeliveryError;
use crate::upstream::delivery::limit::LimitError;

use super::CallEnv;

/// Why a call failed: one variant per verb. `Display` is for operators, [`CallError::model_text`] for the assistant.
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
    /// The route is called too often.
    #[error("the route is called too often: {0}")]
    Limit(#[from] LimitError),
    /// No reply came back.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The reply cannot be used.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// No reply could be made.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The time of the call is over, and a request that may have changed something goes on.
    #[error("{0}; what was sent may change something and goes on")]
    Overdue(TransportError),
    /// A request that may have changed something was not answered, and is not waited for any more.
    #[error("{0}; what was sent may have changed something")]
    Unconfirmed(TransportError),
    /// The connection failed, or what came could not be taken, after a request that may have changed something.
    #[error("{0}; what was sent may have changed something")]
    Unanswered(TransportError),
    /// The same call is under way already, and did not end in the time of this one.
    #[error("the same call was still under way when the time of this one was over")]
    StillUnderWay,
    /// There are more calls in flight than there may be.
    #[error("there are too many calls in flight (`server.max_calls`)")]
    Busy,
    /// The call ended in a fault of our own.
    #[error("the call ended in internal error")]
    Panicked,
}

impl CallError {
    /// The kind, as the table and the log name it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::UnknownFunction => FailureKind::UnknownFunction,
            Self::Arguments(_) | Self::NotAllowed(_) => FailureKind::InvalidArgs,
            Self::Request(error) if error.missing_argument().is_some() => FailureKind::InvalidArgs,
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::StillUnderWay => FailureKind::Timeout,
            Self::Request(_) | Self::Limit(_) | Self::Busy => FailureKind::Refused,
            Self::Delivery(error) => match error {
                DeliveryError::Credential(CredentialError::TooLate(_)) => FailureKind::Timeout,
                DeliveryError::Credential(_)
                | DeliveryError::Breaker { .. }
                | DeliveryError::Limit { .. } => FailureKind::Refused,
                DeliveryError::Transport(error) => kind_of(error),
            },
            Self::Unanswered(error) => kind_of(error),
            Self::Reply(_) | Self::Pick(_) | Self::Panicked => FailureKind::BadResponse,
        }
    }

    /// What the assistant hears when the table says nothing else: no detail, except what the model can mend.
    pub fn model_text(&self) -> String {
        match self {
            Self::Arguments(invalid) => invalid.model_text(),
            Self::NotAllowed(refused) => refused.model_text(),
            Self::Request(error) => match error.missing_argument() {
                Some(name) => {
                    InvalidArguments { problems: vec![format!("argument `{name}` is required")] }.model_text()
                }
                None => self.kind().built_in_text().to_owned(),
            },
            Self::Busy | Self::Limit(_) | Self::Delivery(DeliveryError::Limit { .. }) => BUSY.to_owned(),
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::StillUnderWay => UNCONFIRMED.to_owned(),
            Self::Unanswered(_) => UNANSWERED.to_owned(),
            other => other.kind().built_in_text().to_owned(),
        }
    }

    /// The same when an upstream has confirmed a change: nothing may sound like an invitation to make it again.
    fn model_text_after_write(&self) -> String {
        let text = match self {
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::Unanswered(_) => UNCONFIRMED,
            Self::Pick(_) | Self::Reply(ReplyError::Body { .. } | ReplyError::Missing(_)) => DONE,
            _ => PARTLY_DONE,
        };
        text.to_owned()
    }
}

/// For a change that an upstream has confirmed with a response of which nothing more can be said.
const DONE: &str =
    "It was done, but the details could not be read. Say that it was done. Do not do it again.";

/// For a change that was confirmed before something else failed.
const PARTLY_DONE: &str =
    "It was done, but a later part of it failed. Apologise and say so. Do not do it again.";

const BUSY: &str = "The system is busy right now. Apologise and offer to try again in a moment.";

/// For what may yet be done, or is done already: to make the same call anew could do it twice.
const UNCONFIRMED: &str = "The system has not confirmed in time, and may still do it. Apologise and say so. \
                           Do not start it again unless the caller asks for that.";

/// For what may have been done, when nothing more will be heard of it.
const UNANSWERED: &str = "The system has not confirmed whether it was done. Apologise and say so. \
                          Do not start it again unless the caller asks for that.";

fn kind_of(error: &TransportError) -> FailureKind {
    match error {
        TransportError::Timeout { .. } => FailureKind::Timeout,
        TransportError::Connect { .. } | TransportError::Lost { .. } => FailureKind::Unreachable,
        TransportError::Invalid { .. } | TransportError::TooLarge { .. } => FailureKind::BadResponse,
        TransportError::Forbidden(_) | TransportError::Unsendable { .. } => FailureKind::Refused,
    }
}

/// Where the text for a failure comes from, when no case is for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaidBy {
    /// `failure` of the route.
    Route(FailureSlot),
    /// `[defaults] failure`.
    Defaults(FailureSlot),
    /// The table says nothing.
    BuiltIn,
}

/// What is said on a failure.
pub(super) struct FailureReply {
    /// The case for it, counted from 0.
    pub(super) case: Option<usize>,
    /// What the platform gets.
    pub(super) reply: Reply,
    /// Why the case for it could not be rendered.
    pub(super) error: Option<PickError>,
    /// The cases that were passed over.
    pub(super) passed: Vec<Passed>,
    /// Where its text comes from, without a case.
    pub(super) by: Option<SaidBy>,
}

impl FailureReply {
    /// The route's case for it, else its text, else the defaults', else our own.
    pub(super) fn on(error: &CallError, route: Option<&Route>, scope: &Scope<'_>, env: CallEnv<'_>) -> Self {
        let kind = error.kind();
        let guard = env.platform.guard();
        let has_written = route.is_some_and(|route| route.has_written(scope.steps));
        let slot = if has_written { FailureSlot::AfterWrite } else { FailureSlot::Kind(kind) };
        let (mut failure_error, mut passed) = (None, Vec::new());
        let case = route.and_then(|route| {
            let platform = (env.platform.name(), guard);
            let picked = route.replies.pick_failure(slot, kind, scope, platform, &mut passed);
            picked.unwrap_or_else(|error| {
                failure_error = Some(error);
                None
            })
        });
        let text = || {
            let texts = [
                (SaidBy::Route(slot), route.map(|route| &route.failure_texts)),
                (SaidBy::Defaults(slot), Some(&env.plan.failure_texts)),
            ];
            // A text that needs a value which is not there says nothing; the next one speaks for it.
            texts.into_iter().find_map(|(by, texts)| Some((by, texts?.model_text(slot, scope, guard)?)))
        };
        let (case, reply, by) = match case {
            Some(picked) => (picked.case, picked.reply, None),
            None => {
                let built_in =
                    || if has_written { error.model_text_after_write() } else { error.model_text() };
                let (by, text) = text().unwrap_or_else(|| (SaidBy::BuiltIn, guard.text(&built_in())));
                (None, Reply::text(text), Some(by))
            }
        };
        Self { case, reply, error: failure_error, passed, by }
    }
}
