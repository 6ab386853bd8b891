//! Kinds of failure, and the texts for them.

use crate::call::FailureKind;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::lang::template::Names;
use crate::plan::{FailureSlot, FailureTexts};
use crate::table::reader::{Key, Named};

use crate::compile::cx::Cx;

/// The text for each kind of failure, as a template.
pub(super) fn texts(cx: &mut Cx<'_>, texts: &Key<Named<String>>, names: &Names<'_>) -> FailureTexts {
    let mut out = FailureTexts::default();
    for (kind, text) in texts.entries() {
        let known = match kind.value.as_str() {
            FailureSlot::AFTER_WRITE => None,
            slug => match kind_of(slug, kind.span, cx.diagnostics) {
                None => continue,
                known => known,
            },
        };
        let Some(text) = text.get() else { continue };
        let template = cx.template(text, names);
        let Some(known) = known else {
            out.after_write = template;
            continue;
        };
        if known == FailureKind::InvalidArgs {
            cx.report(
                Diagnostic::new(Code::UnusedText, kind.span, "this text is never used")
                    .label("never used")
                    .help("add a reply case with `when.failure = \"invalid_args\"` to replace the built-in message"),
            );
            continue;
        }
        out.by_kind.extend(template.map(|template| (known, template)));
    }
    out
}

/// The kind of failure with this slug.
pub(super) fn kind_of(slug: &str, span: Span, diagnostics: &mut Diagnostics) -> Option<FailureKind> {
    let known = FailureKind::from_slug(slug);
    if known.is_none() {
        diagnostics.push(
            Diagnostic::new(Code::UnknownFailure, span, format!("unknown kind of failure `{slug}`"))
                .maybe_help(suggest(slug, FailureKind::NAMED.map(FailureKind::slug))),
        );
    }
    known
}
