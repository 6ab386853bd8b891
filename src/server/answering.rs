//! One call at the platforms' door, from its route to its line in the log: answered on a task of its own, as a whole or
//! as a stream.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;
use tracing::field::{DisplayValue, display};

use crate::call::{Call, Context, FailureKind, GivenArguments, Outcome, Reply};
use crate::flow::{self, CacheUse, CallEnv, CallError, Overdue, Record, Traced};
use crate::plan::{Plan, Route};
use crate::platform::{Answer, EncodeStream, Platform};
use crate::repeats::{self, CallKey};
use crate::secret::Masks;
use crate::single_flight::{Lead, Lookup, Retention};

use super::App;
use super::room::Permit;

/// The most characters of a text in the log, and of a name that a caller gave.
const MAX_SHOWN: usize = 500;
const MAX_NAME_SHOWN: usize = 200;

/// How long after its deadline a call is still waited for at most, half the margin for the way back: it may be about to
/// say something better than that its time is over.
const GRACE: Duration = Duration::from_millis(250);

/// An answer that is a stream: what is to be told at once, then the rest.
pub(super) fn stream(task: Task, mut encoder: Box<dyn EncodeStream>) -> Response {
    let content_type = HeaderValue::from_static(encoder.content_type());
    let (tell, mut told) = mpsc::unbounded_channel();
    let (pieces, mut received) = mpsc::unbounded_channel::<Bytes>();
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
    let body = futures_util::stream::poll_fn(move |context| {
        received.poll_recv(context).map(|piece| piece.map(Ok::<_, std::convert::Infallible>))
    });
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Nobody may be listening any more; the call goes on all the same.
fn send_piece(pieces: &mpsc::UnboundedSender<Bytes>, piece: Bytes) {
    if !piece.is_empty() {
        let _ = pieces.send(piece);
    }
}

/// Who hears what a platform is to be told at once.
pub(super) enum Tell {
    /// Nobody: the answer comes as a whole.
    Nobody,
    /// The writer of a stream.
    Channel(mpsc::UnboundedSender<Map<String, Value>>),
}

/// One call, with all it is answered with.
pub(super) struct Task {
    pub(super) app: App,
    pub(super) plan: Arc<Plan>,
    pub(super) platform: &'static dyn Platform,
    /// The address of who really calls.
    pub(super) client: IpAddr,
    pub(super) call: Call,
    pub(super) deadline: Instant,
    /// The trace that it is part of.
    pub(super) traced: Option<Traced>,
}

impl Task {
    /// Answers a call by its function's route.
    pub(super) async fn answer(self, tell: Tell) -> Outcome {
        let route = self.plan.route(&self.call.context.function, self.platform.name()).cloned();
        self.run(route, tell).await
    }

    /// The whole body that answers an event; `None` when the table has no entry for it, or the entry fails.
    pub(super) async fn answer_event(self, name: &str) -> Option<Answer> {
        let entry = Arc::clone(self.plan.event(self.platform.name(), name)?);
        let outcome = self.run(Some(entry), Tell::Nobody).await;
        let data = outcome.reply.data.filter(|_| outcome.failure.is_none())?;
        Some(Answer::json(&data))
    }

    /// Answers a call that may change something once, whoever asks for it and how often.
    async fn run(self, route: Option<Arc<Route>>, tell: Tell) -> Outcome {
        let identity = CallKey::of(&self.call, route.as_deref());
        let Some(kept) = identity.kept else { return self.spawn(route, identity, None, tell).await };
        loop {
            match self.app.repeats.find(identity.key, Instant::now()) {
                Lookup::Leader(claim) => {
                    return self.spawn(route, identity, Some(Claimed { claim, kept }), tell).await;
                }
                Lookup::Hit(outcome) => {
                    return self.repeated(route.as_deref(), outcome, "has been answered");
                }
                Lookup::InFlight(waiting) => {
                    match timeout_at(self.deadline.into(), waiting.result()).await {
                        Ok(Some(outcome)) => {
                            return self.repeated(route.as_deref(), outcome, "was under way");
                        }
                        // Whoever made it came to nothing: this one is the first now.
                        Ok(None) => {}
                        Err(_) => return self.give_up(route.as_ref(), CallError::StillUnderWay),
                    }
                }
            }
        }
    }

    /// The answer to a call that is made again.
    fn repeated(&self, route: Option<&Route>, outcome: Outcome, how: &str) -> Outcome {
        let is_event = !self.call.context.event.is_null();
        self.app.metrics.note_repeat(self.platform.name(), route, is_event);
        let (platform, function) = (self.platform.name(), shown_name(&self.call.context.function));
        let conversation = shown_conversation(&self.call.context);
        let client = self.client;
        tracing::info!(
            %platform, %function, conversation, %client, outcome = %"repeated",
            "{function}: the same call {how}, and gets the same answer"
        );
        outcome
    }

    /// The answer to a call for which nothing is done.
    fn give_up(self, route: Option<&Arc<Route>>, error: CallError) -> Outcome {
        let now = now();
        let env = CallEnv {
            plan: &self.plan,
            platform: self.platform,
            transport: &*self.app.transport,
            deadline: self.deadline,
            now: &now,
            identity: CallKey::of(&self.call, None),
            cache: &self.app.cache,
            traced: self.traced.as_ref(),
            announce: &|_| {},
            overdue: &|_| {},
        };
        let record = flow::given_up(self.call, route.map(AsRef::as_ref), env, error);
        finish(record, Edge { app: &self.app, plan: &self.plan, route, client: self.client })
    }

    /// Runs on a task of its own: a caller that hangs up does not stop a write half-way, and a panic ends this call
    /// only.
    async fn spawn(
        self,
        route: Option<Arc<Route>>,
        identity: CallKey,
        claim: Option<Claimed>,
        tell: Tell,
    ) -> Outcome {
        // DedupLedger of a call are answered all the same: that they are refused would not be true of the first one.
        let Some(place) = self.app.calls.enter(self.plan.server.max_calls) else {
            return self.give_up(route.as_ref(), CallError::Busy);
        };
        // The margin is at least a third of the time.
        let time = self.deadline.saturating_duration_since(Instant::now());
        let latest = self.deadline + GRACE.min(time / 6);
        let (answer, answered) = oneshot::channel();
        tokio::spawn(self.work(route, identity, claim, tell, place, Mutex::new(Some(answer))));
        match timeout_at(latest.into(), answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => plain(FailureKind::BadResponse),
            // Nothing may keep the platform waiting, not even a call that never gives the thread back.
            Err(_) => plain(FailureKind::Timeout),
        }
    }

    /// The call itself, from its route to its line in the log; `answer` hears of its outcome, or that its time is over.
    async fn work(
        self,
        route: Option<Arc<Route>>,
        identity: CallKey,
        claim: Option<Claimed>,
        tell: Tell,
        place: Permit,
        answer: Mutex<Option<oneshot::Sender<Outcome>>>,
    ) {
        let Self { app, plan, platform, client, call, deadline, traced } = self;
        let named = Context {
            platform: call.context.platform,
            function: call.context.function.clone(),
            conversation: call.context.conversation.clone(),
            ..Context::default()
        };
        let place = Mutex::new(place);
        let send = |outcome| {
            if let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
                let _ = answer.send(outcome);
            }
        };
        let started = Instant::now();
        let announce = |own| {
            if let Tell::Channel(tell) = &tell {
                let _ = tell.send(own);
            }
        };
        let overdue = |Overdue { outcome, error, upstream }: Overdue| {
            let function = shown_name(&named.function);
            let conversation = shown_conversation(&named);
            let (kind, ms) = (error.kind(), started.elapsed().as_millis());
            tracing::warn!(
                platform = %named.platform, %function, conversation, %client, ms, upstream, outcome = %kind,
                "{function}: {kind} after {ms} ms: {}", shown(&error.to_string(), &plan.masks)
            );
            // One silent upstream would else leave no room for the calls of others.
            if let Some(beside) = app.overdue.enter(plan.server.max_calls) {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = beside;
            }
            send(outcome);
        };
        let now = now();
        let env = CallEnv {
            plan: &plan,
            platform,
            transport: &*app.transport,
            deadline,
            now: &now,
            identity,
            cache: &app.cache,
            traced: traced.as_ref(),
            announce: &announce,
            overdue: &overdue,
        };
        let running = AssertUnwindSafe(flow::answer(call, route.as_deref(), env)).catch_unwind();
        let record = running.await.unwrap_or_else(|_| {
            // The panic's own words were logged where it happened.
            let call = Call { args: GivenArguments::Unreadable, context: named.clone() };
            Record::panicked(call, started.elapsed(), traced.as_ref())
        });
        let is_final = record.is_final(route.as_deref());
        let outcome = finish(record, Edge { app: &app, plan: &plan, route: route.as_ref(), client });
        match claim {
            Some(Claimed { claim, kept }) if is_final => {
                let repeated = repeats::to_keep(&outcome);
                let (bytes, owner) = (repeated.bytes(), identity.key);
                let keeping = Retention { fresh: kept, stale: Duration::ZERO, bytes, owner };
                claim.keep(repeated, keeping, Instant::now());
            }
            Some(Claimed { claim, .. }) => claim.hand_out(outcome.clone()),
            None => {}
        }
        drop(place);
        send(outcome);
        drop(app.in_flight);
    }
}

