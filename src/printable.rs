//! Text for terminals and logs: characters that a terminal would act on are shown as escapes.
//!
//! Everything that is printed for people goes through [`printable`]. An upstream, a model or a table may have written
//! any of it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

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
    escaped(text, |code, shown| write!(shown, "\\u{{{code:x}}}"))
}

/// The text with each character that a terminal would act on as `escape` writes its code.
fn escaped(text: &str, escape: impl Fn(u32, &mut String) -> fmt::Result) -> Cow<'_, str> {
    if !text.contains(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_acted_on(c) {
            // Writing to a string cannot fail.
            let _ = escape(u32::from(c), &mut shown);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Like [`printable`], for a text that has colours of its own: sequences that only select a colour stay.
pub fn printable_styled(text: &str) -> Cow<'_, str> {
    if !text.contains(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('\u{1b}');
    let mut shown = printable(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let colour = part
            .strip_prefix('[')
            .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
        let is_colour = colour.is_some_and(|rest| rest.starts_with('m'));
        shown.push_str(if is_colour { "\u{1b}" } else { "\\u{1b}" });
        shown.push_str(&printable(part));
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

/// A JSON text with each such character as a JSON escape. Outside of strings, JSON has none of them but newlines.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    // Each of them has at most four digits.
    escaped(json, |code, shown| write!(shown, "\\u{code:04x}"))
}

/// A text for XML: what XML cannot contain is replaced, and what a terminal would act on is a reference.
pub fn printable_xml(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&apos;"),
            '\u{0}'..='\u{8}' | '\u{b}'..='\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                shown.push('\u{fffd}');
            }
            c if is_acted_on(c) => {
                let _ = write!(shown, "&#x{:x};", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
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
        assert_eq!(
            printable_styled("\u{1b}[1;31mred\u{1b}[0m\u{1b}[2J\u{9b}"),
            "\u{1b}[1;31mred\u{1b}[0m\\u{1b}[2J\\u{9b}"
        );
    }

    #[test]
    fn json_stays_json_and_xml_stays_xml() {
        let value = serde_json::json!({"a\u{9b}": "\u{202e}\u{7f}\u{1b} ø\n"});
        let shown = printable_json(&format!("{value:#}")).into_owned();
        assert!(!shown.contains(is_acted_on), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(
            printable_xml("<&\"'\u{1b}\u{fffe}\u{ffff}\u{9b}\r\n>"),
            "&lt;&amp;&quot;&apos;\u{fffd}\u{fffd}\u{fffd}&#x9b;&#xd;\n&gt;"
        );
    }
}
