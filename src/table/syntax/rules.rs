//! Specific messages for the TOML mistakes that newcomers make. All other mistakes get the parser's message.

use std::ops::Range;

use super::mistake::{Mistake, line};

/// Another place that the report of a mistake points at, with its label.
type Related = Option<(Range<usize>, &'static str)>;

/// How one kind of mistake is recognised and reported. The first rule that matches wins.
pub(super) struct Rule {
    pub(super) when: fn(&Mistake<'_>) -> bool,
    pub(super) place: fn(&Mistake<'_>) -> Range<usize>,
    pub(super) message: &'static str,
    pub(super) label: &'static str,
    pub(super) help: &'static str,
    pub(super) related: fn(&Mistake<'_>) -> Related,
    /// Whether the rest of the file was parsed as part of something open, given whether a bracket is open there and
    /// whether more errors follow.
    pub(super) leaves_open: fn(in_bracket: bool, more_follow: bool) -> bool,
}

/// A rule that never matches, with defaults for the fields that most rules share.
const BASE: Rule = Rule {
    when: |_| false,
    place: |mistake| mistake.here.clone(),
    message: "",
    label: "",
    help: "",
    related: |_| None,
    leaves_open: |_, _| false,
};

/// The errors of a line that lacks its `=`.
const NO_ASSIGNMENT: [&str; 4] =
    ["key with no value", "missing assignment", "invalid unquoted key", "missing value for key"];

/// The errors of a missing or unquoted value.
const NO_VALUE: [&str; 3] = ["string values must be quoted", "missing value", "invalid value"];

pub(super) const RULES: [Rule; 20] = [
    Rule {
        when: |mistake| {
            ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| mistake.written().starts_with(mark))
        },
        place: |mistake| mistake.content.clone(),
        message: "unresolved merge conflict",
        help: "keep one of the two versions and remove the conflict markers",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.written().starts_with("//") || mistake.written().starts_with("/*"),
        place: |mistake| mistake.content.clone(),
        message: "invalid comment",
        help: "start a comment with `#`",
        ..BASE
    },
    Rule {
        when: |mistake| {
            mistake.before.trim().is_empty()
                && mistake.rest.starts_with(['{', '}'])
                && mistake.errors.first().is_some_and(|error| error.message.contains("key-value pair"))
        },
        place: |mistake| mistake.at..mistake.at + 1,
        message: "invalid TOML: this looks like JSON",
        help: "write `[routes.my_function]` as a header and `key = value` on the lines below it",
        ..BASE
    },
    Rule {
        when: |mistake| unclosed_bracket(mistake).is_some_and(|at| mistake.text[at..].starts_with('{')),
        place: opening_bracket,
        message: "unclosed `{`",
        help: "close it with `}`, and separate its entries with commas",
        ..UNCLOSED
    },
    Rule {
        when: |mistake| unclosed_bracket(mistake).is_some(),
        place: opening_bracket,
        message: "unclosed `[`",
        help: "close it with `]`, and separate its entries with commas",
        ..UNCLOSED
    },
    Rule {
        when: |mistake| unclosed_string(mistake).is_some_and(|(_, multi_line)| multi_line),
        place: opening_quote,
        message: "unclosed string",
        label: "opened here",
        help: "end it with the same three quotes",
        leaves_open: |_, _| true,
        ..BASE
    },
    Rule {
        when: |mistake| unclosed_string(mistake).is_some(),
        place: opening_quote,
        message: "unclosed string",
        label: "no closing quote on this line",
        help: "close it with the quote it begins with, or put text of several lines between \"\"\" and \"\"\"",
        leaves_open: |in_bracket, _| in_bracket,
        ..BASE
    },
    Rule {
        when: |mistake| ended_by(mistake, '\''),
        help: "put the text in double quotes: \"I don't know\"",
        ..QUOTE_INSIDE
    },
    Rule {
        when: |mistake| ended_by(mistake, '"'),
        help: "write \\\" for a quote inside the text, or put the text in single quotes: 'the \"best\" one'",
        ..QUOTE_INSIDE
    },
    Rule {
        when: |mistake| {
            let rest = mistake.rest.trim();
            mistake.first_is(&["unclosed table", "unclosed array table"])
                && (rest.is_empty() || rest == "]" || rest.starts_with('#'))
        },
        place: |mistake| mistake.content.start..mistake.at,
        message: "unclosed table header",
        help: "write `[name]` or `[[name]]`",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&["unclosed table", "unclosed array table"]),
        place: |mistake| mistake.content.clone(),
        message: "invalid table header",
        help: "separate the names with dots, and quote a name that has special characters: `[routes.\"get weather\"]`",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&NO_ASSIGNMENT) && foreign_space(mistake).is_some(),
        place: |mistake| foreign_space(mistake).unwrap_or_else(|| mistake.here.clone()),
        message: "invalid whitespace character",
        help: "replace it with an ordinary space; pasted text often contains such characters",
        ..BASE
    },
    Rule {
        when: |mistake| {
            mistake.first_is(&NO_ASSIGNMENT)
                && (mistake.rest.starts_with(':') || mistake.before.trim_end().ends_with(':'))
        },
        place: |mistake| mistake.content.clone(),
        message: "expected `=` between key and value, found `:`",
        help: "write `key = \"value\"`",
        ..BASE
    },
    Rule {
        when: |mistake| {
            let rest = mistake.rest.trim_start();
            mistake.first_is(&NO_VALUE) && (rest.is_empty() || rest.starts_with(['#', ',', '}', ']']))
        },
        place: |mistake| mistake.content.clone(),
        message: "missing value after `=`",
        help: "add a value, such as `key = \"…\"`",
        ..BASE
    },
    Rule {
        when: |mistake| {
            mistake.first_is(&NO_VALUE) && mistake.rest.starts_with(['“', '”', '‘', '’', '«', '„'])
        },
        message: "invalid quotation marks",
        help: "write straight quotes: \"…\"",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&NO_VALUE),
        message: "string without quotes",
        help: "put text in quotes: \"…\"; only numbers, true, false, [lists] and { tables } have no quotes",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&["invalid boolean"]),
        message: "invalid value",
        help: "write `true` or `false` in lower case, or put text in quotes",
        ..BASE
    },
    Rule {
        when: |mistake| {
            mistake.errors.first().is_some_and(|error| error.message.contains("escape"))
                || mistake.first_is(&["too few unicode", "invalid unicode"])
        },
        message: "invalid escape sequence",
        help: "write \\\\ for a backslash, or use single quotes, which have no escapes: '\\d+'",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&["unexpected leading zero"]),
        message: "number with a leading zero",
        help: "remove the zero, or put the value in quotes if the zero matters: \"007\"",
        ..BASE
    },
    Rule {
        when: |mistake| mistake.first_is(&["missing comma"]),
        message: "missing comma",
        help: "separate the entries with commas",
        ..BASE
    },
];

