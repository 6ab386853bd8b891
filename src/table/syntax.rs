//! Faults of TOML in our own words, and which part of a file they make meaningless.
//!
//! The parser goes on after a fault as well as it can, so one missing bracket gives a dozen errors and a tree in
//! which keys stand in wrong tables. Here the errors of one mistake become one fault, and the tables that it touches
//! are named, so that nothing untrue is said about them.

use std::ops::Range;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, Span};

/// What the parser found.
pub(super) struct Theirs {
    pub(super) message: String,
    pub(super) range: Range<usize>,
}

/// One fault in our words.
struct Ours {
    code: Code,
    range: Range<usize>,
    message: String,
    label: &'static str,
    help: String,
    related: Option<(Range<usize>, &'static str)>,
    /// Whether what follows was read as part of something that is never closed.
    open: bool,
    /// Whether that is so if there are more errors.
    perhaps_open: bool,
}

/// Pushes the faults and gives the parts of the file about which nothing else can be said.
pub(super) fn report(
    mut errors: Vec<Theirs>,
    text: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Vec<Span> {
    errors.sort_by_key(|error| error.range.start);
    let span = |range: &Range<usize>| Span { file, start: range.start, end: range.end };
    let sections = sections(text);
    let mut lost = Vec::new();
    let mut said: Vec<Range<usize>> = Vec::new();
    let mut twice: Option<usize> = None;
    let mut groups =
        errors.chunk_by(|a, b| line(text, a.range.start) == line(text, b.range.start)).peekable();
    while let Some(group) = groups.next() {
        let Some(mut ours) = in_our_words(group, text) else { continue };
        ours.open |= ours.perhaps_open && groups.peek().is_some();
        let place = line(text, ours.range.start);
        let at = sections.iter().rposition(|section| section.range.start <= place.start).unwrap_or(0);
        let from = sections.get(at).map_or(0, |section| section.range.start);
        if ours.open || from == 0 {
            lost.push(from..text.len());
        }
        let unit = sections.get(at).map_or("", |section| section.unit);
        lost.extend(sections.iter().filter(|known| known.unit == unit).map(|known| known.range.clone()));
        // The keys below a header that is given twice are given twice for no other reason.
        let is_header = ours.code == Code::DuplicateName && text[place.clone()].trim_start().starts_with('[');
        let follows = ours.code == Code::DuplicateName && !is_header && twice == Some(from);
        if is_header {
            twice = Some(from);
        }
        // An unclosed bracket on a line with a fault is that fault again.
        if !said.contains(&place) && !follows {
            let mut diagnostic =
                Diagnostic::new(ours.code, span(&ours.range), ours.message).label(ours.label).help(ours.help);
            if let Some((range, label)) = &ours.related {
                diagnostic = diagnostic.related(span(range), *label);
            }
            diagnostics.push(diagnostic);
            said.push(place);
        }
        if ours.open {
            break;
        }
    }
    lost.iter().map(span).collect()
}

/// The words for the errors of one line, which are taken to be one mistake.
fn in_our_words(errors: &[Theirs], text: &str) -> Option<Ours> {
    let first = errors.first()?;
    let at = text.floor_char_boundary(first.range.start.min(text.len()));
    let around = line(text, at);
    let (before, rest) = (&text[around.start..at], &text[at..around.end]);
    let content = around.start + (before.len() - before.trim_start().len());
    // Of a line of spaces that TOML does not know, such as those that do not break, nothing is left.
    let whole = content..content.max(around.start + text[around.clone()].trim_end().len());
    let is = |start: &str| errors.iter().any(|error| error.message.starts_with(start));
    let fault = |range: Range<usize>, message: &str, help: &str| {
        Some(Ours {
            code: Code::TomlSyntax,
            range,
            message: message.to_owned(),
            label: "",
            help: help.to_owned(),
            related: None,
            open: false,
            perhaps_open: false,
        })
    };
    if let Some(duplicate) = errors.iter().find(|error| error.message.starts_with("duplicate key")) {
        return Some(twice(duplicate, text));
    }
    let written = text[whole.start..].trim_end();
    if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| written.starts_with(mark)) {
        return fault(
            whole,
            "this is the mark of a merge conflict",
            "keep one of the two versions and take the marks out",
        );
    }
    if written.starts_with("//") || written.starts_with("/*") {
        return fault(whole, "this is not how a comment begins", "write `# …`");
    }
    if before.trim().is_empty() && rest.starts_with(['{', '}']) && first.message.contains("key-value pair") {
        return fault(
            at..at + 1,
            "this is not TOML: it looks like JSON",
            "write `[routes.my_function]` as a header and `key = value` on the lines below it",
        );
    }

    let reading = Reading::until(text, at);
    let starts_line = before.trim().is_empty() || at == text.len();
    let string_fault = is("invalid basic string") || is("invalid literal string") || is("invalid multi-line");
    if starts_line && !string_fault {
        let in_bracket = is("missing comma")
            || is("unclosed array")
            || is("unclosed inline")
            || is("unexpected `=` in array");
        // `[[x]` is open by its own words below.
        if let Some(&open) = reading.brackets.last().filter(|_| in_bracket && !is("unclosed array table")) {
            let (opening, closing) = if text[open..].starts_with('{') { ('{', '}') } else { ('[', ']') };
            let next = at..around.end.min(at + rest.trim_end().len());
            return Some(Ours {
                related: (!next.is_empty()).then_some((next, "still inside of it here")),
                label: "opened here",
                open: true,
                ..fault(
                    open..open + 1,
                    &format!("this `{opening}` is not closed"),
                    &format!("close it with `{closing}`, and part what stands in it with commas"),
                )?
            });
        }
    }
    if let Some(start) = Reading::until(text, first.range.end.max(at)).string
        && string_fault
    {
        let triple = text[start..].starts_with("\"\"\"") || text[start..].starts_with("'''");
        let end = if triple { start + 3 } else { line(text, start).end };
        return Some(Ours {
            label: if triple { "opened here" } else { "no closing quote on this line" },
            open: triple || !reading.brackets.is_empty(),
            ..fault(
                start..start + text[start..end].trim_end().len(),
                "this string is not closed",
                if triple {
                    "end it with the same three quotes"
                } else {
                    "close it on the same line with the quote it began with; texts of several lines stand between \"\"\" and \"\"\""
                },
            )?
        });
    }
    // A quote in the middle of a text ends the string, and the word after it makes no sense.
    let goes_on = rest.starts_with(|c: char| c.is_alphanumeric());
    let ended = if before.ends_with('\'') { Some('\'') } else { before.ends_with('"').then_some('"') };
    if let (Some(quote), true) = (ended, goes_on) {
        return Some(Ours {
            label: "the string ends here",
            perhaps_open: !reading.brackets.is_empty(),
            ..fault(
                at - 1..at,
                "a quote inside a string ends it",
                if quote == '\'' {
                    "write the text in double quotes: \"I don't know\""
                } else {
                    "write \\\" for a quote inside the text, or put the text into single quotes: 'the \"best\" one'"
                },
            )?
        });
    }
    let here = at..(first.range.end.max(at)).min(text.len());
    let theirs = first.message.as_str();
    let starts = |options: &[&str]| options.iter().any(|option| theirs.starts_with(option));
    if starts(&["cannot extend"]) {
        return fault(
            here,
            "this table is already complete and cannot be added to",
            "a table is written in one place: either as `key = { … }`, or with dotted keys, or under its own [header]",
        );
    }
    if starts(&["unclosed table", "unclosed array table"]) {
        let (opening, closing) = if written.starts_with("[[") { ("[[", "]]") } else { ("[", "]") };
        if rest.trim().is_empty() || rest.trim() == "]" || rest.trim_start().starts_with('#') {
            return fault(
                whole.start..at,
                "this header is not closed",
                &format!("write `{opening}` before the name and `{closing}` after it"),
            );
        }
        return fault(
            whole,
            "this is not a valid header",
            "names in a header are parted by dots, and a name with a space or another special character stands in quotes: `[routes.\"get weather\"]`",
        );
    }
    if starts(&["key with no value", "missing assignment", "invalid unquoted key", "missing value for key"]) {
        let key = text[whole.start..whole.end].trim_end();
        let written = text[around.clone()].trim_start_matches([' ', '\t']);
        if let Some(space) = written.chars().next().filter(|first| first.is_whitespace()) {
            let start = around.end - written.len();
            return fault(
                start..start + space.len_utf8(),
                "this is a space that TOML does not know",
                "write an ordinary space in its place, or take it out; such a one comes with pasted text",
            );
        }
        if rest.starts_with(':') || before.trim_end().ends_with(':') {
            return fault(
                whole,
                "a key and its value are parted by `:` here",
                "TOML parts them by `=`: `key = \"value\"`",
            );
        }
        if starts(&["invalid unquoted key"]) {
            return fault(
                here,
                "this is not a valid key",
                "a key with other characters than A-Z a-z 0-9 _ - stands in quotes",
            );
        }
        if rest.trim().is_empty() && !key.is_empty() {
            return fault(whole, "this key has no value", "a line is `key = value`, or a [header]");
        }
        return fault(
            here,
            "there is no `=` between key and value",
            "a line is `key = value`, or a [header]",
        );
    }
    if starts(&["string values must be quoted", "missing value", "invalid value"]) {
        if rest.trim().is_empty() || rest.trim_start().starts_with(['#', ',', '}', ']']) {
            return fault(
                whole,
                "there is no value after the `=`",
                "write one: a text stands in quotes, `key = \"…\"`",
            );
        }
        if rest.starts_with(['“', '”', '‘', '’', '«', '„']) {
            return fault(
                here,
                "these quotes are not the ones that TOML knows",
                "write straight quotes: \"…\"",
            );
        }
        return fault(
            here,
            "this value is not in quotes",
            "a text stands in quotes: \"…\"; without quotes stand numbers, true, false, [lists] and { tables }",
        );
    }
    let (message, help) = if starts(&["invalid boolean"]) {
        ("this is not a value", "write `true` or `false` in lower case, and a text in quotes")
    } else if theirs.contains("escape") || starts(&["too few unicode", "invalid unicode"]) {
        (
            "this backslash escape is not valid TOML",
            "write \\\\ for a backslash, or use single quotes, in which nothing is escaped: '\\d+'",
        )
    } else if starts(&["unexpected leading zero"]) {
        (
            "a number does not begin with 0",
            "write it without the zero, or in quotes if the zero counts: \"007\"",
        )
    } else if starts(&["extra comma"]) {
        ("there is a comma too many", "one comma stands between two entries")
    } else if starts(&["extra `=`", "extra assignment", "unexpected `=`"]) {
        ("there is an `=` too many", "a line is `key = value`; a text stands in quotes")
    } else if starts(&[
        "unquoted keys cannot be empty",
        "missing key",
        "invalid key-value pair",
        "invalid inline table element",
    ]) {
        ("there is no key here", "a line is `key = value`, or a [header]")
    } else if starts(&["missing comma"]) {
        ("a comma is missing here", "part the entries with commas")
    } else if starts(&["unexpected key or value", "unexpected content"]) {
        (
            "something stands after the value",
            "each `key = value` has a line of its own, and a text stands in quotes",
        )
    } else if starts(&[
        "invalid comment character",
        "carriage return",
        "invalid basic string",
        "invalid literal string",
        "invalid multi-line",
    ]) {
        (
            "this character cannot stand here",
            "take the control character out; in a string write \\n, \\t or \\u0007",
        )
    } else if theirs.contains("recur") {
        ("this is nested too deeply", "use a flatter shape")
    } else if starts(&["redundant", "radix", "integers", "unexpected sign", "`_`", "invalid", "value"]) {
        (
            "this value is not valid",
            "a value is a \"string\" in quotes, a number, true or false, a [list] or an { inline = \"table\" }",
        )
    } else {
        ("this is not valid TOML", "a line is `key = value`, or a [header]; a text stands in quotes")
    };
    fault(here, message, help)
}

/// A key or header that is there already, with the place of the first one if it can be found.
fn twice(error: &Theirs, text: &str) -> Ours {
    let place = line(text, error.range.start);
    let written = text[place.clone()].trim();
    let key = text.get(error.range.clone()).unwrap_or("").trim();
    let header = header_name(written);
    let starts_line = header.is_none() && text[place.start..error.range.start].trim().is_empty();
    let mut section = "";
    let mut first = None;
    let mut mixed = false;
    let mut start = 0;
    for line in text[..place.start].split_inclusive('\n') {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        let found = start + indent..start + indent + trimmed.len();
        start += line.len();
        if let Some(name) = header_name(trimmed) {
            section = name;
            if header.is_none() {
                first = None;
            }
            if header == Some(name) {
                mixed = trimmed.starts_with("[[") != written.starts_with("[[");
                first = Some(found);
            }
            continue;
        }
        let given = trimmed.split(['=', '.']).next().unwrap_or("").trim();
        let parent = header.and_then(|name| name.strip_suffix(key)).map(|name| name.trim_end_matches('.'));
        if given == key && trimmed.contains('=') && parent.is_some_and(|parent| parent == section) {
            mixed = true;
            first = Some(found.start..found.start + given.len());
        } else if given == key && starts_line && trimmed.contains('=') {
            first = Some(found.start..found.start + given.len());
        }
    }
    let what = header.filter(|_| !mixed).map_or_else(|| format!("`{key}`"), |name| format!("`[{name}]`"));
    let message =
        if key.is_empty() { "a key is given twice".to_owned() } else { format!("{what} is given twice") };
    Ours {
        code: Code::DuplicateName,
        range: error.range.clone(),
        message,
        label: "given again here",
        help: if mixed {
            "TOML does not mix two spellings of one table, such as `args.city = …` and `[routes.x.args]`, or \
             `reply = …` and `[[routes.x.reply]]`: keep to one of them"
                .to_owned()
        } else {
            "rename or take out one of them".to_owned()
        },
        related: first.map(|first| (first, "first given here")),
        open: false,
        perhaps_open: false,
    }
}

/// What stands between the brackets of a header.
fn header_name(line: &str) -> Option<&str> {
    let inner = line.strip_prefix("[[").or_else(|| line.strip_prefix('['))?;
    Some(inner[..inner.find(']')?].trim())
}

/// A header and what stands below it.
struct Section<'a> {
    range: Range<usize>,
    /// The entry that it belongs to: `routes.x` for `[routes.x.args]`.
    unit: &'a str,
}

