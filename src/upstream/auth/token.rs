//! Access tokens, and how they are requested from a token endpoint.
//!
//! One token serves all calls. The first call that needs one requests it, within its own deadline. Calls that arrive
//! meanwhile wait for the same response. Shortly before the token expires, one call requests the next one while the
//! others use the old one.
//!
//! A refused login is remembered: until a pause is over, calls fail without another request. The same is true for a new
//! token that the upstream refuses right away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout_at;
use url::Url;

use super::backoff::{self, Backoff};
use super::{CredentialEnv, CredentialError, sensitive};
use crate::secret::Secret;
use crate::upstream::{Request, Response, Target, Times};

/// The lifetime of a token without `expires_in`, and the upper bound of a lifetime.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(60 * 60);
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long before its expiry a token is renewed: a tenth of its lifetime, within these bounds.
const MARGIN_MIN: Duration = Duration::from_secs(5);
const MARGIN_MAX: Duration = Duration::from_secs(60);
/// The pause between a failed renewal and the next one, while the current token is still valid.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);
/// The size limit of a token endpoint's response.
pub(super) const MAX_RESPONSE: usize = 64 * 1024;
/// The error codes of a token endpoint that Jackfield shows (RFC 6749, section 5.2). Any other text could contain a
/// secret.
const REASONS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// How a token is requested. After a reload, the token is reused if its request is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    pub(super) token_url: Url,
    /// The value of `authorization`: the client's id and secret.
    pub(super) login: HeaderValue,
    pub(super) body: Bytes,
    /// The same body with the client's id and secret, for servers that do not read them from the header.
    pub(super) body_with_login: Secret,
}

/// The token of an upstream, once there is one.
#[derive(Debug, Default)]
pub struct TokenCell {
    pub(super) token: ArcSwapOption<Token>,
    /// The result of the last request for a token. Locked while one is in flight.
    pub(super) last: Mutex<Option<Fetched>>,
    /// The pause after the upstream refused a token. No token is dropped before it is over.
    refused: parking_lot::Mutex<Option<Backoff>>,
    /// Whether the token endpoint takes the client's id and secret from the body, not from the header.
    takes_login_in_body: AtomicBool,
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
    pub(super) outcome: Result<Arc<Token>, CredentialError>,
    /// The pause after a failure; `None` after a success.
    pub(super) backoff: Option<Backoff>,
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

    /// Whether a request whose token the upstream refused can be sent again with another token. Drops the token, unless
    /// another call has already renewed it. A token that is refused during the pause after an earlier refusal stays:
    /// another one would probably be refused too.
    pub(super) fn renews(&self, refused: &HeaderValue) -> bool {
        let held = self.token.load();
        if held.as_ref().is_none_or(|held| *refused != held.authorization) {
            return true;
        }
        let mut pause = self.refused.lock();
        let now = Instant::now();
        if pause.is_some_and(|pause| pause.left(now).is_some()) {
            return false;
        }
        *pause = Some(Backoff::after(*pause, backoff::REFUSED, now));
        self.token.compare_and_swap(&*held, None);
        true
    }

    /// Ends the pause after refusals: the upstream accepted a token.
    pub(super) fn accepted(&self) {
        *self.refused.lock() = None;
    }

