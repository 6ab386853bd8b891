//! Replies: ordered cases, the first that holds is what the assistant gets.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{FailureKind, Guard, Reply};

use super::json_template::JsonTemplate;
use super::jsonpath::{JsonPath, MAX_VISITS};
use super::pattern::Pattern;
use super::template::{JsonSink, RenderError, Scope, Template, TextSink, equal};

/// The reply cases of a route, compiled.
#[derive(Debug, Default)]
pub struct Replies {
    pub(crate) cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: When,
    pub(crate) text: Option<Template>,
    pub(crate) data: Option<DataTemplate>,
    pub(crate) max_chars: Option<usize>,
    /// What only one platform understands: its name, its key, the value.
    pub(crate) own: Vec<(&'static str, &'static str, JsonTemplate)>,
}

/// What `data` is made from.
#[derive(Debug)]
pub(crate) enum DataTemplate {
    Tree(JsonTemplate),
    File(Template),
}

/// The conditions of a case; all must hold.
#[derive(Debug, Default)]
pub(crate) struct When {
    pub(crate) status: Vec<StatusRange>,
    pub(crate) found: Option<JsonPath>,
    pub(crate) missing: Option<JsonPath>,
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

/// Why no reply could be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PickError {
    /// None of the cases holds.
    #[error("no reply case holds")]
    NoCase,
    /// The case that holds could not be rendered.
    #[error("reply case {}: {part}: {source}", case + 1)]
    Render {
        /// The case, counted from 0.
        case: usize,
        /// The part, as the table names it.
        part: String,
        /// What went wrong.
        #[source]
        source: RenderError,
    },
}

/// A reply, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// The case, counted from 0; `None`: the route has no case for this, and answers with what it extracted.
    pub case: Option<usize>,
    /// The reply, with the values of the platform's own keys as rendered.
    pub reply: Reply,
}

impl Replies {
    /// Whether some case is for this status, which then is no failure.
    pub fn names_status(&self, status: u16) -> bool {
        self.cases.iter().any(|case| {
            case.when.failure.is_empty() && case.when.status.iter().any(|range| range.contains(status))
        })
    }

    /// The reply of the first case that holds, for a call that went well. Without any case for that, the data is
    /// everything that was `extracted`.
    ///
    /// # Errors
    /// There are cases but none holds, or the one that does cannot be rendered.
    pub fn pick(
        &self,
        scope: &Scope<'_>,
        extracted: impl FnOnce() -> Map<String, Value>,
        platform: &str,
        guard: Guard,
    ) -> Result<Picked, PickError> {
        let (mut some, mut visits) = (false, MAX_VISITS);
        for (index, case) in self.cases.iter().enumerate().filter(|(_, case)| case.when.failure.is_empty()) {
            some = true;
            if case.when.holds(scope, &mut visits) {
                return case
                    .render(index, scope, platform, guard)
                    .map(|reply| Picked { case: Some(index), reply });
            }
        }
        if some {
            return Err(PickError::NoCase);
        }
        let data = guard.value(Value::Object(extracted()));
        Ok(Picked { case: None, reply: Reply { data: Some(data), ..Reply::default() } })
    }

    /// The reply of the first case for a failure of this kind, if there is one.
    ///
    /// # Errors
    /// The case that holds cannot be rendered.
    pub fn pick_failure(
        &self,
        kind: FailureKind,
        scope: &Scope<'_>,
        platform: &str,
        guard: Guard,
    ) -> Result<Option<Picked>, PickError> {
        let mut visits = MAX_VISITS;
        for (index, case) in self.cases.iter().enumerate() {
            if case.when.failure.contains(&kind) && case.when.holds(scope, &mut visits) {
                let reply = case.render(index, scope, platform, guard)?;
                return Ok(Some(Picked { case: Some(index), reply }));
            }
        }
        Ok(None)
    }
}

impl StatusRange {
    fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl When {
    /// Whether all conditions hold. The kinds of failure are the caller's to look at.
    /// What paths and patterns look at is taken from `visits`; past that they find nothing.
    pub(crate) fn holds(&self, scope: &Scope<'_>, visits: &mut usize) -> bool {
        let reply = scope.response();
        let status = || {
            let status = reply.map(|reply| reply.status());
            status.is_some_and(|status| self.status.iter().any(|range| range.contains(status)))
        };
        let finds = |path: &JsonPath, visits: &mut usize| {
            reply.is_some_and(|reply| path.first(reply.body(), visits).is_some())
        };
        (self.status.is_empty() || status())
            && self.found.as_ref().is_none_or(|path| finds(path, visits))
            && self.missing.as_ref().is_none_or(|path| !finds(path, visits))
            && self.equals.iter().all(|(name, values)| {
                let value = name.evaluate(scope).ok().flatten();
                value.is_some_and(|value| values.iter().any(|wanted| equal(&value, wanted)))
            })
            && self.matches.iter().all(|(name, pattern)| {
                let value = name.evaluate(scope).ok().flatten();
                value.is_some_and(|value| {
                    !value.is_null()
                        && pattern.is_found_in(&super::template::as_text(&value), visits) == Some(true)
                })
            })
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

impl Case {
    fn render(
        &self,
        case: usize,
        scope: &Scope<'_>,
        platform: &str,
        guard: Guard,
    ) -> Result<Reply, PickError> {
        let part = |part: &str| {
            let part = part.to_owned();
            move |source| PickError::Render { case, part, source }
        };
        let text = match &self.text {
            None => None,
            Some(template) => {
                let mut sink = TextSink::new(guard);
                template.render(scope, &mut sink).map_err(part("text"))?;
                let text = sink.into_text();
                Some(match self.max_chars {
                    Some(most) => cut(&text, most).to_owned(),
                    None => text,
                })
            }
        };
        let data = match &self.data {
            None => None,
            Some(DataTemplate::Tree(tree)) => {
                Some(tree.render(scope, guard).map_err(part("data"))?.unwrap_or(Value::Null))
            }
            Some(DataTemplate::File(template)) => {
                let mut sink = JsonSink::new(guard);
                template.render(scope, &mut sink).map_err(part("data_file"))?;
                Some(sink.into_json().map_err(part("data_file"))?)
            }
        };
        let mut own = Map::new();
        for (_, key, tree) in self.own.iter().filter(|(owner, _, _)| *owner == platform) {
            if let Some(value) = tree.render(scope, guard).map_err(part(&format!("{platform}.{key}")))? {
                own.insert((*key).to_owned(), value);
            }
        }
        Ok(Reply { text, data, own })
    }
}

/// The beginning of a text, cut at a word when it is longer than `most` characters.
fn cut(text: &str, most: usize) -> &str {
    let Some((end, next)) = text.char_indices().nth(most) else { return text };
    let kept = &text[..end];
    if next.is_whitespace() {
        return kept.trim_end();
    }
    match kept.rfind(char::is_whitespace) {
        Some(space) => kept[..space].trim_end(),
        None => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_word() {
        for (most, expected) in [
            (99, "one two øre"),
            (11, "one two øre"),
            (10, "one two"),
            (7, "one two"),
            (5, "one"),
            (2, "on"),
            (0, ""),
        ] {
            assert_eq!(cut("one two øre", most), expected);
        }
    }
}
