//! One call, from its route to its reply. It is run by the task that waits for the reply. If the client disconnects, a
//! non-idempotent request is not stopped half-way, and a panic ends only this call.

use std::future::{Future, poll_fn, ready};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, OptionFuture, join_all, try_join_all};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::call::{Call, Context, FailureKind, GivenArguments, Outcome, Reply, ReplyExtension};
use crate::flow::{self, CallEnv, CallError, CallKey, Caller, LateReply, NoCaller, Record, Traced};
use crate::in_place::pinned;
use crate::live::Running;
use crate::observe::Ended;
use crate::observe::call_log::{self, LateCall};
use crate::observe::record_id::RecordId;
use crate::plan::Route;
use crate::plan::arguments::Validation;
use crate::platform::{EncodeStream, Platform};
use crate::utc;

use super::Dispatcher;
use super::claims::{Claimed, Claiming, Leading, settle_ended};
use super::gate::Permit;
use super::in_flight::{InFlight, Panicked, poll_caught};
use super::shared_dedup::SharedLead;

/// The longest wait for a reply after the deadline: half the margin for the way back. The call may be about to end with
/// a better reply than a timeout.
const GRACE: Duration = Duration::from_millis(250);

/// Runs a call whose answer is a stream, and returns the pieces of the body as they are produced.
pub(super) fn stream(task: Box<Task>, mut encoder: Box<dyn EncodeStream>) -> mpsc::UnboundedReceiver<Bytes> {
    let (sender, mut announced) = mpsc::unbounded_channel();
    let (pieces, received) = mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        let answered = task.answer(AnnounceTo::Channel(sender));
        tokio::pin!(answered);
        let outcome = loop {
            tokio::select! {
                biased;
                Some(extensions) = announced.recv() => send_piece(&pieces, encoder.begin(extensions)),
                outcome = &mut answered => break outcome,
            }
        };
        while let Ok(extensions) = announced.try_recv() {
            send_piece(&pieces, encoder.begin(extensions));
        }
        send_piece(&pieces, encoder.end(outcome));
    });
    received
}

/// Sends a piece. If the client has disconnected, the call continues anyway.
fn send_piece(pieces: &mpsc::UnboundedSender<Bytes>, piece: Bytes) {
    if !piece.is_empty() {
        let _ = pieces.send(piece);
    }
}

/// The receiver of extension values that the platform gets before the reply.
pub(super) enum AnnounceTo {
    /// Nobody: the answer is not a stream.
    Nobody,
    /// To the writer of a stream.
    Channel(mpsc::UnboundedSender<Vec<ReplyExtension>>),
}

/// A call, with everything needed to run it. It is boxed, because it passes through several functions.
pub(super) struct Task {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) running: Arc<Running>,
    pub(super) platform: &'static dyn Platform,
    /// The address of the client.
    pub(super) client: IpAddr,
    pub(super) call: Call,
    /// The validation of its arguments, if its key needed it.
    pub(super) validation: Option<Validation>,
    pub(super) deadline: Instant,
    /// The trace of the call, if it has one.
    pub(super) traced: Option<Traced>,
}

impl Task {
    /// Answers a call by its function's route.
    pub(super) fn answer(self: Box<Self>, announce_to: AnnounceTo) -> impl Future<Output = Outcome> + Send {
        let route = self.running.plan.route(&self.call.context.function, self.platform.name()).cloned();
        self.run(route, announce_to)
    }

    /// Answers an event by its entry `name`; `None` if the table has no such entry.
    pub(super) fn answer_event(self: Box<Self>, name: &str) -> impl Future<Output = Option<Outcome>> + Send {
        let entry = self.running.plan.event(self.platform.name(), name).cloned();
        OptionFuture::from(entry.map(|entry| self.run(Some(entry), AnnounceTo::Nobody)))
    }

    fn run(
        mut self: Box<Self>,
        route: Option<Arc<Route>>,
        announce_to: AnnounceTo,
    ) -> impl Future<Output = Outcome> + Send {
        let (key, validation) = CallKey::of(&self.call, route.as_deref(), &self.running.plan.zone);
        self.validation = validation;
        match key.identities().next() {
            None => Either::Left(self.start(route, key, Vec::new(), announce_to)),
            Some(_) => Either::Right(pinned(|| self.run_once(route, key, announce_to))),
        }
    }

