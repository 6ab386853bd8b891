//! Filters of a JSONPath: the condition after a `?`, compiled at load.
//!
//! Expressions that the RFC does not define, or that could cost many times the size of a response, are rejected.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Literal, Segment, Selector, SingularQuery,
    SingularQuerySegment, Test, TestFunction,
};
use serde_json::Value;

use crate::json::{Kind, ValueRef};
use crate::lang::pattern::{BadPattern, Pattern};

use super::placeholders::Placeholders;
use super::relation::Relation;
use super::{BadPath, ChildKey, Matches, PathSegment, all_from, step};

/// A condition on one value.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Exists(FilterPath),
    Matches(Operand, Pattern),
    Compares(Operand, Relation, Operand),
}

/// A path inside a filter.
#[derive(Debug, Clone)]
pub(super) struct FilterPath {
    from_root: bool,
    segments: Vec<PathSegment>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Value),
    /// The value of a template, by its index.
    Bound(usize),
    One {
        from_root: bool,
        steps: Vec<ChildKey>,
    },
    Length(Box<Self>),
    Count(FilterPath),
    /// The value of a path, if it matches exactly once.
    Value(FilterPath),
}

/// What the conditions of a path can use beside the value that they test.
pub(super) struct Known<'v> {
    /// The root of the document.
    pub(super) root: ValueRef<'v>,
    /// The values of the path's templates.
    pub(super) bound: &'v [ValueRef<'v>],
}

/// A value that a condition tests.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'k, 'v> {
    pub(super) known: &'k Known<'v>,
    pub(super) item: ValueRef<'v>,
}

impl Condition {
    pub(super) fn new(filter: &Filter, values: &Placeholders) -> Result<Self, BadPath> {
        let all = |filters: &[Filter]| {
            filters.iter().map(|filter| Self::new(filter, values)).collect::<Result<Vec<_>, _>>()
        };
        let negated = |condition, not| if not { Self::Not(Box::new(condition)) } else { condition };
        Ok(match filter {
            Filter::Or(filters) => Self::Any(all(filters)?),
            Filter::And(filters) => Self::All(all(filters)?),
            Filter::Atom(FilterAtom::Filter { expr, not }) => negated(Self::new(expr, values)?, *not),
            Filter::Atom(FilterAtom::Test { expr, not }) => negated(Self::test(expr, values)?, *not),
            Filter::Atom(FilterAtom::Comparison(comparison)) => {
                let relation = match &**comparison {
                    Comparison::Eq(..) => Relation::Equal,
                    Comparison::Ne(..) => Relation::Unequal,
                    Comparison::Lt(..) => Relation::Less,
                    Comparison::Lte(..) => Relation::AtMost,
                    Comparison::Gt(..) => Relation::More,
                    Comparison::Gte(..) => Relation::AtLeast,
                };
                let (left, right) = comparison.vals();
                Self::Compares(
                    Operand::comparable(left, values)?,
                    relation,
                    Operand::comparable(right, values)?,
                )
            }
        })
    }

    fn test(test: &Test, values: &Placeholders) -> Result<Self, BadPath> {
        match test {
            Test::Function(function) => match &**function {
                TestFunction::Match(text, pattern) => Self::matches(text, pattern, Whole::Yes, values),
                TestFunction::Search(text, pattern) => Self::matches(text, pattern, Whole::No, values),
                TestFunction::Length(_) | TestFunction::Count(_) | TestFunction::Value(_) => {
                    Err(BadPath::unsupported(
                        "`length`, `count` and `value` do not return true or false",
                        "compare them: `length(@.items) > 0`",
                    ))
                }
                TestFunction::Custom(name, _) => Err(unknown_function(name)),
            },
            test => FilterPath::new(test, values).map(Self::Exists),
        }
    }

    fn matches(text: &FnArg, pattern: &FnArg, whole: Whole, values: &Placeholders) -> Result<Self, BadPath> {
        let FnArg::Literal(Literal::String(written)) = pattern else {
            return Err(BadPath::unsupported(
                "the pattern of `match` and `search` must be written out",
                "put the pattern in quotes: `[?search(@.name, 'text')]`",
            ));
        };
        let pattern = Pattern::parse(&to_pattern(written, whole)).map_err(|bad| match bad {
            BadPattern::Syntax => BadPath::syntax(
                format!("`{written}` is not a regular expression"),
                "patterns have no look-around and no back-references",
            ),
            BadPattern::TooLarge => {
                BadPath::syntax(format!("the regular expression `{written}` is too large"), bad.help())
            }
        })?;
        Ok(Self::Matches(Operand::argument(text, "`match` and `search` take", values)?, pattern))
    }

