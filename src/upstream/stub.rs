//! A transport with canned responses, for the tests of a table and for unit tests. It uses no network and no clock.

use std::fmt;
use std::future::ready;

use parking_lot::{Mutex, MutexGuard};

use super::{Request, Response, ResponseFuture, Times, Transport, TransportError};

/// Returns canned responses and records the requests.
pub struct StubTransport {
    state: Mutex<StubState>,
}

type StubAnswer = dyn FnMut(&Request) -> Result<Response, TransportError> + Send;

struct StubState {
    answer: Box<StubAnswer>,
    requests: Vec<Request>,
}

impl StubTransport {
    /// Returns `answers` in order, regardless of the request. Requests after the last one fail.
    pub fn queued<A>(answers: A) -> Self
    where
        A: IntoIterator<Item = Result<Response, TransportError>, IntoIter: Send + 'static>,
    {
        let mut answers = answers.into_iter();
        Self::answering(move |_| {
            answers.next().unwrap_or_else(|| {
                Err(TransportError::Unsendable { detail: "no canned answer is left".to_owned() })
            })
        })
    }

    /// Returns the result of `answer` for each request.
    pub fn answering(
        answer: impl FnMut(&Request) -> Result<Response, TransportError> + Send + 'static,
    ) -> Self {
        Self { state: Mutex::new(StubState { answer: Box::new(answer), requests: Vec::new() }) }
    }

    /// The requests so far, in order, finished and signed.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, StubState> {
        self.state.lock()
    }
}

/// The error of a request that times out.
pub fn timed_out(request: &Request) -> TransportError {
    TransportError::overdue(request.target.timeout.unwrap_or_default())
}

impl Transport for StubTransport {
    fn send<'a>(&'a self, request: &'a Request, _times: Times) -> ResponseFuture<'a> {
        let mut state = self.state();
        let answer = (state.answer)(request);
        state.requests.push(request.clone());
        Box::pin(ready(answer))
    }
}

impl fmt::Debug for StubTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubTransport").field("requests", &self.state().requests).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::response_headers::ResponseHeaders;
    use crate::upstream::tls::Tls;
    use crate::upstream::{EgressPolicy, Redirects, Target};
    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode};
    use std::sync::Arc;
    use std::time::Instant;

    fn request(path: &str) -> Request {
        let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
        let target = Target {
            name: "crm".to_owned(),
            timeout: None,
            root: String::new(),
            max_body: 10,
            redirects,
            tls,
            network,
            proxy: None,
        };
        Request {
            target: Arc::new(target),
            step: None,
            method: Method::GET,
            url: format!("http://upstream{path}").parse().unwrap(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    fn response(body: &str) -> Response {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Response { status: StatusCode::OK, headers: ResponseHeaders::default(), body }
    }

    fn soon() -> Times {
        Times::by(Instant::now())
    }

    #[tokio::test]
    async fn returns_queued_responses_in_order_and_records_requests() {
        let stub = StubTransport::queued([Ok(response("one")), Err(TransportError::TooLarge { limit: 10 })]);

        let first = stub.send(&request("/a"), soon()).await.unwrap();
        let second = stub.send(&request("/b"), soon()).await.unwrap_err();
        let third = stub.send(&request("/c"), soon()).await.unwrap_err();

        assert_eq!(first.body, "one");
        assert!(matches!(second, TransportError::TooLarge { limit: 10 }));
        assert_eq!(third.to_string(), "the request could not be sent: no canned answer is left");
        let paths: Vec<_> = stub.requests().iter().map(|request| request.url.path().to_owned()).collect();
        assert_eq!(paths, ["/a", "/b", "/c"]);
    }

    #[tokio::test]
    async fn computes_the_response_from_the_request() {
        let stub = StubTransport::answering(|request| Ok(response(request.url.path())));

        assert_eq!(stub.send(&request("/x"), soon()).await.unwrap().body, "/x");
        assert_eq!(stub.send(&request("/y"), soon()).await.unwrap().body, "/y");
    }
}
