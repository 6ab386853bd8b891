//! What is said to the model on each kind of failure.

use crate::call::FailureKind;
use crate::guard::ExpansionFilter;
use crate::lang::template::{Scope, Template, TextSink};

/// What is said on each kind of failure.
#[derive(Debug, Clone, Default)]
pub struct FailureTexts(pub(crate) Vec<(FailureKind, Template)>);

impl FailureTexts {
    /// What stands in the table for a kind.
    pub fn written(&self, kind: FailureKind) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, template)| template.written())
    }

    /// The text for a kind; `None` when there is none, or when it needs a value that is not there.
    pub fn model_text(&self, kind: FailureKind, scope: &Scope<'_>, guard: ExpansionFilter) -> Option<String> {
        let (_, template) = self.0.iter().find(|(known, _)| *known == kind)?;
        let mut text = TextSink::new(guard);
        template.render(scope, &mut text).ok()?;
        Some(text.into_text())
    }
}
