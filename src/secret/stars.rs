//! Stars in a shown text: those that stand for a hidden value, and those that are part of the text.
//!
//! A run of stars and backslashes that could be mistaken for [`HIDDEN`] is escaped with backslashes, so that no text can
//! look hidden.

use std::ops::Range;

use super::HIDDEN;

/// The characters of runs that could be mistaken for [`HIDDEN`], or for an escaped one.
const STARS: [char; 2] = ['*', '\\'];

/// How runs of stars and backslashes that could be mistaken for [`HIDDEN`] are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stars {
    Kept,
    Escaped,
}

/// Adds a part of a text that is not hidden. What is before and after it is hidden.
pub(super) fn push_shown(out: &mut String, text: &str, part: Range<usize>, stars: Stars) {
    let mut rest = text.get(part.clone()).unwrap_or_default();
    if stars == Stars::Kept {
        return out.push_str(rest);
    }
    let mut is_after_hidden = part.start > 0;
    while let Some(at) = rest.find(STARS) {
        let (before, run) = rest.split_at(at);
        let (run, after) = run.split_at(run.len() - run.trim_start_matches(STARS).len());
        let is_before_hidden = after.is_empty() && part.end < text.len();
        out.push_str(before);
        if is_after_hidden && before.is_empty() || is_before_hidden || is_ambiguous(run) {
            out.extend(run.chars().flat_map(|character| ['\\', character]));
        } else {
            out.push_str(run);
        }
        is_after_hidden = false;
        rest = after;
    }
    out.push_str(rest);
}

/// The text that [`Masks::show`](super::Masks::show) has shown, with the stars and backslashes that are part of it.
pub fn unescape_stars(shown: &str) -> String {
    let (mut text, mut rest) = (String::with_capacity(shown.len()), shown);
    while let Some(at) = rest.find(STARS) {
        let (before, run) = rest.split_at(at);
        let (run, after) = run.split_at(run.len() - run.trim_start_matches(STARS).len());
        text.push_str(before);
        let read = EscapedRun::read(run);
        let is_escaped = read.has_hidden || read.is_whole && is_ambiguous(&read.text);
        text.push_str(if is_escaped { &read.text } else { run });
        rest = after;
    }
    text + rest
}

/// Whether a run of stars and backslashes looks hidden, or like the escaped form of a run that does.
fn is_ambiguous(run: &str) -> bool {
    run.contains(HIDDEN) || {
        let read = EscapedRun::read(run);
        read.is_whole && is_ambiguous(&read.text)
    }
}

/// A run of stars and backslashes, read as an escaped one.
struct EscapedRun {
    /// The run without its escapes.
    text: String,
    /// Whether every character has its backslash.
    is_whole: bool,
    /// Whether [`HIDDEN`] is between the escaped characters.
    has_hidden: bool,
}

impl EscapedRun {
    fn read(run: &str) -> Self {
        let text = String::with_capacity(run.len());
        let (mut read, mut rest) = (Self { text, is_whole: true, has_hidden: false }, run);
        while !rest.is_empty() {
            let (taken, escape) = if rest.starts_with(HIDDEN) {
                read.has_hidden = true;
                (HIDDEN.len(), 0)
            } else if rest.len() > 1 && rest.starts_with('\\') {
                (2, 1)
            } else {
                (1, 0)
            };
            read.is_whole &= escape == 1;
            read.text.push_str(&rest[escape..taken]);
            rest = &rest[taken..];
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Masks;
    use serde_json::json;

    #[test]
    fn stars_of_a_text_do_not_look_hidden() {
        let mut masks = Masks::default();
        assert_eq!(
            masks.show_value(&json!({"***": ["a ****", "**"]})),
            json!({r"\*\*\*": [r"a \*\*\*\*", "**"]})
        );
        masks.add("secret");
        assert_eq!(masks.show("secret *** secret*** **"), r"*** \*\*\* ***\*\*\* **");
        assert_eq!(masks.show(r"\*not bold\* \*\* C:\x"), r"\*not bold\* \*\* C:\x");
        assert_eq!(masks.show(r"\*\*\*"), r"\\\*\\\*\\\*");
        assert_eq!(masks.hide("secret ***"), "*** ***");
        masks.add("*");
        assert_eq!(masks.show("***"), "***");
    }

    #[test]
    fn every_text_of_stars_and_backslashes_is_shown_so_that_it_can_be_read_again() {
        let mut masks = Masks::default();
        masks.add("secret");
        let mut texts = vec![String::new()];
        for _ in 0..7 {
            texts = texts
                .iter()
                .flat_map(|text| ["", "*", "\\", "a", "secret"].map(|more| format!("{text}{more}")))
                .collect();
            texts.sort();
            texts.dedup();
        }
        assert!(texts.len() > 4_usize.pow(7));
        let mut all_shown = std::collections::HashMap::new();
        for text in &texts {
            let (shown, hidden) = (masks.show(text), masks.hide(text));
            assert_eq!(shown.contains(HIDDEN), text.contains("secret"), "{text} {shown}");
            assert_eq!(unescape_stars(&shown), hidden, "{text} {shown}");
            // What is shown tells what was hidden from what was there.
            let given = text.replace("secret", "\u{0}");
            assert_eq!(all_shown.entry(shown).or_insert_with(|| given.clone()), &given);
        }
    }
}
