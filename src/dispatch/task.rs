//! One call from its route to its reply, run by the task that waits for it: a client that disconnects does not stop a
//! write half-way, and a panic ends this call only.

use std::future::{Future, poll_fn, ready};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, OptionFuture};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::call::{Call, Context, FailureKind, GivenArguments, Outcome, Reply};
use crate::flow::{self, CallEnv, CallError, CallKey, Caller, Identity, LateReply, NoCaller, Record, Traced};
use crate::live::Running;
use crate::observe::{Ended, call_log};
use crate::plan::Route;
use crate::platform::{EncodeStream, Platform};
use crate::single_flight::{Lead, Lookup, Retention};

use super::gate::Permit;
use super::in_flight::{InFlight, Panicked, poll_caught};
use super::{Dispatcher, dedup};

/// How long after its deadline a call is still waited for at most, half the margin for the way back: it may be about to
/// say something better than that its deadline has passed.
const GRACE: Duration = Duration::from_millis(250);

/// Runs a call whose answer is a stream; gives the pieces of the body as they come.
pub(super) fn stream(task: Task, mut encoder: Box<dyn EncodeStream>) -> mpsc::UnboundedReceiver<Bytes> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (pieces, received) = mpsc::unbounded_channel::<Bytes>();
    tokio::spawn(async move {
        let answered = task.answer(Tell::Channel(tell));
        tokio::pin!(answered);
        let outcome = loop {
            tokio::select! {
                biased;
                Some(own) = told.recv() => send_piece(&pieces, encoder.begin(own)),
                outcome = &mut answered => break outcome,
            }
        };
        while let Ok(own) = told.try_recv() {
            send_piece(&pieces, encoder.begin(own));
        }
        send_piece(&pieces, encoder.end(outcome));
    });
    received
}

/// The client may have gone; the call goes on all the same.
fn send_piece(pieces: &mpsc::UnboundedSender<Bytes>, piece: Bytes) {
    if !piece.is_empty() {
        let _ = pieces.send(piece);
    }
}

/// Who gets what a platform is told before the reply.
pub(super) enum Tell {
    /// Nobody: the answer comes as a whole.
    Nobody,
    /// The writer of a stream.
    Channel(mpsc::UnboundedSender<Map<String, Value>>),
}

/// One call, with all that it needs to run.
pub(super) struct Task {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) running: Arc<Running>,
    pub(super) platform: &'static dyn Platform,
    /// The address of the client.
    pub(super) client: IpAddr,
    pub(super) call: Call,
    pub(super) deadline: Instant,
    /// The trace that it is part of.
    pub(super) traced: Option<Traced>,
}

/// A call that leads its retries, as far as one way to tell them goes.
struct Leading {
    lead: Lead<Outcome>,
    identity: Identity,
}

/// What is known of a call that may be a retry.
enum Claim {
    /// It is none, or the first of them.
    Leads(Lead<Outcome>),
    /// The outcome of the call that it repeats, and whether that holds for later retries too.
    Repeats { outcome: Outcome, how: &'static str, is_final: bool },
    /// The call that it repeats did not end in the time of this one.
    StillUnderWay,
}

impl Task {
    /// Answers a call by its function's route.
    pub(super) fn answer(self, tell: Tell) -> impl Future<Output = Outcome> + Send {
        let route = self.running.plan.route(&self.call.context.function, self.platform.name()).cloned();
        self.run(route, tell)
    }

    /// Answers an event by its entry of that name; `None` when the table has none.
    pub(super) fn answer_event(self, name: &str) -> impl Future<Output = Option<Outcome>> + Send {
        let entry = self.running.plan.event(self.platform.name(), name).cloned();
        OptionFuture::from(entry.map(|entry| self.run(Some(entry), Tell::Nobody)))
    }

    fn run(self, route: Option<Arc<Route>>, tell: Tell) -> impl Future<Output = Outcome> + Send {
        let key = CallKey::of(&self.call, route.as_deref());
        match key.identities().next() {
            None => Either::Left(self.start(route, key, Vec::new(), tell)),
            Some(_) => Either::Right(Box::pin(self.run_once(route, key, tell))),
        }
    }

    /// Runs a call that may change something once, however often the platform makes it.
    async fn run_once(self, route: Option<Arc<Route>>, key: CallKey, tell: Tell) -> Outcome {
        let mut leading: Vec<Leading> = Vec::new();
        // A call with an id is led by that first, so that no two calls wait for each other.
        for identity in key.identities() {
            match self.claim(identity).await {
                Claim::Leads(lead) => leading.push(Leading { lead, identity }),
                Claim::Repeats { outcome, how, is_final } => {
                    leading.into_iter().for_each(|leading| leading.settle(&outcome, is_final));
                    return self.deduplicated(route.as_deref(), outcome, how);
                }
                Claim::StillUnderWay => return self.give_up(route.as_ref(), CallError::StillUnderWay),
            }
        }
        self.start(route, key, leading, tell).await
    }

