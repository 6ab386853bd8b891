//! A template's text as Handlebars' parser takes it: what handlebars.js knows and the parser does not is written in
//! the parser's words, and places in it lead back to the text as written.

use std::borrow::Cow;
use std::ops::Range;

/// A text for the parser, and what was changed in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ParsedText<'t> {
    pub(super) text: Cow<'t, str>,
    edits: Vec<Edit>,
}

/// A replaced part: its range in the text for the parser, and as written.
#[derive(Debug, Clone, PartialEq)]
struct Edit {
    new: Range<usize>,
    old: Range<usize>,
}

/// A tag that is answered with what to write instead: its range, a message and a fix.
pub(super) type Unsupported = (Range<usize>, String, String);

impl<'t> ParsedText<'t> {
    /// A text without changes.
    pub(super) fn unchanged(text: &'t str) -> Self {
        Self { text: Cow::Borrowed(text), edits: Vec::new() }
    }

    /// Rewrites a text for the parser. Also returns the tags that have no counterpart.
    pub(super) fn of(text: &'t str) -> (Self, Vec<Unsupported>) {
        let mut scan = Scan { text, replaced: Vec::new(), unsupported: Vec::new() };
        scan.run();
        let Scan { replaced, unsupported, .. } = scan;
        if replaced.is_empty() {
            return (Self::unchanged(text), unsupported);
        }
        let mut new = String::with_capacity(text.len() + 64);
        let mut edits: Vec<Edit> = Vec::with_capacity(replaced.len());
        let mut done = 0;
        for (old, with) in replaced {
            // Two comments may both remove the white space between them.
            let old = old.start.max(done)..old.end.max(done);
            new.push_str(&text[done..old.start]);
            let start = new.len();
            new.push_str(with);
            done = old.end;
            edits.push(Edit { new: start..new.len(), old });
        }
        new.push_str(&text[done..]);
        (Self { text: Cow::Owned(new), edits }, unsupported)
    }

    /// The range in the text as written.
    pub(super) fn written(&self, range: Range<usize>) -> Range<usize> {
        let start = self.at(range.start, |edit| edit.old.start);
        start..self.at(range.end, |edit| edit.old.end).max(start)
    }

    fn at(&self, place: usize, inside: fn(&Edit) -> usize) -> usize {
        let before = self.edits.partition_point(|edit| edit.new.end <= place);
        match self.edits.get(before) {
            Some(edit) if edit.new.start < place => inside(edit),
            _ => match before.checked_sub(1).and_then(|last| self.edits.get(last)) {
                Some(edit) => edit.old.end + (place - edit.new.end),
                None => place,
            },
        }
    }
}

/// One pass over a template's tags.
struct Scan<'t> {
    text: &'t str,
    replaced: Vec<(Range<usize>, &'static str)>,
    unsupported: Vec<Unsupported>,
}