/// The sections of a file; the first has no header.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut starts = vec![(0, "")];
    let mut reading = Reading::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if reading.brackets.is_empty() && reading.string.is_none() && line.trim_start().starts_with('[') {
            let name = line.trim().trim_start_matches('[');
            let name = name[..name.find([']', '#']).unwrap_or(name.len())].trim();
            let unit = name.match_indices('.').nth(1).map_or(name, |(second, _)| &name[..second]);
            starts.push((start, unit));
        } else {
            reading.read(text, start, start + line.len());
        }
        start += line.len();
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    starts.iter().zip(ends).map(|((start, unit), end)| Section { range: *start..end, unit }).collect()
}

/// What is open at a place: brackets, or a string.
#[derive(Default)]
struct Reading {
    brackets: Vec<usize>,
    string: Option<usize>,
}

impl Reading {
    /// Reads from the start of the text; headers open nothing.
    fn until(text: &str, end: usize) -> Self {
        let mut reading = Self::default();
        let mut start = 0;
        for line in text[..end].split_inclusive('\n') {
            let is_header =
                reading.brackets.is_empty() && reading.string.is_none() && line.trim_start().starts_with('[');
            if !is_header {
                reading.read(text, start, start + line.len());
            }
            start += line.len();
        }
        reading
    }

