//! Templates: Handlebars as written, compiled at load into a program of our own.
//!
//! Handlebars parses; we evaluate. That is what lets an expression be escaped for the place where it stands,
//! keep its JSON type where it stands alone, and be checked against the names that can exist before any call
//! runs. Pieces of literal text and pieces of values reach the place (a `Sink`) apart from each other, so no
//! place ever has to guess which of its characters somebody else chose.

mod compile;
mod evaluated;
mod helpers;
pub(crate) mod json;
mod names;
mod place;
mod render;
mod scope;
mod syntax;
mod uses;
mod written_name;

use serde_json::Value;
use thiserror::Error;

pub(crate) use compile::{Compiler, Origin, TemplateText, TemplateUsage};
pub(crate) use evaluated::Evaluated;
pub(crate) use names::{Fields, Names, RESERVED, StepNames};
pub(crate) use place::{HeaderSink, JsonSink, PathSink, TextSink, XmlSink, encode_query};
pub use scope::{Scope, StepOutput, UpstreamReply};
pub(crate) use uses::Uses;

use crate::json::ValueRef;
use helpers::Helper;
use render::Place;
use scope::PathExpr;

/// The most bytes that one template may render, and one tree of them.
pub(crate) const MAX_RENDERED_BYTES: usize = 1024 * 1024;

/// The most steps that one template may take, loops included.
const MAX_STEPS: usize = 200_000;

/// How much of what a helper reads and makes is one step, in values and bytes of text.
const WEIGHT_PER_STEP: usize = 64;

/// A compiled template.
#[derive(Debug, Clone, Default)]
pub struct Template {
    ops: Vec<Op>,
    /// What stands in the table, secrets by their names; for a whole file, the name of the file.
    written: Box<str>,
    /// Whether it is a whole file.
    in_file: bool,
}

/// One step of a template.
#[derive(Debug, Clone)]
enum Op {
    /// Literal text of the table.
    Text(String),
    /// An expression, escaped for its place.
    Print(Expr),
    /// `{{#if}}` and `{{#unless}}`.
    If { condition: Expr, negated: bool, include_zero: bool, then: Vec<Self>, otherwise: Vec<Self> },
    /// `{{#each}}`; `params` name the item and its index or key.
    Each { list: Expr, params: Vec<String>, body: Vec<Self>, otherwise: Option<Vec<Self>> },
    /// `{{#with}}`.
    With { value: Expr, params: Vec<String>, body: Vec<Self>, otherwise: Option<Vec<Self>> },
    /// A partial that was given a context or values of its own.
    Partial { context: Option<Expr>, bindings: Vec<(String, Expr)>, body: Vec<Self> },
}

/// Something that has a value.
#[derive(Debug, Clone)]
enum Expr {
    Literal(Value),
    Path(PathExpr),
    Helper { helper: &'static Helper, params: Vec<Self>, named: Vec<(&'static str, Self)> },
}

/// Why a template could not be rendered during a call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// A value that the template needs is not there.
    #[error("`{name}` is missing")]
    Missing {
        /// The name as the template writes it.
        name: String,
    },
    /// A helper was given a value that it cannot use.
    #[error("`{helper}` {problem}")]
    Helper {
        /// The helper.
        helper: &'static str,
        /// What it cannot do.
        problem: String,
    },
    /// A value does not fit the place where it stands.
    #[error("{problem}")]
    Place {
        /// What does not fit.
        problem: String,
    },
    /// The template rendered more than it may.
    #[error("it renders more than it may (1 MiB, or 200,000 steps)")]
    TooLarge,
}

/// Where rendered pieces go; each place escapes values in its own way.
pub(crate) trait Sink {
    /// Takes literal text of the table.
    fn literal(&mut self, text: &str) -> Result<(), RenderError>;
    /// Takes the value of an expression.
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError>;
    /// Is told that a block stands here, which may render nothing.
    fn block(&mut self) {}
    /// How much has been rendered, in bytes.
    fn len(&self) -> usize;
}

