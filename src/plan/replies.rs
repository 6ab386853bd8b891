//! Replies: ordered cases, of which the first match is the reply.

use serde_json::{Map, Value};
use smallvec::SmallVec;
use thiserror::Error;

use crate::call::{FailureKind, Reply, ReplyExtension};
use crate::guard::ExpansionFilter;
use crate::json::JsonText;

use super::FailureSlot;
use super::state::Remember;
use super::when::{KnownValues, UnmetCondition, When};
use crate::lang::jsonpath::MAX_VISITS;
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{JsonSink, RenderError, Scope, Template, TextSink, Written};

/// The reply cases of a route, compiled.
#[derive(Debug, Default)]
pub struct Replies {
    pub(crate) cases: Vec<Case>,
}

/// A reply case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) when: When,
    /// The kind of failure that the call ends with if the case is picked.
    pub(crate) failure: Option<FailureKind>,
    pub(crate) text: Option<Template>,
    pub(crate) data: Option<DataTemplate>,
    pub(crate) max_chars: Option<usize>,
    pub(crate) extensions: Vec<Extension>,
    /// The values to remember if the case is picked.
    pub(crate) remember: Vec<Remember>,
}

/// The value of an extension key, such as `swaig.action`.
#[derive(Debug)]
pub(crate) struct Extension {
    /// The platform's name.
    pub(crate) platform: &'static str,
    /// The key under that name.
    pub(crate) key: &'static str,
    pub(crate) value: JsonTemplate,
    /// Whether the platform accepts every value that the template can have.
    pub(crate) is_valid: bool,
}

impl Extension {
    /// Renders the value; `None` if it is a single expression whose value is missing or null.
    pub(crate) fn render(
        &self,
        scope: &Scope<'_>,
        guard: ExpansionFilter,
    ) -> Result<Option<ReplyExtension>, RenderError> {
        let value = self.value.render(scope, guard)?;
        Ok(value.map(|value| ReplyExtension { key: self.key.into(), value, is_valid: self.is_valid }))
    }
}

/// The template of `data`.
#[derive(Debug)]
pub(crate) enum DataTemplate {
    Tree(JsonTemplate),
    File(Template),
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PickError {
    /// No case matches.
    #[error("no reply case matches")]
    NoCase,
    /// The matching case could not be rendered.
    #[error("reply case {}: {part}: {source}", case + 1)]
    Render {
        /// The index of the case, from 0.
        case: usize,
        /// The part, as the table names it.
        part: String,
        /// The cause.
        #[source]
        source: RenderError,
    },
}

/// A reply and the case it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// The index of the case, from 0; `None` if the route has no such cases and replies with the extracted values.
    pub case: Option<usize>,
    /// The kind of failure that the case declares the call to be.
    pub failure: Option<FailureKind>,
    /// The reply, with extension values that the platform has not checked yet. That of a failure may have neither text
    /// nor data.
    pub reply: Reply,
}

/// The cases that did not match, in the order of the table. A few of them are not on the heap.
pub type SkippedCases = SmallVec<[SkippedCase; 3]>;

/// A case that did not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedCase {
    /// The index of the case, from 0.
    pub case: usize,
    /// The condition that does not hold.
    pub why: UnmetCondition,
}

impl Replies {
    /// Why a case did not match, for people, with the values that the condition used if they are known.
    pub fn why_skipped(&self, skipped: SkippedCase, known: KnownValues<'_>) -> String {
        self.cases
            .get(skipped.case)
            .map(|case| case.when.describe_unmet(skipped.why, known))
            .unwrap_or_default()
    }

    /// The parts of a case: their names in the table, and their templates as written.
    pub fn written(&self, case: usize, platform: &str) -> Vec<(String, Written<'_>)> {
        let Some(case) = self.cases.get(case) else { return Vec::new() };
        let text = case.text.iter().map(|text| ("text".to_owned(), Written::of(text)));
        let data = case.data.iter().map(|data| match data {
            DataTemplate::Tree(tree) => ("data".to_owned(), Written::Tree(tree.written())),
            DataTemplate::File(template) => ("data".to_owned(), Written::of(template)),
        });
        let extensions = case.extensions.iter().filter(|extension| extension.platform == platform);
        let extensions = extensions.map(|Extension { platform, key, value, .. }| {
            (format!("{platform}.{key}"), Written::Tree(value.written()))
        });
        text.chain(data).chain(extensions).collect()
    }

    /// The number of cases.
    pub fn count(&self) -> usize {
        self.cases.len()
    }

    /// Whether a case names this status. The status is then not a failure.
    pub fn names_status(&self, status: u16) -> bool {
        self.cases.iter().any(|case| {
            case.when.failure.is_empty() && case.when.status.iter().any(|range| range.contains(status))
        })
    }

