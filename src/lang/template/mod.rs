//! Templates: Handlebars syntax, compiled at load into a program of our own.
//!
//! The Handlebars crate only parses. Because Jackfield evaluates, an expression is escaped for its place, keeps its
//! JSON type if it stands alone, and its names are checked at load. Literal text and values reach the place (a `Sink`)
//! separately, so a place always knows which characters come from a value.

mod bad_name;
mod compile;
mod date;
mod evaluated;
mod fields;
mod helper;
mod helpers;
mod indent;
pub(crate) mod json;
mod names;
mod parsed_text;
mod place;
mod render;
mod scope;
mod syntax;
mod uses;
mod written_name;

use serde_json::Value;
use thiserror::Error;

pub(crate) use compile::{Compiler, MAKE_READABLE, TemplateOrigin, TemplateText, TemplateUsage};
pub(crate) use evaluated::{Evaluated, is_truthy};
pub(crate) use fields::Fields;
pub(crate) use names::{MemoryNames, Names, RESERVED, StepNames};
pub(crate) use place::{HeaderSink, JsonSink, PathSink, TextSink, XmlSink, encode_query};
pub use scope::{ParsedResponse, Scope, StepOutput};
pub(crate) use uses::Uses;

use crate::json::ValueRef;
use helper::Helper;
use render::Renderer;
use scope::PathExpr;

/// The most bytes that a template, or a tree of templates, may render.
pub(crate) const MAX_RENDERED_BYTES: usize = 1024 * 1024;

/// The most steps that a template may take, loops included.
const MAX_STEPS: usize = 200_000;

/// The weight of values read or created by a helper that counts as one step: values and bytes of text.
const WEIGHT_PER_STEP: usize = 64;

/// A compiled template.
#[derive(Debug, Clone, Default)]
pub struct Template {
    ops: Vec<Op>,
    /// The source in the table, with secrets by name; for a file, its name.
    written: Box<str>,
    /// Whether the source is a file.
    in_file: bool,
}

/// An operation of a template.
#[derive(Debug, Clone)]
enum Op {
    /// Literal text.
    Text(String),
    /// An expression, escaped for the place.
    Print(Expr),
    /// `{{#if}}` and `{{#unless}}`.
    If { condition: Expr, negated: bool, include_zero: bool, then: Vec<Self>, otherwise: Vec<Self> },
    /// `{{#each}}`; `params` name the item and its index or key.
    Each { list: Expr, params: Vec<String>, body: Vec<Self>, otherwise: Option<Vec<Self>> },
    /// `{{#with}}`.
    With { value: Expr, params: Vec<String>, body: Vec<Self>, otherwise: Option<Vec<Self>> },
    /// A partial with a context or named values of its own.
    Partial { context: Option<Expr>, bindings: Vec<(String, Expr)>, body: Vec<Self> },
    /// A partial on a line of its own, whose lines begin as that line does.
    Indented { indent: String, body: Vec<Self> },
}

/// An expression.
#[derive(Debug, Clone)]
enum Expr {
    Literal(Value),
    Path(PathExpr),
    Helper { helper: &'static Helper, params: Vec<Self>, named: Vec<(&'static str, Self)> },
}

/// Why a template could not be rendered during a call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RenderError {
    /// A value is missing.
    #[error("`{name}` is missing")]
    Missing {
        /// The name as the template writes it.
        name: String,
    },
    /// A helper cannot use a value.
    #[error("`{helper}` {problem}")]
    Helper {
        /// The helper.
        helper: &'static str,
        /// The problem.
        problem: String,
    },
    /// A value does not fit its place.
    #[error("{problem}")]
    Place {
        /// The problem.
        problem: String,
    },
    /// The template renders too much.
    #[error("it renders too much (the limits are 1 MiB and 200,000 steps)")]
    TooLarge,
    /// A tree is nested too deep to be read as JSON.
    #[error("it is nested too deep (the limit is 127 levels)")]
    TooDeep,
}

/// A place that rendered pieces are written to. Each place escapes values in its own way.
pub(crate) trait Sink {
    /// Writes literal text.
    fn literal(&mut self, text: &str) -> Result<(), RenderError>;
    /// Writes the value of an expression.
    fn value(&mut self, value: ValueRef<'_>) -> Result<(), RenderError>;
    /// Called at each block, which may render nothing.
    fn block(&mut self) {}
    /// The number of bytes rendered so far.
    fn len(&self) -> usize;
}

/// The source of a value that a call renders.
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

