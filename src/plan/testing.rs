//! The tests of a table, compiled: a call, the responses of upstreams, and the expected results.
//!
//! They are not part of the plan.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::{Map, Value};

use crate::call::{Context, FailureKind};
use crate::diagnostic::Span;
use crate::platform::Platform;

use super::{Plan, Route};

/// The tests of a table, and the routes that they can cover.
#[derive(Debug, Default)]
pub struct Tests {
    /// The tests: first those in the table, in the order of its routes, then those of the test files.
    pub tests: Vec<Test>,
    /// The routes with their reply cases, in the order of the table.
    pub routes: Vec<TestableRoute>,
}

/// A route that tests can cover.
#[derive(Debug)]
pub struct TestableRoute {
    /// The function's name.
    pub name: String,
    /// Its place in the table.
    pub place: Span,
    /// The places of its reply cases.
    pub cases: Vec<Span>,
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// The route or event that it tests; an event as `voicedock.status_update`.
    pub route: String,
    /// The name of the event, if it tests one.
    pub event: Option<String>,
    /// Its place in the table.
    pub place: Span,
    /// Whether it is part of its route, not of a test file.
    pub in_route: bool,
    /// Its index among the tests of that route or file, from 0.
    pub index: usize,
    /// The platform that makes the call.
    pub platform: &'static dyn Platform,
    /// The call or request.
    pub input: TestInput,
    /// Changes to the context of the call.
    pub call: CallChanges,
    /// What earlier calls of the conversation remembered.
    pub memory: Map<String, Value>,
    /// The time of the call, in RFC 3339.
    pub now: String,
    /// The responses of upstreams, by step; the only request of a route has an empty name.
    pub canned: Vec<(String, Canned)>,
    /// The expected results.
    pub expected: Vec<Expected>,
}

/// The input of a test.
#[derive(Debug)]
pub enum TestInput {
    /// A call with these arguments, encoded as a request of the platform.
    Args(Value),
    /// The body of a request of one platform.
    Body(Bytes),
}

/// Changes to the context of a call.
#[derive(Debug, Default)]
pub struct CallChanges {
    /// The id of the call.
    pub id: Option<String>,
    /// The id of the conversation.
    pub conversation: Option<String>,
    /// Who talks to the assistant, usually a phone number.
    pub caller: Option<String>,
    /// The number that was called.
    pub called: Option<String>,
    /// State that the platform keeps per function.
    pub metadata: Option<Value>,
    /// State that the platform keeps per session.
    pub global: Option<Value>,
    /// The inbound headers, by lower-case name.
    pub headers: Option<Map<String, Value>>,
}

/// The result of a request in a test.
#[derive(Debug, Clone)]
pub enum Canned {
    /// A response.
    Reply {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: HeaderMap,
        /// Its body.
        body: Bytes,
    },
    /// A timeout.
    Timeout,
    /// A connection failure.
    Unreachable,
}

/// An expected result.
#[derive(Debug)]
pub struct Expected {
    /// Its place in the table.
    pub place: Span,
    /// The result.
    pub what: Expectation,
}

/// What is expected of a call.
#[derive(Debug)]
pub enum Expectation {
    /// The text for the model.
    Text(String),
    /// The JSON for the model.
    Data(Value),
    /// The kind of failure.
    Failure(FailureKind),
    /// A part of the request of a step, by the name of the step.
    Sent(String, Part),
    /// A remembered value, by name; null if the name must not be remembered.
    Memory(String, Value),
    /// That a delivery is stored, or a part of it.
    Delivered(Option<(DeliveredPart, Value)>),
    /// The whole answer to a platform.
    Answer(&'static dyn Platform, Value),
}

/// A part of a delivery as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveredPart {
    /// The name of the route or event.
    Route,
    /// The arguments after validation.
    Args,
    /// The payload of the event.
    Event,
    /// The platform.
    Platform,
    /// The conversation.
    Conversation,
    /// What was recalled.
    Memory,
    /// Whether the deliveries of the conversation run one after the other.
    Ordered,
}

impl DeliveredPart {
    /// Its key under `expect.delivered`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Args => "args",
            Self::Event => "event",
            Self::Platform => "platform",
            Self::Conversation => "conversation",
            Self::Memory => "memory",
            Self::Ordered => "ordered",
        }
    }
}

/// A value to remember, or null if it is empty and forgets its name.
pub fn emptied(value: Value) -> Value {
    if value.as_str() == Some("") { Value::Null } else { value }
}

/// A part of a request.
#[derive(Debug)]
pub enum Part {
    /// The method.
    Method(Method),
    /// The whole URL; if it begins with `/`, the part after the upstream's `base_url`.
    Url(String),
    /// The path below the upstream's `base_url`.
    Path(String),
    /// A query parameter, decoded: a string, or a list of strings if there are several of this name.
    Query(String, Value),
    /// A header.
    Header(HeaderName, String),
    /// The body: a string as is; any other value as JSON or as form fields.
    Body(Value),
}

impl Test {
    /// Whether it gives or expects remembered values.
    pub fn uses_memory(&self) -> bool {
        let expects = |expected: &Expected| matches!(expected.what, Expectation::Memory(..));
        !self.memory.is_empty() || self.expected.iter().any(expects)
    }

    /// The route or event entry that it tests.
    pub fn subject<'p>(&self, plan: &'p Plan) -> Option<&'p Route> {
        let subject = match &self.event {
            Some(event) => plan.event(self.platform.name(), event),
            None => plan.routes.get(&self.route),
        };
        subject.map(AsRef::as_ref)
    }
}

impl CallChanges {
    /// Applies the changes to `context`.
    pub fn apply(&self, context: &mut Context) {
        let texts = [
            (&self.id, &mut context.id),
            (&self.conversation, &mut context.conversation),
            (&self.caller, &mut context.caller),
            (&self.called, &mut context.called),
        ];
        for (change, place) in texts {
            if change.is_some() {
                place.clone_from(change);
            }
        }
        if let Some(metadata) = &self.metadata {
            context.metadata = metadata.clone().into();
        }
        if let Some(global) = &self.global {
            context.global = global.clone().into();
        }
        if let Some(headers) = &self.headers {
            context.headers = Value::Object(headers.clone()).into();
        }
    }
}
