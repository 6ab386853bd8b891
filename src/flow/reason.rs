//! Why a call or a step failed, in one word for logs, metrics and records: finer than the kind of failure.

use crate::call::FailureKind;
use crate::plan::replies::PickError;
use crate::plan::request::RequestError;
use crate::plan::route::ResponseError;
use crate::upstream::TransportError;
use crate::upstream::delivery::DeliveryError;

use super::CallError;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $slug:literal;)+) => {
        /// Why a call or a step failed. A slug never changes, because alerts use it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl FailureReason {
            /// Every reason, in the order of their documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in logs, metrics and records.
            pub fn slug(self) -> &'static str {
                match self {
                    $(Self::$variant => $slug,)+
                }
            }
        }
    };
}

reasons! {
    /// There was no response in time.
    Timeout = "timeout";
    /// There was no connection.
    Connect = "connect";
    /// The connection was lost.
    ConnectionLost = "connection_lost";
    /// A status that no reply case names.
    Status = "status";
    /// The upstream or the token endpoint rejected a credential of the table, or there is no valid token.
    Credential = "credential";
    /// The body cannot be read as the route needs it.
    UnreadableBody = "unreadable_body";
    /// A required value is missing in the response.
    MissingValue = "missing_value";
    /// The response is not valid HTTP.
    InvalidResponse = "invalid_response";
    /// The response is larger than `max_body`.
    TooLarge = "too_large";
    /// The request could not be rendered or sent.
    Request = "request";
    /// The address is not allowed.
    Network = "network";
    /// The circuit breaker is open.
    Breaker = "breaker";
    /// The call could not be stored for delivery.
    NotStored = "not_stored";
    /// A limit gave no permit.
    Limit = "limit";
    /// The limit of calls in flight is reached.
    Busy = "busy";
    /// The same call is still in flight.
    InFlight = "in_flight";
    /// The instance that ran the call stopped after it had sent a request.
    Interrupted = "interrupted";
    /// A reply case declares the call a failure.
    Declared = "declared";
    /// No reply case matches.
    NoCase = "no_case";
    /// The reply could not be rendered.
    Reply = "reply";
    /// An argument is invalid or missing.
    Arguments = "arguments";
    /// The platform does not allow the value of an argument.
    NotAllowed = "not_allowed";
    /// No route answers the function.
    UnknownFunction = "unknown_function";
    /// An internal error.
    Internal = "internal";
}

/// The kinds of failure of a step, each with its possible reasons.
pub const OF_STEPS: [(FailureKind, FailureReason); 15] = [
    (FailureKind::Timeout, FailureReason::Timeout),
    (FailureKind::Timeout, FailureReason::Credential),
    (FailureKind::Unreachable, FailureReason::Connect),
    (FailureKind::Unreachable, FailureReason::ConnectionLost),
    (FailureKind::BadResponse, FailureReason::Status),
    (FailureKind::BadResponse, FailureReason::Credential),
    (FailureKind::BadResponse, FailureReason::UnreadableBody),
    (FailureKind::BadResponse, FailureReason::MissingValue),
    (FailureKind::BadResponse, FailureReason::InvalidResponse),
    (FailureKind::BadResponse, FailureReason::TooLarge),
    (FailureKind::Refused, FailureReason::Request),
    (FailureKind::Refused, FailureReason::Network),
    (FailureKind::Refused, FailureReason::Credential),
    (FailureKind::Refused, FailureReason::Breaker),
    (FailureKind::Refused, FailureReason::Limit),
];

impl CallError {
    /// Why the call or the step failed, in one word.
    pub fn reason(&self) -> FailureReason {
        match self {
            Self::UnknownFunction => FailureReason::UnknownFunction,
            Self::Arguments(_) => FailureReason::Arguments,
            Self::NotAllowed(_) => FailureReason::NotAllowed,
            Self::Request(error) if RequestError::missing_argument(error).is_some() => {
                FailureReason::Arguments
            }
            Self::Request(_) => FailureReason::Request,
            Self::Limit(_) => FailureReason::Limit,
            Self::Delivery(DeliveryError::Credential { .. }) => FailureReason::Credential,
            Self::Delivery(DeliveryError::Breaker { .. }) => FailureReason::Breaker,
            Self::Delivery(DeliveryError::Limit { .. }) => FailureReason::Limit,
            Self::Delivery(DeliveryError::Transport(error)) => of_transport(error),
            Self::Overdue(error)
            | Self::Unconfirmed(error)
            | Self::Unanswered(error)
            | Self::Unread(error) => of_transport(error),
            Self::Response(ResponseError::Status(_)) => FailureReason::Status,
            Self::Response(ResponseError::Credential { .. }) => FailureReason::Credential,
            Self::Response(ResponseError::Body { .. }) => FailureReason::UnreadableBody,
            Self::Response(ResponseError::Missing(_)) => FailureReason::MissingValue,
            Self::Pick(PickError::NoCase) => FailureReason::NoCase,
            Self::Pick(PickError::Render { .. }) => FailureReason::Reply,
            Self::Declared { .. } => FailureReason::Declared,
            Self::NotStored(_) => FailureReason::NotStored,
            Self::StillInFlight | Self::LeaseLost => FailureReason::InFlight,
            Self::Interrupted => FailureReason::Interrupted,
            Self::Busy => FailureReason::Busy,
            Self::Panicked => FailureReason::Internal,
        }
    }
}

fn of_transport(error: &TransportError) -> FailureReason {
    match error.cause() {
        TransportError::Timeout { .. } => FailureReason::Timeout,
        TransportError::Connect { .. } => FailureReason::Connect,
        TransportError::Lost { .. } => FailureReason::ConnectionLost,
        TransportError::Invalid { .. } | TransportError::Incomplete { .. } => FailureReason::InvalidResponse,
        TransportError::TooLarge { .. } | TransportError::NoRoom(_) => FailureReason::TooLarge,
        TransportError::Forbidden(_) => FailureReason::Network,
        TransportError::Unsendable { .. } => FailureReason::Request,
    }
}
