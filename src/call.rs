//! The types that every layer shares: a call from a platform, and the outcome that goes back.
//!
//! This module does not know the platforms' JSON, upstreams, clocks or files.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::json::{JsonText, Kind, SharedValue};

/// One invocation of a function by a platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The arguments that the model wrote, before validation.
    pub args: GivenArguments,
    /// The envelope of the call. Templates see it as `call.*`.
    pub context: Box<Context>,
}

/// The arguments of a call before they are validated.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenArguments {
    /// Any JSON value. Validation rejects everything but an object.
    Json(SharedValue),
    /// Text that is not JSON.
    Unreadable,
}

impl GivenArguments {
    /// Whether they are a JSON object.
    pub(crate) fn are_an_object(&self) -> bool {
        matches!(self, Self::Json(given) if given.get().kind() == Kind::Object)
    }
}

impl From<Value> for GivenArguments {
    fn from(value: Value) -> Self {
        Self::Json(value.into())
    }
}

/// The platform's envelope of a call. Templates see it as `call.*`.
///
/// A field that the platform does not send is `None` or null. Templates treat both as missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// The platform's name, as in `[platforms.<name>]`.
    pub platform: &'static str,
    /// The function's name, as the model called it.
    pub function: String,
    /// The platform's id of this one call, if it has one.
    pub id: Option<String>,
    /// The id of the conversation (the phone call or chat) that the call belongs to.
    pub conversation: Option<String>,
    /// The person who talks to the assistant, usually as a phone number.
    pub caller: Option<String>,
    /// The number or address that was called.
    pub called: Option<String>,
    /// State that the platform keeps for the function or the assistant; shared by all calls of one request.
    pub metadata: SharedValue,
    /// State that the platform keeps for the whole session.
    pub global: SharedValue,
    /// The inbound headers that `[platforms.x] headers` names, by lower-case name.
    pub headers: SharedValue,
    /// The payload of an event; null for a call. Templates see it as `event.*`.
    pub event: SharedValue,
    /// The whole body as received; shared by all calls of one request.
    pub raw: SharedValue,
}

/// The result of a call. Even a failed call has a reply that the assistant can say.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What goes back to the model.
    pub reply: Arc<Reply>,
    /// The kind of failure, if the call failed.
    pub failure: Option<FailureKind>,
}

/// The approximate overhead of storing an outcome, in bytes.
const OVERHEAD: usize = 512;

impl Outcome {
    /// The outcome of a call that did not fail.
    pub fn answered(reply: Reply) -> Self {
        Self { reply: Arc::new(reply), failure: None }
    }

    /// The outcome of a call that has none yet: an empty reply, which all of them share.
    pub fn pending() -> Self {
        static NO_REPLY: LazyLock<Arc<Reply>> = LazyLock::new(Arc::default);
        Self { reply: Arc::clone(&NO_REPLY), failure: None }
    }

    /// The outcome of a call that failed.
    pub fn failed(kind: FailureKind, reply: Reply) -> Self {
        Self { reply: Arc::new(reply), failure: Some(kind) }
    }

    /// The approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let text = self.reply.text.as_ref().map_or(0, String::len);
        let data = self.reply.data.as_ref().map_or(0, |data| data.as_str().len());
        let extensions = self.reply.extensions.iter().map(ReplyExtension::bytes);
        OVERHEAD + size_of::<Self>() + text + data + extensions.sum::<usize>()
    }
}

/// The content of an answer, before a platform puts it into its own format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// Text for the model.
    pub text: Option<String>,
    /// JSON for the model.
    pub data: Option<JsonText>,
    /// The values that only the calling platform understands. Each key occurs once.
    pub extensions: Vec<ReplyExtension>,
}

/// A value that only the calling platform understands.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyExtension {
    /// The extension key, such as `action` of SWAIG.
    pub key: Cow<'static, str>,
    /// The value.
    pub value: JsonText,
    /// Whether the platform accepts the value. Otherwise it must be checked before it is sent.
    pub is_valid: bool,
}

impl ReplyExtension {
    /// A value that the platform accepts.
    pub fn valid(key: impl Into<Cow<'static, str>>, value: impl Into<JsonText>) -> Self {
        Self { key: key.into(), value: value.into(), is_valid: true }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.value.as_str().len()
    }
}

impl Reply {
    /// A reply with only a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// The text, or else the data as compact JSON, or else an empty string. For platforms that accept only text.
    pub fn to_text(&self) -> Cow<'_, str> {
        match (&self.text, &self.data) {
            (Some(text), _) => text.into(),
            (None, Some(data)) => data.to_text(),
            (None, None) => "".into(),
        }
    }

    /// The data, or else the text as a JSON string, or else null. For platforms that accept any JSON.
    pub fn to_json(&self) -> Cow<'_, JsonText> {
        match (&self.data, &self.text) {
            (Some(data), _) => Cow::Borrowed(data),
            (None, Some(text)) => Cow::Owned(text.as_str().into()),
            (None, None) => Cow::Owned(JsonText::null()),
        }
    }

    /// The value of an extension key.
    pub fn extension(&self, key: &str) -> Option<&JsonText> {
        self.extensions.iter().find(|extension| extension.key == key).map(|extension| &extension.value)
    }
}

/// Why a call failed. The slugs are part of `routes.toml` (`when.failure`, `failure.<kind>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The upstream did not answer in time.
    Timeout,
    /// There was no connection to the upstream, or the connection was lost.
    Unreachable,
    /// The upstream responded, but the route cannot use the response.
    BadResponse,
    /// The request was not sent: its URL would have left the `base_url`, a value is not allowed in its place, there is
    /// no credential, a limit is reached, or the circuit breaker is open.
    Refused,
    /// An argument is invalid or missing.
    InvalidArgs,
    /// No route answers this function for this platform. A table cannot name this kind.
    UnknownFunction,
}

impl FailureKind {
    /// The kinds that a table can name, in the order of their documentation.
    pub const NAMED: [Self; 5] =
        [Self::Timeout, Self::Unreachable, Self::BadResponse, Self::Refused, Self::InvalidArgs];

    /// The name in `routes.toml`, in logs and in the answers of the `http` platform.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::BadResponse => "bad_response",
            Self::Refused => "refused",
            Self::InvalidArgs => "invalid_args",
            Self::UnknownFunction => "unknown_function",
        }
    }

    /// The kind with this slug, if a table can name it.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|kind| kind.slug() == slug)
    }

    /// The text for the model if neither the route nor the defaults set one.
    pub fn built_in_text(self) -> &'static str {
        match self {
            Self::Timeout => "The system did not answer in time. Apologise and offer to try again.",
            Self::Unreachable => {
                "The system cannot be reached right now. Apologise and offer to try again later."
            }
            Self::BadResponse => {
                "The system gave an answer that could not be used. Apologise and offer to try again later."
            }
            Self::Refused => {
                "The request could not be sent. Apologise and say that this is not possible right now."
            }
            Self::InvalidArgs => {
                "The arguments are not valid for this function. Ask for the missing information and call it again."
            }
            Self::UnknownFunction => "There is no such function. Go on without it.",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_kind_is_found_by_its_slug() {
        for kind in FailureKind::NAMED {
            assert_eq!(FailureKind::from_slug(kind.slug()), Some(kind));
        }
        assert_eq!(FailureKind::from_slug("unknown_function"), None);
    }
}