/// A call that is the first of its kind, and how long its answer is kept for those that ask again.
struct Claimed {
    claim: Lead<Outcome>,
    kept: Duration,
}

/// An outcome that nothing of the table went into.
fn plain(kind: FailureKind) -> Outcome {
    Outcome { reply: Reply::text(kind.built_in_text()), failure: Some(kind) }
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where a call has ended.
struct Edge<'a> {
    app: &'a App,
    plan: &'a Plan,
    /// The route or event's entry that answered it.
    route: Option<&'a Arc<Route>>,
    client: IpAddr,
}

/// Counts, logs and keeps a call, once, and gives its outcome.
fn finish(record: Record, edge: Edge<'_>) -> Outcome {
    let Edge { app, plan, route: entry, client } = edge;
    let route = entry.map(AsRef::as_ref);
    app.metrics.note(&record, route);
    app.spans.take(&record, plan, route, client);
    let platform = record.call.context.platform;
    let function = shown_name(&record.call.context.function);
    let conversation = shown_conversation(&record.call.context);
    let ms = record.time.as_millis();
    let late = if record.was_overdue() { ", after its call had been answered" } else { "" };
    let upstream_ms = record.upstream_time().map(|time| time.as_millis());
    let case = record.case.map(|case| case + 1);
    let attempts = record.attempts();
    let cache = record.cache_use().map(CacheUse::slug);
    let trace = record.trace();
    let number = (plan.server.records > 0).then(|| app.history.number());
    let record_id = number.map(display);
    match &record.error {
        None => tracing::info!(
            %platform, %function, conversation, %client, case, ms, upstream_ms, attempts, cache, trace, record_id,
            outcome = %"answered",
            "{function}: answered in {ms} ms{late}"
        ),
        Some(error) => {
            let (outcome, upstream) = (error.kind(), record.upstreams());
            tracing::warn!(
                %platform, %function, conversation, %client, case, ms, upstream, upstream_ms, attempts, cache, trace,
                record_id, %outcome,
                "{function}: {outcome} after {ms} ms{late}: {}", shown(&error.to_string(), &plan.masks)
            );
        }
    }
    // The failure that ended the call was taken from its step; what is left was made good.
    for step in record.steps.iter().filter(|_| record.error.is_none()) {
        if let Some(error) = &step.error {
            let upstream = step.upstream();
            tracing::warn!(
                %platform, %function, conversation, upstream,
                "{function}: a step failed, and its fall-back answered: {}", shown(&error.to_string(), &plan.masks)
            );
        }
    }
    for step in &record.steps {
        if let Some(error) = &step.stale_for {
            let upstream = step.upstream();
            tracing::warn!(
                %platform, %function, conversation, upstream,
                "{function}: an older reply was used (`stale_if_error`): {}", shown(&error.to_string(), &plan.masks)
            );
        }
    }
    if let Some(error) = &record.failure_error {
        tracing::warn!(%platform, %function, "{function}: the case for this failure could not be rendered: {}", shown(&error.to_string(), &plan.masks));
    }
    for dropped in &record.dropped {
        tracing::warn!(%platform, %function, "{function}: {}", shown(dropped, &plan.masks));
    }
    if plan.log.bodies {
        let shown = Value::Object(record.view(&plan.masks, route));
        tracing::info!(%platform, %function, conversation, record_id, record = %shown, "{function}: the whole of it");
    }
    let Some(number) = number else { return record.outcome };
    let outcome = record.outcome.clone();
    app.history.keep(number, plan.server.records, record, entry.cloned(), plan.masks.clone(), client);
    outcome
}

