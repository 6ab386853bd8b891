//! Answers a decoded request. This is the only place that distinguishes calls, streams, events and ready-made answers.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::call::{Call, Outcome};
use crate::plan::{Plan, budget};
use crate::platform::auth::BadLogin;
use crate::platform::{Answer, Decoded, EncodeStream, Event, Platform};

/// The answer to one request.
#[derive(Debug)]
pub enum Handled {
    /// A complete answer.
    Answer(Answer),
    /// A stream: its content type and its body.
    Stream(&'static str, Streamed),
}

/// The body of a stream.
#[derive(Debug)]
pub enum Streamed {
    /// Its pieces, as they are produced.
    Pieces(UnboundedReceiver<Bytes>),
    /// The complete body.
    Whole(Bytes),
}

/// Runs the calls of one request: for a listener, or in process.
pub trait Runner: Sync {
    /// The plan for all calls of the request.
    fn plan(&self) -> &Plan;

    /// The platform that sent the request.
    fn platform(&self) -> &'static dyn Platform;

    /// The time that a call may take.
    fn budget(&self) -> Duration;

    /// Runs one call.
    fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send;

    /// Runs the calls of one request, by default concurrently. The outcomes are in the order of the calls.
    fn calls(&self, calls: Vec<Call>) -> impl Future<Output = Vec<Outcome>> + Send {
        async move {
            match <[Call; 1]>::try_from(calls) {
                Ok([only]) => vec![self.call(only).await],
                Err(calls) => join_all(calls.into_iter().map(|call| self.call(call))).await,
            }
        }
    }

    /// Runs an event by its entry `name`; `None` if the table has no such entry.
    fn event(
        &self,
        call: Call,
        name: &'static str,
        budget: Duration,
    ) -> impl Future<Output = Option<Outcome>> + Send;

    /// Runs one call whose answer is a stream.
    fn stream(&self, call: Call, encoder: Box<dyn EncodeStream>) -> impl Future<Output = Streamed> + Send;
}

/// Answers a decoded request.
///
/// # Errors
/// The request fails the authentication that the platform decodes.
pub async fn handle(decoded: Decoded, runner: &impl Runner) -> Result<Handled, BadLogin> {
    let answer = match decoded {
        Decoded::Calls(calls, encoder) => {
            let outcomes = runner.calls(calls).await;
            encoder.encode(outcomes)
        }
        Decoded::Event(event) => answer_event(*event, runner).await,
        Decoded::Answer(answer, _) => answer,
        Decoded::Stream(call, encoder) => {
            let content_type = encoder.content_type();
            return Ok(Handled::Stream(content_type, runner.stream(*call, encoder).await));
        }
        Decoded::Denied(bad) => return Err(bad),
    };
    Ok(Handled::Answer(answer))
}

/// The reply's data is the whole body. Without an entry, or if the entry fails, the answer is the platform's neutral
/// one.
async fn answer_event(event: Event, runner: &impl Runner) -> Answer {
    let call_budget = runner.budget();
    let budget = event.kind.deadline.map_or(call_budget, |deadline| call_budget.min(budget(deadline)));
    let outcome = runner.event(event.call, event.kind.name, budget).await;
    let answered = outcome.as_ref().filter(|outcome| outcome.failure.is_none());
    let data = answered.and_then(|outcome| outcome.reply.data.as_ref());
    data.map_or(event.neutral, Answer::json_text)
}
