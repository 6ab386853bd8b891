//! Inbound authentication: one file per scheme, one trait, one list.

mod basic;
mod bearer;
mod header;
mod none;
mod signature;

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::scheme::{Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::secret::Secret;

/// All inbound schemes. The table selects one by its name, as in `auth.bearer`.
pub static SCHEMES: &[&Scheme<dyn InboundAuth>] =
    &[&basic::SCHEME, &bearer::SCHEME, &header::SCHEME, &signature::SCHEME, &none::SCHEME];

/// Checks the login of an inbound request. All comparisons of secrets take constant time.
pub trait InboundAuth: fmt::Debug + Send + Sync {
    /// Whether the check covers the body. If not, a bad login is rejected before the body is read.
    fn needs_body(&self) -> bool {
        false
    }

    /// Checks a request.
    ///
    /// # Errors
    /// The login is missing or wrong. The error never reveals the expected value.
    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin>;

    /// The header that carries the secret itself, for schemes where the table names this header.
    fn secret_header(&self) -> Option<&HeaderName> {
        None
    }

    /// The `WWW-Authenticate` header of a rejection, for the schemes that HTTP defines.
    fn challenge(&self) -> Option<HeaderValue> {
        None
    }
}

/// The parts of a request that a login is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The method.
    pub method: &'a Method,
    /// The inbound headers.
    pub headers: &'a HeaderMap,
    /// The path with its query, as requested.
    pub target: &'a str,
    /// The raw body; empty when [`InboundAuth::needs_body`] is false.
    pub body: &'a [u8],
    /// When the request arrived, in seconds since 1970.
    pub received_at: i64,
}

/// Why a login was rejected. It goes to the log, never to the caller, and contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLogin {
    /// There is no credential.
    #[error("no `{0}` header")]
    Missing(HeaderName),
    /// The credential is malformed.
    #[error("the `{0}` header is malformed")]
    Malformed(HeaderName),
    /// The credential is wrong.
    #[error("the credential is wrong")]
    Wrong,
    /// The signature is older or newer than allowed.
    #[error("the signed timestamp differs from the current time by more than {0} s")]
    Stale(i64),
}

/// The value of `Authorization` after the name of the scheme; `None` for another scheme. The name is case-insensitive
/// (RFC 9110, 11.1).
fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Result<Option<&'h [u8]>, BadLogin> {
    let value = headers.get(AUTHORIZATION).ok_or(BadLogin::Missing(AUTHORIZATION))?.as_bytes();
    let (name, rest) = value.split_at_checked(scheme.len()).unwrap_or((value, b""));
    let rest = rest.strip_prefix(b" ").filter(|_| name.eq_ignore_ascii_case(scheme.as_bytes()));
    Ok(rest.map(<[u8]>::trim_ascii))
}

/// Whether the candidate is one of the secrets. Compares with all of them, so that the timing does not reveal which one
/// matches.
fn any_matches(secrets: &[Secret], candidate: &[u8]) -> bool {
    secrets.iter().fold(false, |found, secret| found | secret.matches(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn login(headers: &HeaderMap) -> Login<'_> {
        Login { method: &Method::POST, headers, target: "/", body: b"", received_at: 0 }
    }

    pub(super) fn build(
        scheme: &Scheme<dyn InboundAuth>,
        values: &[(&'static str, &[&str])],
    ) -> Result<Box<dyn InboundAuth>, SchemeFault> {
        let given: Vec<_> = values.iter().map(|(key, _)| *key).collect();
        assert_eq!(given, scheme.keys.iter().map(|key| key.name).collect::<Vec<_>>());
        (scheme.build)(&scheme_values(values))
    }

    pub(super) fn scheme_values(given: &[(&'static str, &[&str])]) -> SchemeValues {
        let mut values = SchemeValues::default();
        for (key, texts) in given {
            values.add(key, texts.iter().copied().map(Secret::new).collect());
        }
        values
    }

    pub(super) fn verdict(
        auth: &dyn InboundAuth,
        header: &'static str,
        value: Option<&str>,
    ) -> Result<(), BadLogin> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        auth.verify(&login(&headers))
    }

    #[test]
    fn scheme_names_are_unique() {
        let mut names: Vec<_> = SCHEMES.iter().map(|scheme| scheme.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCHEMES.len());
    }
}