    pub(super) async fn token(
        &self,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Arc<Token>, CredentialError> {
        let began = Instant::now();
        match self.token.load_full() {
            Some(token) if began < token.renew_at => return Ok(token),
            Some(token) if began < token.ends_at => {
                let Ok(last) = self.last.try_lock() else { return Ok(token) };
                let is_early = |last: &Fetched| {
                    last.outcome.is_err()
                        && (began < last.at + RENEWAL_PAUSE || last.pause_left(began).is_some())
                };
                if last.as_ref().is_some_and(is_early) {
                    return Ok(token);
                }
                // Leave some time for the call itself, which can use the old token.
                let half = began + env.deadline.saturating_duration_since(began) / 2;
                let env = CredentialEnv { deadline: half, ..env };
                return Ok(self.renew(last, request, target, env).await.unwrap_or(token));
            }
            _ => {}
        }
        let waiting = timeout_at(env.deadline.into(), self.last.lock()).await;
        let last = waiting.map_err(|_| {
            CredentialError::TooLate("another call is waiting for the token endpoint".to_owned())
        })?;
        if let Some(last) = &*last {
            // The timeout of another call does not count: this call may have more time left.
            if last.at > began && !matches!(last.outcome, Err(CredentialError::TooLate(_))) {
                return last.outcome.clone();
            }
            if let (Err(error), Some(left)) = (&last.outcome, last.pause_left(Instant::now())) {
                return Err(error.remembered(left));
            }
        }
        self.renew(last, request, target, env).await
    }

    async fn renew(
        &self,
        mut last: MutexGuard<'_, Option<Fetched>>,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Arc<Token>, CredentialError> {
        let outcome = self.request(request, target, env).await.map(Arc::new);
        if let Ok(token) = &outcome {
            self.token.store(Some(Arc::clone(token)));
        }
        let at = Instant::now();
        let before = last.as_ref().and_then(|last| last.backoff);
        let backoff = match &outcome {
            Ok(_) => None,
            Err(CredentialError::TooLate(_)) => before,
            Err(CredentialError::Rejected(_)) => Some(Backoff::after(before, backoff::REFUSED, at)),
            Err(CredentialError::Failed(_)) => Some(Backoff::after(before, backoff::FAILED, at)),
        };
        *last = Some(Fetched { at, outcome: outcome.clone(), backoff });
        outcome
    }
}

impl TokenCell {
    /// Requests a token. If the endpoint rejects the login in the header, sends it in the body, and the other way round
    /// (RFC 6749, section 2.3.1). What worked is tried first the next time.
    async fn request(
        &self,
        request: &TokenRequest,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Token, CredentialError> {
        let in_body = self.takes_login_in_body.load(Ordering::Relaxed);
        let first = request.send(in_body, target, env).await;
        if !matches!(first, Err(TokenError::Login(_))) {
            return first.map_err(TokenError::into_credential);
        }
        match request.send(!in_body, target, env).await {
            Ok(token) => {
                self.takes_login_in_body.store(!in_body, Ordering::Relaxed);
                Ok(token)
            }
            Err(_) => first.map_err(TokenError::into_credential),
        }
    }
}

/// Why there is no token.
enum TokenError {
    /// The endpoint rejected the client's login.
    Login(CredentialError),
    Other(CredentialError),
}

impl TokenError {
    fn into_credential(self) -> CredentialError {
        match self {
            Self::Login(error) | Self::Other(error) => error,
        }
    }
}

impl Fetched {
    /// How long no token may be requested because of this failure.
    fn pause_left(&self, now: Instant) -> Option<Duration> {
        self.backoff?.left(now)
    }
}

impl CredentialError {
    /// The same error for a later call, which makes no request for a token.
    fn remembered(&self, left: Duration) -> Self {
        let seconds = left.as_secs() + 1;
        let text = |text: &str| format!("{text}; no token is requested for another {seconds} s");
        match self {
            Self::Failed(problem) => Self::Failed(text(problem)),
            Self::Rejected(problem) => Self::Rejected(text(problem)),
            Self::TooLate(problem) => Self::TooLate(text(problem)),
        }
    }
}

impl TokenRequest {
    async fn send(
        &self,
        login_in_body: bool,
        target: &Target,
        env: CredentialEnv<'_>,
    ) -> Result<Token, TokenError> {
        let mut headers = HeaderMap::new();
        if !login_in_body {
            headers.insert(AUTHORIZATION, self.login.clone());
        }
        let body = match login_in_body {
            true => Bytes::copy_from_slice(self.body_with_login.reveal().as_bytes()),
            false => self.body.clone(),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            // The timeout, the certificates and the proxy of the upstream apply here too.
            target: Arc::new(Target { max_body: MAX_RESPONSE, root: String::new(), ..target.clone() }),
            step: None,
            method: Method::POST,
            url: self.token_url.clone().into(),
            headers,
            body: Some(body),
        };
        let sent_at = Instant::now();
        let times = Times::by(request.target.ends(Instant::now(), env.deadline));
        let response = env.transport.send(&request, times).await;
        let response = response.map_err(|error| TokenError::Other(at_endpoint(error)))?;
        Token::read(&response, sent_at)
    }
}

impl Token {
    /// Reads the token from a response. Its lifetime counts from the request, because the response took time to arrive.
    fn read(response: &Response, sent_at: Instant) -> Result<Self, TokenError> {
        let fault = |problem: &str| {
            Err(TokenError::Other(CredentialError::Failed(format!("the token endpoint {problem}"))))
        };
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if !response.status.is_success() {
            let reason = body["error"].as_str().filter(|reason| REASONS.contains(reason));
            let shown = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let status = response.status.as_u16();
            let problem = format!("the token endpoint answered with status {status}{shown}");
            return Err(match (status, reason) {
                (401, _) | (400, Some("invalid_client")) => {
                    TokenError::Login(CredentialError::Rejected(problem))
                }
                (400 | 403, _) => TokenError::Other(CredentialError::Rejected(problem)),
                _ => TokenError::Other(CredentialError::Failed(problem)),
            });
        }
        if !body.is_object() {
            return fault("did not return a JSON object");
        }
        let Some(token) = body["access_token"].as_str().filter(|token| !token.is_empty()) else {
            return fault("returned no `access_token`");
        };
        if body["token_type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return fault("returned a token whose type is not `Bearer`");
        }
        let Some(authorization) = sensitive(&format!("Bearer {token}")) else {
            return fault("returned a token that no header can carry");
        };
        let lifetime = lifetime(&body["expires_in"]);
        let margin = (lifetime / 10).clamp(MARGIN_MIN, MARGIN_MAX);
        Ok(Self {
            authorization,
            renew_at: sent_at + lifetime.saturating_sub(margin),
            ends_at: sent_at + lifetime,
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
        rejected @ CredentialError::Rejected(_) => rejected,
    }
}
