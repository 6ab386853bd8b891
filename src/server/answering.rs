//! One call at the platforms' door, from its route to its line in the log: answered on a task of its own, as a whole or
//! as a stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::call::{Arguments, Call, Context, Outcome};
use crate::flow::{self, Means, Record};
use crate::plan::{Plan, Route};
use crate::platform::{Answer, EncodeStream, Platform};

use super::App;

/// The most characters of a text in the log, and of a name that a caller gave.
const MAX_SHOWN: usize = 500;
const MAX_NAME_SHOWN: usize = 200;

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

    /// Runs on a task of its own: a caller that hangs up does not stop a write half-way, and a panic ends this call
    /// only.
    async fn run(self, route: Option<Arc<Route>>, tell: Tell) -> Outcome {
        let Self { app, plan, platform, client, call, deadline } = self;
        let named = Context {
            platform: call.context.platform,
            function: call.context.function.clone(),
            conversation: call.context.conversation.clone(),
            ..Context::default()
        };
        let task = tokio::spawn(async move {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let announce = move |own| {
                if let Tell::Channel(tell) = &tell {
                    let _ = tell.send(own);
                }
            };
            let transport = &*app.transport;
            let means = Means { plan: &plan, platform, transport, deadline, now: &now, announce: &announce };
            let outcome = finish(flow::answer(call, route.as_deref(), means).await, client);
            drop(app.in_flight);
            outcome
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!("a call panicked: {error}");
                finish(Record::panicked(Call { args: Arguments::Unreadable, context: named }), client)
            }
        }
    }
}

/// Logs a call, once, and gives its outcome.
fn finish(record: Record, client: IpAddr) -> Outcome {
    let platform = record.call.context.platform;
    let function = shown_name(&record.call.context.function);
    let conversation = shown_name(record.call.context.conversation.as_deref().unwrap_or_default());
    let ms = record.time.as_millis();
    let upstream_ms = record.upstream_time().map(|time| time.as_millis());
    let case = record.case.map(|case| case + 1);
    match &record.error {
        None => tracing::info!(
            %platform, %function, %conversation, %client, case, ms, upstream_ms, outcome = %"answered",
            "{function}: answered in {ms} ms"
        ),
        Some(error) => {
            let (outcome, upstream) = (error.kind(), record.upstreams());
            tracing::warn!(
                %platform, %function, %conversation, %client, case, ms, upstream, upstream_ms, %outcome,
                "{function}: {outcome} after {ms} ms: {}", shown(&error.to_string())
            );
        }
    }
    // The failure that ended the call was taken from its step; what is left was made good.
    for step in record.steps.iter().filter(|_| record.error.is_none()) {
        if let Some(error) = &step.error {
            let upstream = step.request.as_ref().map(|request| request.target.name.as_str());
            tracing::warn!(
                %platform, %function, %conversation, upstream,
                "{function}: a step failed, and its fall-back answered: {}", shown(&error.to_string())
            );
        }
    }
    if let Some(error) = &record.failure_error {
        tracing::warn!(%platform, %function, "{function}: the case for this failure could not be rendered: {}", shown(&error.to_string()));
    }
    for dropped in &record.dropped {
        tracing::warn!(%platform, %function, "{function}: {}", shown(dropped));
    }
    record.outcome
}

/// A text for the log: one line, and not a long one, for it may hold what others wrote.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A name for the log, which a caller chose.
pub(super) fn shown_name(text: &str) -> String {
    text.escape_debug().take(MAX_NAME_SHOWN).collect()
}