    /// Runs a call that may change something. However often the platform retries it, it runs once.
    async fn run_once(
        self: Box<Self>,
        route: Option<Arc<Route>>,
        key: CallKey,
        announce_to: AnnounceTo,
    ) -> Outcome {
        let claiming = Claiming {
            dispatcher: &self.dispatcher,
            plan: &self.running.plan,
            route: route.as_deref(),
            deadline: self.deadline,
        };
        match claiming.claim(key).await {
            Claimed::Leads(leading) => self.start(route, key, leading, announce_to).await,
            Claimed::Repeats { outcome, how } => self.deduplicated(route.as_deref(), outcome, how),
            Claimed::Fails(error) => self.fail_without_running(route.as_ref(), error),
        }
    }

    /// Answers a retry with the outcome of the first call. `how` describes the state of that call, for the log.
    fn deduplicated(&self, route: Option<&Route>, outcome: Outcome, how: &str) -> Outcome {
        let is_event = !self.call.context.event.is_null();
        self.dispatcher.observers.metrics.note_deduplicated(self.platform.name(), route, is_event);
        call_log::deduplicated(&self.call.context, self.client, how);
        outcome
    }

    /// Answers a call that fails without running.
    fn fail_without_running(self: Box<Self>, route: Option<&Arc<Route>>, error: CallError) -> Outcome {
        let now = now();
        let env = CallEnv {
            plan: &self.running.plan,
            resources: &self.running.resources,
            platform: self.platform,
            transport: &*self.dispatcher.transport,
            began: Instant::now(),
            deadline: self.deadline,
            now: &now,
            key: CallKey::unique(),
            cache: &self.dispatcher.cache,
            traced: self.traced.as_ref(),
            caller: &NoCaller,
            state: None,
        };
        let record = flow::not_run(self.call, self.validation, route.map(AsRef::as_ref), &env, error);
        let (plan, client) = (&self.running.plan, self.client);
        self.dispatcher.observers.note(Ended { record, plan, route, client, id: None })
    }

    /// Starts the call and waits for its reply. The work is boxed immediately, because moving a large future copies it.
    fn start(
        self: Box<Self>,
        route: Option<Arc<Route>>,
        key: CallKey,
        leading: Vec<Leading>,
        announce_to: AnnounceTo,
    ) -> impl Future<Output = Outcome> + Send {
        // A deduplicated retry needs no permit: a refusal would contradict the first call.
        let Some(permit) = self.dispatcher.calls.enter(self.running.plan.server.max_calls) else {
            return Either::Left(ready(self.fail_without_running(route.as_ref(), CallError::Busy)));
        };
        // With a short deadline, the margin is a third of the budget. A sixth is then half the margin.
        let started = Instant::now();
        let time = self.deadline.saturating_duration_since(started);
        let latest = self.deadline + GRACE.min(time / 6);
        let pending = Arc::new(self.pending_reply(started, announce_to, permit, &leading));
        let work = pinned(|| self.work(route, key, leading, Arc::clone(&pending)));
        Either::Right(attend(InFlight::new(work), pending, latest))
    }

    fn pending_reply(
        &self,
        started: Instant,
        announce_to: AnnounceTo,
        permit: Permit,
        leading: &[Leading],
    ) -> PendingReply {
        let shared = leading.iter().filter_map(|leading| leading.shared.clone()).collect();
        let context = &self.call.context;
        PendingReply {
            dispatcher: Arc::clone(&self.dispatcher),
            running: Arc::clone(&self.running),
            client: self.client,
            platform: context.platform,
            function: context.function.clone(),
            conversation: context.conversation.clone(),
            started,
            announce_to,
            late: Mutex::default(),
            permit: Mutex::new(Some(permit)),
            record_id: OnceLock::new(),
            shared,
        }
    }

