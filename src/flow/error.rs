//! Errors of calls, their kinds, and the built-in texts for the model.

use thiserror::Error;

use crate::call::FailureKind;
use crate::plan::allowed::NotAllowed;
use crate::plan::arguments::InvalidArguments;
use crate::plan::replies::PickError;
use crate::plan::request::RequestError;
use crate::plan::route::ResponseError;
use crate::state::StateError;
use crate::upstream::TransportError;
use crate::upstream::auth::CredentialError;
use crate::upstream::delivery::DeliveryError;
use crate::upstream::delivery::limit::LimitError;

/// Why a call failed; one variant per phase. `Display` is for operators, [`CallError::model_text`] for the model.
#[derive(Debug, Error)]
pub enum CallError {
    /// The platform has no route for this function.
    #[error("no route answers this function")]
    UnknownFunction,
    /// The arguments are invalid.
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
    /// The platform does not allow the value of an argument.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The request could not be rendered.
    #[error("the request was not sent: {0}")]
    Request(#[from] RequestError),
    /// The route's own limit gave no permit.
    #[error("the route is called too often: {0}")]
    Limit(#[from] LimitError),
    /// There is no response.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The response cannot be used.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// No reply case matches, or it cannot be rendered.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The reply case at this index declares the call a failure.
    #[error("reply case {} is the failure `{kind}`", case + 1)]
    Declared {
        /// The index of the case, from 0.
        case: usize,
        /// The kind of failure.
        kind: FailureKind,
    },
    /// The deadline has passed, and a non-idempotent request is still in flight.
    #[error("{0}; the request continues and may still take effect")]
    Overdue(TransportError),
    /// A non-idempotent request timed out and is abandoned. It may have had an effect.
    #[error("{0}; the request may have taken effect")]
    Unconfirmed(TransportError),
    /// A non-idempotent request failed without a usable response. It may have had an effect.
    #[error("{0}; the request may have taken effect")]
    Unanswered(TransportError),
    /// An upstream confirmed a change with a status 200-299, but the body of the response could not be read.
    #[error("{0}; the status of the response confirmed the change")]
    Unread(TransportError),
    /// The call of an `async` route could not be stored. Nothing will be sent.
    #[error("the call was not stored for delivery: {0}")]
    NotStored(StateError),
    /// The same call is already in flight and did not end before the deadline of this one.
    #[error("the same call was still in flight at the deadline of this one")]
    StillInFlight,
    /// The instance that ran this call died after it sent a request that may have had an effect.
    #[error("the instance that ran this call stopped, and its request may have taken effect")]
    Interrupted,
    /// Another instance may be running the call, because this one was held up.
    #[error("this instance lost its lease on the call, so another one may have sent the request")]
    LeaseLost,
    /// The limit of calls in flight is reached.
    #[error("there are too many calls in flight (`server.max_calls`)")]
    Busy,
    /// The call panicked.
    #[error("the call ended in an internal error")]
    Panicked,
}

impl CallError {
    /// The kind of failure, as named in the table and the log.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::UnknownFunction => FailureKind::UnknownFunction,
            Self::Arguments(_) | Self::NotAllowed(_) => FailureKind::InvalidArgs,
            Self::Request(error) if error.missing_argument().is_some() => FailureKind::InvalidArgs,
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::StillInFlight | Self::Interrupted => {
                FailureKind::Timeout
            }
            Self::Request(_) | Self::Limit(_) | Self::Busy | Self::LeaseLost => FailureKind::Refused,
            Self::Delivery(error) => match error {
                DeliveryError::Credential { error: CredentialError::TooLate(_), .. } => FailureKind::Timeout,
                DeliveryError::Credential { .. }
                | DeliveryError::Breaker { .. }
                | DeliveryError::Limit { .. } => FailureKind::Refused,
                DeliveryError::Transport(error) => kind_of(error),
            },
            Self::Unanswered(error) | Self::Unread(error) => kind_of(error),
            Self::NotStored(_) => FailureKind::Unreachable,
            Self::Declared { kind, .. } => *kind,
            Self::Response(_) | Self::Pick(_) | Self::Panicked => FailureKind::BadResponse,
        }
    }

    /// The built-in text for the model. It contains no details, except what the model can fix itself.
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
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::StillInFlight => UNCONFIRMED.to_owned(),
            Self::Unanswered(_) | Self::Interrupted | Self::LeaseLost => UNANSWERED.to_owned(),
            other => other.kind().built_in_text().to_owned(),
        }
    }

    /// The built-in text after an upstream answered a write with a server error. It may have been done nevertheless.
    pub(super) fn model_text_after_error() -> String {
        REPORTED.to_owned()
    }

    /// The built-in text after an upstream has confirmed a change. It must not suggest to call again.
    pub(super) fn model_text_after_write(&self) -> String {
        let text = match self {
            Self::Overdue(_) | Self::Unconfirmed(_) | Self::Unanswered(_) => UNCONFIRMED,
            Self::Declared { .. } => REPORTED,
            Self::Unread(_) => DONE,
            Self::Pick(_) | Self::Response(ResponseError::Body { .. } | ResponseError::Missing(_)) => DONE,
            _ => PARTLY_DONE,
        };
        text.to_owned()
    }
}

/// For a confirmed change whose response cannot be used.
const DONE: &str =
    "It was done, but the details could not be read. Say that it was done. Do not do it again.";

/// For a confirmed change after which something else failed.
const PARTLY_DONE: &str =
    "It was done, but a later part of it failed. Apologise and say so. Do not do it again.";

/// For a write whose response reports a problem: with a status of 500 or above, or according to a reply case.
const REPORTED: &str = "The system reported a problem, so it may or may not have been done. \
                        Apologise and say so. Do not start it again unless the caller asks for that.";

const BUSY: &str = "The system is busy right now. Apologise and offer to try again in a moment.";

/// For requests that may have succeeded or may still succeed: calling again could repeat the effect.
const UNCONFIRMED: &str = "The system has not confirmed in time, and may still do it. Apologise and say so. \
                           Do not start it again unless the caller asks for that.";

/// For requests that may have succeeded and whose result will not become known.
const UNANSWERED: &str = "The system has not confirmed whether it was done. Apologise and say so. \
                          Do not start it again unless the caller asks for that.";

fn kind_of(error: &TransportError) -> FailureKind {
    match error.cause() {
        TransportError::Timeout { .. } => FailureKind::Timeout,
        TransportError::Connect { .. } | TransportError::Lost { .. } => FailureKind::Unreachable,
        TransportError::Invalid { .. }
        | TransportError::TooLarge { .. }
        | TransportError::NoRoom(_)
        | TransportError::Incomplete { .. } => FailureKind::BadResponse,
        TransportError::Forbidden(_) | TransportError::Unsendable { .. } => FailureKind::Refused,
    }
}
