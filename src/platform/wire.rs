//! What comes from a platform and goes back to it: requests, events, answers and how they are encoded.

use crate::call::{Call, Outcome};
use crate::json::{Document, push_value};
use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

use super::auth;

/// What a platform sent, before anyone has looked into it.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The method.
    pub method: Method,
    /// The function that the URL names, decoded: `/swaig/{function}`.
    pub function: Option<String>,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// When the request arrived, in seconds since 1970.
    pub received_at: i64,
}

/// What an inbound request turned out to be.
#[derive(Debug)]
pub enum Decoded {
    /// Calls to answer, and how their outcomes are put into one answer, in the same order.
    Calls(Vec<Call>, Box<dyn Encode>),
    /// One call whose answer is a stream.
    Stream(Box<Call>, Box<dyn EncodeStream>),
    /// A webhook that is no function call.
    Event(Box<Event>),
    /// Nothing to call: the answer is known.
    Answer(Answer),
    /// The request is not from the platform: a login that only this platform knows of failed.
    Denied(auth::BadLogin),
}

/// A kind of webhook that is no function call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// The name in the table.
    pub name: &'static str,
    /// How long the platform waits for this answer, when that is less than for a call.
    pub deadline: Option<Duration>,
    /// Whether the platform reads the answer at all.
    pub answered: bool,
}

/// A webhook that is no function call.
#[derive(Debug)]
pub struct Event {
    /// Which one it is.
    pub kind: &'static EventKind,
    /// Its envelope; `call.event` is the payload, and there are no arguments.
    pub call: Call,
    /// The answer when the table has no entry for it, or the entry fails.
    pub neutral: Answer,
}

/// Puts one call into a stream: something at once, the rest when the call has its outcome.
pub trait EncodeStream: fmt::Debug + Send {
    /// The content type of the stream.
    fn content_type(&self) -> &'static str;

    /// What leaves as soon as the arguments fit: the values of the platform's route keys. Empty: nothing yet.
    fn begin(&mut self, extensions: Map<String, Value>) -> Bytes;

    /// The rest of the stream.
    fn end(&mut self, outcome: Outcome) -> Bytes;
}

/// Puts the outcomes of one request's calls into the form in which the platform asked.
pub trait Encode: fmt::Debug + Send {
    /// The answer to all calls, outcomes in the order of the calls.
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer;
}

/// What goes back to the platform.
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

    /// A body that was written as JSON.
    pub(super) fn written(status: StatusCode, json: String) -> Self {
        Self { status, content_type: "application/json", body: json.into() }
    }

    /// A JSON body with a status of its own.
    pub fn json_with(status: StatusCode, body: &Value) -> Self {
        let mut json = String::new();
        push_value(&mut json, body);
        Self::written(status, json)
    }
}

/// A request that could not be read. The problem is told to the caller, so it never quotes the request.
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

    /// Reads a body as JSON, whatever its content type says.
    pub(crate) fn json(body: &Bytes) -> Result<Document, Self> {
        Document::parse(body.clone()).map_err(|error| {
            Self::new(format!(
                "the body is not valid JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }
}
