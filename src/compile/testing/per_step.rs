//! The keys of a test that are written once for a route's only request, or by the names of its steps.

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::table::document::Located;
use crate::table::reader::{Key, Named};

use super::subject::Subject;

/// A key for the only request of a route, and the key for requests by step.
pub(super) struct PerStep<'r, T> {
    pub(super) one: (&'static str, &'r Key<T>),
    pub(super) many: (&'static str, &'r Key<Named<T>>),
}

impl<'r, T> PerStep<'r, T> {
    /// The values by the names of their steps.
    pub(super) fn read(
        &self,
        subject: &Subject<'_>,
        diagnostics: &mut Diagnostics,
    ) -> Vec<(String, &'r Located<T>)> {
        let ((one_key, one), (many_key, many)) = (self.one, self.many);
        let steps = subject.steps();
        let mut out = Vec::new();
        let none = |span| {
            Diagnostic::new(Code::NeedsRequest, span, format!("{subject} sends no request"))
                .help("remove this key")
        };
        if let Some(one) = one.get() {
            match steps.as_slice() {
                [] => diagnostics.push(none(one.span)),
                [""] => out.push((String::new(), one)),
                [first, ..] => diagnostics.push(
                    Diagnostic::new(
                        Code::ConflictingKeys,
                        one.span,
                        format!("{subject} has steps, but this key has no step name"),
                    )
                    .help(format!("name the step: `{many_key}.{first} = {{ … }}`")),
                ),
            }
        }
        for (name, value) in many.entries() {
            let Some(value) = value.get() else { continue };
            match steps.as_slice() {
                [] => diagnostics.push(none(name.span)),
                [""] => diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownName,
                        name.span,
                        format!("{subject} has a single request and no steps"),
                    )
                    .help(format!("write `{one_key} = {{ … }}`")),
                ),
                steps if steps.contains(&name.value.as_str()) => out.push((name.value.clone(), value)),
                steps => diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownName,
                        name.span,
                        format!("{subject} has no step `{}`", name.value),
                    )
                    .maybe_help(suggest(&name.value, steps.iter().copied())),
                ),
            }
        }
        out
    }
}
