//! Tests of a table, compiled: a call that is made up, what the upstreams answer, and what must come of it.
//!
//! They are no part of the plan, which runs the same without them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::{Map, Value};

use crate::call::{Context, FailureKind};
use crate::diagnostic::Span;
use crate::platform::Platform;

use super::{Plan, Route};

/// The tests of a table, and what there is to be tested.
#[derive(Debug, Default)]
pub struct Tests {
    /// The tests: those of the table in the order of its routes, then those of the files beside it.
    pub tests: Vec<Test>,
    /// The routes with their reply cases, in the order of the table.
    pub routes: Vec<Testable>,
}

/// A route as something that tests may reach.
#[derive(Debug)]
pub struct Testable {
    /// The function's name.
    pub name: String,
    /// Where it stands.
    pub place: Span,
    /// Where its reply cases stand.
    pub cases: Vec<Span>,
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// The route that it is a test of, or the event, as `voicedock.status_update`.
    pub route: String,
    /// The event's own name, if it is a test of one.
    pub event: Option<String>,
    /// Where it stands.
    pub place: Span,
    /// Whether it stands in its route, and not in a file of tests.
    pub in_route: bool,
    /// Which of the tests there it is, counted from 0.
    pub index: usize,
    /// Who calls.
    pub platform: &'static dyn Platform,
    /// What the platform asks.
    pub asked: TestInput,
    /// What is put in the place of what the request says about the call.
    pub call: CallChanges,
    /// The time of the call, RFC 3339.
    pub now: String,
    /// What upstreams answer, by step; the name of a route's only one is empty.
    pub canned: Vec<(String, Canned)>,
    /// What must come of it.
    pub expected: Vec<Expected>,
}

/// What a platform asks in a test.
#[derive(Debug)]
pub enum TestInput {
    /// A call with these arguments, as each platform would put it.
    Args(Value),
    /// The body of one platform's request.
    Body(Bytes),
}

/// What is put in the place of what a request says about its call.
#[derive(Debug, Default)]
pub struct CallChanges {
    /// The platform's id of the call.
    pub id: Option<String>,
    /// The id of the conversation.
    pub conversation: Option<String>,
    /// Who speaks to the assistant.
    pub caller: Option<String>,
    /// The number that was called.
    pub called: Option<String>,
    /// State that the platform keeps for the function.
    pub metadata: Option<Value>,
    /// State that the platform keeps for the session.
    pub global: Option<Value>,
    /// The headers that the platform hands on, by lower-case name.
    pub headers: Option<Map<String, Value>>,
}

/// What an upstream answers in a test.
#[derive(Debug, Clone)]
pub enum Canned {
    /// A reply.
    Reply {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: HeaderMap,
        /// Its body.
        body: Bytes,
    },
    /// No reply in time.
    Timeout,
    /// No connection.
    Unreachable,
}

/// One thing that must come of a call.
#[derive(Debug)]
pub struct Expected {
    /// Where it is written.
    pub place: Span,
    /// What it is.
    pub what: Expectation,
}

/// What must come of a call.
#[derive(Debug)]
pub enum Expectation {
    /// The text for the model.
    Text(String),
    /// The JSON for the model.
    Data(Value),
    /// The kind of failure that it ends in.
    Failure(FailureKind),
    /// A part of the request of a step.
    Sent(String, Part),
    /// The whole answer on a platform.
    Answer(&'static dyn Platform, Value),
}

/// A part of a request that must be sent.
#[derive(Debug)]
pub enum Part {
    /// The method.
    Method(Method),
    /// The whole URL, or what follows the upstream's `base_url` when it begins with `/`.
    Url(String),
    /// A header.
    Header(HeaderName, String),
    /// The body: a string as it is, anything else as JSON or as the fields of a form.
    Body(Value),
}

impl Test {
    /// What it is a test of.
    pub fn subject<'p>(&self, plan: &'p Plan) -> Option<&'p Route> {
        let subject = match &self.event {
            Some(event) => plan.event(self.platform.name(), event),
            None => plan.routes.get(&self.route),
        };
        subject.map(AsRef::as_ref)
    }
}

impl CallChanges {
    /// Puts them in their places.
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
