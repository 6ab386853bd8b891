//! The texts for the model, by kind of failure.

use crate::call::FailureKind;
use crate::guard::ExpansionFilter;
use crate::lang::template::{Scope, Template, TextSink};

/// The texts for the model, by kind of failure.
#[derive(Debug, Clone, Default)]
pub struct FailureTexts {
    pub(crate) by_kind: Vec<(FailureKind, Template)>,
    /// The text for calls that fail after a confirmed change. It replaces all others.
    pub(crate) after_write: Option<Template>,
}

/// The failure that a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureSlot {
    /// A kind of failure.
    Kind(FailureKind),
    /// A call that failed although an upstream has confirmed a change.
    AfterWrite,
}

impl FailureSlot {
    /// The key of the text for calls that failed after a change.
    pub const AFTER_WRITE: &str = "after_write";

    /// The key in the table.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.slug(),
            Self::AfterWrite => Self::AFTER_WRITE,
        }
    }
}

impl FailureTexts {
    fn template(&self, slot: FailureSlot) -> Option<&Template> {
        match slot {
            FailureSlot::Kind(kind) => {
                self.by_kind.iter().find(|(known, _)| *known == kind).map(|(_, template)| template)
            }
            FailureSlot::AfterWrite => self.after_write.as_ref(),
        }
    }

    /// The template for a failure, as written in the table.
    pub fn written(&self, slot: FailureSlot) -> Option<&str> {
        self.template(slot).map(Template::written)
    }

    /// The rendered text for a failure; `None` if there is no template, or if it needs a missing value.
    pub fn model_text(&self, slot: FailureSlot, scope: &Scope<'_>, guard: ExpansionFilter) -> Option<String> {
        let template = self.template(slot)?;
        let mut text = TextSink::new(guard);
        template.render(scope, &mut text).ok()?;
        Some(text.into_text())
    }
}