    /// The call itself, up to its line in the log.
    async fn work(
        self: Box<Self>,
        route: Option<Arc<Route>>,
        key: CallKey,
        leading: Vec<Leading>,
        pending: Arc<PendingReply>,
    ) -> Outcome {
        let (dispatcher, running) = (&*self.dispatcher, &*self.running);
        let now = now();
        let needs_state = route.as_ref().is_some_and(|route| route.state.is_needed());
        let state = needs_state.then(|| dispatcher.state.access(&running.plan)).flatten();
        let env = CallEnv {
            plan: &running.plan,
            resources: &running.resources,
            platform: self.platform,
            transport: &*dispatcher.transport,
            began: pending.started,
            deadline: self.deadline,
            now: &now,
            key,
            cache: &dispatcher.cache,
            traced: self.traced.as_ref(),
            caller: &*pending,
            state: state.as_ref(),
        };
        let mut answering = pin!(flow::answer(self.call, self.validation, route.as_deref(), &env));
        let mut renewing = pending.renew_leases();
        let answered = poll_fn(|context| {
            if let Some(renewing) = &mut renewing {
                let _ = renewing.as_mut().poll(context);
            }
            poll_caught(answering.as_mut(), context)
        })
        .await;
        let record = answered.unwrap_or_else(|Panicked| {
            let call = Call { args: GivenArguments::Unreadable, context: Box::new(pending.log_context()) };
            Record::panicked(call, pending.started.elapsed(), self.traced.as_ref())
        });
        dispatcher.state.note_call(&record);
        let finality = [true, false].map(|by_id| record.is_final(route.as_deref(), by_id));
        let (plan, client, id) = (&running.plan, self.client, pending.record_id.get().copied());
        let outcome = dispatcher.observers.note(Ended { record, plan, route: route.as_ref(), client, id });
        let permit = pending.permit.lock().take();
        settle_ended(leading, &outcome, finality, permit);
        outcome
    }
}

