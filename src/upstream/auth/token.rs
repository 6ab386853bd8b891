//! Access tokens, and how they are requested from a token endpoint.
//!
//! One token serves all calls. The first call that needs one requests it, within its own deadline; calls that come
//! meanwhile wait for the same response. Shortly before a token expires one call requests the next, while the others
//! use the old one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout_at;
use url::Url;

use super::{CredentialEnv, CredentialError, sensitive};
use crate::upstream::{Request, Response, Target, Times};

/// The lifetime of a token without `expires_in`, and the longest lifetime.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(60 * 60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its expiry a token is renewed: a tenth of its lifetime, within these bounds.
const MARGIN_MIN: Duration = Duration::from_secs(5);
const MARGIN_MAX: Duration = Duration::from_secs(60);
/// How long a valid token is used after a failed renewal before the next attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a token endpoint's answer that are read.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// The errors of a token endpoint that we repeat (RFC 6749, section 5.2). Any other text could contain a secret.
const REASONS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// How a token is requested: tokens that are requested alike are the same token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    pub(super) token_url: Url,
    /// The client's id and secret, as the token endpoint wants them.
    pub(super) login: HeaderValue,
    pub(super) body: Bytes,
}

/// The token of an upstream, once there is one.
#[derive(Debug, Default)]
pub struct TokenCell {
    pub(super) token: ArcSwapOption<Token>,
    /// How the last request for a token ended. Held while one is in flight.
    pub(super) last: Mutex<Option<Fetched>>,
}

#[derive(Debug)]
pub(super) struct Token {
    /// `Bearer` and the token.
    pub(super) authorization: HeaderValue,
    pub(super) renew_at: Instant,
    pub(super) ends_at: Instant,
}

#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) at: Instant,
    outcome: Result<Arc<Token>, CredentialError>,
}

impl TokenCell {
    /// The value of `authorization` with a valid token: the current one, or a new one.
    pub(super) async fn authorization(
        &self,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<HeaderValue, CredentialError> {
        self.token(request, target, env).await.map(|token| token.authorization.clone())
    }

    /// Drops the token that an upstream refused, unless another call has already renewed it.
    pub(super) fn forget(&self, authorization: &HeaderValue) {
        let held = self.token.load();
        if held.as_ref().is_some_and(|held| *authorization == held.authorization) {
            self.token.compare_and_swap(&*held, None);
        }
    }

    pub(super) async fn token(
        &self,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Arc<Token>, CredentialError> {
        let asked = Instant::now();
        match self.token.load_full() {
            Some(token) if asked < token.renew_at => return Ok(token),
            Some(token) if asked < token.ends_at => {
                let Ok(last) = self.last.try_lock() else { return Ok(token) };
                if last.as_ref().is_some_and(|last| last.outcome.is_err() && asked < last.at + PATIENCE) {
                    return Ok(token);
                }
                // Leave some time for the call itself, which can use the old token.
                let half = asked + env.deadline.saturating_duration_since(asked) / 2;
                let env = CredentialEnv { deadline: half, ..env };
                return Ok(self.renew(last, request, target, env).await.unwrap_or(token));
            }
            _ => {}
        }
        let waiting = timeout_at(env.deadline.into(), self.last.lock()).await;
        let last = waiting.map_err(|_| {
            CredentialError::TooLate("another call waits for the token endpoint's answer".to_owned())
        })?;
        match &*last {
            // One call's timeout does not affect calls with more time left.
            Some(last) if last.at > asked && !matches!(last.outcome, Err(CredentialError::TooLate(_))) => {
                last.outcome.clone()
            }
            _ => self.renew(last, request, target, env).await,
        }
    }

    async fn renew(
        &self,
        mut last: MutexGuard<'_, Option<Fetched>>,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Arc<Token>, CredentialError> {
        let outcome = request.send(target, env).await.map(Arc::new);
        if let Ok(token) = &outcome {
            self.token.store(Some(Arc::clone(token)));
        }
        *last = Some(Fetched { at: Instant::now(), outcome: outcome.clone() });
        outcome
    }
}

impl TokenRequest {
    async fn send(&self, target: &Target, env: CredentialEnv<'_>) -> Result<Token, CredentialError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, self.login.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            // The upstream's own, so that its timeout and its certificates hold here too.
            target: Arc::new(Target { max_body: MAX_ANSWER, ..target.clone() }),
            step: None,
            method: Method::POST,
            url: self.token_url.clone(),
            headers,
            body: Some(self.body.clone()),
        };
        let asked = Instant::now();
        let times = Times::by(request.target.ends(env.deadline));
        let response = env.transport.send(&request, times).await.map_err(at_endpoint)?;
        Token::read(&response, asked)
    }
}

impl Token {
    /// The token of an endpoint's answer. Its lifetime counts from the question: the answer was on its way a while.
    fn read(response: &Response, asked: Instant) -> Result<Self, CredentialError> {
        let fault = |problem: &str| Err(CredentialError::Failed(format!("the token endpoint {problem}")));
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if !response.status.is_success() {
            let reason = answer["error"].as_str().filter(|reason| REASONS.contains(reason));
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            return fault(&format!("answered with status {}{reason}", response.status.as_u16()));
        }
        if !answer.is_object() {
            return fault("did not answer with a JSON object");
        }
        let Some(token) = answer["access_token"].as_str().filter(|token| !token.is_empty()) else {
            return fault("gave no `access_token`");
        };
        if answer["token_type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return fault("gave a token of another type than `Bearer`");
        }
        let Some(authorization) = sensitive(&format!("Bearer {token}")) else {
            return fault("gave a token that no header can carry");
        };
        let lifetime = lifetime(&answer["expires_in"]);
        let margin = (lifetime / 10).clamp(MARGIN_MIN, MARGIN_MAX);
        Ok(Self {
            authorization,
            renew_at: asked + lifetime.saturating_sub(margin),
            ends_at: asked + lifetime,
        })
    }
}

/// `expires_in`, which some endpoints write as a string.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    match seconds {
        Some(seconds) => {
            Duration::try_from_secs_f64(seconds.clamp(0.0, LIFETIME_MAX.as_secs_f64())).unwrap_or_default()
        }
        None => LIFETIME_UNKNOWN,
    }
}

fn at_endpoint(error: crate::upstream::TransportError) -> CredentialError {
    match CredentialError::from(error) {
        CredentialError::Failed(text) => CredentialError::Failed(format!("token endpoint: {text}")),
        CredentialError::TooLate(text) => CredentialError::TooLate(format!("token endpoint: {text}")),
    }
}
