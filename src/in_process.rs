//! A platform's request, tried as a whole and outside of its door: read, its calls answered one after the other, and
//! the answer put together. For `call` and for the tests of a table, which differ in what is asked and in who answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{Call, Context};
use crate::flow::{self, CallEnv, Record};
use crate::plan::{FunctionsFor, Plan, Route, budget};
use crate::platform::auth::BadLogin;
use crate::platform::{
    Answer, BadRequest, Decoded, Encode, EncodeStream, Event, Inbound, Platform, Settings,
};
use crate::repeats::CallKey;
use crate::single_flight::SingleFlight;
use crate::upstream::Transport;

/// What a request is tried with.
#[derive(Clone, Copy)]
pub struct InProcess<'a> {
    /// The plan that all its calls see.
    pub plan: &'a Plan,
    /// Who asks; it need not be served.
    pub platform: &'static dyn Platform,
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// The time of the calls, RFC 3339.
    pub now: &'a str,
    /// How long each call may take; `None`: as long as at the door.
    pub time: Option<Duration>,
    /// Changes what the request says about a call.
    pub change: &'a (dyn Fn(&mut Context) + Sync),
}

/// What came of a request.
#[derive(Debug)]
pub struct Completed {
    /// Its calls, or its event, in the order in which it asked.
    pub calls: Vec<CompletedCall>,
    /// The whole answer.
    pub answer: Answer,
    /// The name of the event that it was, if it was none of calls.
    pub event: Option<&'static str>,
}

/// One call of it, or its event.
#[derive(Debug)]
pub struct CompletedCall {
    /// What answered it, if there is such a route or entry.
    pub route: Option<Arc<Route>>,
    /// How long it might have taken.
    pub time: Duration,
    /// What every step saw.
    pub record: Record,
}

/// Why nothing came of a request.
#[derive(Debug, Error)]
pub enum Untried {
    /// It is none of the platform's.
    #[error("the request cannot be read: {0}")]
    Unreadable(BadRequest),
    /// It does not prove what the platform's requests prove.
    #[error("the request was refused: {0}")]
    Denied(BadLogin),
}

/// A request that has been read.
#[derive(Debug)]
pub struct DecodedRequest {
    what: What,
    /// The inbound headers that templates see.
    headers: Value,
}

#[derive(Debug)]
enum What {
    Calls(Vec<Call>, Box<dyn Encode>),
    Stream(Box<Call>, Box<dyn EncodeStream>),
    Event(Box<Event>),
    Answer(Answer),
}

impl DecodedRequest {
    /// The functions that it calls, in its order.
    pub fn functions(&self) -> Vec<&str> {
        match &self.what {
            What::Calls(calls, _) => calls.iter().map(|call| call.context.function.as_str()).collect(),
            What::Stream(call, _) => vec![&call.context.function],
            What::Event(_) | What::Answer(_) => Vec::new(),
        }
    }
}

impl InProcess<'_> {
    /// Reads `inbound`.
    ///
    /// # Errors
    /// It is none of the platform's.
    pub fn read(self, inbound: &Inbound) -> Result<DecodedRequest, Untried> {
        let served = self.plan.served(self.platform.name());
        let settings =
            served.map_or_else(|| Settings::defaults(self.platform), |served| served.settings.clone());
        let headers = served.map_or(Value::Null, |served| served.shown_headers(&inbound.headers));
        let functions = FunctionsFor::new(self.plan, self.platform.name());
        let what = match self.platform.decode(inbound, &settings, &functions).map_err(Untried::Unreadable)? {
            Decoded::Calls(calls, encoder) => What::Calls(calls, encoder),
            Decoded::Stream(call, encoder) => What::Stream(call, encoder),
            Decoded::Event(event) => What::Event(event),
            Decoded::Answer(answer) => What::Answer(answer),
            Decoded::Denied(bad) => return Err(Untried::Denied(bad)),
        };
        Ok(DecodedRequest { what, headers })
    }

    /// Answers what was read.
    pub async fn answer(self, asked: DecodedRequest) -> Completed {
        let headers = &asked.headers;
        let announced = Mutex::new(Vec::new());
        let announce = |own| announced.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        match asked.what {
            What::Calls(calls, encoder) => {
                let mut tried = Vec::new();
                for call in calls {
                    tried.push(self.call(call, headers, &announce).await);
                }
                let outcomes = tried.iter().map(|call| call.record.outcome.clone()).collect();
                Completed { calls: tried, answer: encoder.encode(outcomes), event: None }
            }
            What::Stream(call, mut encoder) => {
                let call = self.call(*call, headers, &announce).await;
                let announced = announced.into_inner().unwrap_or_else(PoisonError::into_inner);
                let mut body: Vec<u8> = announced.into_iter().flat_map(|own| encoder.begin(own)).collect();
                body.extend(encoder.end(call.record.outcome.clone()));
                let content_type = encoder.content_type();
                let answer = Answer { status: StatusCode::OK, content_type, body: body.into() };
                Completed { calls: vec![call], answer, event: None }
            }
            What::Event(event) => self.event(*event, headers).await,
            What::Answer(answer) => Completed { calls: Vec::new(), answer, event: None },
        }
    }

    async fn call(
        self,
        call: Call,
        headers: &Value,
        announce: &(dyn Fn(Map<String, Value>) + Sync),
    ) -> CompletedCall {
        let route = self.plan.route(&call.context.function, self.platform.name()).cloned();
        self.run(call, route, headers, self.budget(), announce).await
    }

    async fn event(self, event: Event, headers: &Value) -> Completed {
        let Event { kind, call, neutral } = event;
        let mut tried = Completed { calls: Vec::new(), answer: neutral, event: Some(kind.name) };
        if let Some(entry) = self.plan.event(self.platform.name(), kind.name) {
            let most = self.budget();
            let most = kind.deadline.map_or(most, |deadline| most.min(budget(deadline)));
            let call = self.run(call, Some(Arc::clone(entry)), headers, most, &|_| {}).await;
            let outcome = &call.record.outcome;
            if let Some(data) = outcome.reply.data.as_ref().filter(|_| outcome.failure.is_none()) {
                tried.answer = Answer::json(data);
            }
            tried.calls.push(call);
        }
        tried
    }

    /// How long a call may take at the door.
    fn budget(self) -> Duration {
        let served = self.plan.served(self.platform.name());
        served.map_or_else(|| budget(self.platform.deadline()), |served| served.budget)
    }

    async fn run(
        self,
        mut call: Call,
        route: Option<Arc<Route>>,
        headers: &Value,
        most: Duration,
        announce: &(dyn Fn(Map<String, Value>) + Sync),
    ) -> CompletedCall {
        call.context.headers = headers.clone();
        (self.change)(&mut call.context);
        let time = self.time.unwrap_or(most);
        let env = CallEnv {
            plan: self.plan,
            platform: self.platform,
            transport: self.transport,
            deadline: Instant::now() + time,
            now: self.now,
            identity: CallKey::of(&call, route.as_deref()),
            cache: &Arc::new(SingleFlight::new(flow::cache::MAX_BYTES)),
            traced: None,
            announce,
            // Here the end is worth waiting for.
            overdue: &|_| {},
        };
        let record = flow::answer(call, route.as_deref(), env).await;
        CompletedCall { route, time, record }
    }
}
