//! What a scheme asks of the table, and what it gets: the keys of `auth.<name>` and their values.
//!
//! The plan's compiler reads the table for every scheme in the same way, by this description; a scheme sees texts
//! only, whose secrets and files have been put in.

use http::HeaderName;
use sha2::{Digest, Sha256};

use crate::diagnostic::Code;
use crate::secret::Secret;
use crate::upstream::OWN_HEADERS;

use super::OutboundAuth;

/// A scheme: its keys in the table, and how they become an [`OutboundAuth`].
#[derive(Debug)]
pub struct Scheme {
    /// The name in `auth.<name>`.
    pub name: &'static str,
    /// What it is, for whoever writes the table.
    pub about: &'static str,
    /// The keys of its table.
    pub keys: &'static [SchemeKey],
    /// Builds it from the values of its keys.
    pub build: fn(&SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault>,
}

/// A key of a scheme's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemeKey {
    /// The key.
    pub name: &'static str,
    /// What its value is.
    pub form: Form,
    /// Whether it must be given.
    pub required: bool,
}

/// What the value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A text that may be shown.
    Text,
    /// A text that is hidden wherever calls are shown.
    Secret,
    /// A list of texts.
    List,
    /// The name of a file, which is read; the value is what stands in it.
    File,
}

impl SchemeKey {
    pub(super) const fn text(name: &'static str) -> Self {
        Self { name, form: Form::Text, required: true }
    }

    pub(super) const fn secret(name: &'static str) -> Self {
        Self { name, form: Form::Secret, required: true }
    }

    pub(super) const fn list(name: &'static str) -> Self {
        Self { name, form: Form::List, required: true }
    }

    pub(super) const fn file(name: &'static str) -> Self {
        Self { name, form: Form::File, required: true }
    }

    pub(super) const fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// The values of a scheme's keys. A key that must be given is there, with one value; a list has as many as it has.
#[derive(Debug, Default)]
pub struct SchemeValues(Vec<(&'static str, Vec<Secret>)>);

impl SchemeValues {
    /// Adds the values of a key.
    pub fn add(&mut self, key: &'static str, values: Vec<Secret>) {
        self.0.push((key, values));
    }

    /// The value of `key`, if it was given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.list(key)?.first().map(Secret::reveal)
    }

    /// The value of `key`, which must be given.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// The values of `key`, if it was given.
    pub fn list(&self, key: &str) -> Option<&[Secret]> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, values)| values.as_slice())
    }

    /// The value of `key` as the name of a header that may be set; `None` when it was not given.
    pub(super) fn header(&self, key: &'static str) -> Result<Option<HeaderName>, SchemeFault> {
        let Some(name) = self.get(key) else { return Ok(None) };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            SchemeFault::new(
                key,
                "this is not the name of a header",
                "header names have letters, digits and hyphens, as in `x-api-key`",
            )
        })?;
        if OWN_HEADERS.contains(&name.as_str()) {
            return Err(SchemeFault::new(
                key,
                "this header is set by the proxy itself",
                "name the header in which the upstream expects its key, as in `x-api-key`",
            ));
        }
        Ok(Some(name))
    }

    /// A hash by which a credential with the same name and values is known again.
    pub fn fingerprint(&self, upstream: &str, scheme: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        };
        add(upstream);
        add(scheme);
        for (key, values) in &self.0 {
            add(key);
            add(&values.len().to_string());
            values.iter().for_each(|value| add(value.reveal()));
        }
        hash.finalize().into()
    }
}

/// Why a scheme cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemeFault {
    /// What kind of fault.
    pub code: Code,
    /// The key at fault.
    pub key: &'static str,
    /// Which of the key's values is at fault, when they are a list.
    pub item: Option<usize>,
    /// What is wrong, in lower case, without a full stop; never with a secret.
    pub message: &'static str,
    /// What to write.
    pub help: &'static str,
}

impl SchemeFault {
    /// A value that `key` cannot have.
    pub(super) fn new(key: &'static str, message: &'static str, help: &'static str) -> Self {
        Self { code: Code::UnknownValue, key, item: None, message, help }
    }

    /// Of another kind.
    pub(super) fn code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// In one item of a list.
    pub(super) fn item(self, index: usize) -> Self {
        Self { item: Some(index), ..self }
    }
}