    fn read(&mut self, text: &str, mut at: usize, end: usize) {
        while at < end {
            let rest = &text[at..end];
            if let Some(open) = self.string {
                let opening = &text[open..];
                let triple = opening.starts_with("\"\"\"") || opening.starts_with("'''");
                let quote = &opening[..if triple { 3 } else { 1 }];
                if rest.starts_with('\\') && quote.starts_with('"') {
                    at += 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                } else if rest.starts_with(quote) {
                    at += quote.len();
                    // Up to two quotes more may end a text of several lines.
                    while triple && text[at..end].starts_with(&quote[..1]) {
                        at += 1;
                    }
                    self.string = None;
                } else if rest.starts_with('\n') && !triple {
                    self.string = None;
                } else {
                    at += rest.chars().next().map_or(1, char::len_utf8);
                }
                continue;
            }
            match rest.chars().next() {
                Some('#') => at += rest.find('\n').unwrap_or(rest.len()),
                Some('"' | '\'') => {
                    self.string = Some(at);
                    let triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
                    at += if triple { 3 } else { 1 };
                }
                Some('[' | '{') => {
                    self.brackets.push(at);
                    at += 1;
                }
                Some(']' | '}') => {
                    self.brackets.pop();
                    at += 1;
                }
                other => at += other.map_or(1, char::len_utf8),
            }
        }
    }
}

/// The line around a place, without the newline that ends it.
fn line(text: &str, at: usize) -> Range<usize> {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start..text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}