    /// Finds the outcome of the call that this one repeats, or the duty to make it.
    async fn claim(&self, identity: Identity) -> Claim {
        let dedup = &self.dispatcher.dedup;
        loop {
            match dedup.find(identity.key, Instant::now()) {
                Lookup::Leader(lead) => return Claim::Leads(lead),
                Lookup::Hit(outcome) => {
                    return Claim::Repeats { outcome, how: "has been answered", is_final: true };
                }
                Lookup::InFlight(waiting) => {
                    match timeout_at(self.deadline.into(), waiting.result()).await {
                        Ok(Some(outcome)) => {
                            let is_final = matches!(dedup.find(identity.key, Instant::now()), Lookup::Hit(_));
                            return Claim::Repeats { outcome, how: "was in flight", is_final };
                        }
                        // The leader was dropped without an outcome: this call leads now.
                        Ok(None) => {}
                        Err(_) => return Claim::StillUnderWay,
                    }
                }
            }
        }
    }

    /// Answers a retry with the outcome of the call that it repeats.
    fn deduplicated(&self, route: Option<&Route>, outcome: Outcome, how: &str) -> Outcome {
        let is_event = !self.call.context.event.is_null();
        self.dispatcher.observers.metrics.note_deduplicated(self.platform.name(), route, is_event);
        call_log::deduplicated(&self.call.context, self.client, how);
        outcome
    }

    /// Answers a call that is not run.
    fn give_up(self, route: Option<&Arc<Route>>, error: CallError) -> Outcome {
        let now = now();
        let env = CallEnv {
            plan: &self.running.plan,
            resources: &self.running.resources,
            platform: self.platform,
            transport: &*self.dispatcher.transport,
            deadline: self.deadline,
            now: &now,
            key: CallKey::of(&self.call, None),
            cache: &self.dispatcher.cache,
            traced: self.traced.as_ref(),
            caller: &NoCaller,
        };
        let record = flow::given_up(self.call, route.map(AsRef::as_ref), env, error);
        self.dispatcher.observers.note(Ended { record, plan: &self.running.plan, route, client: self.client })
    }

    /// Starts the call, and waits for its reply. It is boxed at once: a future is copied with all that it may ever hold.
    fn start(
        self,
        route: Option<Arc<Route>>,
        key: CallKey,
        leading: Vec<Leading>,
        tell: Tell,
    ) -> impl Future<Output = Outcome> + Send {
        // A retry that is deduplicated needs no permit: to refuse it would not be true of the first call.
        let Some(permit) = self.dispatcher.calls.enter(self.running.plan.server.max_calls) else {
            return Either::Left(ready(self.give_up(route.as_ref(), CallError::Busy)));
        };
        // The margin is at least a third of the time.
        let time = self.deadline.saturating_duration_since(Instant::now());
        let latest = self.deadline + GRACE.min(time / 6);
        let waiting = Arc::new(self.waiting(tell, permit));
        let work = Box::pin(self.work(route, key, leading, Arc::clone(&waiting)));
        Either::Right(attend(InFlight::new(work), waiting, latest))
    }

    fn waiting(&self, tell: Tell, permit: Permit) -> Waiting {
        let context = &self.call.context;
        Waiting {
            dispatcher: Arc::clone(&self.dispatcher),
            running: Arc::clone(&self.running),
            client: self.client,
            named: Context {
                platform: context.platform,
                function: context.function.clone(),
                conversation: context.conversation.clone(),
                ..Context::default()
            },
            started: Instant::now(),
            tell,
            late: Mutex::default(),
            permit: Mutex::new(Some(permit)),
        }
    }

