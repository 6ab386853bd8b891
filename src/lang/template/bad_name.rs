//! Why a name in a template cannot be resolved.

use crate::diagnostic::Code;

/// Why a name cannot be resolved.
pub(super) struct BadName {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl BadName {
    pub(super) fn new(message: impl Into<String>, help: impl Into<Option<String>>) -> Self {
        Self { code: Code::UnknownName, message: message.into(), help: help.into() }
    }

    /// A name in the reply of an `async` route that only a response could give.
    pub(super) fn accepting(what: &str) -> Self {
        Self {
            code: Code::AsyncReply,
            message: format!("{what}, but this reply is sent before any request"),
            help: Some(
                "the reply of an `async` route can use `args`, `call`, `memory`, `vars` and `now`".to_owned(),
            ),
        }
    }

    pub(super) fn no_this() -> Self {
        Self::new(
            "`this` exists only inside a block such as `{{#each}}`",
            Some("name the value that you mean, for example `args.city`".to_owned()),
        )
    }
}
