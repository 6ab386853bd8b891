//! Records the requests to upstreams and their results, over any transport.

use std::fmt;

use parking_lot::Mutex;

use super::{Request, Response, ResponseFuture, Times, Transport, TransportError};

/// Sends requests over another transport and records each one that ends.
pub struct Recorder<'t> {
    transport: &'t dyn Transport,
    exchanges: Mutex<Vec<Exchange>>,
}

/// A request and its result.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The request, finished and signed.
    pub request: Request,
    /// The response, or why there is none.
    pub result: Result<Response, TransportError>,
}

impl<'t> Recorder<'t> {
    /// Records the requests over `transport`.
    pub fn of(transport: &'t dyn Transport) -> Self {
        Self { transport, exchanges: Mutex::default() }
    }

    /// The exchanges, in the order in which they ended.
    pub fn exchanges(self) -> Vec<Exchange> {
        self.exchanges.into_inner()
    }
}

impl Transport for Recorder<'_> {
    fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a> {
        Box::pin(async move {
            let result = self.transport.send(request, times).await;
            let exchange = Exchange { request: request.clone(), result: result.clone() };
            self.exchanges.lock().push(exchange);
            result
        })
    }
}

impl fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}
