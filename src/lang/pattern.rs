//! Patterns: regular expressions whose cost is bounded before they run.
//!
//! The engine is linear in the text, but a text of megabytes times a pattern with thousands of places is still a core
//! taken for minutes. So both are counted: a pattern has places, one for each character or class that it could be
//! waiting for, a repetition's as often as it may repeat.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

/// The longest pattern, in bytes.
pub(crate) const MAX_BYTES: usize = 1024;

/// The most places of a pattern.
pub(crate) const MAX_PLACES: usize = 1000;

/// The deepest nesting of groups.
const MAX_DEPTH: u32 = 32;

/// The most memory that a compiled pattern may take. Large classes of Unicode, repeated, take most.
pub(crate) const MAX_COMPILED: usize = 4 * 1024 * 1024;

/// The most that one look into a text may cost, in bytes of text times places: some 50 ms at the worst.
const MAX_COST: usize = 5_000_000;

/// How many bytes of text times places cost as much as a visit of a JSONPath to a value.
const COST_PER_VISIT: usize = 4;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    places: usize,
}

/// Why a text is not a usable pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPattern {
    /// It is no regular expression.
    Syntax,
    /// It is longer, deeper or repeats more than patterns may.
    TooLarge,
}

impl BadPattern {
    /// What is wrong, as it is said of the pattern.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Syntax => "this regular expression cannot be compiled",
            Self::TooLarge => "this regular expression is too large",
        }
    }

    /// What to write.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Syntax => {
                "patterns are linear-time: no look-around, no back-references; in \"…\" a backslash is written twice, in '…' once"
            }
            Self::TooLarge => {
                "a pattern may have 1024 bytes, and 1000 characters and classes counted as often as they may repeat (about 80 of all Unicode, as `\\w`); limit a length with `max_length`"
            }
        }
    }
}

impl Pattern {
    /// Compiles a pattern, which may be found anywhere in a text.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let places = places(text)?;
        let compiled = RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
        // What the parser took is refused for its size alone.
        compiled.map(|regex| Self { regex, places }).map_err(|_| BadPattern::TooLarge)
    }

    /// The pattern as it is written.
    pub(crate) fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether it is found in `text`; never in one that is too long to look into. What that costs is taken from
    /// `visits`; `None` when they are used up.
    pub(crate) fn is_found_in(&self, text: &str, visits: &mut usize) -> Option<bool> {
        let cost = text.len().saturating_mul(self.places);
        if cost > MAX_COST {
            return Some(false);
        }
        *visits = visits.checked_sub(cost / COST_PER_VISIT)?;
        Some(self.regex.is_match(text))
    }
}

/// The places of a pattern, at least 1.
pub(crate) fn places(text: &str) -> Result<usize, BadPattern> {
    if text.len() > MAX_BYTES {
        return Err(BadPattern::TooLarge);
    }
    let parsed =
        ParserBuilder::new().nest_limit(MAX_DEPTH).build().parse(text).map_err(|error| match error {
            regex_syntax::Error::Parse(error)
                if matches!(error.kind(), regex_syntax::ast::ErrorKind::NestLimitExceeded(_)) =>
            {
                BadPattern::TooLarge
            }
            _ => BadPattern::Syntax,
        })?;
    let places = count(&parsed).max(1);
    if places > MAX_PLACES { Err(BadPattern::TooLarge) } else { Ok(places) }
}

fn count(part: &Hir) -> usize {
    match part.kind() {
        HirKind::Empty => 0,
        HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Capture(group) => count(&group.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(count).fold(0, usize::saturating_add)
        }
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or_else(|| repeated.min.saturating_add(1)).max(1);
            // What is empty is compiled as often as it is repeated too.
            count(&repeated.sub).max(1).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lang::pattern::*;

    #[test]
    fn ordinary_patterns_are_found_anywhere() {
        for (pattern, text, found) in [
            ("b+", "abbc", true),
            (r"^[\p{L} '\-]{1,80}$", "Ærø d'Ør", true),
            (r"^\w{1,64}$", "a b", false),
            (r"^\+?[0-9 ]{6,20}$", "+47 22 33 44 55", true),
            (r"^[^@\s]+@[^@\s]+\.[a-z]{2,20}$", "me@example.com", true),
            ("^.{1,500}$", "x", true),
            ("", "x", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().is_found_in(text, &mut 10_000),
                Some(found),
                "{pattern}"
            );
        }
    }

    #[test]
    fn what_is_too_large_is_told_from_what_is_no_pattern() {
        let long = "a".repeat(MAX_BYTES + 1);
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        for pattern in [&*long, &deep, "a{1001}", "(a{100}){11}", "((((a{0,9}){0,9}){0,9}){0,9})", r"\w{900}"]
        {
            assert_eq!(Pattern::parse(pattern).unwrap_err(), BadPattern::TooLarge, "{pattern}");
        }
        for pattern in ["(", "[0-9", "(?=a)b", r"(a)\1", "*"] {
            assert_eq!(Pattern::parse(pattern).unwrap_err(), BadPattern::Syntax, "{pattern}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_not_looked_into() {
        let pattern = Pattern::parse("[ab]*a[ab]{900}c?").unwrap();
        assert_eq!(pattern.is_found_in(&"a".repeat(5_000), &mut 2_000_000), Some(true));
        assert_eq!(pattern.is_found_in(&"a".repeat(6_000), &mut 2_000_000), Some(false));
        assert_eq!(pattern.is_found_in(&"a".repeat(5_000), &mut 1_000_000), None);
    }
}
