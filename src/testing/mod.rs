//! Runs the tests of a table: the real flow, from a platform's request to its answer, with canned responses in place of
//! upstreams.
//!
//! There is no network, the test sets the time, and tests share no state. The command prints the results.

pub mod capture;
mod compare;
mod coverage;
pub mod recorded;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::call::Context;
use crate::diagnostic::Span;
use crate::dispatch::in_process::{InProcess, state_access, store_in_memory};
use crate::flow::Record;
use crate::plan::Plan;
use crate::plan::testing::{Canned, Expectation, Test, TestInput};
use crate::platform::{Inbound, Platform};
use crate::upstream::resources::Resources;
use crate::upstream::stub::{StubTransport, timed_out};
use crate::upstream::{Request, Response, TransportError};

pub use coverage::{Coverage, Missed};

/// The deadline of a test's call. Tests never wait, so they never reach it.
pub const TIME: Duration = Duration::from_secs(60);

/// The conversation of a test that uses memory, if neither its call nor its request names one.
const CONVERSATION: &str = "test";

/// The result of a test.
#[derive(Debug)]
pub struct TestResult<'a> {
    /// The test.
    pub test: &'a Test,
    /// The mismatches; empty if the test passed.
    pub faults: Vec<Mismatch>,
    /// Why the call failed, if it did.
    pub error: Option<String>,
    /// How long it took.
    pub time: Duration,
    /// The routes that were called, each with its reply case.
    reached: Vec<(String, Option<usize>)>,
}

/// A difference between what a test expects and what it got. It shows no secrets.
#[derive(Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The position of the expectation in the table.
    pub place: Span,
    /// The key in the table.
    pub what: String,
    /// The difference, line by line.
    pub lines: Vec<String>,
    /// Whether `***` in the lines stands for a secret already, as it does in the expected parts of requests.
    is_hidden: bool,
    /// The keys under `expect` and the value that would make the test pass, unmasked.
    pub instead: Option<(Vec<String>, Value)>,
}

/// A test's call on one platform, and its result.
struct TestRun {
    record: Box<Record>,
    /// The record of its delivery, if it was accepted and then delivered.
    delivery: Option<Box<Record>>,
    /// What is remembered afterwards.
    memory: Map<String, Value>,
    requests: Vec<Request>,
    answer: Bytes,
    /// The routes of all calls in the request.
    reached: Vec<(String, Option<usize>)>,
}

/// Runs one test. The resources should be [without resilience](Resources::without_resilience).
pub async fn run<'a>(plan: &Plan, resources: &Resources, test: &'a Test) -> TestResult<'a> {
    let began = Instant::now();
    let mut ran =
        TestResult { test, faults: Vec::new(), error: None, time: Duration::ZERO, reached: Vec::new() };
    match call(plan, resources, test, test.platform).await {
        Ok(run) => ran.compare(plan, test.platform, &run),
        Err(problem) => ran.faults.push(Mismatch::of(test, "the call", problem)),
    }
    // The answers on other platforms come from calls of their own.
    for expected in &test.expected {
        if let Expectation::Answer(platform, _) = &expected.what
            && platform.name() != test.platform.name()
        {
            match call(plan, resources, test, *platform).await {
                Ok(run) => ran.compare_answer(plan, *platform, &run),
                Err(problem) => ran.faults.push(Mismatch::of(test, "the call", problem)),
            }
        }
    }
    ran.faults.sort_by_key(|fault| fault.place.start);
    ran.time = began.elapsed();
    ran
}

impl Mismatch {
    /// A mismatch of the test as a whole.
    fn of(test: &Test, what: &str, problem: impl Into<String>) -> Self {
        Self {
            place: test.place,
            what: what.to_owned(),
            lines: vec![problem.into()],
            is_hidden: false,
            instead: None,
        }
    }
}

