//! Requests from platforms, and the responses to them.

use crate::call::{Call, Outcome, ReplyExtension};
use crate::json::{Document, JsonText, push_value, syntax_problem};
use ::http::{HeaderMap, Method, StatusCode, Uri};
use bytes::Bytes;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

use super::auth;

/// A request from a platform, not yet decoded.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The method.
    pub method: Method,
    /// The path and query as received; `/` for a request that did not come over HTTP.
    pub uri: Uri,
    /// The function that the URL names, decoded: `/swaig/{function}`.
    pub function: Option<String>,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// When the request arrived, in seconds since 1970; 0 if the platform needs no login.
    pub received_at: i64,
}

/// A decoded request.
#[derive(Debug)]
pub enum Decoded {
    /// Calls, and the encoder for their outcomes, which come in the same order.
    Calls(Vec<Call>, Box<dyn Encode>),
    /// One call whose answer is a stream.
    Stream(Box<Call>, Box<dyn EncodeStream>),
    /// A webhook that is not a function call.
    Event(Box<Event>),
    /// An answer without a call, and what it is about.
    Answer(Answer, WithoutCall),
    /// The platform's own authentication of this request failed.
    Denied(auth::BadLogin),
}

/// What a request is about that runs neither a call nor an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WithoutCall {
    /// The declarations of the functions; their number.
    Declarations(usize),
    /// A webhook of this name that the platform's format has, but that no entry can answer.
    Event(String),
}

/// A kind of webhook that is not a function call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// The name in the table.
    pub name: &'static str,
    /// The deadline, if it is shorter than that of a call.
    pub deadline: Option<Duration>,
    /// Whether the platform reads the answer.
    pub answered: bool,
}

/// A webhook that is not a function call.
#[derive(Debug)]
pub struct Event {
    /// Its kind.
    pub kind: &'static EventKind,
    /// Its envelope. `call.event` is the payload; there are no arguments.
    pub call: Call,
    /// The answer if the table has no entry for the event, or the entry fails.
    pub neutral: Answer,
}

/// Encodes one call as a stream.
pub trait EncodeStream: fmt::Debug + Send {
    /// The content type of the stream.
    fn content_type(&self) -> &'static str;

    /// The beginning of the stream, sent once the arguments are valid: the values of the platform's route keys. May be
    /// empty.
    fn begin(&mut self, extensions: Vec<ReplyExtension>) -> Bytes;

    /// The rest of the stream, with the outcome.
    fn end(&mut self, outcome: Outcome) -> Bytes;
}

/// Encodes the outcomes of one request's calls as its answer.
pub trait Encode: fmt::Debug + Send {
    /// Encodes the outcomes, which are in the order of the calls.
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer;
}

/// The response to a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::json_with(StatusCode::OK, body)
    }

    /// A body that is already serialized as JSON.
    pub(super) fn written(status: StatusCode, json: String) -> Self {
        Self { status, content_type: "application/json", body: json.into() }
    }

    /// 200 with this JSON as the body.
    pub fn json_text(body: &JsonText) -> Self {
        Self::written(StatusCode::OK, body.as_str().to_owned())
    }

    /// This status with a JSON body.
    pub fn json_with(status: StatusCode, body: &Value) -> Self {
        let mut json = String::new();
        push_value(&mut json, body);
        Self::written(status, json)
    }
}

/// A request that could not be decoded. The caller sees the problem, so it never quotes the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadRequest {
    /// What is wrong with it, in lower case, without a full stop.
    pub problem: String,
}

impl BadRequest {
    /// A request with this problem.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }

    /// Parses a body as JSON, whatever its content type.
    pub(crate) fn json(body: &Bytes) -> Result<Document, Self> {
        Document::parse(body.clone()).map_err(|error| Self::new(syntax_problem(&error)))
    }
}
