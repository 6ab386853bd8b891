//! The parameters of a query or a form.

use crate::lang::template::{Names, Template};
use crate::plan::request::Parameter;
use crate::table::document::{Kind, Located, Node};
use crate::table::reader::{Key, Named, wrong_type};

use crate::compile::cx::Cx;
use crate::compile::values;

/// Parameters by name, without those that have errors.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Key<Named<Kind>>,
    names: &Names<'_>,
) -> Vec<(String, Parameter)> {
    let mut out = Vec::new();
    for (name, value) in raw.entries() {
        values::no_template(&name.value, name.span, "the name of a parameter", cx.diagnostics);
        let Some(node) = value.get() else { continue };
        let parameter = match &node.value {
            Kind::List(items) => {
                let templates: Vec<_> = items.iter().map(|item| scalar(cx, item, names)).collect();
                templates.into_iter().collect::<Option<Vec<_>>>().map(Parameter::Many)
            }
            _ => scalar(cx, node, names).map(Parameter::One),
        };
        out.extend(parameter.map(|parameter| (name.value.clone(), parameter)));
    }
    out
}

/// A text, number or boolean as a template.
fn scalar(cx: &mut Cx<'_>, node: &Node, names: &Names<'_>) -> Option<Template> {
    match &node.value {
        Kind::String(text) => {
            cx.no_secret_in(text, node.span, "requests");
            cx.template(&Located { value: text.clone(), span: node.span }, names)
        }
        Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) => {
            Some(Template::literal(node.to_json().to_string()))
        }
        Kind::Datetime(text) => Some(Template::literal(text.as_str())),
        Kind::List(_) | Kind::Table(_) => wrong_type(node, "a string or a number", cx.diagnostics),
    }
}
