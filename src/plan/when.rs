//! Conditions of a reply case or a step: whether they hold, and if not, why.

use std::sync::Arc;

use serde_json::Value;

use crate::call::FailureKind;

use crate::lang::jsonpath::JsonPath;
use crate::lang::pattern::Pattern;
use crate::lang::template::{Evaluated, Scope, Template};
use crate::lang::value::equal;

/// The most characters of a value that are told.
const MAX_TOLD: usize = 80;

/// The conditions of a case; all must hold.
#[derive(Debug, Default)]
pub(crate) struct When {
    pub(crate) status: Vec<StatusRange>,
    pub(crate) found: Option<Arc<JsonPath>>,
    pub(crate) missing: Option<Arc<JsonPath>>,
    pub(crate) equals: Vec<(Template, Vec<Value>)>,
    pub(crate) matches: Vec<(Template, Pattern)>,
    /// The kinds of failure that the case is for; empty: it is for none.
    pub(crate) failure: Vec<FailureKind>,
}

/// Statuses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// The condition that did not hold, of those that a case or a step has. To note it costs a call nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// It is for other failures than there was, or for failures at all, or for none.
    Failure,
    /// The status.
    Status,
    /// What is to be found is not.
    Found,
    /// What is to be missing is not.
    Missing,
    /// What is to be missing may be there: the body could not be read.
    Unreadable,
    /// The value so far down in `equals`.
    Equals(usize),
    /// The value so far down in `matches`.
    Matches(usize),
}

impl StatusRange {
    pub(super) fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl When {
    /// The first condition that does not hold. The kinds of failure are the caller's to look at.
    /// What paths and patterns look at is taken from `visits`; past that they find nothing.
    pub(crate) fn unmet(&self, scope: &Scope<'_>, visits: &mut usize) -> Option<Unmet> {
        let reply = scope.response();
        let status = reply.map(|reply| reply.status());
        let finds = |path: &JsonPath, visits: &mut usize| {
            reply.is_some_and(|reply| path.finds(reply.body().get(), visits))
        };
        if !self.status.is_empty()
            && !status.is_some_and(|status| self.status.iter().any(|range| range.contains(status)))
        {
            return Some(Unmet::Status);
        }
        if self.found.as_ref().is_some_and(|path| !finds(path, visits)) {
            return Some(Unmet::Found);
        }
        if self.missing.as_ref().is_some_and(|path| finds(path, visits)) {
            return Some(Unmet::Missing);
        }
        // A case that names the status may be meant for a page for people, too.
        if self.missing.is_some()
            && self.status.is_empty()
            && reply.is_some_and(|reply| reply.problem().is_some())
        {
            return Some(Unmet::Unreadable);
        }
        let differs = self.equals.iter().position(|(name, values)| {
            let value = name.evaluate(scope).ok().flatten();
            !value.is_some_and(|value| values.iter().any(|wanted| equal(value.get(), wanted)))
        });
        if let Some(index) = differs {
            return Some(Unmet::Equals(index));
        }
        let lacks = self.matches.iter().position(|(name, pattern)| {
            let value = name.evaluate(scope).ok().flatten();
            !value.as_ref().map(Evaluated::get).is_some_and(|value| {
                !value.is_null() && pattern.is_found_in(&value.to_text(), visits) == Some(true)
            })
        });
        lacks.map(Unmet::Matches)
    }

    /// A condition that did not hold, for people; with the value that it looked at, if that is still there.
    pub(crate) fn told(&self, unmet: Unmet, scope: Option<&Scope<'_>>) -> String {
        let path = |path: &Option<Arc<JsonPath>>| path.as_ref().map(ToString::to_string).unwrap_or_default();
        match unmet {
            Unmet::Failure if self.failure.is_empty() => "only for calls that went well".to_owned(),
            Unmet::Failure => {
                format!("only for the failure {}", either(&self.failure, |kind| format!("`{kind}`")))
            }
            Unmet::Status => {
                let wanted = either(&self.status, |range| match (range.first, range.last) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first} to {last}"),
                });
                match scope.map(|scope| scope.response().map(|reply| reply.status())) {
                    None => format!("the status is not {wanted}"),
                    Some(None) => format!("there is no status, which should be {wanted}"),
                    Some(Some(status)) => format!("the status is {status}, not {wanted}"),
                }
            }
            Unmet::Found => format!("the reply has no `{}`", path(&self.found)),
            Unmet::Missing => format!("the reply has `{}`", path(&self.missing)),
            Unmet::Unreadable => {
                format!(
                    "whether the reply has `{}` cannot be told: its body is not readable",
                    path(&self.missing)
                )
            }
            Unmet::Equals(index) => self.equals.get(index).map_or_else(String::new, |(name, values)| {
                told_value(name, scope, &format!("not {}", either(values, Value::to_string)))
            }),
            Unmet::Matches(index) => self.matches.get(index).map_or_else(String::new, |(name, pattern)| {
                told_value(name, scope, &format!("which does not match `{}`", pattern.as_str()))
            }),
        }
    }

    /// Whether the case holds whatever happened, so that no later one of its sort is ever tried.
    pub(crate) fn is_unconditional(&self) -> bool {
        self.status.is_empty()
            && self.found.is_none()
            && self.missing.is_none()
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

/// What a value is, and what it should have been.
fn told_value(name: &Template, scope: Option<&Scope<'_>>, rather: &str) -> String {
    let shown = name.written().trim_start_matches('{').trim_end_matches('}');
    let Some(scope) = scope else { return format!("`{shown}` is {rather}") };
    match name.evaluate(scope).ok().flatten() {
        None => format!("`{shown}` is missing"),
        Some(value) => {
            let mut text = String::new();
            value.get().write_json(&mut text);
            let value = text;
            let cut: String = value.chars().take(MAX_TOLD).collect();
            let more = if cut.len() < value.len() { "…" } else { "" };
            format!("`{shown}` is {cut}{more}, {rather}")
        }
    }
}
