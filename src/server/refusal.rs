//! Requests that are rejected before dispatch: the reasons, the responses, and the counts.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::http1::request::BadHead;
use crate::platform::auth::BadLogin;
use crate::platform::{Answer, BadRequest};

use super::body::{AnswerBody, whole};

/// Why a request is unclear.
pub(super) const UNCLEAR: &str =
    "a request needs one `host` header, and at most the transfer coding `chunked`";

/// Why a request was rejected. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the table serves no platform at this path")]
    NotServed,
    #[error("only POST is allowed here")]
    WrongMethod,
    #[error("failed login: {bad}")]
    BadLogin { bad: BadLogin, challenge: Option<HeaderValue> },
    #[error("the request was sent to another host, and the platform has no `auth`")]
    OtherHost,
    #[error("{UNCLEAR}")]
    Unclear,
    #[error("a web page of another site made the browser call, and the platform has no `auth`")]
    CrossSite,
    #[error("the body has more than the {0} bytes of `server.max_body`")]
    TooLarge(usize),
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error("the body is incomplete")]
    BodyLost,
    /// The platform has a format of its own for this answer.
    #[error("unreadable request: {0}")]
    Unreadable(BadRequest, Box<Answer>),
    #[error("no memory for its large body became free in time")]
    NoRoom,
    #[error("internal error")]
    Fault,
}

impl Refusal {
    /// The response to the caller.
    pub(super) fn into_response(self) -> Response<AnswerBody> {
        if let Self::Unreadable(_, answer) = self {
            return whole(*answer);
        }
        let status = match &self {
            Self::Unclear => StatusCode::BAD_REQUEST,
            Self::NotServed => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadLogin { .. } => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::OtherHost => StatusCode::FORBIDDEN,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyLost | Self::Unreadable(..) => StatusCode::BAD_REQUEST,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = match &self {
            // The response describes what the caller did. It reveals neither the table nor what would have been
            // accepted.
            Self::NotServed => "nothing is served here".to_owned(),
            Self::BadLogin { .. } => "the login is missing or wrong".to_owned(),
            Self::OtherHost => {
                "without `auth`, the platform is for this machine only: set `auth`, or `server.public_url` to this host"
                    .to_owned()
            }
            Self::CrossSite => "web pages of other sites may not call this listener".to_owned(),
            Self::TooLarge(most) => format!("the body is larger than {most} bytes"),
            other => other.to_string(),
        };
        let mut response = whole(Answer::json_with(status, &json!({"error": text})));
        match self {
            Self::WrongMethod => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::BadLogin { challenge: Some(challenge), .. } => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            // The rest of the body is unread, so the connection cannot be used for another request.
            Self::TooLarge(_) | Self::BodyTimeout | Self::NoRoom | Self::Unclear | Self::Fault => {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The number of rejected requests since the start, by reason.
#[derive(Debug, Default)]
pub(super) struct RejectedRequests {
    not_served: AtomicU64,
    wrong_method: AtomicU64,
    failed_login: AtomicU64,
    cross_site: AtomicU64,
    other_host: AtomicU64,
    unclear: AtomicU64,
    head_too_large: AtomicU64,
    malformed: AtomicU64,
    too_large: AtomicU64,
    body_timeout: AtomicU64,
    body_lost: AtomicU64,
    unreadable: AtomicU64,
    no_room: AtomicU64,
    fault: AtomicU64,
}

impl RejectedRequests {
    pub(super) fn count(&self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::NotServed => &self.not_served,
            Refusal::WrongMethod => &self.wrong_method,
            Refusal::BadLogin { .. } => &self.failed_login,
            Refusal::CrossSite => &self.cross_site,
            Refusal::OtherHost => &self.other_host,
            Refusal::Unclear => &self.unclear,
            Refusal::TooLarge(_) => &self.too_large,
            Refusal::BodyTimeout => &self.body_timeout,
            Refusal::BodyLost => &self.body_lost,
            Refusal::Unreadable(..) => &self.unreadable,
            Refusal::NoRoom => &self.no_room,
            Refusal::Fault => &self.fault,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that HTTP itself rejected.
    pub(super) fn count_bad_head(&self, head: &BadHead) {
        let counter = match head {
            BadHead::TooLarge => &self.head_too_large,
            BadHead::Malformed(_) | BadHead::Http2 => &self.malformed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, by name.
    pub(super) fn by_reason(&self) -> [(&'static str, u64); 14] {
        [
            ("not_served", &self.not_served),
            ("wrong_method", &self.wrong_method),
            ("failed_login", &self.failed_login),
            ("cross_site", &self.cross_site),
            ("other_host", &self.other_host),
            ("unclear", &self.unclear),
            ("head_too_large", &self.head_too_large),
            ("malformed", &self.malformed),
            ("too_large", &self.too_large),
            ("body_timeout", &self.body_timeout),
            ("body_lost", &self.body_lost),
            ("unreadable", &self.unreadable),
            ("busy_memory", &self.no_room),
            ("internal_error", &self.fault),
        ]
        .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }
}
