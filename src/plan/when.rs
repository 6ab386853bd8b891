//! Conditions of a reply case or a step.

use serde_json::Value;

use crate::call::FailureKind;

use crate::lang::bound_path::BoundPath;
use crate::lang::pattern::Pattern;
use crate::lang::template::{Evaluated, Scope, Template, is_truthy};
use crate::lang::value::equal;

/// The most characters of a value in a text for people.
const MAX_SHOWN: usize = 80;

/// Conditions, all of which must hold.
#[derive(Debug, Default)]
pub(crate) struct When {
    pub(crate) status: Vec<StatusRange>,
    pub(crate) found: Option<BoundPath>,
    pub(crate) missing: Option<BoundPath>,
    pub(crate) truthy: Option<BoundPath>,
    pub(crate) equals: Vec<(Template, Vec<Value>)>,
    pub(crate) matches: Vec<(Template, Pattern)>,
    /// The kinds of failure that the case handles; empty for a case that handles success.
    pub(crate) failure: Vec<FailureKind>,
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// The condition that does not hold. It holds no values, so recording it is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnmetCondition {
    /// The case handles other failures, or none, or only failures.
    Failure,
    /// A write has succeeded, and the case has no status.
    AfterWrite,
    /// The status.
    Status,
    /// The path in `found` has no match, or a value that it compares with is missing.
    Found,
    /// The path in `missing` has a match, or a value that it compares with is missing.
    Missing,
    /// The path in `truthy` matches only values that count as false, or nothing, or a value that it compares with is
    /// missing.
    Truthy,
    /// The path in `missing` may have a match: the body could not be parsed.
    Unreadable,
    /// The value at this index of `equals` differs.
    Equals(usize),
    /// The value at this index of `matches` does not match.
    Matches(usize),
}

/// The values that the description of a condition may show.
#[derive(Debug, Clone, Copy)]
pub enum KnownValues<'a> {
    /// The values of a call whose context is complete.
    All(&'a Scope<'a>),
    /// The values of a record, which keeps arguments and extracts, but not the whole context.
    Kept {
        /// The values.
        scope: &'a Scope<'a>,
        /// Whether the bodies of all responses are kept.
        bodies: bool,
    },
    /// None: the record has lost them.
    Lost,
}

impl<'a> KnownValues<'a> {
    fn scope(self) -> Option<&'a Scope<'a>> {
        match self {
            Self::All(scope) | Self::Kept { scope, .. } => Some(scope),
            Self::Lost => None,
        }
    }

    /// The values, if the value of `name` is one of them.
    fn scope_for(self, name: &Template) -> Option<&'a Scope<'a>> {
        match self {
            Self::Kept { bodies, .. } if !name.outlives_call(bodies) => None,
            known => known.scope(),
        }
    }
}