/// Waits until the reply of a call is known. The rest of the call then continues as a task of its own. If the client
/// disconnects before that, the whole call does.
async fn attend<F>(in_flight: InFlight<F>, pending: Arc<PendingReply>, latest: Instant) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut ending = pin!(timeout_at(latest.into(), in_flight));
    poll_fn(|context| {
        let ended = ending.as_mut().poll(context);
        // A late reply is stored only while the call is polled, so checking after each poll misses none.
        match (pending.late.lock().take(), ended) {
            (Some(late), _) => Poll::Ready(late),
            (None, Poll::Ready(Ok(Ok(outcome)))) => Poll::Ready(outcome),
            (None, Poll::Ready(Ok(Err(Panicked)))) => Poll::Ready(built_in_outcome(FailureKind::BadResponse)),
            (None, Poll::Ready(Err(_))) => Poll::Ready(built_in_outcome(FailureKind::Timeout)),
            (None, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// The state that a call shares with the task that waits for its reply.
struct PendingReply {
    dispatcher: Arc<Dispatcher>,
    running: Arc<Running>,
    client: IpAddr,
    platform: &'static str,
    function: String,
    conversation: Option<String>,
    started: Instant,
    announce_to: AnnounceTo,
    /// The late reply, if the deadline passes first.
    late: Mutex<Option<Outcome>>,
    /// `None` after the end of the call.
    permit: Mutex<Option<Permit>>,
    /// The id of the call's record, once the log has named it.
    record_id: OnceLock<RecordId>,
    /// The leads over the retries that reach other instances.
    shared: Vec<Arc<SharedLead>>,
}

impl PendingReply {
    /// The part of the call's context that the log shows.
    fn log_context(&self) -> Context {
        Context {
            platform: self.platform,
            function: self.function.clone(),
            conversation: self.conversation.clone(),
            ..Context::default()
        }
    }

    /// Renews the leases of the call for as long as it is polled; `None` if it has none.
    fn renew_leases(self: &Arc<Self>) -> Option<BoxFuture<'static, ()>> {
        if self.shared.is_empty() {
            return None;
        }
        let pending = Arc::clone(self);
        Some(Box::pin(async move {
            join_all(pending.shared.iter().map(|shared| shared.renew(&pending.dispatcher.state))).await;
        }))
    }
}

impl Caller for PendingReply {
    fn announce(&self, extensions: Vec<ReplyExtension>) {
        if let AnnounceTo::Channel(sender) = &self.announce_to {
            let _ = sender.send(extensions);
        }
    }

    fn before_write(&self) -> Option<BoxFuture<'_, Result<(), CallError>>> {
        if self.shared.is_empty() {
            return None;
        }
        let marks = self.shared.iter().map(|shared| shared.mark_sent(&self.dispatcher.state));
        Some(Box::pin(async move { try_join_all(marks).await.map(drop) }))
    }

    fn reply_late(&self, late: LateReply) {
        let plan = &self.running.plan;
        let id = || *self.record_id.get_or_init(|| self.dispatcher.observers.history.next_id());
        let replied = LateCall {
            context: &self.log_context(),
            client: self.client,
            after: self.started.elapsed(),
            id: (plan.server.records > 0).then(id),
        };
        call_log::late(&replied, &late, &plan.masks);
        // Otherwise, one unresponsive upstream could use up the limit of calls in flight.
        if let Some(detached) = self.dispatcher.detached.enter(self.running.plan.server.max_calls) {
            *self.permit.lock() = Some(detached);
        }
        // If several concurrent steps are late, the first one sets the reply.
        self.late.lock().get_or_insert(late.outcome);
    }
}

/// An outcome with the built-in text.
fn built_in_outcome(kind: FailureKind) -> Outcome {
    Outcome::failed(kind, Reply::text(kind.built_in_text()))
}

/// The current second, in RFC 3339.
fn now() -> String {
    utc::seconds(Timestamp::now())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::guard::ExpansionFilter;
    use crate::observe::log::captured;
    use crate::platform::{Answer, BadRequest, Decoded, Functions, Inbound, Settings};

    /// A platform that panics while it decodes a request, and during a call.
    #[derive(Debug)]
    pub(crate) struct Panicking;

    impl Platform for Panicking {
        fn name(&self) -> &'static str {
            "http"
        }

        fn guard(&self) -> ExpansionFilter {
            panic!("on purpose")
        }

        fn decode(&self, _: &Inbound, _: &Settings, _: &dyn Functions) -> Result<Decoded, BadRequest> {
            panic!("on purpose")
        }

        fn refuse(&self, _: &BadRequest) -> Answer {
            panic!("on purpose")
        }

        fn sample(&self, _: &str, _: &serde_json::Value) -> Inbound {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_panic_fails_only_its_call_and_the_log_names_the_call() {
        let (log, logged) = captured::human();
        let _log = tracing::subscriber::set_default(log);
        let dispatcher =
            Dispatcher::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n", |_| {});
        let context = Context {
            platform: "http",
            function: "say".to_owned(),
            conversation: Some("c-7".to_owned()),
            ..Context::default()
        };
        let task = |platform: &'static dyn Platform| {
            Box::new(Task {
                dispatcher: Arc::clone(&dispatcher),
                running: dispatcher.live.running(),
                platform,
                client: [192, 0, 2, 9].into(),
                call: Call { args: serde_json::json!({}).into(), context: Box::new(context.clone()) },
                validation: None,
                deadline: Instant::now() + Duration::from_secs(60),
                traced: None,
            })
        };
        let outcome = task(&Panicking).answer(AnnounceTo::Nobody).await;
        assert_eq!(outcome.failure, Some(FailureKind::BadResponse));
        assert!(outcome.reply.text.as_ref().is_some_and(|text| text.contains("Apologise")));
        assert_eq!(dispatcher.calls.held(), 0);
        let log = logged();
        let line = log.lines().find(|line| line.contains("internal error")).unwrap();
        for part in [
            "say: bad_response after ",
            "platform=http",
            "function=say",
            "conversation=c-7",
            "client=192.0.2.9",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        // The next call is answered.
        let http = crate::platform::find("http").unwrap();
        assert_eq!(task(http).answer(AnnounceTo::Nobody).await.reply.text.as_deref(), Some("Hello."));
    }

    #[test]
    fn the_future_of_a_call_with_an_id_is_small() {
        let dispatcher =
            Dispatcher::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n", |_| {});
        let task = Box::new(Task {
            running: dispatcher.live.running(),
            dispatcher,
            platform: crate::platform::find("http").unwrap(),
            client: [192, 0, 2, 9].into(),
            call: Call { args: GivenArguments::Unreadable, context: Box::default() },
            validation: None,
            deadline: Instant::now(),
            traced: None,
        });
        // Each such call builds it, whether or not there is a `[state]`.
        assert!(size_of_val(&task.run_once(None, CallKey::unique(), AnnounceTo::Nobody)) <= 4096);
    }
}
