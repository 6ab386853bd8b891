//! A call in flight, run by the task that waits for its reply.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// The future panicked. The panic hook has logged the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// A future that completes even if it is dropped: the rest of it then runs as a task of its own. So a call whose client
/// stays connected needs no task, and a call whose client disconnects is not stopped half-way.
#[derive(Debug)]
pub(super) struct InFlight<F>(Option<Pin<Box<F>>>)
where
    F: Future + Send + 'static,
    F::Output: Send;

impl<F> InFlight<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    /// Takes a boxed future, since each function that takes a large future by value may copy it.
    pub(super) fn new(future: Pin<Box<F>>) -> Self {
        Self(Some(future))
    }
}

impl<F> Future for InFlight<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let polled = poll_caught(future.as_mut(), context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F> Drop for InFlight<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        // Without a runtime, the process is ending, and the call ends with it.
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(future);
        }
    }
}

/// Polls a future that may panic. After a panic, it must not be polled again.
pub fn poll_caught<F: Future>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<Result<F::Output, Panicked>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_dropped_future_continues() {
        let (go, gone) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let mut in_flight = InFlight::new(Box::pin(async move {
            let _ = gone.await;
            let _ = end.send("ended");
        }));
        assert!((&mut in_flight).now_or_never().is_none());
        drop(in_flight);
        go.send(()).unwrap();
        assert_eq!(ended.await, Ok("ended"));
    }

    #[tokio::test]
    async fn a_future_is_not_polled_again_after_its_end_or_a_panic() {
        let mut ending = InFlight::new(Box::pin(async { 7 }));
        assert_eq!((&mut ending).await, Ok(7));
        let mut panicking = InFlight::new(Box::pin(async { panic!("on purpose") }));
        assert_eq!((&mut panicking).await, Err::<(), _>(Panicked));
        assert!(ending.0.is_none() && panicking.0.is_none());
    }
}