    /// The call itself, from its route to its line in the log.
    async fn work(
        self,
        route: Option<Arc<Route>>,
        key: CallKey,
        leading: Vec<Leading>,
        waiting: Arc<Waiting>,
    ) -> Outcome {
        let Self { dispatcher, running, platform, client, call, deadline, traced } = self;
        let now = now();
        let env = CallEnv {
            plan: &running.plan,
            resources: &running.resources,
            platform,
            transport: &*dispatcher.transport,
            deadline,
            now: &now,
            key,
            cache: &dispatcher.cache,
            traced: traced.as_ref(),
            caller: &*waiting,
        };
        let mut answering = pin!(flow::answer(call, route.as_deref(), env));
        let answered = poll_fn(|context| poll_caught(answering.as_mut(), context)).await;
        let record = answered.unwrap_or_else(|Panicked| {
            let call = Call { args: GivenArguments::Unreadable, context: waiting.named.clone() };
            Record::panicked(call, waiting.started.elapsed(), traced.as_ref())
        });
        let finality = [true, false].map(|by_id| record.is_final(route.as_deref(), by_id));
        let outcome =
            dispatcher.observers.note(Ended { record, plan: &running.plan, route: route.as_ref(), client });
        for leading in leading {
            let [by_id, in_window] = finality;
            let is_final = if leading.identity.by_id { by_id } else { in_window };
            leading.settle(&outcome, is_final);
        }
        drop(waiting.permit.lock().take());
        outcome
    }
}

/// Runs a call until its reply is known. What is left of it then goes on as a task of its own, as does all of it when
/// whoever waits for the reply leaves.
async fn attend<F>(in_flight: InFlight<F>, waiting: Arc<Waiting>, latest: Instant) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut ending = pin!(timeout_at(latest.into(), in_flight));
    poll_fn(|context| {
        let ended = ending.as_mut().poll(context);
        // The late reply is said while the call is polled, so looking after each poll misses none.
        match (waiting.late.lock().take(), ended) {
            (Some(late), _) => Poll::Ready(late),
            (None, Poll::Ready(Ok(Ok(outcome)))) => Poll::Ready(outcome),
            (None, Poll::Ready(Ok(Err(Panicked)))) => Poll::Ready(plain(FailureKind::BadResponse)),
            (None, Poll::Ready(Err(_))) => Poll::Ready(plain(FailureKind::Timeout)),
            (None, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

impl Leading {
    /// Gives the outcome to the retries that wait for it, and keeps it for later ones if it is final.
    fn settle(self, outcome: &Outcome, is_final: bool) {
        if !is_final {
            return self.lead.hand_out(outcome.clone());
        }
        let kept = dedup::to_keep(outcome);
        let Identity { key: owner, kept: fresh, .. } = self.identity;
        let retention = Retention { fresh, stale: Duration::ZERO, bytes: kept.bytes(), owner };
        self.lead.keep(kept, retention, Instant::now());
    }
}

/// What a call in flight and whoever waits for its reply share.
struct Waiting {
    dispatcher: Arc<Dispatcher>,
    running: Arc<Running>,
    client: IpAddr,
    /// What the log says of the call.
    named: Context,
    started: Instant,
    tell: Tell,
    /// The reply, when the deadline passes first.
    late: Mutex<Option<Outcome>>,
    /// `None` when the call has ended.
    permit: Mutex<Option<Permit>>,
}

impl Caller for Waiting {
    fn announce(&self, extensions: Map<String, Value>) {
        if let Tell::Channel(tell) = &self.tell {
            let _ = tell.send(extensions);
        }
    }

    fn reply_late(&self, late: LateReply) {
        call_log::late(&self.named, self.client, self.started.elapsed(), &late, &self.running.plan.masks);
        // One silent upstream would otherwise leave no room for the calls of others.
        if let Some(detached) = self.dispatcher.detached.enter(self.running.plan.server.max_calls) {
            *self.permit.lock() = Some(detached);
        }
        // Of steps that run concurrently, the first that is late says it.
        self.late.lock().get_or_insert(late.outcome);
    }
}

/// An outcome that nothing of the table went into.
fn plain(kind: FailureKind) -> Outcome {
    Outcome { reply: Reply::text(kind.built_in_text()), failure: Some(kind) }
}

fn now() -> String {
    format!("{:.0}", Timestamp::now())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::guard::ExpansionFilter;
    use crate::platform::{Answer, BadRequest, Decoded, Functions, Inbound, Settings};

    /// A platform that panics, over a request and in the middle of a call.
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

        fn sample(&self, _: &str, _: &Value) -> Inbound {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_failure_of_its_call_and_its_line_says_whose() {
        let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = Arc::clone(&lines);
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || CapturedLog(Arc::clone(&kept)))
            .finish();
        let _log = tracing::subscriber::set_default(log);
        let dispatcher =
            Dispatcher::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n", |_| {});
        let context = Context {
            platform: "http",
            function: "say".to_owned(),
            conversation: Some("c-7".to_owned()),
            ..Context::default()
        };
        let task = |platform: &'static dyn Platform| Task {
            dispatcher: Arc::clone(&dispatcher),
            running: dispatcher.live.running(),
            platform,
            client: [192, 0, 2, 9].into(),
            call: Call { args: serde_json::json!({}).into(), context: context.clone() },
            deadline: Instant::now() + Duration::from_secs(60),
            traced: None,
        };
        let outcome = task(&Panicking).answer(Tell::Nobody).await;
        assert_eq!(outcome.failure, Some(FailureKind::BadResponse));
        assert!(outcome.reply.text.is_some_and(|text| text.contains("Apologise")));
        assert_eq!(dispatcher.calls.held(), 0);
        let log = String::from_utf8(lines.lock().clone()).unwrap();
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
        assert_eq!(task(http).answer(Tell::Nobody).await.reply.text.as_deref(), Some("Hello."));
    }

    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for CapturedLog {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
