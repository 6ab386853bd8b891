//! Outbound authentication: one file per scheme, one trait, one list.
//!
//! A credential is applied last, to the finished request, so that signing schemes need no special case. If it cannot be
//! applied, the call fails and nothing is sent.

mod backoff;
mod basic;
mod bearer;
mod header;
mod hmac;
mod mtls;
mod oauth2;
mod query;
mod token;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::{HeaderValue, StatusCode};

use super::{OWN_HEADERS, Request, Response, Target, Transport, TransportError};
use crate::scheme::{Scheme, SchemeFault, SchemeKey, SchemeValues};

pub use token::{TokenCell, TokenRequest};

/// Every outbound scheme, by its name in `auth.<name>`.
pub static SCHEMES: &[&Scheme<dyn OutboundAuth>] = &[
    &basic::SCHEME,
    &bearer::SCHEME,
    &header::SCHEME,
    &query::SCHEME,
    &oauth2::SCHEME,
    &hmac::SCHEME,
    &mtls::SCHEME,
];

/// A pending token, as the value of `authorization`.
pub type PendingToken<'a> = Pin<Box<dyn Future<Output = Result<HeaderValue, CredentialError>> + Send + 'a>>;

/// Applies a credential to a finished request. It marks its headers as sensitive.
pub trait OutboundAuth: fmt::Debug + Send + Sync {
    /// Obtains the token for a request to `target`; `None` if the scheme needs none.
    fn token<'a>(&'a self, target: &'a Arc<Target>, env: CredentialEnv<'a>) -> Option<PendingToken<'a>> {
        let _ = (target, env);
        None
    }

    /// Applies the credential, with the token if the scheme needs one. It replaces what an earlier attempt applied.
    ///
    /// # Errors
    /// The credential cannot be applied to this request.
    fn apply(&self, request: &mut Request, token: Option<HeaderValue>) -> Result<(), CredentialError>;

    /// How the token is requested; `None` if the scheme needs no token.
    fn token_request(&self) -> Option<&TokenRequest> {
        None
    }

    /// Adds the scheme's connection settings. Called once, when the table is loaded.
    fn equip(&self, _target: &mut Target) {}

    /// The credentials that this one rotates between, each alone; none if it does not rotate.
    fn alternatives(&self) -> Vec<Arc<dyn OutboundAuth>> {
        Vec::new()
    }

    /// Whether `response` refuses the credential of `sent` and the credential can be renewed. In that case the upstream
    /// did not process the request, so the request is sent again with the new credential.
    fn renews(&self, _token: &TokenCell, _sent: &Request, _response: &Response) -> bool {
        false
    }
}

/// Obtains a token if the scheme needs one, and applies the credential.
///
/// # Errors
/// The token cannot be obtained, or the credential cannot be applied to this request.
pub async fn authorize(
    auth: &dyn OutboundAuth,
    request: &mut Request,
    env: CredentialEnv<'_>,
) -> Result<(), CredentialError> {
    let token = match auth.token(&request.target, env) {
        Some(token) => Some(token.await?),
        None => None,
    };
    auth.apply(request, token)
}

/// What a scheme needs to obtain a token.
#[derive(Clone, Copy)]
pub struct CredentialEnv<'a> {
    /// The upstream's token.
    pub token: &'a TokenCell,
    /// Carries requests to a token endpoint.
    pub transport: &'a dyn Transport,
    /// When the credential must be applied.
    pub deadline: Instant,
}

impl fmt::Debug for CredentialEnv<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialEnv").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Why a credential cannot be applied. It contains no secret and no text from a response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be obtained or applied to this request.
    #[error("the credential cannot be applied: {0}")]
    Failed(String),
    /// The token endpoint rejected the client's login or its request.
    #[error("the credential cannot be applied: {0}")]
    Rejected(String),
    /// It could not be obtained in time.
    #[error("the credential was not obtained in time: {0}")]
    TooLate(String),
}

