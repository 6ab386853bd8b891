//! A call in flight, run by the task that waits for its reply.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// The future panicked. The panic's own words were logged where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panicked;

/// A future that somebody waits for and that ends even when nobody does: dropped before its end, it goes on as a task of
/// its own. So a call whose client stays costs no task, and one whose client leaves is not stopped half-way.
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
    /// Boxed by the caller: each function that a large future passes through by value may copy it.
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
        // Without a runtime the process ends, and the call with it.
        if let (Some(future), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(future);
        }
    }
}

/// Polls a future that may panic; one that did must not be polled again.
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
    async fn a_future_that_nobody_waits_for_goes_on() {
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
    async fn a_future_that_ended_or_panicked_is_not_polled_again() {
        let mut ending = InFlight::new(Box::pin(async { 7 }));
        assert_eq!((&mut ending).await, Ok(7));
        let mut panicking = InFlight::new(Box::pin(async { panic!("on purpose") }));
        assert_eq!((&mut panicking).await, Err::<(), _>(Panicked));
        assert!(ending.0.is_none() && panicking.0.is_none());
    }
}
