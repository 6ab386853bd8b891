//! Notes what goes to upstreams and what comes back, whichever way it is carried.

use std::fmt;

use parking_lot::Mutex;

use super::{Request, Response, ResponseFuture, Times, Transport, TransportError};

/// Carries requests by another transport, and notes each that came to an end.
pub struct Recorder<'t> {
    by: &'t dyn Transport,
    exchanges: Mutex<Vec<Exchange>>,
}

/// A request that came to an end.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request, finished and signed.
    pub request: Request,
    /// What came back, or why nothing did.
    pub ended: Result<Response, TransportError>,
}

impl<'t> Recorder<'t> {
    /// Notes what is carried by `by`.
    pub fn of(by: &'t dyn Transport) -> Self {
        Self { by, exchanges: Mutex::default() }
    }

    /// What was noted, in the order in which it came to an end.
    pub fn exchanges(self) -> Vec<Exchange> {
        self.exchanges.into_inner()
    }
}

impl Transport for Recorder<'_> {
    fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a> {
        Box::pin(async move {
            let ended = self.by.send(request, times).await;
            let exchange = Exchange { request: request.clone(), ended: ended.clone() };
            self.exchanges.lock().push(exchange);
            ended
        })
    }
}

impl fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