impl From<TransportError> for CredentialError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Timeout { .. } => Self::TooLate(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// A constant header, for the simple schemes. While its secret is rotated, it has two values: if the upstream refuses
/// one, the other is sent from then on.
#[derive(Debug)]
struct FixedHeader {
    name: http::HeaderName,
    values: Vec<http::HeaderValue>,
    /// The index of the value to send.
    current: AtomicUsize,
}

impl FixedHeader {
    /// `None` if a value has characters that a header cannot carry.
    fn new(name: http::HeaderName, values: impl IntoIterator<Item = String>) -> Option<Self> {
        let values: Option<Vec<_>> = values.into_iter().map(|value| sensitive(&value)).collect();
        Some(Self { name, values: values?, current: AtomicUsize::new(0) })
    }
}

impl OutboundAuth for FixedHeader {
    fn apply(&self, request: &mut Request, _: Option<HeaderValue>) -> Result<(), CredentialError> {
        if let Some(value) = self.values.get(self.current.load(Ordering::Relaxed)) {
            request.headers.insert(self.name.clone(), value.clone());
        }
        Ok(())
    }

    fn alternatives(&self) -> Vec<Arc<dyn OutboundAuth>> {
        let alone = |value: &http::HeaderValue| {
            let current = AtomicUsize::new(0);
            Arc::new(Self { name: self.name.clone(), values: vec![value.clone()], current }) as _
        };
        if self.values.len() < 2 { Vec::new() } else { self.values.iter().map(alone).collect() }
    }

    fn renews(&self, _: &TokenCell, sent: &Request, response: &Response) -> bool {
        let is_refused = matches!(response.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !is_refused || self.values.len() < 2 {
            return false;
        }
        let refused = sent.headers.get(&self.name);
        let Some(index) = self.values.iter().position(|value| Some(value) == refused) else { return false };
        let next = (index + 1) % self.values.len();
        // Another call may have switched already.
        if self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (upstream, number) = (&sent.target.name, next + 1);
            tracing::warn!(
                %upstream, status = response.status.as_u16(),
                "{upstream}: a credential was refused; credential {number} of the list is used from now on"
            );
        }
        true
    }
}

/// The value of `key` as the name of a header that a credential may set; `None` if `key` is not set.
fn credential_header(
    values: &SchemeValues,
    key: &'static str,
) -> Result<Option<http::HeaderName>, SchemeFault> {
    let name = values.header(key)?;
    if name.as_ref().is_some_and(|name| OWN_HEADERS.contains(&name.as_str())) {
        return Err(SchemeFault::new(
            key,
            "this header is set by the proxy itself",
            "name the header in which the upstream expects its key, as in `x-api-key`",
        ));
    }
    Ok(name)
}

/// A header value that is never printed; `None` if it has characters that a header cannot carry.
fn sensitive(value: &str) -> Option<http::HeaderValue> {
    let mut value = http::HeaderValue::from_bytes(value.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::upstream::tls::Tls;
    use crate::upstream::{EgressPolicy, Redirects};

    /// Builds a scheme from the values of its keys.
    pub(super) fn build(
        scheme: &Scheme<dyn OutboundAuth>,
        given: &[(&'static str, &[&str])],
    ) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
        let mut values = SchemeValues::default();
        for (key, texts) in given {
            assert!(scheme.keys.iter().any(|known| known.name == *key), "{key}");
            values.add(key, texts.iter().copied().map(Secret::new).collect());
        }
        (scheme.build)(&values)
    }

    pub(super) fn fault(scheme: &Scheme<dyn OutboundAuth>, given: &[(&'static str, &[&str])]) -> SchemeFault {
        build(scheme, given).unwrap_err()
    }

    pub(super) fn target() -> Target {
        let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
        Target {
            name: "api".to_owned(),
            timeout: None,
            max_body: 100,
            root: String::new(),
            redirects,
            tls,
            network,
            proxy: None,
        }
    }

    pub(super) fn request(url: &str) -> Request {
        Request {
            target: Arc::new(target()),
            step: None,
            method: http::Method::GET,
            url: url.parse().unwrap(),
            headers: http::HeaderMap::new(),
            body: None,
        }
    }

    /// Applies a credential that needs no request of its own.
    pub(super) fn apply(auth: &dyn OutboundAuth, request: &mut Request) -> Result<(), CredentialError> {
        auth.apply(request, None)
    }

    #[test]
    fn each_scheme_has_a_unique_name_and_a_file_of_that_name() {
        let mut names: Vec<_> = SCHEMES.iter().map(|scheme| scheme.name.to_owned()).collect();
        names.sort_unstable();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/upstream/auth");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|name| !matches!(name.as_str(), "mod" | "token" | "backoff"))
            .collect();
        files.sort_unstable();
        assert_eq!(names, files);
    }

    /// Applies a scheme's credential to a request, and returns the header or the URL that carries it.
    fn applied(scheme: &Scheme<dyn OutboundAuth>, given: &[(&'static str, &[&str])]) -> String {
        let auth = build(scheme, given).unwrap();
        let mut request = request("https://api/x");
        apply(&*auth, &mut request).unwrap();
        assert!(request.headers.values().all(http::HeaderValue::is_sensitive), "{}", scheme.name);
        match request.headers.iter().next() {
            Some((name, value)) => format!("{name}: {}", value.to_str().unwrap()),
            None => request.url.to_string(),
        }
    }

    #[test]
    fn each_scheme_applies_its_credential() {
        type Row<'a> = (&'static str, &'a [(&'static str, &'a [&'a str])], &'static str);
        let rows: [Row<'_>; 4] = [
            (
                "basic",
                &[("username", &["me"]), ("password", &["top:secret"])],
                "authorization: Basic bWU6dG9wOnNlY3JldA==",
            ),
            ("bearer", &[("token", &["t-1"])], "authorization: Bearer t-1"),
            ("header", &[("name", &["X-Api-Key"]), ("value", &["k-1"])], "x-api-key: k-1"),
            ("query", &[("name", &["key"]), ("value", &["k-1"])], "https://api/x?key=k-1"),
        ];
        // These depend on the time, a token or the connection. `hmac` and `oauth2` are tested in their own files,
        // `mtls` in `tests/it/outbound_tls.rs`.
        let elsewhere = ["hmac", "oauth2", "mtls"];
        for scheme in SCHEMES {
            match rows.iter().find(|(name, ..)| *name == scheme.name) {
                Some((name, given, expected)) => assert_eq!(applied(scheme, given), *expected, "{name}"),
                None => assert!(elsewhere.contains(&scheme.name), "add a row for `{}`", scheme.name),
            }
        }
    }

    /// `check` warns if a secret is sent over plain HTTP.
    #[test]
    fn signing_schemes_send_no_secret() {
        let names = SCHEMES.iter().filter(|scheme| !scheme.sends_secret()).map(|scheme| scheme.name);
        assert_eq!(names.collect::<Vec<_>>(), ["hmac", "mtls"]);
    }
}