/// A text for the log: one line without secrets, and not a long one, for it may hold what others wrote.
fn shown(text: &str, masks: &Masks) -> String {
    masks.hide(text).chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A name for the log, which a caller chose.
pub(super) fn shown_name(text: &str) -> String {
    text.escape_debug().take(MAX_NAME_SHOWN).collect()
}

/// The conversation for the log, whose lines do not have the field without one.
fn shown_conversation(context: &Context) -> Option<DisplayValue<String>> {
    context.conversation.as_deref().map(|conversation| display(shown_name(conversation)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::call::FailureKind;
    use crate::guard::ExpansionFilter;
    use crate::platform::{BadRequest, Decoded, Functions, Inbound, Settings};
    use std::sync::Mutex;
    use std::time::Duration;

    /// A platform that panics, over a request and in the middle of a call.
    #[derive(Debug)]
    pub(in crate::server) struct Panicking;

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
        let app = App::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n");
        let context = Context {
            platform: "http",
            function: "say".to_owned(),
            conversation: Some("c-7".to_owned()),
            ..Context::default()
        };
        let task = |platform: &'static dyn Platform| Task {
            app: app.clone(),
            plan: app.live.plan(),
            platform,
            client: [192, 0, 2, 9].into(),
            call: Call { args: GivenArguments::Json(serde_json::json!({})), context: context.clone() },
            deadline: Instant::now() + Duration::from_secs(60),
            traced: None,
        };
        let outcome = task(&Panicking).answer(Tell::Nobody).await;
        assert_eq!(outcome.failure, Some(FailureKind::BadResponse));
        assert!(outcome.reply.text.is_some_and(|text| text.contains("Apologise")));
        assert_eq!(app.calls.taken(), 0);
        let log = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let line = log.lines().find(|line| line.contains("a fault of the proxy itself")).unwrap();
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

    #[test]
    fn no_secret_is_in_a_line_not_even_where_it_is_cut() {
        let mut masks = Masks::default();
        masks.add("s3cr3t-name.example");
        let long = format!("{}s3cr3t-name.example", "x".repeat(MAX_SHOWN - 7));
        for text in ["not valid for name \"s3cr3t-name.example\"", long.as_str()] {
            let shown = shown(text, &masks);
            assert!(!shown.contains("s3cr3t") && shown.contains("***"), "{shown}");
        }
        assert_eq!(shown("two\nlines", &masks), "two lines");
    }

    struct CapturedLog(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for CapturedLog {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