    /// Whether it contains expressions, so that the value depends on the call.
    pub fn has_expression(&self) -> bool {
        match self {
            Self::Text(text) => text.contains("{{"),
            Self::Tree(tree) => tree.to_string().contains("{{"),
            Self::File(_) => true,
        }
    }
}

impl Template {
    /// Whether the template is a single expression, which then keeps its JSON type.
    pub(crate) fn is_sole(&self) -> bool {
        matches!(self.ops.as_slice(), [Op::Print(_)])
    }

    /// The source in the table, for people; for a file, its name.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The first name in a single expression whose value does not come from the platform.
    pub(crate) fn untrusted(&self) -> Option<&str> {
        self.ops.iter().find_map(|op| match op {
            Op::Print(expr) => expr.untrusted(),
            _ => None,
        })
    }

    /// Whether its value can still be worked out from the record of a call, which keeps arguments and extracts but not
    /// the whole context; `bodies` says whether it keeps the bodies of responses.
    pub(crate) fn outlives_call(&self, bodies: bool) -> bool {
        self.ops.iter().all(|op| match op {
            Op::Text(_) => true,
            Op::Print(expr) => expr.outlives_call(bodies),
            _ => false,
        })
    }

    /// The text, if the template contains no expression.
    pub(crate) fn as_literal(&self) -> Option<&str> {
        match self.ops.as_slice() {
            [] => Some(""),
            [Op::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A template without expressions.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { written: text.as_str().into(), ops: vec![Op::Text(text)], in_file: false }
    }

    /// Changes all literal text, blocks included. Secrets are inserted this way, after parsing, so that a secret is
    /// never parsed as a template.
    pub(crate) fn map_text(&mut self, change: &mut dyn FnMut(&str) -> String) {
        map_text(&mut self.ops, change);
    }

    /// Whether the template renders valid JSON for any values; `None` if that depends on the call, because of blocks.
    pub(crate) fn makes_json(&self) -> Option<Result<(), RenderError>> {
        let mut sink = JsonSink::new(crate::guard::ExpansionFilter::default());
        let filled = self.fill(&mut sink, ValueRef::NULL)?;
        Some(filled.and_then(|()| sink.into_json()).map(|_| ()))
    }

    /// Whether the template renders well-formed XML for any values; `None` if that depends on the call, because of
    /// blocks.
    pub(crate) fn makes_xml(&self) -> Option<Result<(), RenderError>> {
        let mut sink = XmlSink::default();
        let filled = self.fill(&mut sink, ValueRef::Text("x"))?;
        Some(filled.and_then(|()| sink.into_xml()).map(|_| ()))
    }

    /// Renders with `value` for each expression; `None` if there are blocks.
    fn fill(&self, sink: &mut dyn Sink, value: ValueRef<'_>) -> Option<Result<(), RenderError>> {
        for op in &self.ops {
            let written = match op {
                Op::Text(text) => sink.literal(text),
                Op::Print(_) => sink.value(value),
                _ => return None,
            };
            if written.is_err() {
                return Some(written);
            }
        }
        Some(Ok(()))
    }

    /// The value of a single expression, or else the rendered text; `None` if the value is missing.
    pub(crate) fn evaluate<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Option<Evaluated<'s>>, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => expr.evaluate(scope, None, &mut 0),
            _ => self.text(scope).map(|text| Some(Evaluated::Owned(Value::String(text)))),
        }
    }

    /// Like [`Self::evaluate`], but a missing value is an error.
    pub(crate) fn required<'s>(&'s self, scope: &'s Scope<'_>) -> Result<Evaluated<'s>, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => expr.required(scope, None, &mut 0),
            _ => self.text(scope).map(|text| Evaluated::Owned(Value::String(text))),
        }
    }

    /// Renders into a place.
    pub(crate) fn render(&self, scope: &Scope<'_>, sink: &mut dyn Sink) -> Result<(), RenderError> {
        Renderer { scope, frame: None, sink, steps: &mut 0 }.run(&self.ops)?;
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

    fn outlives_call(&self, bodies: bool) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Path(path) => path.outlives_call(bodies),
            Self::Helper { params, named, .. } => {
                params.iter().chain(named.iter().map(|(_, expr)| expr)).all(|expr| expr.outlives_call(bodies))
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
            Op::Partial { body, .. } | Op::Indented { body, .. } => map_text(body, change),
        }
    }
}

#[cfg(test)]
mod tests;
