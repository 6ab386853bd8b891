//! Templates: Handlebars as written, compiled at load into a program of our own.
//!
//! Handlebars parses; we evaluate. That is what lets an expression be escaped for the place where it stands,
//! keep its JSON type where it stands alone, and be checked against the names that can exist before any call
//! runs. Pieces of literal text and pieces of values reach the place (a `Sink`) apart from each other, so no
//! place ever has to guess which of its characters somebody else chose.

mod compile;
mod helpers;
pub(crate) mod json;
mod names;
mod place;
mod scope;
mod syntax;
mod uses;

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;

pub(crate) use compile::{Compiler, Origin, TemplateText, TemplateUsage};
pub(crate) use names::{Fields, Names, RESERVED, StepNames};
pub(crate) use place::{HeaderSink, JsonSink, PathSink, TextSink, XmlSink, encode_query};
pub use scope::{Scope, StepOutput, UpstreamReply};
pub(crate) use uses::Uses;

use crate::lang::value::Scale;
use helpers::Helper;
use scope::{Frame, FrameKind, PathExpr};

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
    fn value(&mut self, value: &Value) -> Result<(), RenderError>;
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
        let filled = self.fill(&mut sink, &Value::Null)?;
        Some(filled.and_then(|()| sink.into_json()).map(|_| ()))
    }

    /// Whether the template, which is to make XML, does so with any values in its expressions; `None` as above.
    pub(crate) fn makes_xml(&self) -> Option<Result<(), RenderError>> {
        let mut sink = XmlSink::default();
        let filled = self.fill(&mut sink, &Value::from("x"))?;
        Some(filled.and_then(|()| sink.into_xml()).map(|_| ()))
    }

    /// Renders with `value` in place of each expression; `None` when there are blocks.
    fn fill(&self, sink: &mut dyn Sink, value: &Value) -> Option<Result<(), RenderError>> {
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
    pub(crate) fn evaluate(&self, scope: &Scope<'_>) -> Result<Option<Value>, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => Ok(expr.evaluate(scope, None, &mut 0)?.map(Cow::into_owned)),
            _ => self.text(scope).map(|text| Some(Value::String(text))),
        }
    }

    /// The value of a sole expression, which must be there.
    pub(crate) fn required(&self, scope: &Scope<'_>) -> Result<Value, RenderError> {
        match self.ops.as_slice() {
            [Op::Print(expr)] => expr.required(scope, None, &mut 0).map(Cow::into_owned),
            _ => self.text(scope).map(Value::String),
        }
    }

    /// Renders into a place.
    pub(crate) fn render(&self, scope: &Scope<'_>, sink: &mut dyn Sink) -> Result<(), RenderError> {
        run(&self.ops, scope, None, sink, &mut 0)?;
        if sink.len() > MAX_RENDERED_BYTES { Err(RenderError::TooLarge) } else { Ok(()) }
    }

    /// Renders as plain text.
    pub(crate) fn text(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        let mut text = TextSink::new(crate::guard::ExpansionFilter::default());
        self.render(scope, &mut text)?;
        Ok(text.into_text())
    }
}

fn run(
    ops: &[Op],
    scope: &Scope<'_>,
    frame: Option<&Frame<'_>>,
    sink: &mut dyn Sink,
    steps: &mut usize,
) -> Result<(), RenderError> {
    for op in ops {
        *steps += 1;
        if *steps > MAX_STEPS || sink.len() > MAX_RENDERED_BYTES {
            return Err(RenderError::TooLarge);
        }
        match op {
            Op::Text(text) => sink.literal(text)?,
            Op::Print(expr) => sink.value(&*expr.required(scope, frame, steps)?)?,
            Op::If { condition, negated, include_zero, then, otherwise } => {
                sink.block();
                let value = condition.evaluate(scope, frame, steps)?;
                let holds = value
                    .is_some_and(|value| is_truthy(&value) || (*include_zero && value.as_f64() == Some(0.0)));
                run(if holds == *negated { otherwise } else { then }, scope, frame, sink, steps)?;
            }
            Op::Each { list, params, body, otherwise } => {
                sink.block();
                let value = match otherwise {
                    Some(_) => list.evaluate(scope, frame, steps)?.unwrap_or_default(),
                    None => list.required(scope, frame, steps)?,
                };
                let items = value.as_array().map_or(0, Vec::len) + value.as_object().map_or(0, |o| o.len());
                if items == 0 {
                    run(otherwise.as_deref().unwrap_or_default(), scope, frame, sink, steps)?;
                }
                let item = |index, key, this| Frame {
                    parent: frame,
                    kind: FrameKind::Block { this: Cow::Borrowed(this), params, index, key, count: items },
                };
                if let Value::Array(list) = &*value {
                    for (index, this) in list.iter().enumerate() {
                        run(body, scope, Some(&item(index, None, this)), sink, steps)?;
                    }
                } else if let Value::Object(entries) = &*value {
                    for (index, (key, this)) in entries.iter().enumerate() {
                        run(body, scope, Some(&item(index, Some(key.as_str()), this)), sink, steps)?;
                    }
                }
            }
            Op::With { value, params, body, otherwise } => {
                sink.block();
                let value = match otherwise {
                    Some(_) => value.evaluate(scope, frame, steps)?.unwrap_or_default(),
                    None => value.required(scope, frame, steps)?,
                };
                if is_truthy(&value) {
                    let kind = FrameKind::Block { this: value, params, index: 0, key: None, count: 1 };
                    run(body, scope, Some(&Frame { parent: frame, kind }), sink, steps)?;
                } else {
                    run(otherwise.as_deref().unwrap_or_default(), scope, frame, sink, steps)?;
                }
            }
            Op::Partial { context, bindings, body } => match context {
                Some(context) => {
                    let this = context.required(scope, frame, steps)?;
                    let kind = FrameKind::Block { this, params: &[], index: 0, key: None, count: 1 };
                    let inner = Frame { parent: frame, kind };
                    bind(bindings, body, scope, frame, Some(&inner), sink, steps)?;
                }
                None => bind(bindings, body, scope, frame, frame, sink, steps)?,
            },
        }
    }
    Ok(())
}