/// A bracket that is never closed.
const UNCLOSED: Rule = Rule {
    label: "opened here",
    related: |mistake| {
        let next = mistake.at..mistake.at + mistake.rest.trim_end().len();
        (!next.is_empty()).then_some((next, "still inside it here"))
    },
    leaves_open: |_, _| true,
    ..BASE
};

/// An unescaped quote inside a text, which ends the string early.
const QUOTE_INSIDE: Rule = Rule {
    place: |mistake| mistake.at - 1..mistake.at,
    message: "unescaped quote inside a string",
    label: "the string ends here",
    leaves_open: |in_bracket, more_follow| in_bracket && more_follow,
    ..BASE
};

fn is_string_error(mistake: &Mistake<'_>) -> bool {
    mistake.any_is(&["invalid basic string", "invalid literal string", "invalid multi-line"])
}

/// The position of the innermost open bracket, if the error is that it is unclosed.
fn unclosed_bracket(mistake: &Mistake<'_>) -> Option<usize> {
    let starts_line = mistake.before.trim().is_empty() || mistake.at == mistake.text.len();
    let in_bracket =
        mistake.any_is(&["missing comma", "unclosed array", "unclosed inline", "unexpected `=` in array"]);
    // `[[x]` is an unclosed header, not an unclosed list.
    let is_header = mistake.any_is(&["unclosed array table"]);
    let fits = starts_line && in_bracket && !is_header && !is_string_error(mistake);
    mistake.open.brackets.last().copied().filter(|_| fits)
}

fn opening_bracket(mistake: &Mistake<'_>) -> Range<usize> {
    let at = unclosed_bracket(mistake).unwrap_or(mistake.at);
    at..at + 1
}

/// The start of an unclosed string, and whether it is a multi-line string.
fn unclosed_string(mistake: &Mistake<'_>) -> Option<(usize, bool)> {
    if !is_string_error(mistake) {
        return None;
    }
    let start = mistake.open_after().string?;
    let written = &mistake.text[start..];
    Some((start, written.starts_with("\"\"\"") || written.starts_with("'''")))
}

/// The three quotes of a multi-line string, or the rest of the line of another one.
fn opening_quote(mistake: &Mistake<'_>) -> Range<usize> {
    let (start, multi_line) = unclosed_string(mistake).unwrap_or((mistake.at, false));
    let end = if multi_line { start + 3 } else { line(mistake.text, start).end };
    start..start + mistake.text[start..end].trim_end().len()
}

/// Whether `quote` has just ended a string and a word follows it.
fn ended_by(mistake: &Mistake<'_>, quote: char) -> bool {
    mistake.before.ends_with(quote) && mistake.rest.starts_with(|c: char| c.is_alphanumeric())
}

/// A character at the start of the line that looks like a space but is not one in TOML, such as a no-break space.
fn foreign_space(mistake: &Mistake<'_>) -> Option<Range<usize>> {
    let around = line(mistake.text, mistake.at);
    let written = mistake.text[around.clone()].trim_start_matches([' ', '\t']);
    let space = written.chars().next().filter(|first| first.is_whitespace())?;
    let start = around.end - written.len();
    Some(start..start + space.len_utf8())
}
