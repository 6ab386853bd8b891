//! Walks a path that can match more than once. The walk is depth-first, so the matches are in the order of the RFC, and
//! the first match can end it.

use std::ops::ControlFlow;

use crate::json::ValueRef;

use super::filter::Candidate;
use super::{ChildSelector, PathSegment, step};

/// Why a walk ended early.
pub(super) enum Stop<'v> {
    /// A match that ends the walk.
    At(ValueRef<'v>),
    /// The visits are used up.
    Exhausted,
}

type Flow<'v> = ControlFlow<Stop<'v>>;

/// A walk that passes each match to `take`.
pub(super) struct Walk<'w, T> {
    /// The number of values that the walk may still visit.
    pub(super) visits: &'w mut usize,
    pub(super) take: T,
}

impl<'v, T: FnMut(ValueRef<'v>) -> Flow<'v>> Walk<'_, T> {
    /// Walks the remaining segments of a path, starting at `candidate`.
    pub(super) fn follow(&mut self, segments: &[PathSegment], candidate: Candidate<'_, 'v>) -> Flow<'v> {
        match segments.split_first() {
            Some((first, rest)) => self.segment(first, rest, candidate),
            None => (self.take)(candidate.item),
        }
    }

    fn segment(
        &mut self,
        segment: &PathSegment,
        rest: &[PathSegment],
        candidate: Candidate<'_, 'v>,
    ) -> Flow<'v> {
        self.visit()?;
        let value = candidate.item;
        for selector in &segment.selectors {
            match selector {
                ChildSelector::ChildKey(key) => {
                    if let Some(child) = step(value, key) {
                        self.child(rest, candidate, child)?;
                    }
                }
                ChildSelector::Wildcard => {
                    value.parts().try_for_each(|child| self.child(rest, candidate, child))?;
                }
                ChildSelector::Slice { start, end, step } => {
                    let items: Vec<_> = value.items().collect();
                    let mut sliced = slice(&items, *start, *end, *step);
                    sliced.try_for_each(|child| self.child(rest, candidate, child))?;
                }
                ChildSelector::Filter(condition) => {
                    for child in value.parts() {
                        match condition.holds(Candidate { item: child, ..candidate }, self.visits) {
                            Some(true) => self.child(rest, candidate, child)?,
                            Some(false) => {}
                            None => return ControlFlow::Break(Stop::Exhausted),
                        }
                    }
                }
            }
        }
        if segment.descends {
            value
                .parts()
                .try_for_each(|item| self.segment(segment, rest, Candidate { item, ..candidate }))?;
        }
        ControlFlow::Continue(())
    }

    fn child(&mut self, rest: &[PathSegment], candidate: Candidate<'_, 'v>, child: ValueRef<'v>) -> Flow<'v> {
        self.visit()?;
        self.follow(rest, Candidate { item: child, ..candidate })
    }

    fn visit(&mut self) -> Flow<'v> {
        match self.visits.checked_sub(1) {
            Some(left) => {
                *self.visits = left;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(Stop::Exhausted),
        }
    }
}

/// The items from `start` up to, but not including, `end`; in reverse if `step` is negative. Negative indexes count
/// from the end.
fn slice<'v>(
    items: &[ValueRef<'v>],
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
) -> impl Iterator<Item = ValueRef<'v>> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { length.saturating_add(at) } else { at };
    let (first, until) = if step >= 0 {
        (start.map_or(0, place).clamp(0, length), end.map_or(length, place).clamp(0, length))
    } else {
        (start.map_or(length - 1, place).clamp(-1, length - 1), end.map_or(-1, place).clamp(-1, length - 1))
    };
    let mut at = first;
    std::iter::from_fn(move || {
        let here = at;
        let inside = if step > 0 { here < until } else { step < 0 && here > until };
        at = at.saturating_add(step);
        inside.then(|| items.get(usize::try_from(here).ok()?).copied()).flatten()
    })
}
