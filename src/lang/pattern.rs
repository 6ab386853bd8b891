//! Patterns: regular expressions with a cost that is bounded before they run.
//!
//! The engine runs in linear time, but megabytes of text times thousands of positions still take minutes. So both are
//! limited. The positions of a pattern are its characters and classes, each counted as often as it can repeat.

use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind};

/// The longest pattern, in bytes.
pub(crate) const MAX_BYTES: usize = 1024;

/// The most positions of a pattern.
pub(crate) const MAX_POSITIONS: usize = 1000;

/// The deepest nesting of groups.
const MAX_DEPTH: u32 = 32;

/// The most memory of a compiled pattern, in bytes. Repeated Unicode classes need the most.
pub(crate) const MAX_COMPILED: usize = 4 * 1024 * 1024;

/// The most that one match may cost: bytes of text times positions. That takes 50 ms in the worst case.
const MAX_COST: usize = 5_000_000;

/// The matching cost, in bytes of text times positions, that equals one visit of a JSONPath.
const COST_PER_VISIT: usize = 4;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    regex: Regex,
    positions: usize,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadPattern {
    /// It is not a regular expression.
    Syntax,
    /// It is too long, too deeply nested, or repeats too much.
    TooLarge,
}

impl BadPattern {
    /// The message for a diagnostic.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Syntax => "this regular expression cannot be compiled",
            Self::TooLarge => "this regular expression is too large",
        }
    }

    /// The help for a diagnostic.
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
    /// Compiles a pattern. It may match anywhere in a text.
    pub(crate) fn parse(text: &str) -> Result<Self, BadPattern> {
        let positions = positions(text)?;
        let compiled = RegexBuilder::new(text).size_limit(MAX_COMPILED).build();
        // The parser accepted it, so only its size can be refused.
        compiled.map(|regex| Self { regex, positions }).map_err(|_| BadPattern::TooLarge)
    }

    /// The pattern as written.
    pub(crate) fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether the pattern matches in `text`; false if the text is too long. The cost is subtracted from `visits`;
    /// `None` if they are used up.
    pub(crate) fn is_match(&self, text: &str, visits: &mut usize) -> Option<bool> {
        let cost = text.len().saturating_mul(self.positions);
        if cost > MAX_COST {
            return Some(false);
        }
        *visits = visits.checked_sub(cost / COST_PER_VISIT)?;
        Some(self.regex.is_match(text))
    }
}

/// The number of positions of a pattern, at least 1.
pub(crate) fn positions(text: &str) -> Result<usize, BadPattern> {
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
    let positions = count(&parsed).max(1);
    if positions > MAX_POSITIONS { Err(BadPattern::TooLarge) } else { Ok(positions) }
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
            // Even an empty part is compiled once per repetition.
            count(&repeated.sub).max(1).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::lang::pattern::*;

    #[test]
    fn ordinary_patterns_match_anywhere() {
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
                Pattern::parse(pattern).unwrap().is_match(text, &mut 10_000),
                Some(found),
                "{pattern}"
            );
        }
    }

    #[test]
    fn too_large_patterns_and_syntax_errors_are_distinguished() {
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
    fn a_text_that_is_too_long_is_not_matched() {
        let pattern = Pattern::parse("[ab]*a[ab]{900}c?").unwrap();
        assert_eq!(pattern.is_match(&"a".repeat(5_000), &mut 2_000_000), Some(true));
        assert_eq!(pattern.is_match(&"a".repeat(6_000), &mut 2_000_000), Some(false));
        assert_eq!(pattern.is_match(&"a".repeat(5_000), &mut 1_000_000), None);
    }
}