impl Scan<'_> {
    fn run(&mut self) {
        let mut rest = 0;
        while let Some(at) = self.text[rest..].find("{{").map(|at| rest + at) {
            let escaped = self.text[..at].ends_with('\\') && !self.text[..at].ends_with("\\\\");
            rest = match () {
                () if escaped => at + 2,
                () if self.text[at + 2..].trim_start_matches('~').starts_with('!') => self.comment(at),
                () => self.tag(at),
            };
        }
    }

    /// A comment, which the parser takes without `~` only. Returns its end.
    fn comment(&mut self, start: usize) -> usize {
        let text = self.text;
        let opening = start + 2;
        let left = text[opening..].starts_with('~');
        let sign = opening + usize::from(left);
        let long = text[sign..].starts_with("!--");
        let dashes = || {
            let ends = ["--}}", "--~}}"].map(|end| text[sign..].find(end).map(|at| sign + at + end.len()));
            ends.into_iter().flatten().min()
        };
        let Some(end) =
            long.then(dashes).flatten().or_else(|| text[sign..].find("}}").map(|at| sign + at + 2))
        else {
            return text.len();
        };
        let right = end >= sign + 4 && text[..end - 2].ends_with('~');
        if !left && !right {
            return end;
        }
        let (before, after) = (&text[..start], &text[end..]);
        let alone = is_alone(text, &(start..end));
        let from = match () {
            () if left => before.trim_end().len(),
            () if alone => before.trim_end_matches([' ', '\t']).len(),
            () => start,
        };
        let to = match () {
            () if right => text.len() - after.trim_start().len(),
            () if alone => text.len() - after_line(after).len(),
            () => end,
        };
        // The comment stays: the texts beside it must not become one.
        self.replaced.push((from..to, "{{!}}"));
        to.max(end)
    }

    /// Any other tag. Returns its end, or that of the text if the tag has none, as the parser will report.
    fn tag(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start + 2;
        let before = self.replaced.len();
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'}' if bytes.get(at + 1) == Some(&b'}') => {
                    at += 2;
                    self.sections(start..at);
                    return at;
                }
                b'"' | b'\'' => at = self.string(at),
                b'[' => at = self.text[at..].find(']').map_or(bytes.len(), |end| at + end + 1),
                b'.' if !is_word(bytes[at - 1]) => at = self.dots(at),
                _ => at += 1,
            }
        }
        self.replaced.truncate(before);
        bytes.len()
    }

    /// A quoted text: as in JavaScript, a backslash stands for itself, but before a quote. `\n`, `\r`, `\t` and `\u…`
    /// are characters here. Returns its end.
    fn string(&mut self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let quote = bytes[start];
        let mut at = start + 1;
        while let Some(&byte) = bytes.get(at) {
            match (byte, bytes.get(at + 1)) {
                (b'\\', Some(next)) if *next == quote || matches!(next, b'n' | b'r' | b't' | b'u') => at += 2,
                (b'\\', _) => {
                    self.replaced.push((at..at + 1, "\\\\"));
                    at += 1;
                }
                _ if byte == quote => return at + 1,
                _ => at += 1,
            }
        }
        bytes.len()
    }

    /// A name of dots only: `.` is `this`, and `..` is the `this` of the block around. Returns its end.
    fn dots(&mut self, start: usize) -> usize {
        let rest = &self.text[start..];
        let end = rest.find(|c: char| c != '.' && c != '/').unwrap_or(rest.len());
        let ends = rest[end..].starts_with([' ', '\t', '\r', '\n', ')', '}', '~', '|']);
        match &rest[..end] {
            "." if ends => self.replaced.push((start..start + 1, "this")),
            up if ends && up.split('/').all(|part| part == "..") => {
                self.replaced.push((start + end..start + end, "/this"));
            }
            _ => {}
        }
        start + end
    }

    /// Mustache's sections whose names the parser cannot read, and inverted ones.
    fn sections(&mut self, tag: Range<usize>) {
        let inner = self.text[tag.start + 2..tag.end - 2].trim_matches(['~', ' ']);
        if let Some(rest) = inner.strip_prefix('^')
            && let rest = rest.trim()
            && let Some(name) = rest.split_whitespace().next()
        {
            let value = rest[name.len()..].trim();
            let help = match (name, value) {
                ("if", value) if !value.is_empty() => {
                    format!("write `{{{{#unless {value}}}}} … {{{{/unless}}}}`")
                }
                ("unless", value) if !value.is_empty() => {
                    format!("write `{{{{#if {value}}}}} … {{{{/if}}}}`")
                }
                ("each" | "with", value) if !value.is_empty() => {
                    format!("write `{{{{#{name} {value}}}}}{{{{else}}}} … {{{{/{name}}}}}`")
                }
                _ => format!("write `{{{{#unless {name}}}}} … {{{{/unless}}}}`"),
            };
            self.unsupported.push((tag, "inverted sections are not supported".to_owned(), help));
        } else if let Some(name) = inner.strip_prefix('#').map(str::trim)
            && name.contains(['.', '/', '@'])
            && !name.contains([' ', '\n', '\t'])
        {
            self.unsupported.push((tag, "sections are not supported".to_owned(), section_help(name)));
        }
    }
}

