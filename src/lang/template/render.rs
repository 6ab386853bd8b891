//! Rendering: runs the operations of a template with the values of one call, and writes the pieces to a place.

use smallvec::SmallVec;

use super::evaluated::{Evaluated, is_empty, is_truthy};
use super::helper::HelperOutput;
use super::indent::IndentSink;
use super::scope::{Frame, FrameKind};
use super::{Expr, MAX_RENDERED_BYTES, MAX_STEPS, Op, RenderError, Scope, Sink, WEIGHT_PER_STEP};
use crate::json::{Kind, ValueRef};
use crate::lang::value::Scale;

/// Renders one block: the values that names refer to, the enclosing block, and the place to write to.
pub(super) struct Renderer<'r, 'f> {
    pub(super) scope: &'f Scope<'f>,
    pub(super) frame: Option<&'f Frame<'f>>,
    pub(super) sink: &'r mut dyn Sink,
    pub(super) steps: &'r mut usize,
}

impl<'f> Renderer<'_, 'f> {
    /// A renderer for the same place, inside another block.
    fn inside<'g>(&mut self, frame: Option<&'g Frame<'g>>) -> Renderer<'_, 'g>
    where
        'f: 'g,
    {
        Renderer { scope: self.scope, frame, sink: self.sink, steps: self.steps }
    }

    fn evaluate(&mut self, expr: &'f Expr) -> Result<Option<Evaluated<'f>>, RenderError> {
        expr.evaluate(self.scope, self.frame, self.steps)
    }

    fn required(&mut self, expr: &'f Expr) -> Result<Evaluated<'f>, RenderError> {
        expr.required(self.scope, self.frame, self.steps)
    }

    /// The value of a block. A missing value is an error unless the block has an `{{else}}`.
    fn value_of_block(&mut self, expr: &'f Expr, has_else: bool) -> Result<Evaluated<'f>, RenderError> {
        self.sink.block();
        match has_else {
            true => Ok(self.evaluate(expr)?.unwrap_or(Evaluated::Ref(ValueRef::NULL))),
            false => self.required(expr),
        }
    }

    pub(super) fn run(&mut self, ops: &'f [Op]) -> Result<(), RenderError> {
        for op in ops {
            *self.steps += 1;
            if *self.steps > MAX_STEPS || self.sink.len() > MAX_RENDERED_BYTES {
                return Err(RenderError::TooLarge);
            }
            match op {
                Op::Text(text) => self.sink.literal(text)?,
                Op::Print(expr) => {
                    let value = self.required(expr)?;
                    self.sink.value(value.get())?;
                }
                Op::If { condition, negated, include_zero, then, otherwise } => {
                    self.sink.block();
                    let value = self.evaluate(condition)?;
                    let holds = value.as_ref().map(Evaluated::get).is_some_and(|value| {
                        is_truthy(value) || (*include_zero && value.kind() == Kind::Number)
                    });
                    self.run(if holds == *negated { otherwise } else { then })?;
                }
                Op::Each { list, params, body, otherwise } => {
                    let value = self.value_of_block(list, otherwise.is_some())?;
                    let count = value.get().len();
                    if count == 0 {
                        self.run(otherwise.as_deref().unwrap_or_default())?;
                    }
                    self.each(value.get(), count, params, body)?;
                }
                Op::With { value, params, body, otherwise } => {
                    let value = self.value_of_block(value, otherwise.is_some())?;
                    if !is_empty(value.get()) {
                        let kind =
                            FrameKind::Block { this: value.get(), params, index: 0, key: None, count: 1 };
                        self.inside(Some(&Frame { parent: self.frame, kind })).run(body)?;
                    } else {
                        self.run(otherwise.as_deref().unwrap_or_default())?;
                    }
                }
                Op::Partial { context: Some(context), bindings, body } => {
                    let this = self.required(context)?;
                    let kind =
                        FrameKind::Block { this: this.get(), params: &[], index: 0, key: None, count: 1 };
                    self.partial(bindings, body, Some(&Frame { parent: self.frame, kind }))?;
                }
                Op::Partial { context: None, bindings, body } => self.partial(bindings, body, self.frame)?,
                Op::Indented { indent, body } => {
                    let sink = &mut IndentSink::new(indent, self.sink);
                    Renderer { scope: self.scope, frame: self.frame, sink, steps: self.steps }.run(body)?;
                }
            }
        }
        Ok(())
    }

    /// Runs the body of a loop for each item of a list or entry of an object.
    fn each(
        &mut self,
        value: ValueRef<'_>,
        count: usize,
        params: &[String],
        body: &[Op],
    ) -> Result<(), RenderError> {
        let parent = self.frame;
        for (index, this) in value.items().enumerate() {
            let kind = FrameKind::Block { this, params, index, key: None, count };
            self.inside(Some(&Frame { parent, kind })).run(body)?;
        }
        for (index, (key, this)) in value.entries().enumerate() {
            let kind = FrameKind::Block { this, params, index, key: Some(&key), count };
            self.inside(Some(&Frame { parent, kind })).run(body)?;
        }
        Ok(())
    }

    /// Runs the body of a partial inside `inner`, with a frame for each named value.
    fn partial(
        &mut self,
        bindings: &[(String, Expr)],
        body: &[Op],
        inner: Option<&Frame<'_>>,
    ) -> Result<(), RenderError> {
        let Some(((name, expr), rest)) = bindings.split_first() else {
            return self.inside(inner).run(body);
        };
        // A missing value stays missing inside the partial, where `{{#if}}` can test for it.
        let value = expr.evaluate(self.scope, self.frame, self.steps)?;
        let kind = FrameKind::Binding { name, value: value.as_ref().map(Evaluated::get) };
        self.partial(rest, body, Some(&Frame { parent: inner, kind }))
    }
}

impl Expr {
    /// The value; `None` if it is missing.
    pub(super) fn evaluate<'f>(
        &'f self,
        scope: &'f Scope<'_>,
        frame: Option<&'f Frame<'f>>,
        steps: &mut usize,
    ) -> Result<Option<Evaluated<'f>>, RenderError> {
        let (helper, params, named) = match self {
            Self::Literal(value) => return Ok(Some(Evaluated::Ref(value.into()))),
            Self::Path(path) => return Ok(path.look_up(scope, frame).map(Evaluated::Ref)),
            Self::Helper { helper, params, named } => (helper, params, named),
        };
        let mut values = SmallVec::<[_; 3]>::new();
        for expr in params {
            match expr.evaluate(scope, frame, steps)? {
                Some(value) => values.push(value),
                None if helper.sees_missing => values.push(Evaluated::Ref(ValueRef::NULL)),
                // The result is missing if a parameter is.
                None => return Ok(None),
            }
        }
        let mut by_name = SmallVec::<[_; 1]>::new();
        for (name, expr) in named {
            by_name.push((*name, expr.required(scope, frame, steps)?));
        }
        for value in values.iter().map(Evaluated::get) {
            if helper.reads_all || value.kind() == Kind::String {
                weigh(value, steps)?;
            }
        }
        let made = (helper.run)(&values, &by_name)
            .map_err(|problem| RenderError::Helper { helper: helper.name, problem })?;
        Ok(Some(match made {
            HelperOutput::Value(value) => {
                weigh((&value).into(), steps)?;
                Evaluated::Owned(value)
            }
            HelperOutput::Param(index) => values.swap_remove(index),
            HelperOutput::Part(name) => match values.swap_remove(0).part(&name) {
                Some(part) => part,
                None => return Ok(None),
            },
        }))
    }

    pub(super) fn required<'f>(
        &'f self,
        scope: &'f Scope<'_>,
        frame: Option<&'f Frame<'f>>,
        steps: &mut usize,
    ) -> Result<Evaluated<'f>, RenderError> {
        self.evaluate(scope, frame, steps)?.ok_or_else(|| RenderError::Missing { name: self.name() })
    }
}

/// Counts the weight of a value as steps: a helper that processes a large value does as much work as a long loop.
fn weigh(value: ValueRef<'_>, steps: &mut usize) -> Result<(), RenderError> {
    let mut left = MAX_STEPS.saturating_sub(*steps) * WEIGHT_PER_STEP;
    let before = left;
    Scale::WORK.take(value, &mut left).ok_or(RenderError::TooLarge)?;
    *steps += (before - left) / WEIGHT_PER_STEP;
    Ok(())
}
