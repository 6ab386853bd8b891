//! Text for terminals and logs: characters that a terminal would act on are shown as escapes.
//!
//! Everything that is printed for people goes through [`printable`]. An upstream, a model or a table may have written
//! any of it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal acts on a character instead of showing it: C0 controls except for tab and newline, DEL, C1
/// controls, controls of the writing direction, and the line and paragraph separators.
pub fn is_acted_on(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

/// The text with each character that a terminal would act on as an escape such as `\u{1b}`. Newlines and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_acted_on(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The text on one line: like [`printable`], with newlines and tabs as escapes, too.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\t']) {
        return printable(text);
    }
    Cow::Owned(printable(text).replace('\n', "\\n").replace('\t', "\\t"))
}

/// The text with each such character replaced by one of the same length in bytes, so that places in it stay correct.
pub(crate) fn printable_in_place(text: &str) -> Cow<'_, str> {
    if !text.contains(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let stand_in = |c: char| match (is_acted_on(c), c.len_utf8()) {
        (false, _) | (true, 1) => c,
        (true, 2) => '·',
        (true, _) => '\u{fffd}',
    };
    // The renderer of snippets shows the controls of one byte as symbols.
    Cow::Owned(text.chars().map(stand_in).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_becomes_an_escape() {
        for (text, shown) in [
            ("plain ø 漢 🙂\n\tnext", "plain ø 漢 🙂\n\tnext"),
            ("\u{1b}]0;own\u{7}", "\\u{1b}]0;own\\u{7}"),
            ("a\rb\0c\u{7f}", "a\\u{d}b\\u{0}c\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}abc\u{2066}\u{2028}\u{200f}\u{61c}", "\\u{202e}abc\\u{2066}\\u{2028}\\u{200f}\\u{61c}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable_in_place(text).len(), text.len());
        }
        assert_eq!(printable_line("a\nb\tc"), "a\\nb\\tc");
    }
}