    /// Whether the condition holds; `None` if `visits` are used up.
    pub(super) fn holds(&self, candidate: Candidate<'_, '_>, visits: &mut usize) -> Option<bool> {
        *visits = visits.checked_sub(1)?;
        match self {
            Self::Any(conditions) => {
                for condition in conditions {
                    if condition.holds(candidate, visits)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Self::All(conditions) => {
                for condition in conditions {
                    if !condition.holds(candidate, visits)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Self::Not(condition) => condition.holds(candidate, visits).map(|holds| !holds),
            Self::Exists(inner) => inner.found(candidate, visits).map(|found| !found.is_empty()),
            Self::Matches(text, pattern) => {
                let text = text.value(candidate, visits)?;
                let Some(text) = text.and_then(ValueRef::as_str) else { return Some(false) };
                pattern.is_match(&text, visits)
            }
            Self::Compares(left, relation, right) => {
                let (left, right) = (left.value(candidate, visits)?, right.value(candidate, visits)?);
                relation.holds(left, right, visits)
            }
        }
    }
}

impl FilterPath {
    fn new(test: &Test, values: &Placeholders) -> Result<Self, BadPath> {
        let (from_root, segments) = match test {
            Test::RelQuery(segments) => (false, segments),
            Test::AbsQuery(JpQuery { segments }) if segments.iter().all(is_one) => (true, segments),
            Test::AbsQuery(_) => {
                return Err(BadPath::unsupported(
                    "a path from `$` inside a filter must be able to match only once",
                    "name every key, for example `[?@.id == $.wanted]`",
                ));
            }
            Test::Function(_) => {
                return Err(BadPath::unsupported(
                    "a function is not a path",
                    "name a path: `count(@.items[*])`",
                ));
            }
        };
        check_bounded(segments)?;
        let compiled = segments.iter().map(|segment| PathSegment::new(segment.clone(), values));
        Ok(Self { from_root, segments: compiled.collect::<Result<_, _>>()? })
    }

    fn found<'v>(&self, candidate: Candidate<'_, 'v>, visits: &mut usize) -> Option<Matches<'v>> {
        let from = if self.from_root { candidate.known.root } else { candidate.item };
        all_from(&self.segments, Candidate { item: from, ..candidate }, visits)
    }
}

impl Operand {
    fn comparable(side: &Comparable, values: &Placeholders) -> Result<Self, BadPath> {
        let steps = |segments: &[SingularQuerySegment]| {
            let step = |segment: &SingularQuerySegment| match segment {
                SingularQuerySegment::Index(index) => ChildKey::Index(*index),
                SingularQuerySegment::Name(name) => ChildKey::Name(name.clone()),
            };
            segments.iter().map(step).collect()
        };
        Ok(match side {
            Comparable::Literal(literal) => Self::literal(literal, values),
            Comparable::Function(function) => Self::function(function, values)?,
            Comparable::SingularQuery(SingularQuery::Current(segments)) => {
                Self::One { from_root: false, steps: steps(segments) }
            }
            Comparable::SingularQuery(SingularQuery::Root(segments)) => {
                Self::One { from_root: true, steps: steps(segments) }
            }
        })
    }

    fn literal(literal: &Literal, values: &Placeholders) -> Self {
        if let Literal::String(text) = literal
            && let Some(index) = values.take(text)
        {
            return Self::Bound(index);
        }
        Self::Literal(match literal {
            Literal::Int(number) => Value::from(*number),
            Literal::Float(number) => Value::from(*number),
            Literal::String(text) => Value::from(text.as_str()),
            Literal::Bool(truth) => Value::Bool(*truth),
            Literal::Null => Value::Null,
        })
    }

    fn function(function: &TestFunction, values: &Placeholders) -> Result<Self, BadPath> {
        let path = |argument: &FnArg| match argument {
            FnArg::Test(test) => FilterPath::new(test, values),
            FnArg::Literal(_) | FnArg::Filter(_) => Err(BadPath::unsupported(
                "`count` and `value` take a path",
                "name a path: `count(@.items[*])`",
            )),
        };
        Ok(match function {
            TestFunction::Length(argument) => {
                Self::Length(Box::new(Self::argument(argument, "`length` takes", values)?))
            }
            TestFunction::Count(argument) => Self::Count(path(argument)?),
            TestFunction::Value(argument) => Self::Value(path(argument)?),
            TestFunction::Match(..) | TestFunction::Search(..) => {
                return Err(BadPath::unsupported(
                    "this function returns true or false and cannot be compared",
                    "write it alone: `[?match(@.id, 'A.*')]`",
                ));
            }
            TestFunction::Custom(name, _) => return Err(unknown_function(name)),
        })
    }

    /// An argument of a function that takes a single value.
    fn argument(argument: &FnArg, taker: &str, values: &Placeholders) -> Result<Self, BadPath> {
        let segments = match argument {
            FnArg::Literal(literal) => return Ok(Self::literal(literal, values)),
            FnArg::Test(test) => match &**test {
                Test::Function(function) => return Self::function(function, values),
                Test::RelQuery(segments) => Some((false, segments)),
                Test::AbsQuery(query) => Some((true, &query.segments)),
            },
            FnArg::Filter(_) => None,
        };
        let one = segments.and_then(|(from_root, segments)| {
            let steps = segments.iter().map(ChildKey::new).collect::<Option<_>>()?;
            Some(Self::One { from_root, steps })
        });
        one.ok_or_else(|| {
            BadPath::unsupported(
                &format!("{taker} a path that can match only once"),
                "count matches with `count(@.items[*])`, items with `length(@.items)`",
            )
        })
    }

    /// The value; `Some(None)` if there is none, `None` if `visits` are used up.
    fn value<'s>(&'s self, candidate: Candidate<'_, 's>, visits: &mut usize) -> Option<Option<ValueRef<'s>>> {
        Some(match self {
            Self::Literal(value) => Some(value.into()),
            Self::Bound(index) => candidate.known.bound.get(*index).copied(),
            Self::One { from_root, steps } => {
                let from = if *from_root { candidate.known.root } else { candidate.item };
                steps.iter().try_fold(from, step)
            }
            Self::Length(operand) => {
                let value = operand.value(candidate, visits)?;
                match value.map(|value| (value.kind(), value)) {
                    Some((Kind::String, value)) => {
                        let text = value.as_str().unwrap_or_default();
                        *visits = visits.checked_sub(text.len() / 32)?;
                        Some(ValueRef::Count(text.chars().count()))
                    }
                    Some((Kind::Array | Kind::Object, value)) => Some(ValueRef::Count(value.len())),
                    _ => None,
                }
            }
            Self::Count(inner) => Some(ValueRef::Count(inner.found(candidate, visits)?.len())),
            Self::Value(inner) => match inner.found(candidate, visits)?[..] {
                [only] => Some(only),
                _ => None,
            },
        })
    }
}

/// Whether a pattern must match the whole text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

/// Converts a pattern of `match` or `search` (RFC 9485) to the syntax of [`Pattern`]. There, `.` must not match CR or
/// LF.
fn to_pattern(pattern: &str, whole: Whole) -> String {
    let (mut out, mut in_class, mut escaped) = (String::with_capacity(pattern.len() + 8), false, false);
    for character in pattern.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '.' if !in_class => {
                out.push_str(r"[^\n\r]");
                continue;
            }
            _ => {}
        }
        out.push(character);
    }
    if whole == Whole::Yes { format!("^(?:{out})$") } else { out }
}

