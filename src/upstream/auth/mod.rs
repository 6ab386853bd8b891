//! How we prove to an upstream who we are: one file per scheme, one trait, one list.
//!
//! A credential is applied last, to the finished request, so that a scheme that signs needs no special road. If
//! it cannot be applied, the call fails and nothing is sent.

mod basic;
mod bearer;
mod header;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use crate::secret::Secret;

use super::{Request, Transport};

/// Every outbound scheme, by its name in `auth.<name>`.
pub static SCHEMES: &[&Scheme] = &[&basic::SCHEME, &bearer::SCHEME, &header::SCHEME];

/// The schemes of the design that are not built yet.
pub const LATER: &[&str] = &["query", "oauth2", "hmac", "mtls"];

/// A credential on its way onto a request.
pub type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), CredentialError>> + Send + 'a>>;

/// Puts a credential on a finished request. Headers that it sets are marked sensitive.
pub trait Auth: fmt::Debug + Send + Sync {
    /// Applies the credential; a scheme that must ask for a token first does so through `transport`.
    fn apply<'a>(
        &'a self,
        request: &'a mut Request,
        transport: &'a dyn Transport,
        deadline: Instant,
    ) -> Applying<'a>;
}

/// A credential that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be applied: {0}")]
pub struct CredentialError(pub String);

/// Builds a credential from the values of a scheme's keys, in their order.
pub type Build = fn(&[Secret]) -> Result<Box<dyn Auth>, SchemeFault>;

/// A scheme: its keys in the table, and how they become an [`Auth`].
#[derive(Debug)]
pub struct Scheme {
    /// The name in `auth.<name>`.
    pub name: &'static str,
    /// The keys of its table; every one must be given.
    pub keys: &'static [&'static str],
    /// Builds it from resolved values, in the order of the keys.
    pub build: Build,
}

/// Why a scheme cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeFault {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong, in lower case, without a full stop; never with a secret.
    pub message: &'static str,
    /// What to write.
    pub help: &'static str,
}

/// A header that is the same for every request: what the simple schemes come to.
#[derive(Debug, Clone)]
struct FixedHeader {
    name: http::HeaderName,
    value: http::HeaderValue,
}

impl FixedHeader {
    /// `None` when the value has characters that a header cannot carry.
    fn new(name: http::HeaderName, value: &str) -> Option<Self> {
        let mut value = http::HeaderValue::from_bytes(value.as_bytes()).ok()?;
        value.set_sensitive(true);
        Some(Self { name, value })
    }
}

impl Auth for FixedHeader {
    fn apply<'a>(&'a self, request: &'a mut Request, _: &'a dyn Transport, _: Instant) -> Applying<'a> {
        request.headers.insert(self.name.clone(), self.value.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}