    /// Whether a case can declare a call a failure.
    pub fn can_declare_failure(&self) -> bool {
        self.cases.iter().any(|case| case.failure.is_some())
    }

    /// Whether the first case that matches after the last step declares the call a failure.
    pub fn declares_failure(&self, scope: &Scope<'_>) -> bool {
        let mut visits = MAX_VISITS;
        let mut cases = self.cases.iter().filter(|case| case.when.failure.is_empty());
        let first = cases.find(|case| case.when.unmet(scope, &mut visits).is_none());
        first.is_some_and(|case| case.failure.is_some())
    }

    /// Picks the reply after the last step: the first case that matches, which may declare the call a failure. If no
    /// case is for success, the data is everything that was `extracted`. Cases that do not match are added to `skipped`.
    ///
    /// # Errors
    /// There are cases but none matches, or the match cannot be rendered.
    pub fn pick(
        &self,
        scope: &Scope<'_>,
        extracted: impl FnOnce() -> Map<String, Value>,
        platform: &str,
        guard: ExpansionFilter,
        skipped: &mut SkippedCases,
    ) -> Result<Picked, PickError> {
        let excluded = |case: &Case| (!case.when.failure.is_empty()).then_some(UnmetCondition::Failure);
        if let Some(picked) = self.pick_first(excluded, scope, platform, guard, skipped)? {
            return Ok(picked);
        }
        if self.cases.iter().any(|case| excluded(case).is_none() && case.failure.is_none()) {
            return Err(PickError::NoCase);
        }
        let data = JsonText::from(guard.value(Value::Object(extracted())));
        Ok(Picked { case: None, failure: None, reply: Reply { data: Some(data), ..Reply::default() } })
    }

    /// Picks the first case for a failure of this kind, if there is one. Cases that do not match are added to
    /// `skipped`. After a confirmed change, only cases with a status qualify: other texts, such as a suggestion to try
    /// again, would be wrong.
    ///
    /// # Errors
    /// The matching case cannot be rendered.
    pub fn pick_failure(
        &self,
        slot: FailureSlot,
        kind: FailureKind,
        scope: &Scope<'_>,
        platform: (&str, ExpansionFilter),
        skipped: &mut SkippedCases,
    ) -> Result<Option<Picked>, PickError> {
        let excluded = |case: &Case| {
            if !case.when.failure.contains(&kind) {
                Some(UnmetCondition::Failure)
            } else if slot == FailureSlot::AfterWrite && case.when.status.is_empty() {
                Some(UnmetCondition::AfterWrite)
            } else {
                None
            }
        };
        self.pick_first(excluded, scope, platform.0, platform.1, skipped)
    }

    /// Renders the first matching case among those that `excluded` gives no reason against.
    fn pick_first(
        &self,
        excluded: impl Fn(&Case) -> Option<UnmetCondition>,
        scope: &Scope<'_>,
        platform: &str,
        guard: ExpansionFilter,
        skipped: &mut SkippedCases,
    ) -> Result<Option<Picked>, PickError> {
        let mut visits = MAX_VISITS;
        for (index, case) in self.cases.iter().enumerate() {
            match excluded(case).or_else(|| case.when.unmet(scope, &mut visits)) {
                Some(why) => skipped.push(SkippedCase { case: index, why }),
                None => {
                    let reply = case.render(index, scope, platform, guard)?;
                    return Ok(Some(Picked { case: Some(index), failure: case.failure, reply }));
                }
            }
        }
        Ok(None)
    }
}

impl Case {
    fn render(
        &self,
        case: usize,
        scope: &Scope<'_>,
        platform: &str,
        guard: ExpansionFilter,
    ) -> Result<Reply, PickError> {
        let part =
            |part: &'static str| move |source| PickError::Render { case, part: part.to_owned(), source };
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
                Some(tree.render(scope, guard).map_err(part("data"))?.unwrap_or_else(JsonText::null))
            }
            Some(DataTemplate::File(template)) => {
                let mut sink = JsonSink::new(guard);
                template.render(scope, &mut sink).map_err(part("data_file"))?;
                Some(sink.into_json().map_err(part("data_file"))?)
            }
        };
        let mut extensions = Vec::new();
        for extension in self.extensions.iter().filter(|extension| extension.platform == platform) {
            let in_extension =
                |source| PickError::Render { case, part: format!("{platform}.{}", extension.key), source };
            extensions.extend(extension.render(scope, guard).map_err(in_extension)?);
        }
        Ok(Reply { text, data, extensions })
    }
}

/// Shortens a text to at most `most` characters, at a word boundary if possible.
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
