//! A platform's request, answered in process: decoded, its calls run one after the other, and the answer encoded. For the
//! `call` command and for the tests of a table. Nothing is deduplicated, cached, limited or observed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{Call, Context, Outcome};
use crate::flow::{self, CallEnv, CallKey, Caller, LateReply, Record};
use crate::json::SharedValue;
use crate::plan::{FunctionsFor, Plan, Route, budget};
use crate::platform::auth::BadLogin;
use crate::platform::{Answer, BadRequest, Decoded, EncodeStream, Inbound, Platform, Settings};
use crate::single_flight::SingleFlight;
use crate::upstream::Transport;
use crate::upstream::resources::Resources;

use super::{Handled, Runner, Streamed, handle};

/// With what a request is answered in process.
#[derive(Clone, Copy)]
pub struct InProcess<'a> {
    /// The plan that all its calls see.
    pub plan: &'a Plan,
    /// The live state beside it.
    pub resources: &'a Resources,
    /// Who asks; need not be served.
    pub platform: &'static dyn Platform,
    /// How upstreams are reached.
    pub transport: &'a dyn Transport,
    /// The time of the calls, RFC 3339.
    pub now: &'a str,
    /// How long each call may take; `None`: as long as the listener allows.
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

/// A request that has been decoded.
#[derive(Debug)]
pub struct DecodedRequest {
    decoded: Decoded,
    /// The inbound headers that templates see.
    headers: SharedValue,
}

/// The calls of one request, as they are run in process.
struct Run<'a> {
    with: InProcess<'a>,
    headers: SharedValue,
    completed: Mutex<Vec<CompletedCall>>,
    announced: Announced,
}

/// What the platform is told before the reply.
#[derive(Default)]
struct Announced(Mutex<Vec<Map<String, Value>>>);

impl DecodedRequest {
    /// The functions that it calls, in its order.
    pub fn functions(&self) -> Vec<&str> {
        match &self.decoded {
            Decoded::Calls(calls, _) => calls.iter().map(|call| call.context.function.as_str()).collect(),
            Decoded::Stream(call, _) => vec![&call.context.function],
            Decoded::Event(_) | Decoded::Answer(_) | Decoded::Denied(_) => Vec::new(),
        }
    }
}

impl InProcess<'_> {
    /// Decodes `inbound`.
    ///
    /// # Errors
    /// It is not a request of the platform.
    pub fn read(self, inbound: &Inbound) -> Result<DecodedRequest, Untried> {
        let served = self.plan.served(self.platform.name());
        let settings =
            served.map_or_else(|| Settings::defaults(self.platform), |served| served.settings.clone());
        let headers =
            served.map_or_else(SharedValue::default, |served| served.shown_headers(&inbound.headers));
        let functions = FunctionsFor::new(self.plan, self.platform.name());
        match self.platform.decode(inbound, &settings, &functions).map_err(Untried::Unreadable)? {
            Decoded::Denied(bad) => Err(Untried::Denied(bad)),
            decoded => Ok(DecodedRequest { decoded, headers }),
        }
    }

    /// Answers a decoded request.
    ///
    /// # Errors
    /// It does not prove what the platform's requests prove.
    pub async fn answer(self, request: DecodedRequest) -> Result<Completed, Untried> {
        let event = match &request.decoded {
            Decoded::Event(event) => Some(event.kind.name),
            _ => None,
        };
        let run = Run {
            with: self,
            headers: request.headers,
            completed: Mutex::default(),
            announced: Announced::default(),
        };
        let answer = match handle(request.decoded, &run).await.map_err(Untried::Denied)? {
            Handled::Answer(answer) => answer,
            Handled::Stream(content_type, streamed) => {
                let body = match streamed {
                    Streamed::Whole(body) => body,
                    Streamed::Pieces(mut pieces) => {
                        let mut body = Vec::new();
                        while let Some(piece) = pieces.recv().await {
                            body.extend(piece);
                        }
                        body.into()
                    }
                };
                Answer { status: StatusCode::OK, content_type, body }
            }
        };
        let calls = run.completed.into_inner();
        Ok(Completed { calls, answer, event })
    }
}

impl Run<'_> {
    async fn run(&self, mut call: Call, route: Option<Arc<Route>>, most: Duration) -> Outcome {
        call.context.headers = self.headers.clone();
        (self.with.change)(&mut call.context);
        let time = self.with.time.unwrap_or(most);
        let env = CallEnv {
            plan: self.with.plan,
            resources: self.with.resources,
            platform: self.with.platform,
            transport: self.with.transport,
            deadline: Instant::now() + time,
            now: self.with.now,
            key: CallKey::of(&call, route.as_deref()),
            cache: &Arc::new(SingleFlight::new(flow::cache::MAX_BYTES)),
            traced: None,
            caller: &self.announced,
        };
        let record = flow::answer(call, route.as_deref(), env).await;
        let outcome = record.outcome.clone();
        let completed = CompletedCall { route, time, record };
        self.completed.lock().push(completed);
        outcome
    }
}

impl Caller for Announced {
    fn announce(&self, extensions: Map<String, Value>) {
        self.0.lock().push(extensions);
    }

    /// Here the end is worth waiting for.
    fn reply_late(&self, _: LateReply) {}
}

impl Runner for Run<'_> {
    fn plan(&self) -> &Plan {
        self.with.plan
    }

    fn platform(&self) -> &'static dyn Platform {
        self.with.platform
    }

    fn budget(&self) -> Duration {
        let served = self.plan().served(self.platform().name());
        served.map_or_else(|| budget(self.platform().deadline()), |served| served.budget)
    }

    async fn call(&self, call: Call) -> Outcome {
        let route = self.plan().route(&call.context.function, self.platform().name()).cloned();
        self.run(call, route, self.budget()).await
    }

    /// One after the other, so that tests come out the same each time.
    async fn calls(&self, calls: Vec<Call>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for call in calls {
            outcomes.push(self.call(call).await);
        }
        outcomes
    }

    async fn event(&self, call: Call, name: &'static str, budget: Duration) -> Option<Outcome> {
        let entry = Arc::clone(self.plan().event(self.platform().name(), name)?);
        Some(self.run(call, Some(entry), budget).await)
    }

    async fn stream(&self, call: Call, mut encoder: Box<dyn EncodeStream>) -> Streamed {
        let outcome = self.call(call).await;
        let announced = std::mem::take(&mut *self.announced.0.lock());
        let mut body: Vec<u8> = announced.into_iter().flat_map(|own| encoder.begin(own)).collect();
        body.extend(encoder.end(outcome));
        Streamed::Whole(Bytes::from(body))
    }
}
