//! Probes an upstream: whether it is reachable and accepts the credential. A probe is one GET through the same client
//! as every call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;

use super::auth::{CredentialEnv, CredentialError, OutboundAuth, TokenCell, authorize};
use super::{Request, Times, Transport, TransportError};

/// The timeout of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A probe of one upstream.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The request, without its credential.
    pub request: Request,
    /// The credential.
    pub auth: Option<Arc<dyn OutboundAuth>>,
    /// Whether the request carries any credential, including a secret in a header.
    pub is_authenticated: bool,
}

/// The results of a probe, and how long they took.
#[derive(Debug)]
pub struct Probed {
    /// The result for each credential that the upstream's credential rotates between; otherwise a single one.
    pub found: Vec<ProbeResult>,
    /// How long it took.
    pub after: Duration,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// It responded and did not refuse the credential; `None` if the response is too large to read.
    Answer(Option<StatusCode>),
    /// It refused the credential.
    Refused(StatusCode),
    /// The credential could not be applied, so nothing was sent.
    NoCredential(CredentialError),
    /// There was no response.
    Unreachable(TransportError),
}

impl Probe {
    /// Sends the probe, once with each credential.
    pub async fn run(&self, transport: &dyn Transport) -> Probed {
        let started = Instant::now();
        let deadline = self.request.target.ends(started, started + PROBE_TIMEOUT);
        let several = self.auth.as_ref().map(|auth| auth.alternatives()).unwrap_or_default();
        let found = match several.is_empty() {
            true => vec![self.find(self.auth.as_deref(), transport, deadline).await],
            false => join_all(several.iter().map(|auth| self.find(Some(&**auth), transport, deadline))).await,
        };
        Probed { found, after: started.elapsed() }
    }

    async fn find(
        &self,
        auth: Option<&dyn OutboundAuth>,
        transport: &dyn Transport,
        deadline: Instant,
    ) -> ProbeResult {
        let mut request = self.request.clone();
        let env = CredentialEnv { token: &TokenCell::default(), transport, deadline };
        if let Some(auth) = auth
            && let Err(error) = authorize(auth, &mut request, env).await
        {
            return ProbeResult::NoCredential(error);
        }
        match transport.send(&request, Times::by(deadline)).await {
            Ok(response) => match response.status {
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.is_authenticated => {
                    ProbeResult::Refused(status)
                }
                status => ProbeResult::Answer(Some(status)),
            },
            Err(error) if matches!(error.cause(), TransportError::TooLarge { .. }) => {
                ProbeResult::Answer(None)
            }
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

    /// A transport that always times out, and records the deadlines of the requests.
    #[derive(Default)]
    struct Silent(Mutex<Vec<Instant>>);

    impl Transport for Silent {
        fn send<'a>(&'a self, request: &'a Request, times: Times) -> ResponseFuture<'a> {
            self.0.lock().unwrap().push(times.answered_by);
            Box::pin(std::future::ready(Err(timed_out(request))))
        }
    }

    #[tokio::test]
    async fn a_probe_has_a_timeout_of_at_most_five_seconds() {
        for (timeout, longest) in [(None, 5), (Some(60), 5), (Some(1), 1)] {
            let timeout = timeout.map(Duration::from_secs);
            let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
            let target = Target {
                name: "api".to_owned(),
                timeout,
                root: String::new(),
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
            let probed = Probe { request, auth: None, is_authenticated: false }.run(&silent).await;
            assert!(matches!(probed.found[..], [ProbeResult::Unreachable(TransportError::Timeout { .. })]));
            let deadline = silent.0.lock().unwrap()[0];
            assert!(deadline <= Instant::now() + Duration::from_secs(longest), "{timeout:?}");
        }
    }
}