/// What stands in the table where a call has a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Written<'a> {
    /// A text.
    Text(&'a str),
    /// A tree of JSON.
    Tree(Value),
    /// The name of a file.
    File(&'a str),
}

impl<'a> Written<'a> {
    pub(crate) fn of(template: &'a Template) -> Self {
        if template.in_file { Self::File(&template.written) } else { Self::Text(&template.written) }
    }

    /// Whether a call decides what becomes of it.
    pub fn has_expression(&self) -> bool {
        match self {
            Self::Text(text) => text.contains("{{"),
            Self::Tree(tree) => tree.to_string().contains("{{"),
            Self::File(_) => true,
        }
    }
}

impl Template {
    /// Whether the template is nothing but one expression, which then keeps its JSON type.
    pub(crate) fn is_sole(&self) -> bool {
        matches!(self.ops.as_slice(), [Op::Print(_)])
    }

    /// What stands in the table, for people; of a whole file, its name.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The first name in a sole expression that the platform did not supply, as it is written.
    pub(crate) fn untrusted(&self) -> Option<&str> {
        self.ops.iter().find_map(|op| match op {
            Op::Print(expr) => expr.untrusted(),
            _ => None,
        })
    }

    /// The text, if the template has no expression at all.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match self.ops.as_slice() {
            [] => Some(""),
            [Op::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A template without any expression.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { written: text.as_str().into(), ops: vec![Op::Text(text)], in_file: false }
    }

    /// Changes the literal texts, blocks included: for secrets, which are resolved after a template is parsed so
    /// that no secret is ever read as one.
    pub(crate) fn map_text(&mut self, change: &mut dyn FnMut(&str) -> String) {
        map_text(&mut self.ops, change);
    }

    /// Whether the template, which is to make JSON, does so with any values in its expressions; `None` when
    /// blocks in it make that depend on the call.
    pub(crate) fn makes_json(&self) -> Option<Result<(), RenderError>> {
        let mut sink = JsonSink::new(crate::guard::ExpansionFilter::default());
        let filled = self.fill(&mut sink, ValueRef::NULL)?;
        Some(filled.and_then(|()| sink.into_json()).map(|_| ()))
    }

    /// Whether the template, which is to make XML, does so with any values in its expressions; `None` as above.
    pub(crate) fn makes_xml(&self) -> Option<Result<(), RenderError>> {
        let mut sink = XmlSink::default();
        let filled = self.fill(&mut sink, ValueRef::Text("x"))?;
        Some(filled.and_then(|()| sink.into_xml()).map(|_| ()))
    }

    /// Renders with `value` in place of each expression; `None` when there are blocks.
    fn fill(&self, sink: &mut dyn Sink, value: ValueRef<'_>) -> Option<Result<(), RenderError>> {
        for op in &self.ops {
            let pushed = match op {
                Op::Text(text) => sink.literal(text),
                Op::Print(_) => sink.value(value),
                _ => return None,
            };
            if pushed.is_err() {
                return Some(pushed);
            }
        }
        Some(Ok(()))
    }

    /// The value of a sole expression: `None` when it is missing.
    pub(crate) fn evaluate<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Option<Evaluated<'s>>, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => expr.evaluate(scope, None, &mut 0),
            _ => self.text(scope).map(|text| Some(Evaluated::Made(Value::String(text)))),
        }
    }

    /// The value of a sole expression, which must be there.
    pub(crate) fn required<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Evaluated<'s>, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => expr.required(scope, None, &mut 0),
            _ => self.text(scope).map(|text| Evaluated::Made(Value::String(text))),
        }
    }

    /// Renders into a place.
    pub(crate) fn render(&self, scope: &Scope<'_>, sink: &mut dyn Sink) -> Result<(), RenderError> {
        Place { scope, frame: None, sink, steps: &mut 0 }.run(&self.ops)?;
        if sink.len() > MAX_RENDERED_BYTES { Err(RenderError::TooLarge) } else { Ok(()) }
    }

    /// Renders as plain text.
    pub(crate) fn text(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        let mut text = TextSink::new(crate::guard::ExpansionFilter::default());
        self.render(scope, &mut text)?;
        Ok(text.into_text())
    }
}

impl Expr {
    fn untrusted(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Path(path) => (!path.is_trusted()).then_some(path.name.as_str()),
            Self::Helper { params, named, .. } => {
                params.iter().chain(named.iter().map(|(_, expr)| expr)).find_map(Self::untrusted)
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Literal(value) => value.to_string(),
            Self::Path(path) => path.name.clone(),
            Self::Helper { helper, params, .. } if helper.name == "lookup" => {
                let params: Vec<String> = params.iter().map(Self::name).collect();
                format!("lookup {}", params.join(" "))
            }
            Self::Helper { helper, params, .. } => {
                params.first().map_or_else(|| helper.name.to_owned(), Self::name)
            }
        }
    }
}

fn map_text(ops: &mut [Op], change: &mut dyn FnMut(&str) -> String) {
    for op in ops {
        match op {
            Op::Text(text) => *text = change(text),
            Op::Print(_) => {}
            Op::If { then, otherwise, .. } => {
                map_text(then, change);
                map_text(otherwise, change);
            }
            Op::Each { body, otherwise, .. } | Op::With { body, otherwise, .. } => {
                map_text(body, change);
                map_text(otherwise.as_deref_mut().unwrap_or_default(), change);
            }
            Op::Partial { body, .. } => map_text(body, change),
        }
    }
}

#[cfg(test)]
mod tests;
