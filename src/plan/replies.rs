//! Replies: ordered cases, the first that holds is what the assistant gets.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::call::{FailureKind, Reply};
use crate::guard::ExpansionFilter;

use super::FailureSlot;
use super::when::{Unmet, When};
use crate::lang::jsonpath::MAX_VISITS;
use crate::lang::template::json::JsonTemplate;
use crate::lang::template::{JsonSink, RenderError, Scope, Template, TextSink, Written};

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
    pub(crate) extensions: Vec<Extension>,
}

/// A value that only one platform understands, such as `swaig.action`.
#[derive(Debug)]
pub(crate) struct Extension {
    /// The platform's name.
    pub(crate) platform: &'static str,
    /// The key under that name.
    pub(crate) key: &'static str,
    pub(crate) value: JsonTemplate,
}

/// What `data` is made from.
#[derive(Debug)]
pub(crate) enum DataTemplate {
    Tree(JsonTemplate),
    File(Template),
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

/// A case that was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The case, counted from 0.
    pub case: usize,
    /// What of its conditions did not hold.
    pub why: Unmet,
}

impl Replies {
    /// Why a case was passed over, for people; with the values that its condition looked at, if they are still there.
    pub fn told(&self, passed: Passed, scope: Option<&Scope<'_>>) -> String {
        self.cases.get(passed.case).map(|case| case.when.told(passed.why, scope)).unwrap_or_default()
    }

    /// What a case is made from, part by part: as the table names the part, and as it is written.
    pub fn written(&self, case: usize, platform: &str) -> Vec<(String, Written<'_>)> {
        let Some(case) = self.cases.get(case) else { return Vec::new() };
        let text = case.text.iter().map(|text| ("text".to_owned(), Written::of(text)));
        let data = case.data.iter().map(|data| match data {
            DataTemplate::Tree(tree) => ("data".to_owned(), Written::Tree(tree.written())),
            DataTemplate::File(template) => ("data".to_owned(), Written::of(template)),
        });
        let extensions = case.extensions.iter().filter(|extension| extension.platform == platform);
        let extensions = extensions.map(|Extension { platform, key, value }| {
            (format!("{platform}.{key}"), Written::Tree(value.written()))
        });
        text.chain(data).chain(extensions).collect()
    }

    /// How many cases there are.
    pub fn count(&self) -> usize {
        self.cases.len()
    }

    /// Whether some case is for this status, which then is no failure.
    pub fn names_status(&self, status: u16) -> bool {
        self.cases.iter().any(|case| {
            case.when.failure.is_empty() && case.when.status.iter().any(|range| range.contains(status))
        })
    }

    /// The reply of the first case that holds, for a call that went well. Without any case for that, the data is
    /// everything that was `extracted`. The cases before it go to `passed`.
    ///
    /// # Errors
    /// There are cases but none holds, or the one that does cannot be rendered.
    pub fn pick(
        &self,
        scope: &Scope<'_>,
        extracted: impl FnOnce() -> Map<String, Value>,
        platform: &str,
        guard: ExpansionFilter,
        passed: &mut Vec<Passed>,
    ) -> Result<Picked, PickError> {
        let is_meant = |case: &Case| case.when.failure.is_empty();
        if let Some(picked) = self.first(is_meant, scope, platform, guard, passed)? {
            return Ok(picked);
        }
        if self.cases.iter().any(is_meant) {
            return Err(PickError::NoCase);
        }
        let data = guard.value(Value::Object(extracted()));
        Ok(Picked { case: None, reply: Reply { data: Some(data), ..Reply::default() } })
    }

    /// The reply of the first case for a failure of this kind, if there is one. The cases before it go to `passed`.
    /// Once something has been changed, only a case that names a status is for that: what others say of a failure, such
    /// as to try again, would not be true.
    ///
    /// # Errors
    /// The case that holds cannot be rendered.
    pub fn pick_failure(
        &self,
        slot: FailureSlot,
        kind: FailureKind,
        scope: &Scope<'_>,
        platform: (&str, ExpansionFilter),
        passed: &mut Vec<Passed>,
    ) -> Result<Option<Picked>, PickError> {
        let is_meant = |case: &Case| {
            case.when.failure.contains(&kind)
                && (slot != FailureSlot::AfterWrite || !case.when.status.is_empty())
        };
        self.first(is_meant, scope, platform.0, platform.1, passed)
    }

    /// The reply of the first case that holds among those that are meant.
    fn first(
        &self,
        is_meant: impl Fn(&Case) -> bool,
        scope: &Scope<'_>,
        platform: &str,
        guard: ExpansionFilter,
        passed: &mut Vec<Passed>,
    ) -> Result<Option<Picked>, PickError> {
        let mut visits = MAX_VISITS;
        for (index, case) in self.cases.iter().enumerate() {
            let why = match is_meant(case) {
                true => case.when.unmet(scope, &mut visits),
                false => Some(Unmet::Failure),
            };
            match why {
                Some(why) => passed.push(Passed { case: index, why }),
                None => {
                    let reply = case.render(index, scope, platform, guard)?;
                    return Ok(Some(Picked { case: Some(index), reply }));
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
                Some(tree.render(scope, guard).map_err(part("data"))?.unwrap_or(Value::Null))
            }
            Some(DataTemplate::File(template)) => {
                let mut sink = JsonSink::new(guard);
                template.render(scope, &mut sink).map_err(part("data_file"))?;
                Some(sink.into_json().map_err(part("data_file"))?)
            }
        };
        let mut extensions = Map::new();
        for Extension { key, value, .. } in
            self.extensions.iter().filter(|extension| extension.platform == platform)
        {
            let in_extension = |source| PickError::Render { case, part: format!("{platform}.{key}"), source };
            if let Some(value) = value.render(scope, guard).map_err(in_extension)? {
                extensions.insert((*key).to_owned(), value);
            }
        }
        Ok(Reply { text, data, extensions })
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
