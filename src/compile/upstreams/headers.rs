//! The headers that requests carry.

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::lang::template::Names;
use crate::plan::request::HeaderTemplate;
use crate::table::reader::{Key, Named};

use crate::compile::cx::Cx;
use crate::compile::values;

/// Where headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compile) enum HeaderOwner {
    Defaults,
    Upstream,
    Request,
}

impl HeaderOwner {
    fn name(self) -> &'static str {
        match self {
            Self::Defaults => "[defaults]",
            Self::Upstream => "[upstreams]",
            Self::Request => "requests",
        }
    }
}

/// Whether a header of this name usually holds a credential.
fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "authorization" | "proxy-authorization" | "cookie")
        || ["api-key", "apikey", "token", "secret", "password"].iter().any(|part| name.contains(part))
}

/// Compiles headers. Secrets are resolved only in those of an upstream.
pub(in crate::compile) fn templates(
    cx: &mut Cx<'_>,
    headers: &Key<Named<String>>,
    names: &Names<'_>,
    owner: HeaderOwner,
) -> Vec<HeaderTemplate> {
    let mut out: Vec<HeaderTemplate> = Vec::new();
    for (key, text) in headers.entries() {
        let name = values::header_name(key, cx.diagnostics);
        let Some(text) = text.get() else { continue };
        let mut template = cx.template(text, names);
        let mut sensitive = false;
        if owner == HeaderOwner::Upstream {
            // Resolve the text once as a whole to report errors, and then each piece of the parsed template. The value
            // of a secret must never be parsed as an expression.
            let Some(resolved) = cx.resolve(&text.value, text.span) else { continue };
            if is_credential(&key.value) && !text.value.contains("{{") {
                cx.advise_on_literal(&resolved, text.span);
            }
            if let Some(template) = &mut template {
                template.map_text(&mut |literal| {
                    let resolved =
                        cx.secrets.resolve(literal, text.span, cx.sources, &mut Diagnostics::default());
                    resolved.map_or_else(String::new, |resolved| {
                        sensitive |= resolved.secret;
                        resolved.text
                    })
                });
            }
        } else {
            cx.no_secret_in(&text.value, text.span, owner.name());
        }
        let (Some(name), Some(value)) = (name, template) else { continue };
        let literal = value.as_literal();
        if literal.is_some_and(|value| values::header_value(value, text.span, cx.diagnostics).is_none()) {
            continue;
        }
        if out.iter().any(|known| known.name == name) {
            cx.report(
                Diagnostic::new(Code::DuplicateName, key.span, format!("duplicate header `{name}`"))
                    .help("remove one of them: header names are case-insensitive"),
            );
            continue;
        }
        out.push(HeaderTemplate::new(name, value, sensitive));
    }
    out
}
