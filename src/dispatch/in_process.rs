//! Answers a platform's request in process: decodes it, runs its calls one after the other, and encodes the answer.
//! Used by the `call` command and by the tests of a table. Nothing is deduplicated, cached across calls, limited or
//! observed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{Call, Context, Outcome, ReplyExtension};
use crate::flow::{
    self, ATTEMPT_TIMEOUT, CallEnv, CallKey, Caller, DeliveryAttempt, DeliveryRecord, LateReply, NoCaller,
    Record, StateAccess, StoredCall,
};
use crate::json::SharedValue;
use crate::plan::{FunctionsFor, Plan, Route, budget};
use crate::platform::auth::BadLogin;
use crate::platform::{Answer, BadRequest, Decoded, EncodeStream, Inbound, Platform, Settings};
use crate::single_flight::SingleFlight;
use crate::state::{Conversation, EncryptionKey, EncryptionKeys, JobOutcome, Payload, Remembered, Store};
use crate::upstream::Transport;
use crate::upstream::resources::Resources;

use super::{Handled, Runner, Streamed, handle};

/// The environment of a request that is answered in process.
#[derive(Clone, Copy)]
pub struct InProcess<'a> {
    /// The plan for all its calls.
    pub plan: &'a Plan,
    /// The live state of that plan.
    pub resources: &'a Resources,
    /// The platform that sends the request. The table need not serve it.
    pub platform: &'static dyn Platform,
    /// Sends requests to upstreams.
    pub transport: &'a dyn Transport,
    /// The time of the calls, in RFC 3339.
    pub now: &'a str,
    /// The time that each call may take; `None` for the platform's own budget.
    pub time: Option<Duration>,
    /// Where memory and deliveries are stored for the time of the request.
    pub state: StateAccess<'a>,
    /// What earlier calls of the conversation remembered.
    pub memory: &'a Map<String, Value>,
    /// Whether an accepted call is delivered at once.
    pub delivers: bool,
    /// Changes the context of each call.
    pub change: &'a (dyn Fn(&mut Context) + Sync),
}

/// A request and its answer.
#[derive(Debug)]
pub struct Completed {
    /// Its calls, or its event, in the order of the request.
    pub calls: Vec<CompletedCall>,
    /// The whole answer.
    pub answer: Answer,
    /// The name of the event, if the request was one.
    pub event: Option<&'static str>,
}

/// A call or event that has ended.
#[derive(Debug)]
pub struct CompletedCall {
    /// The route or event entry that answered it, if there is one.
    pub route: Option<Arc<Route>>,
    /// The time that it could have taken.
    pub time: Duration,
    /// The record of the call.
    pub record: Box<Record>,
}

/// Why a request was not answered.
#[derive(Debug, Error)]
pub enum InProcessError {
    /// It is not a request of this platform.
    #[error("the request cannot be read: {0}")]
    Unreadable(BadRequest),
    /// Its authentication fails.
    #[error("the request was refused: {0}")]
    Denied(BadLogin),
}

/// A decoded request.
#[derive(Debug)]
pub struct DecodedRequest {
    decoded: Decoded,
    /// The inbound headers that templates see.
    headers: SharedValue,
}

/// Runs the calls of one request in process.
struct InProcessRunner<'a> {
    environment: InProcess<'a>,
    headers: SharedValue,
    completed: Mutex<Vec<CompletedCall>>,
    announced: Announced,
}

/// The extension values that the platform gets before the reply.
#[derive(Default)]
struct Announced(Mutex<Vec<Vec<ReplyExtension>>>);

/// A store for one request. What is sensitive is encrypted there as anywhere, with a key that keeps no secret.
pub fn store_in_memory() -> Store {
    let key = EncryptionKey::parse(&format!("{}=", "A".repeat(43)));
    Store::in_memory(EncryptionKeys(key.into_iter().collect()), ATTEMPT_TIMEOUT)
}

/// How the calls of one request use their store.
pub fn state_access<'a>(plan: &Plan, store: &'a Store) -> StateAccess<'a> {
    StateAccess { store, memory_ttl: plan.state.as_ref().map_or(ATTEMPT_TIMEOUT, |state| state.memory_ttl) }
}

impl DecodedRequest {
    /// The functions that it calls, in the order of the request.
    pub fn functions(&self) -> Vec<&str> {
        match &self.decoded {
            Decoded::Calls(calls, _) => calls.iter().map(|call| call.context.function.as_str()).collect(),
            Decoded::Stream(call, _) => vec![&call.context.function],
            Decoded::Event(_) | Decoded::Answer(..) | Decoded::Denied(_) => Vec::new(),
        }
    }
}

