//! From a decoded request to its answer: the one place that tells calls, streams, events and known answers apart.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::call::{Call, Outcome};
use crate::plan::{Plan, budget};
use crate::platform::auth::BadLogin;
use crate::platform::{Answer, Decoded, EncodeStream, Event, Platform};

/// What goes back for one request.
#[derive(Debug)]
pub enum Handled {
    /// The whole answer.
    Answer(Answer),
    /// An answer that is a stream.
    Stream(&'static str, Streamed),
}

/// The body of an answer that is a stream.
#[derive(Debug)]
pub enum Streamed {
    /// Its pieces, as they come.
    Pieces(UnboundedReceiver<Bytes>),
    /// All of it.
    Whole(Bytes),
}

/// Runs the calls of one request: for a listener, or in process.
pub trait Runner: Sync {
    /// The plan that all calls of the request see.
    fn plan(&self) -> &Plan;

    /// Who calls.
    fn platform(&self) -> &'static dyn Platform;

    /// How long a call may take.
    fn budget(&self) -> Duration;

    /// Runs one call.
    fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send;

    /// Runs the calls of one request, concurrently unless the runner says otherwise; outcomes come in the order of the
    /// calls.
    fn calls(&self, calls: Vec<Call>) -> impl Future<Output = Vec<Outcome>> + Send {
        async move {
            match <[Call; 1]>::try_from(calls) {
                Ok([only]) => vec![self.call(only).await],
                Err(calls) => join_all(calls.into_iter().map(|call| self.call(call))).await,
            }
        }
    }

    /// Runs an event by its entry of that name; `None` when the table has no entry for it.
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
/// The request does not prove what the platform's requests prove.
pub async fn handle(decoded: Decoded, runner: &impl Runner) -> Result<Handled, BadLogin> {
    let answer = match decoded {
        Decoded::Calls(calls, encoder) => {
            let outcomes = runner.calls(calls).await;
            encoder.encode(outcomes)
        }
        Decoded::Event(event) => answer_event(*event, runner).await,
        Decoded::Answer(answer) => answer,
        Decoded::Stream(call, encoder) => {
            let content_type = encoder.content_type();
            return Ok(Handled::Stream(content_type, runner.stream(*call, encoder).await));
        }
        Decoded::Denied(bad) => return Err(bad),
    };
    Ok(Handled::Answer(answer))
}

/// The reply's data as the whole body; the platform's neutral answer when there is no entry, or the entry fails.
async fn answer_event(event: Event, runner: &impl Runner) -> Answer {
    let most = runner.budget();
    let most = event.kind.deadline.map_or(most, |deadline| most.min(budget(deadline)));
    let outcome = runner.event(event.call, event.kind.name, most).await;
    let data = outcome.filter(|outcome| outcome.failure.is_none()).and_then(|outcome| outcome.reply.data);
    data.map_or(event.neutral, |data| Answer::json(&data))
}
