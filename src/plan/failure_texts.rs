//! The texts for the model, by kind of failure.

use crate::call::FailureKind;
use crate::guard::ExpansionFilter;
use crate::lang::template::{Scope, Template, TextSink};

/// The texts for the model, by kind of failure.
#[derive(Debug, Clone, Default)]
pub struct FailureTexts(pub(crate) Vec<(FailureKind, Template)>);

impl FailureTexts {
    /// The template for a kind, as written in the table.
    pub fn written(&self, kind: FailureKind) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, template)| template.written())
    }

    /// The rendered text for a kind; `None` if there is no template, or if it needs a missing value.
    pub fn model_text(&self, kind: FailureKind, scope: &Scope<'_>, guard: ExpansionFilter) -> Option<String> {
        let (_, template) = self.0.iter().find(|(known, _)| *known == kind)?;
        let mut text = TextSink::new(guard);
        template.render(scope, &mut text).ok()?;
        Some(text.into_text())
    }
}
