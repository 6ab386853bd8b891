//! The description of an auth scheme: its keys, their values, and how it is built from them.
//!
//! The compiler reads every scheme, inbound and outbound, by this description. A scheme gets only texts: the compiler
//! resolves secrets and reads files first.

use http::HeaderName;

use crate::diagnostic::Code;
use crate::fingerprint::Fingerprint;
use crate::secret::Secret;

/// A scheme: its keys in the table, and how their values become an `A`.
#[derive(Debug)]
pub struct Scheme<A: ?Sized> {
    /// The name in `auth.<name>`.
    pub name: &'static str,
    /// A description of the scheme, shown by editors.
    pub about: &'static str,
    /// The keys of its table.
    pub keys: &'static [SchemeKey],
    /// Builds it from the values of its keys.
    pub build: fn(&SchemeValues) -> Result<Box<A>, SchemeFault>,
}

impl<A: ?Sized> Scheme<A> {
    /// Whether a request carries a secret of the scheme, so that whoever reads the request can use it.
    pub(crate) fn sends_secret(&self) -> bool {
        let is_sent = |kind| matches!(kind, SchemeValueKind::Secret | SchemeValueKind::RotatingCredential);
        self.keys.iter().any(|key| is_sent(key.kind))
    }
}

/// A key of a scheme's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemeKey {
    /// The key.
    pub name: &'static str,
    /// The type of its value.
    pub kind: SchemeValueKind,
    /// Whether it must be given.
    pub required: bool,
}

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemeValueKind {
    /// A text that may be shown.
    Text,
    /// A list of texts that may be shown.
    List,
    /// A duration; the scheme gets whole seconds.
    Seconds,
    /// A text that is hidden wherever calls are shown.
    Secret,
    /// A secret that signs requests and is never sent itself.
    SigningKey,
    /// A secret that callers must know: never empty, and a list of two while it is rotated.
    RotatingSecret,
    /// A secret that is sent to an upstream, and a list of two while it is rotated.
    RotatingCredential,
    /// The name of a file; the scheme gets the file's content.
    File,
}

impl SchemeKey {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::Text, required: true }
    }

    pub(crate) const fn list(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::List, required: true }
    }

    pub(crate) const fn seconds(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::Seconds, required: true }
    }

    pub(crate) const fn secret(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::Secret, required: true }
    }

    pub(crate) const fn signing_key(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::SigningKey, required: true }
    }

    pub(crate) const fn rotating_secret(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::RotatingSecret, required: true }
    }

    pub(crate) const fn rotating_credential(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::RotatingCredential, required: true }
    }

    pub(crate) const fn file(name: &'static str) -> Self {
        Self { name, kind: SchemeValueKind::File, required: true }
    }

    pub(crate) const fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// The default values of a scheme's keys.
pub type SchemeDefaults = &'static [(&'static str, &'static [&'static str])];

/// The values of a scheme's keys. A required key is always there, with at least one value.
#[derive(Debug, Default)]
pub struct SchemeValues(Vec<(&'static str, Vec<Secret>)>);

impl SchemeValues {
    /// Adds the values of a key.
    pub fn add(&mut self, key: &'static str, values: Vec<Secret>) {
        self.0.push((key, values));
    }

    /// Adds the defaults of the keys that have no value yet.
    pub fn add_defaults(&mut self, defaults: SchemeDefaults) {
        for (key, texts) in defaults {
            if self.list(key).is_none() {
                self.add(key, texts.iter().copied().map(Secret::new).collect());
            }
        }
    }

    /// The value of `key`, if it was given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.list(key)?.first().map(Secret::reveal)
    }

    /// The value of `key`, which is required.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// The values of `key`, if it was given.
    pub fn list(&self, key: &str) -> Option<&[Secret]> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, values)| values.as_slice())
    }

    /// The secrets of `key`, which is required: two while they are rotated.
    pub fn secrets(&self, key: &str) -> Vec<Secret> {
        self.list(key).unwrap_or_default().to_vec()
    }

    /// The value of `key` as the name of a header; `None` when it was not given.
    pub(crate) fn header(&self, key: &'static str) -> Result<Option<HeaderName>, SchemeFault> {
        let Some(name) = self.get(key) else { return Ok(None) };
        HeaderName::from_bytes(name.as_bytes()).map(Some).map_err(|_| {
            SchemeFault::new(key, "invalid header name", "use letters, digits and hyphens, as in `x-api-key`")
        })
    }

    /// Identifies a credential across reloads by its upstream, scheme and values.
    pub fn fingerprint(&self, upstream: &str, scheme: &str) -> [u8; 32] {
        let mut fingerprint = Fingerprint::new().text(upstream).text(scheme);
        for (key, values) in &self.0 {
            fingerprint = fingerprint.text(key).text(&values.len().to_string());
            fingerprint =
                values.iter().fold(fingerprint, |fingerprint, value| fingerprint.text(value.reveal()));
        }
        fingerprint.finish()
    }
}

/// Why a scheme cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeFault {
    /// The code of the diagnostic.
    pub code: Code,
    /// The invalid key. If the table does not set it, the error is shown at the scheme's name.
    pub key: &'static str,
    /// The index of the invalid value, if the key has a list.
    pub item: Option<usize>,
    /// What is wrong, in lower case, without a full stop; never with a secret.
    pub message: &'static str,
    /// How to fix it.
    pub help: &'static str,
}

impl SchemeFault {
    /// An invalid value of `key`.
    pub(crate) fn new(key: &'static str, message: &'static str, help: &'static str) -> Self {
        Self { code: Code::UnknownValue, key, item: None, message, help }
    }

    /// Sets another code.
    pub(crate) fn code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Sets the index in a list.
    pub(crate) fn item(self, index: usize) -> Self {
        Self { item: Some(index), ..self }
    }
}
