//! Comparisons in a filter: `==`, `<` and the like.

use std::cmp::Ordering;

use crate::json::{Kind, ValueRef};
use crate::lang::value::{self, Scale, equal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Relation {
    pub(super) fn holds(
        self,
        left: Option<ValueRef<'_>>,
        right: Option<ValueRef<'_>>,
        visits: &mut usize,
    ) -> Option<bool> {
        left.map_or(Some(()), |left| Scale::MEMORY.take(left, visits))?;
        let same = || match (left, right) {
            (None, None) => true,
            (Some(left), Some(right)) => equal(left, right),
            _ => false,
        };
        Some(match self {
            Self::Equal => same(),
            Self::Unequal => !same(),
            Self::Less => order(left, right) == Some(Ordering::Less),
            Self::More => order(left, right) == Some(Ordering::Greater),
            Self::AtMost => order(left, right) == Some(Ordering::Less) || same(),
            Self::AtLeast => order(left, right) == Some(Ordering::Greater) || same(),
        })
    }
}

/// The order of two strings or two numbers; `None` for anything else.
fn order(left: Option<ValueRef<'_>>, right: Option<ValueRef<'_>>) -> Option<Ordering> {
    let (left, right) = (left?, right?);
    match (left.kind(), right.kind()) {
        (Kind::String, Kind::String) => Some(left.as_str()?.cmp(&right.as_str()?)),
        (Kind::Number, Kind::Number) => value::order(left, right),
        _ => None,
    }
}