/// What to write instead of a section of Mustache.
pub(super) fn section_help(name: &str) -> String {
    format!(
        "write `{{{{#each {name}}}}} … {{{{/each}}}}` for a list, `{{{{#if {name}}}}} … {{{{/if}}}}` for a condition, \
         or `{{{{#with {name}}}}} … {{{{/with}}}}` for an object"
    )
}

/// Whether a tag has its line for itself, but for white space.
pub(super) fn is_alone(text: &str, tag: &Range<usize>) -> bool {
    let before = text[..tag.start].trim_end_matches([' ', '\t']);
    let after = text[tag.end..].trim_start_matches([' ', '\t']);
    (before.is_empty() || before.ends_with('\n'))
        && (after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n"))
}

/// The text after the rest of a line that is empty.
fn after_line(text: &str) -> &str {
    let text = text.trim_start_matches([' ', '\t']);
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text)
}

/// Whether a dot after this byte belongs to a name or a number.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(byte, b'_' | b'-' | b'$' | b']' | b'.' | b'/' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        ParsedText::of(text).0.text.into_owned()
    }

    #[test]
    fn what_the_parser_does_not_know_is_rewritten() {
        for (written, expected) in [
            ("{{.}} {{ . }} {{~.~}}", "{{this}} {{ this }} {{~this~}}"),
            ("{{#each .}}{{eq . ..}}{{/each}}", "{{#each this}}{{eq this ../this}}{{/each}}"),
            ("{{f x=.}} {{f (g .)}} {{../..}}", "{{f x=this}} {{f (g this)}} {{../../this}}"),
            ("{{./a}} {{../a}} {{a.b}} {{1.5}} . {.}", "{{./a}} {{../a}} {{a.b}} {{1.5}} . {.}"),
            ("{{f \"a.b . \\\" }}\"}} {{[. .]}}", "{{f \"a.b . \\\" }}\"}} {{[. .]}}"),
            (r#"{{f "a\\b" '\d\n' "\""}} \\ "#, r#"{{f "a\\\\b" '\\d\n' "\""}} \\ "#),
            ("a {{~! c ~}} b", "a{{!}}b"),
            ("a {{~!-- }} --~}} b", "a{{!}}b"),
            ("a {{~! c }} b", "a{{!}} b"),
            ("a {{! c ~}} b {{~! d }}", "a {{!}}b{{!}}"),
            ("a\n{{~! c }}\nb", "a{{!}}b"),
            ("a {{! c }}{{!-- d --}} b", "a {{! c }}{{!-- d --}} b"),
            ("\\{{.}} {{", "\\{{.}} {{"),
        ] {
            assert_eq!(parsed(written), expected, "{written}");
        }
    }

    #[test]
    fn tags_without_an_end_are_read_once() {
        for hostile in
            ["{{".repeat(100_000), "{{ [".repeat(50_000), format!("{{{{ '{}", "\\'".repeat(100_000))]
        {
            assert_eq!(parsed(&hostile), hostile);
        }
    }

    #[test]
    fn places_lead_back_to_the_text_as_written() {
        let (text, _) = ParsedText::of("{{.}} {{~! c ~}} {{#each .}}{{tmp}}");
        assert_eq!(text.text, "{{this}}{{!}}{{#each this}}{{tmp}}");
        let at = |word: &str| {
            let start = text.text.find(word).unwrap();
            let range = text.written(start..start + word.len());
            &"{{.}} {{~! c ~}} {{#each .}}{{tmp}}"[range]
        };
        assert_eq!(at("{{this}}"), "{{.}}");
        assert_eq!(at("{{!}}"), " {{~! c ~}} ");
        assert_eq!(at("{{#each this}}"), "{{#each .}}");
        assert_eq!(at("tmp"), "tmp");
    }
}
