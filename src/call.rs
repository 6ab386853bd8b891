//! The words that every layer shares: a call as a platform asked it, and the outcome it gets back.
//!
//! Nothing here knows a platform's JSON, an upstream, a clock or a file.

use std::fmt;

use serde_json::{Map, Value};

use crate::json::{Kind, SharedValue, bytes_of};

/// One invocation of a function, as a platform's webhook asked for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What the model gave as arguments, as far as it could be read.
    pub args: GivenArguments,
    /// The envelope around the call: what templates see as `call.*`.
    pub context: Context,
}

/// The arguments of a call before they are validated.
#[derive(Debug, Clone, PartialEq)]
pub enum GivenArguments {
    /// JSON that arrived; anything but an object is refused by validation.
    Json(SharedValue),
    /// Text that the model wrote in place of JSON.
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

/// The platform's envelope of a call: what templates see as `call.*`.
///
/// A field that the platform does not have is `None` or null; both read as missing.
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
    /// Who speaks to the assistant, usually a phone number.
    pub caller: Option<String>,
    /// The number or address that was called.
    pub called: Option<String>,
    /// State that the platform keeps for the function or the assistant; shared by all calls of one request.
    pub metadata: SharedValue,
    /// State that the platform keeps for the whole session.
    pub global: SharedValue,
    /// The inbound headers that `[platforms.x] headers` names, by lower-case name.
    pub headers: SharedValue,
    /// The payload of an event, which templates see as `event.*`; null for a call.
    pub event: SharedValue,
    /// The whole body as it came; shared by all calls of one request.
    pub raw: SharedValue,
}

/// What a call came to: always something that the assistant can say.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What goes back to the model.
    pub reply: Reply,
    /// Why this is not the answer that was asked for, if it is not.
    pub failure: Option<FailureKind>,
}

/// About what is around an outcome that is kept, in bytes.
const OVERHEAD: usize = 512;

impl Outcome {
    /// About what it takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let text = self.reply.text.as_ref().map_or(0, String::len);
        let extensions = self.reply.extensions.iter().map(|(key, value)| key.len() + bytes_of(value));
        OVERHEAD
            + size_of::<Self>()
            + text
            + self.reply.data.as_ref().map_or(0, bytes_of)
            + extensions.sum::<usize>()
    }
}

/// The content of an answer, before a platform puts it into its own format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// Text for the model.
    pub text: Option<String>,
    /// JSON for the model.
    pub data: Option<Value>,
    /// What only the calling platform understands, by key (`action` of SWAIG, for example).
    pub extensions: Map<String, Value>,
}

impl Reply {
    /// A reply that only says something.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// The text, else the data as compact JSON, else nothing: for platforms that carry only text.
    pub fn into_text(self) -> String {
        match (self.text, self.data) {
            (Some(text), _) => text,
            (None, Some(Value::String(text))) => text,
            (None, Some(data)) => data.to_string(),
            (None, None) => String::new(),
        }
    }

    /// The data, else the text as a JSON string, else null: for platforms that carry any JSON.
    pub fn into_json(self) -> Value {
        self.data.or_else(|| self.text.map(Value::String)).unwrap_or(Value::Null)
    }
}

/// Why a call failed. The slugs are part of `routes.toml` (`when.failure`, `failure.<kind>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The upstream did not answer in time.
    Timeout,
    /// No connection to the upstream, or it was lost.
    Unreachable,
    /// The upstream answered, but not with something that the route can use.
    BadResponse,
    /// The request was not sent: it would have left its place, a value does not fit where it stands, or there was no
    /// room for the call.
    Refused,
    /// A bad or missing argument.
    InvalidArgs,
    /// No route answers this function for this platform. Not a kind that a table can name.
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

    /// The kind that a table means by `slug`.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|kind| kind.slug() == slug)
    }

    /// What the assistant hears when neither the route nor the defaults say anything.
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
                "The arguments do not fit this function. Ask for what is missing and call it again."
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
    fn slugs_are_read_back() {
        for kind in FailureKind::NAMED {
            assert_eq!(FailureKind::from_slug(kind.slug()), Some(kind));
        }
        assert_eq!(FailureKind::from_slug("unknown_function"), None);
    }
}
