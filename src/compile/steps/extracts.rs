//! `extract`: the values that are taken from a response.

use crate::diagnostic::{Code, Diagnostic};
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{Names, RESERVED};
use crate::plan::extraction::{Extract, ExtractDefault, Extraction};
use crate::table::document::Located;
use crate::table::raw::RawExtract;
use crate::table::reader::{Key, Named, missing_key};

use crate::compile::cx::Cx;
use crate::compile::replies::json;
use crate::compile::replies::when::json_path;
use crate::compile::values;

/// The names that the extracts of a response define. An extract with an invalid path still defines its name, so that its
/// use in a template is not a second error.
pub(in crate::compile) fn names(cx: &mut Cx<'_>, raw: &Key<Named<RawExtract>>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, _) in raw.entries() {
        match bad_name(name) {
            Some(bad) => cx.report(bad),
            None => names.push(name.value.clone()),
        }
    }
    names
}

/// The extracts of a response, except those whose names are reported by [`names`]. The templates in their paths can use
/// what is `known` before the request.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Key<Named<RawExtract>>,
    known: &Names<'_>,
) -> Extraction {
    let mut extraction = Extraction::default();
    for (name, extract) in raw.entries().iter().filter(|(name, _)| bad_name(name).is_none()) {
        extraction.names.push(name.value.clone());
        let extract = extract.get().and_then(|raw| compile_extract(cx, name, &raw.value, known));
        extraction.extracts.extend(extract);
    }
    extraction
}

fn compile_extract(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawExtract,
    known: &Names<'_>,
) -> Option<Extract> {
    let path = match &raw.path {
        Key::Is(path) => json_path(cx, path, known),
        Key::Faulty => None,
        Key::Absent => {
            cx.report(missing_key(
                name.span,
                format!("the extract `{}` has no `path`", name.value),
                "add `path = \"$.name\"`",
            ));
            None
        }
    }?;
    let flag = |key: &Key<bool>| key.get().is_some_and(|flag| flag.value);
    let default = raw.default.get();
    if let (true, Some(default)) = (flag(&raw.required), default) {
        cx.report(
            Diagnostic::new(
                Code::ConflictingKeys,
                default.span,
                "`required` has no effect on an extract with a `default`",
            )
            .help("remove `required` or `default`"),
        );
    }
    let default = match default.map(|default| json::compile(cx, default, known)) {
        Some(default) => Some(match default? {
            JsonTemplate::Literal(value) => ExtractDefault::Fixed(value.into()),
            template => ExtractDefault::PerCall(template),
        }),
        None => None,
    };
    Some(Extract {
        path,
        all: flag(&raw.all),
        default,
        required: flag(&raw.required),
        sensitive: flag(&raw.sensitive),
    })
}

/// Why an extract cannot have this name.
fn bad_name(name: &Located<String>) -> Option<Diagnostic> {
    if RESERVED.contains(&name.value.as_str()) {
        return Some(reserved(name, "extract"));
    }
    (!values::is_name(&name.value)).then(|| {
        Diagnostic::new(Code::InvalidName, name.span, format!("invalid extract name `{}`", name.value))
            .help("use letters, digits and `_`, so that templates can write it")
    })
}

/// The error about a name that the template language reserves.
pub(in crate::compile) fn reserved(name: &Located<String>, what: &str) -> Diagnostic {
    Diagnostic::new(Code::ReservedName, name.span, format!("`{}` is a reserved name", name.value))
        .help(format!("rename the {what}"))
}