/// Runs a partial's body with one more frame for each value that it was given by name.
fn bind(
    bindings: &[(String, Expr)],
    body: &[Op],
    scope: &Scope<'_>,
    caller: Option<&Frame<'_>>,
    inner: Option<&Frame<'_>>,
    sink: &mut dyn Sink,
    steps: &mut usize,
) -> Result<(), RenderError> {
    let Some(((name, expr), rest)) = bindings.split_first() else {
        return run(body, scope, inner, sink, steps);
    };
    // A value that is missing stays missing inside the partial, where `{{#if}}` can ask for it.
    let kind = FrameKind::Binding { name, value: expr.evaluate(scope, caller, steps)? };
    bind(rest, body, scope, caller, Some(&Frame { parent: inner, kind }), sink, steps)
}

impl Expr {
    /// The value; `None` when it is missing.
    fn evaluate<'f>(
        &'f self,
        scope: &'f Scope<'_>,
        frame: Option<&'f Frame<'f>>,
        steps: &mut usize,
    ) -> Result<Option<Cow<'f, Value>>, RenderError> {
        match self {
            Self::Literal(value) => Ok(Some(Cow::Borrowed(value))),
            Self::Path(path) => Ok(path.look_up(scope, frame)),
            Self::Helper { helper, params, named } => {
                let mut values = Vec::with_capacity(params.len());
                for expr in params {
                    match expr.evaluate(scope, frame, steps)? {
                        Some(value) => values.push(value),
                        None if helper.sees_missing => values.push(Cow::Owned(Value::Null)),
                        // What is made of a missing value is missing too.
                        None => return Ok(None),
                    }
                }
                let mut by_name = Vec::with_capacity(named.len());
                for (name, expr) in named {
                    by_name.push((*name, expr.required(scope, frame, steps)?));
                }
                for value in values.iter().filter(|value| helper.reads_all || value.is_string()) {
                    weigh(value, steps)?;
                }
                let made = (helper.run)(&values, &by_name)
                    .map_err(|problem| RenderError::Helper { helper: helper.name, problem })?;
                weigh(&made, steps)?;
                Ok(Some(Cow::Owned(made)))
            }
        }
    }

    fn required<'f>(
        &'f self,
        scope: &'f Scope<'_>,
        frame: Option<&'f Frame<'f>>,
        steps: &mut usize,
    ) -> Result<Cow<'f, Value>, RenderError> {
        self.evaluate(scope, frame, steps)?.ok_or_else(|| RenderError::Missing { name: self.name() })
    }

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
            Self::Helper { helper, params, .. } => {
                params.first().map_or_else(|| helper.name.to_owned(), Self::name)
            }
        }
    }
}

/// Takes the weight of a value for steps: what a helper does with a large one is as much work as a long loop.
fn weigh(value: &Value, steps: &mut usize) -> Result<(), RenderError> {
    let mut left = MAX_STEPS.saturating_sub(*steps) * WEIGHT_PER_STEP;
    let before = left;
    Scale::WORK.take(value, &mut left).ok_or(RenderError::TooLarge)?;
    *steps += (before - left) / WEIGHT_PER_STEP;
    Ok(())
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

/// What `{{#if}}` takes for true: everything but null, false, 0, and what is empty.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

#[cfg(test)]
mod tests;