impl StatusRange {
    pub(super) fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl When {
    /// The first condition that does not hold. The caller checks the kinds of failure. The cost of paths and patterns
    /// is subtracted from `visits`; once it is used up, they find nothing.
    pub(crate) fn unmet(&self, scope: &Scope<'_>, visits: &mut usize) -> Option<UnmetCondition> {
        let response = scope.response();
        let status = response.map(|response| response.status());
        let finds = |path: &BoundPath, visits: &mut usize| {
            let Some(response) = response else { return Ok(false) };
            path.search(response.body().get(), scope, |path, body, bound| path.finds(body, bound, visits))
        };
        if !self.status.is_empty()
            && !status.is_some_and(|status| self.status.iter().any(|range| range.contains(status)))
        {
            return Some(UnmetCondition::Status);
        }
        if self.found.as_ref().is_some_and(|path| finds(path, visits) != Ok(true)) {
            return Some(UnmetCondition::Found);
        }
        if self.missing.as_ref().is_some_and(|path| finds(path, visits) != Ok(false)) {
            return Some(UnmetCondition::Missing);
        }
        if let Some(path) = &self.truthy
            && !response.is_some_and(|response| {
                let found = path.search(response.body().get(), scope, |path, body, bound| {
                    path.finds_where(body, bound, visits, is_truthy)
                });
                found == Ok(true)
            })
        {
            return Some(UnmetCondition::Truthy);
        }
        // A case that names the status may handle such a response on purpose.
        if self.missing.is_some()
            && self.status.is_empty()
            && response.is_some_and(|response| response.problem().is_some())
        {
            return Some(UnmetCondition::Unreadable);
        }
        let differs = self.equals.iter().position(|(name, values)| {
            let value = name.evaluate(scope).ok().flatten();
            !value.is_some_and(|value| values.iter().any(|wanted| equal(value.get(), wanted)))
        });
        if let Some(index) = differs {
            return Some(UnmetCondition::Equals(index));
        }
        let lacks = self.matches.iter().position(|(name, pattern)| {
            let value = name.evaluate(scope).ok().flatten();
            !value.as_ref().map(Evaluated::get).is_some_and(|value| {
                !value.is_null() && pattern.is_match(&value.to_text(), visits) == Some(true)
            })
        });
        lacks.map(UnmetCondition::Matches)
    }

    /// Describes a condition that does not hold, for people. The text includes the value that the condition used, if it
    /// is known.
    pub(crate) fn describe_unmet(&self, unmet: UnmetCondition, known: KnownValues<'_>) -> String {
        let path = |path: &Option<BoundPath>| path.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(missing) = self.missing_value(unmet, known) {
            return missing;
        }
        match unmet {
            UnmetCondition::Failure if self.failure.is_empty() => "only for successful calls".to_owned(),
            UnmetCondition::Failure => {
                format!("only for the failure {}", either(&self.failure, |kind| format!("`{kind}`")))
            }
            UnmetCondition::AfterWrite => "a write has succeeded, and this case has no `status`".to_owned(),
            UnmetCondition::Status => {
                let wanted = either(&self.status, |range| match (range.first, range.last) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first} to {last}"),
                });
                match known.scope().map(|scope| scope.response().map(|response| response.status())) {
                    None => format!("the status is not {wanted}"),
                    Some(None) => format!("there is no response; the status must be {wanted}"),
                    Some(Some(status)) => format!("the status is {status}, not {wanted}"),
                }
            }
            UnmetCondition::Found => format!("the response has no `{}`", path(&self.found)),
            UnmetCondition::Missing => format!("the response has `{}`", path(&self.missing)),
            UnmetCondition::Truthy => {
                format!("the response has no `{}` that counts as true", path(&self.truthy))
            }
            UnmetCondition::Unreadable => {
                format!(
                    "it is unknown whether the response has `{}`: its body could not be parsed",
                    path(&self.missing)
                )
            }
            UnmetCondition::Equals(index) => {
                self.equals.get(index).map_or_else(String::new, |(name, values)| {
                    let wanted = either(values, Value::to_string);
                    describe_value(name, known, [&format!("not {wanted}"), &format!("is not {wanted}")])
                })
            }
            UnmetCondition::Matches(index) => {
                self.matches.get(index).map_or_else(String::new, |(name, pattern)| {
                    let unmatched = format!("does not match `{}`", pattern.as_str());
                    describe_value(name, known, [&format!("which {unmatched}"), &unmatched])
                })
            }
        }
    }

    /// Describes the value that the path of a condition compares with, if it is missing.
    fn missing_value(&self, unmet: UnmetCondition, known: KnownValues<'_>) -> Option<String> {
        let path = match unmet {
            UnmetCondition::Found => &self.found,
            UnmetCondition::Missing => &self.missing,
            UnmetCondition::Truthy => &self.truthy,
            _ => return None,
        };
        let path = path.as_ref()?;
        let scope = path.templates().try_fold(known.scope()?, |_, name| known.scope_for(name))?;
        path.check(scope).err().map(|error| format!("{error}, so the response is not searched for `{path}`"))
    }

    /// Whether a condition looks at a part of the response's body.
    pub(crate) fn looks_inside(&self) -> bool {
        self.found.is_some() || self.missing.is_some() || self.truthy.is_some()
    }

    /// Whether the conditions always hold, so that later cases of the same kind are never reached.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.status.is_empty()
            && self.found.is_none()
            && self.missing.is_none()
            && self.truthy.is_none()
            && self.equals.is_empty()
            && self.matches.is_empty()
    }
}

/// `404, 409 or 410`
fn either<T>(items: &[T], shown: impl Fn(&T) -> String) -> String {
    let mut items: Vec<String> = items.iter().map(shown).collect();
    match (items.pop(), items.is_empty()) {
        (Some(last), false) => format!("{} or {last}", items.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

/// The value, and what the condition requires: after the value, and where the value is not known.
fn describe_value(name: &Template, known: KnownValues<'_>, [after, alone]: [&str; 2]) -> String {
    let shown = name.written().trim_start_matches('{').trim_end_matches('}');
    let Some(scope) = known.scope_for(name) else { return format!("`{shown}` {alone}") };
    match name.evaluate(scope).ok().flatten() {
        None => format!("`{shown}` is missing"),
        Some(value) => {
            let mut text = String::new();
            value.get().write_json(&mut text);
            let value = text;
            let cut: String = value.chars().take(MAX_SHOWN).collect();
            let more = if cut.len() < value.len() { "…" } else { "" };
            format!("`{shown}` is {cut}{more}, {after}")
        }
    }
}