/// Makes the call of a test as `platform` would.
async fn call(
    plan: &Plan,
    resources: &Resources,
    test: &Test,
    platform: &'static dyn Platform,
) -> Result<TestRun, String> {
    // A platform with the function name in the URL also has the event name there.
    let function = test.event.as_ref().unwrap_or(&test.route);
    let inbound = match &test.input {
        TestInput::Args(args) => platform.sample(function, args),
        TestInput::Body(body) => Inbound { body: body.clone(), ..platform.sample(function, &json!({})) },
    };
    let stub = stub(test.canned.clone());
    let change = |context: &mut Context| {
        test.call.apply(context);
        if context.conversation.is_none() && test.uses_memory() {
            context.conversation = Some(CONVERSATION.to_owned());
        }
    };
    let store = store_in_memory();
    let in_process = InProcess {
        plan,
        resources,
        platform,
        transport: &stub,
        now: &test.now,
        time: Some(TIME),
        state: state_access(plan, &store),
        memory: &test.memory,
        delivers: !test.canned.is_empty(),
        change: &change,
    };
    let request = in_process.read(&inbound).map_err(|error| error.to_string())?;
    let completed = in_process.answer(request).await.map_err(|error| error.to_string())?;
    match (&test.event, completed.event) {
        (None, None) => {}
        (Some(expected), Some(event)) if expected == event => {}
        (_, Some(event)) => return Err(format!("the request is the event `{event}`, not a call")),
        (Some(expected), None) => return Err(format!("the request is not the event `{expected}`")),
    }
    let answered = completed.calls.iter().filter(|call| call.route.is_some());
    let reached = answered.flat_map(|call| {
        let matched = std::iter::once(None).chain(call.record.matched_cases().map(Some));
        matched.map(|case| (call.record.call.context.function.clone(), case))
    });
    let reached = reached.collect();
    let is_tested = |record: &Record| completed.event.is_some() || record.call.context.function == test.route;
    let mut records: Vec<Box<Record>> =
        completed.calls.into_iter().map(|call| call.record).filter(|record| is_tested(record)).collect();
    if records.is_empty() {
        return Err(format!("the request does not call `{}`", test.route));
    }
    let memory = remembered(&test.memory, &records);
    let record = records.remove(0);
    let delivery = records.into_iter().next().filter(|_| record.is_accepted());
    Ok(TestRun {
        record,
        delivery,
        memory,
        requests: stub.requests(),
        answer: completed.answer.body,
        reached,
    })
}

/// What is remembered after these calls.
fn remembered(before: &Map<String, Value>, records: &[Box<Record>]) -> Map<String, Value> {
    let mut memory = before.clone();
    for (name, value) in records.iter().flat_map(|record| &record.memory.remembered) {
        if value.is_null() {
            memory.shift_remove(name);
        } else {
            memory.insert(name.clone(), value.clone());
        }
    }
    memory
}

/// Answers each step with its canned response, and each token request with a token.
pub fn stub(canned: Vec<(String, Canned)>) -> StubTransport {
    StubTransport::answering(move |request| {
        let Some(step) = &request.step else {
            let token = json!({"access_token": "canned", "token_type": "Bearer", "expires_in": 3600});
            return Ok(json_response(&token));
        };
        match canned.iter().find(|(name, _)| **name == **step) {
            Some((_, Canned::Reply { status, headers, body })) => {
                Ok(Response { status: *status, headers: headers.into(), body: body.clone() })
            }
            Some((_, Canned::Timeout)) => Err(timed_out(request)),
            Some((_, Canned::Unreachable)) => {
                Err(TransportError::Connect { detail: "simulated by the test".to_owned() })
            }
            None => Err(TransportError::Unsendable { detail: "the test has no response for it".to_owned() }),
        }
    })
}

fn json_response(body: &Value) -> Response {
    let headers = [("content-type", &b"application/json"[..])].into_iter().collect();
    Response { status: http::StatusCode::OK, headers, body: Bytes::from(body.to_string()) }
}
