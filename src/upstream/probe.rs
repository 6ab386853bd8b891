//! Asks an upstream whether it is there and takes our credential: one GET, which changes nothing, over the same client
//! as every call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::auth::{Auth, CredentialError};
use super::{Request, Times, Transport, TransportError};

/// The longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an upstream is asked.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The request, without its credential.
    pub request: Request,
    /// The credential.
    pub auth: Option<Arc<dyn Auth>>,
    /// Whether the request proves who we are, be it by a secret in a header.
    pub proves: bool,
}

/// What came of it, and after how long.
#[derive(Debug)]
pub struct Probed {
    /// What was found.
    pub found: Found,
    /// When.
    pub after: Duration,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
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

    async fn find(&self, transport: &dyn Transport, deadline: Instant) -> Found {
        let mut request = self.request.clone();
        if let Some(auth) = &self.auth
            && let Err(error) = auth.apply(&mut request, transport, deadline).await
        {
            return Found::NoCredential(error);
        }
        match transport.send(request, Times::by(deadline)).await {
            Ok(response) => match response.status {
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if self.proves => {
                    Found::Refused(status)
                }
                status => Found::Answer(Some(status)),
            },
            Err(TransportError::TooLarge { .. }) => Found::Answer(None),
            Err(error) => Found::Unreachable(error),
        }
    }
}