impl InProcess<'_> {
    /// Decodes a request.
    ///
    /// # Errors
    /// It is not a request of the platform, or its authentication fails.
    pub fn read(self, inbound: &Inbound) -> Result<DecodedRequest, InProcessError> {
        let served = self.plan.served(self.platform.name());
        let settings =
            served.map_or_else(|| Settings::defaults(self.platform), |served| served.settings.clone());
        let headers =
            served.map_or_else(SharedValue::default, |served| served.shown_headers(&inbound.headers));
        let functions = FunctionsFor::new(self.plan, self.platform.name());
        match self.platform.decode(inbound, &settings, &functions).map_err(InProcessError::Unreadable)? {
            Decoded::Denied(bad) => Err(InProcessError::Denied(bad)),
            decoded => Ok(DecodedRequest { decoded, headers }),
        }
    }

    /// Answers a decoded request.
    ///
    /// # Errors
    /// Its authentication fails.
    pub async fn answer(self, request: DecodedRequest) -> Result<Completed, InProcessError> {
        let event = match &request.decoded {
            Decoded::Event(event) => Some(event.kind.name),
            _ => None,
        };
        let run = InProcessRunner {
            environment: self,
            headers: request.headers,
            completed: Mutex::default(),
            announced: Announced::default(),
        };
        let answer = match handle(request.decoded, &run).await.map_err(InProcessError::Denied)? {
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

impl InProcessRunner<'_> {
    async fn run(&self, mut call: Call, route: Option<Arc<Route>>, budget: Duration) -> Outcome {
        call.context.headers = self.headers.clone();
        (self.environment.change)(&mut call.context);
        self.remember_given(&call.context).await;
        let time = self.environment.time.unwrap_or(budget);
        let (key, validation) = CallKey::of(&call, route.as_deref(), &self.environment.plan.zone);
        let began = Instant::now();
        let env = CallEnv {
            plan: self.environment.plan,
            resources: self.environment.resources,
            platform: self.environment.platform,
            transport: self.environment.transport,
            began,
            deadline: began + time,
            now: self.environment.now,
            key,
            cache: &Arc::new(SingleFlight::new(flow::cache::MAX_BYTES)),
            traced: None,
            caller: &self.announced,
            state: Some(&self.environment.state),
        };
        let record = flow::answer(call, validation, route.as_deref(), &env).await;
        let outcome = record.outcome.clone();
        let is_accepted = record.is_accepted();
        self.completed.lock().push(CompletedCall { route: route.clone(), time, record });
        if let (true, true, Some(route)) = (is_accepted, self.environment.delivers, route) {
            self.deliver(&route, &env).await;
        }
        outcome
    }

    /// Stores the given memory before the first call.
    async fn remember_given(&self, context: &Context) {
        let InProcess { memory, state, .. } = self.environment;
        let Some(id) = context.conversation.clone().filter(|_| !memory.is_empty()) else { return };
        if !self.completed.lock().is_empty() {
            return;
        }
        let given = memory.iter().map(|(name, value)| {
            let payload = Payload { bytes: value.to_string().into_bytes(), is_sensitive: false };
            (name.clone(), Some(Remembered::new(payload, true)))
        });
        let conversation = Conversation { platform: context.platform.to_owned(), id };
        // Too much of it is missing then, as in a real conversation.
        let _ = state.store.remember(&conversation, given.collect(), state.memory_ttl).await;
    }

    /// Delivers the call that was just accepted.
    async fn deliver(&self, route: &Arc<Route>, env: &CallEnv<'_>) {
        // The store is in memory, so no other instance leases its jobs.
        let Ok(jobs) = self.environment.state.store.lease_jobs(1).await else { return };
        for job in jobs {
            let payload = job.payload.unwrap_or_default();
            let Some(stored) = StoredCall::decode(env.platform.name(), &payload) else { continue };
            let delivery = DeliveryRecord {
                id: job.lease.id,
                is_ordered: job.is_ordered,
                attempt: Some(DeliveryAttempt {
                    number: job.attempt,
                    accepted_at: job.accepted_at,
                    revision: job.revision,
                }),
            };
            let (time, key) = (ATTEMPT_TIMEOUT, CallKey::of_delivery(job.seed));
            let began = Instant::now();
            let env = CallEnv { began, deadline: began + time, key, caller: &NoCaller, ..*env };
            let record = flow::deliver(stored, delivery, route, &env).await;
            let _ = self.environment.state.store.finish(&job.lease, JobOutcome::Delivered).await;
            self.completed.lock().push(CompletedCall { route: Some(Arc::clone(route)), time, record });
        }
    }
}

impl Caller for Announced {
    fn announce(&self, extensions: Vec<ReplyExtension>) {
        self.0.lock().push(extensions);
    }

    /// In process, the call is awaited to its end instead.
    fn reply_late(&self, _: LateReply) {}
}

impl Runner for InProcessRunner<'_> {
    fn plan(&self) -> &Plan {
        self.environment.plan
    }

    fn platform(&self) -> &'static dyn Platform {
        self.environment.platform
    }

    fn budget(&self) -> Duration {
        let served = self.plan().served(self.platform().name());
        served.map_or_else(|| budget(self.platform().deadline()), |served| served.budget)
    }

    async fn call(&self, call: Call) -> Outcome {
        let route = self.plan().route(&call.context.function, self.platform().name()).cloned();
        self.run(call, route, self.budget()).await
    }

    /// Runs the calls one after the other, so that the order of requests is the same each time.
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
        let mut body: Vec<u8> =
            announced.into_iter().flat_map(|extensions| encoder.begin(extensions)).collect();
        body.extend(encoder.end(outcome));
        Streamed::Whole(Bytes::from(body))
    }
}
