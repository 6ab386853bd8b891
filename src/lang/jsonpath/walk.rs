//! Walks a path that may match more than once: depth first, which gives the matches in the order of the RFC, so that the
//! first one ends the walk where that is enough.

use std::ops::ControlFlow;

use crate::json::ValueRef;

use super::filter::Seen;
use super::{ChildSelector, Stage, step};

/// Why a walk ended early.
pub(super) enum Stop<'v> {
    /// One match is enough.
    At(ValueRef<'v>),
    /// The visits are used up.
    Exhausted,
}

type Flow<'v> = ControlFlow<Stop<'v>>;

/// A walk that passes each match to `take`.
pub(super) struct Walk<'w, T> {
    /// How many values the walk may still look at.
    pub(super) visits: &'w mut usize,
    pub(super) take: T,
}

impl<'v, T: FnMut(ValueRef<'v>) -> Flow<'v>> Walk<'_, T> {
    /// Walks the rest of a path from the item on.
    pub(super) fn follow(&mut self, stages: &[Stage], seen: Seen<'v>) -> Flow<'v> {
        match stages.split_first() {
            Some((first, rest)) => self.stage(first, rest, seen),
            None => (self.take)(seen.item),
        }
    }

    fn stage(&mut self, stage: &Stage, rest: &[Stage], seen: Seen<'v>) -> Flow<'v> {
        self.visit()?;
        let value = seen.item;
        for choice in &stage.choices {
            match choice {
                ChildSelector::ChildKey(key) => {
                    if let Some(child) = step(value, key) {
                        self.child(rest, seen, child)?;
                    }
                }
                ChildSelector::Each => {
                    value.parts().try_for_each(|child| self.child(rest, seen, child))?;
                }
                ChildSelector::Slice { start, end, step } => {
                    let items: Vec<_> = value.items().collect();
                    let mut sliced = slice(&items, *start, *end, *step);
                    sliced.try_for_each(|child| self.child(rest, seen, child))?;
                }
                ChildSelector::Filter(condition) => {
                    for child in value.parts() {
                        match condition.holds(Seen { item: child, ..seen }, self.visits) {
                            Some(true) => self.child(rest, seen, child)?,
                            Some(false) => {}
                            None => return ControlFlow::Break(Stop::Exhausted),
                        }
                    }
                }
            }
        }
        if stage.descends {
            value.parts().try_for_each(|item| self.stage(stage, rest, Seen { item, ..seen }))?;
        }
        ControlFlow::Continue(())
    }

    fn child(&mut self, rest: &[Stage], seen: Seen<'v>, child: ValueRef<'v>) -> Flow<'v> {
        self.visit()?;
        self.follow(rest, Seen { item: child, ..seen })
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

/// The items from `start` until before `end`, backwards where `step` is negative; a negative place counts from behind.
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
