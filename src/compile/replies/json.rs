//! JSON whose strings are templates, written in the table or in a template file.

use crate::diagnostic::{Code, Diagnostic};
use crate::lang::template::json::{JsonTemplate, ObjectKey};
use crate::lang::template::{Names, Template};
use crate::table::document::{Entries, Kind, Located, Node};

use crate::compile::cx::Cx;
use crate::compile::values;

/// Whether a template file can render to JSON.
pub(in crate::compile) fn check_file(cx: &mut Cx<'_>, name: &Located<String>, template: &Template) -> bool {
    let Some(Err(error)) = template.makes_json() else { return true };
    cx.report(
        Diagnostic::new(Code::TemplateJson, name.span, error.to_string())
            .label(format!("`{}` cannot render to JSON", name.value))
            .help("check the quotes: inside them an expression becomes text, outside a JSON value"),
    );
    false
}

/// A tree of JSON whose strings are templates; `None` after errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, node: &Node, names: &Names<'_>) -> Option<JsonTemplate> {
    match &node.value {
        Kind::String(text) if text.contains("{{") => {
            let text = Located { value: text.clone(), span: node.span };
            let template = cx.template(&text, names)?;
            Some(if template.is_sole() { JsonTemplate::Sole(template) } else { JsonTemplate::Text(template) })
        }
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| compile(cx, item, names)).collect();
            let items: Vec<_> = items.into_iter().collect::<Option<_>>()?;
            let literal = items.iter().all(|item| matches!(item, JsonTemplate::Literal(_)));
            Some(if literal { JsonTemplate::Literal(node.to_json()) } else { JsonTemplate::List(items) })
        }
        Kind::Table(entries) => object(cx, entries, node, names),
        _ => Some(JsonTemplate::Literal(node.to_json())),
    }
}

fn object(cx: &mut Cx<'_>, entries: &Entries, node: &Node, names: &Names<'_>) -> Option<JsonTemplate> {
    let mut out = Vec::new();
    let mut good = true;
    for (key, value) in entries {
        good &= values::no_template(&key.value, key.span, "a key", cx.diagnostics);
        match compile(cx, value, names) {
            Some(template) => out.push((ObjectKey::new(&key.value), template)),
            None => good = false,
        }
    }
    if !good {
        return None;
    }
    let literal = out.iter().all(|(_, template)| matches!(template, JsonTemplate::Literal(_)));
    Some(if literal { JsonTemplate::Literal(node.to_json()) } else { JsonTemplate::Object(out) })
}
