//! Asks an upstream whether it is there and takes our credential: one GET, which changes nothing, over the same client
//! as every call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::auth::{CredentialEnv, CredentialError, OutboundAuth, TokenCell};
use super::{Request, Times, Transport, TransportError};

/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an upstream is asked.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The request, without its credential.
    pub request: Request,
    /// The credential.
    pub auth: Option<Arc<dyn OutboundAuth>>,
    /// Whether the request proves who we are, be it by a secret in a header.
    pub proves: bool,
}

/// What came of it, and after how long.
#[derive(Debug)]
pub struct Probed {
    /// What was found.
    pub found: ProbeResult,
    /// When.
    pub after: Duration,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It answered, and did not refuse a credential; `None`: with more than is read.
    Answer(Option<StatusCode>),
    /// It refuses the credential.
    Refused(StatusCode),
    /// The credential cannot be had, so that it was not asked.
    NoCredential(CredentialError),
    /// It does not answer.
    Unreachable(TransportError),
}

impl Probe {
    /// Asks the upstream.
    pub async fn ask(&self, transport: &dyn Transport) -> Probed {
        let started = Instant::now();
        let found = self.find(transport, self.request.target.ends(started + PATIENCE)).await;
        Probed { found, after: started.elapsed() }
    }

    async fn find(&self, transport: &dyn Transport, deadline: Instant) -> ProbeResult {
        let mut request = self.request.clone();
        let env = CredentialEnv { token: &TokenCell::default(), transport, deadline };
        if let Some(auth) = &self.auth
            && let Err(error) = auth.apply(&mut request, env).await
        {
            return ProbeResult::NoCredential(error);
        }
        match transport.send(&request, Times::by(deadline)).await {
            Ok(response) => match response.status {
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.proves => {
                    ProbeResult::Refused(status)
                }
                status => ProbeResult::Answer(Some(status)),
            },
            Err(TransportError::TooLarge { .. }) => ProbeResult::Answer(None),
            Err(error) => ProbeResult::Unreachable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::stub::timed_out;
    use crate::upstream::tls::Tls;
    use crate::upstream::{EgressPolicy, Redirects, ResponseFuture, Target};
    use http::{HeaderMap, Method};
    use std::sync::Mutex;

    /// Answers nothing, and notes until when it was waited for.
    #[derive(Default)]
    struct Silent(Mutex<Vec<Instant>>);

    impl Transport for Silent {
        fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a> {
            self.0.lock().unwrap().push(times.answered_by);
            Box::pin(std::future::ready(Err(timed_out(request))))
        }
    }

    #[tokio::test]
    async fn nobody_is_waited_for_for_long() {
        for (timeout, longest) in [(None, 5), (Some(60), 5), (Some(1), 1)] {
            let timeout = timeout.map(Duration::from_secs);
            let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
            let target = Target {
                name: "api".to_owned(),
                timeout,
                max_body: 10,
                redirects,
                tls,
                network,
                proxy: None,
            };
            let request = Request {
                target: Arc::new(target),
                step: None,
                method: Method::GET,
                url: "http://api/".parse().unwrap(),
                headers: HeaderMap::new(),
                body: None,
            };
            let silent = Silent::default();
            let probed = Probe { request, auth: None, proves: false }.ask(&silent).await;
            assert!(matches!(probed.found, ProbeResult::Unreachable(TransportError::Timeout { .. })));
            let waited = silent.0.lock().unwrap()[0];
            assert!(waited <= Instant::now() + Duration::from_secs(longest), "{timeout:?}");
        }
    }
}
