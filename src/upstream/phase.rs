//! What an attempt to send is waiting for, so that a timeout can say it.
//!
//! The HTTP client does not tell connecting from waiting. But as long as a request has no connection, each poll of the
//! request also polls the connector: so a request that was polled without its connector saying that it is still
//! connecting has been handed to a connection. A connection that is finished in the background, because another
//! became free first, is polled by a task of its own, where there is no attempt to note anything for.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

pub(super) const CONNECTING: &str = "connecting";
pub(super) const WAITING: &str = "waiting for the response";
pub(super) const FOLLOWING: &str = "following a redirect";
pub(super) const READING: &str = "reading the body";

tokio::task_local! {
    static PHASE: Cell<&'static str>;
}

/// Runs `attempt` with a phase of its own.
pub(super) async fn scope<T>(attempt: impl Future<Output = T>) -> T {
    PHASE.scope(Cell::new(CONNECTING), attempt).await
}

/// What the attempt in whose scope this is called waits for.
pub(super) fn current() -> &'static str {
    PHASE.try_with(Cell::get).unwrap_or(WAITING)
}

/// Notes what the attempt in whose scope this is called waits for.
pub(super) fn note(phase: &'static str) {
    let _ = PHASE.try_with(|current| {
        // What is redirected has arrived: whatever becomes of the next connection, it has been sent.
        if current.get() != FOLLOWING || phase == READING {
            current.set(phase);
        }
    });
}

/// Polls `request` as one that waits for its response, unless its connector, polled within, says otherwise.
pub(super) async fn waiting<T>(request: impl Future<Output = T>) -> T {
    let mut request = pin!(request);
    poll_fn(|context| {
        note(WAITING);
        request.as_mut().poll(context)
    })
    .await
}

/// Makes a connector say when it is still connecting.
#[derive(Clone)]
pub(super) struct NoteConnecting;

/// A connector that says when it is still connecting.
#[derive(Clone)]
pub(super) struct NotingConnector<S>(S);

impl<S> Layer<S> for NoteConnecting {
    type Service = NotingConnector<S>;

    fn layer(&self, connector: S) -> Self::Service {
        NotingConnector(connector)
    }
}

impl<S, Place> Service<Place> for NotingConnector<S>
where
    S: Service<Place>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, place: Place) -> Self::Future {
        let mut connecting = Box::pin(self.0.call(place));
        Box::pin(poll_fn(move |context| {
            let polled = connecting.as_mut().poll(context);
            if polled.is_pending() {
                note(CONNECTING);
            }
            polled
        }))
    }
}
