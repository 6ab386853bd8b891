//! The timer of a connection.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// One timer for all deadlines of a connection, of which one at a time is waited for. Most deadlines are met, so the
/// timer is only set again after it has fired: setting it for each deadline would cost every request.
pub(super) struct Timer<'a>(Pin<&'a mut Sleep>);

impl<'a> Timer<'a> {
    pub(super) fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self(sleep)
    }

    /// Waits until the deadline has passed.
    pub(super) fn poll_passed(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if self.0.deadline() > deadline {
            self.0.as_mut().reset(deadline);
        }
        loop {
            ready!(self.0.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
    }
}