fn is_one(segment: &Segment) -> bool {
    ChildKey::new(segment).is_some()
}

/// Rejects paths that would visit more than one level below each of many values.
fn check_bounded(segments: &[Segment]) -> Result<(), BadPath> {
    let is_filter = |segment: &Segment| match segment {
        Segment::Selector(selector) => matches!(selector, Selector::Filter(_)),
        Segment::Selectors(selectors) => {
            selectors.iter().any(|selector| matches!(selector, Selector::Filter(_)))
        }
        Segment::Descendant(_) => false,
    };
    if segments.iter().any(is_filter) {
        return Err(BadPath::unsupported(
            "a filter inside a filter is not supported",
            "filter in one step, and use `{{#each}}` in the reply for the rest",
        ));
    }
    let takes_keys = |segment: &Segment| matches!(segment, Segment::Selector(Selector::Wildcard));
    let mut below = segments.iter().skip_while(|segment| !takes_keys(segment)).skip(1);
    if segments.iter().any(|segment| matches!(segment, Segment::Descendant(_)))
        || below.any(|segment| !is_one(segment))
    {
        return Err(BadPath::unsupported(
            "`..` and a second `*` or slice are not supported inside a filter",
            "name the keys that lead there: `$.orders[?@.items[*].id]`",
        ));
    }
    Ok(())
}

fn unknown_function(name: &str) -> BadPath {
    BadPath::unsupported(
        &format!("there is no function `{name}` in JSONPath"),
        "the functions are `length`, `count`, `match`, `search` and `value`",
    )
}
