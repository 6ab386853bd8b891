//! Words that a shell completes but that the command itself checks, so that its own message names what is known.

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::diagnostic::Code;
use crate::platform::{Endpoint, PLATFORMS};

/// Accepts any text and offers these words to completions.
#[derive(Clone)]
pub(super) struct Words(Vec<&'static str>);

impl Words {
    /// The platforms that can call.
    pub(super) fn platforms() -> Self {
        Self(PLATFORMS.iter().map(|platform| platform.name()).collect())
    }

    /// The platforms with declarations, and `more`.
    pub(super) fn declaring(more: &'static str) -> Self {
        let nowhere = Endpoint { url: "", events: &[], form: None };
        let able = PLATFORMS.iter().filter(|platform| platform.declare(&[], &nowhere).is_some());
        Self(able.map(|platform| platform.name()).chain([more]).collect())
    }

    /// All words, separated by spaces.
    pub(super) fn all(&self) -> String {
        self.0.join(" ")
    }

    /// The codes of diagnostics.
    pub(super) fn codes() -> Self {
        Self(Code::ALL.iter().map(|code| code.slug()).collect())
    }
}

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, Error> {
        let text = value.to_str().ok_or_else(|| Error::new(ErrorKind::InvalidUtf8).with_cmd(command))?;
        Ok(text.to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
