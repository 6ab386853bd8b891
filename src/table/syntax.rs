//! Reports TOML syntax errors, and finds the parts of a file that they make meaningless.
//!
//! The parser recovers from an error as well as it can, so one missing bracket produces a dozen errors and a tree
//! with keys in the wrong tables. This module merges the errors of one mistake into one diagnostic and returns the
//! tables that the mistake touches, so that later checks stay silent about them.

mod mistake;
mod open;
mod rules;

use std::collections::HashSet;
use std::ops::Range;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, FileId, MAX_SHOWN, Span};

use mistake::{Mistake, line};
use open::Open;
use rules::RULES;

pub(super) use mistake::ParserError;

/// A mistake, ready to be reported.
struct Finding {
    code: Code,
    range: Range<usize>,
    message: String,
    label: &'static str,
    help: String,
    related: Option<(Range<usize>, &'static str)>,
    /// Whether the rest of the file was parsed as part of something that is never closed.
    open: bool,
}

/// The maximum number of mistakes that are described in one file.
const MAX_FINDINGS: usize = MAX_SHOWN;

/// How much text is searched to describe the mistakes of one file, in bytes. A description may look at everything
/// before its mistake.
const MAX_SEARCHED: usize = 16 * 1024 * 1024;

/// Reports the errors, which are in the order of their places, and returns the parts of the file that other checks must
/// ignore.
pub(super) fn report(
    errors: Vec<ParserError>,
    text: &str,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Vec<Span> {
    if errors.is_empty() {
        return Vec::new();
    }
    let span = |range: &Range<usize>| Span { file, start: range.start, end: range.end };
    let sections = sections(text);
    let lines = Lines::of(text);
    let mut lost = Lost::default();
    let mut reported = HashSet::new();
    let mut repeated_header: Option<usize> = None;
    let (mut described, mut searched) = (0, 0);
    let mut groups =
        errors.chunk_by(|a, b| lines.start(a.range.start) == lines.start(b.range.start)).peekable();
    while let Some(group) = groups.next() {
        searched += group.first().map_or(0, |error| error.range.start);
        if described > 0 && (described == MAX_FINDINGS || searched > MAX_SEARCHED) {
            let rest = group.first().map(|error| lines.start(error.range.start));
            lost.from = lost.from.or(rest);
            // The keys below a repeated header are not described either.
            let is_own = |group: &&[ParserError]| repeated_header.is_none() || starts_header(group, text);
            diagnostics.count_more(std::iter::once(group).chain(groups).filter(is_own).count());
            break;
        }
        let Some(finding) = finding(group, text, groups.peek().is_some()) else { continue };
        let place = line(text, finding.range.start);
        let at = sections.partition_point(|section| section.range.start <= place.start).saturating_sub(1);
        let from = sections.get(at).map_or(0, |section| section.range.start);
        if finding.open || from == 0 {
            lost.from = lost.from.or(Some(from));
        }
        lost.units.insert(sections.get(at).map_or("", |section| section.unit));
        // A repeated header makes every key below it a duplicate; only the header is reported.
        let duplicate = finding.code == Code::DuplicateName;
        let is_header = duplicate && text[place.clone()].trim_start().starts_with('[');
        let follows = duplicate && !is_header && repeated_header == Some(from);
        if is_header {
            repeated_header = Some(from);
        }
        let stop = finding.open;
        // A second error on the line of an unclosed bracket is part of the same mistake.
        if !follows && reported.insert(place) {
            described += 1;
            diagnostics.push(finding.diagnostic(span));
        }
        if stop {
            break;
        }
    }
    lost.ranges(&sections, text.len()).iter().map(span).collect()
}

/// Whether the line of the errors is a header.
fn starts_header(errors: &[ParserError], text: &str) -> bool {
    errors.first().is_some_and(|error| text[line(text, error.range.start)].trim_start().starts_with('['))
}

/// The parts of a file that mistakes make meaningless.
#[derive(Default)]
struct Lost<'t> {
    /// The entries with a mistake, by the units of their sections.
    units: HashSet<&'t str>,
    /// Where the part begins that is lost as a whole, if there is one.
    from: Option<usize>,
}

impl Lost<'_> {
    /// The ranges, each section at most once.
    fn ranges(&self, sections: &[Section<'_>], end: usize) -> Vec<Range<usize>> {
        let of_units = sections.iter().filter(|section| self.units.contains(section.unit));
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for range in of_units.map(|section| section.range.clone()) {
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range),
            }
        }
        ranges.extend(self.from.map(|from| from..end));
        ranges
    }
}

/// Where the lines of a text start.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// The start of the line that a place is in.
    fn start(&self, at: usize) -> usize {
        let line = self.0.partition_point(|start| *start <= at).saturating_sub(1);
        self.0.get(line).copied().unwrap_or(0)
    }
}

impl Finding {
    fn diagnostic(self, span: impl Fn(&Range<usize>) -> Span) -> Diagnostic {
        let diagnostic =
            Diagnostic::new(self.code, span(&self.range), self.message).label(self.label).help(self.help);
        match &self.related {
            Some((range, label)) => diagnostic.related(span(range), *label),
            None => diagnostic,
        }
    }
}

/// Describes a mistake by the first rule that matches, or else with the parser's message. Those messages are constants,
/// so they never quote the file, which may contain secrets.
fn finding(errors: &[ParserError], text: &str, more_follow: bool) -> Option<Finding> {
    if let Some(error) = errors.iter().find(|error| error.message.starts_with("duplicate key")) {
        return Some(describe_duplicate(error, text));
    }
    let mistake = Mistake::new(errors, text)?;
    let in_bracket = !mistake.open.brackets.is_empty();
    Some(match RULES.iter().find(|rule| (rule.when)(&mistake)) {
        Some(rule) => Finding {
            code: Code::TomlSyntax,
            range: (rule.place)(&mistake),
            message: rule.message.to_owned(),
            label: rule.label,
            help: rule.help.to_owned(),
            related: (rule.related)(&mistake),
            open: (rule.leaves_open)(in_bracket, more_follow),
        },
        None => Finding {
            code: Code::TomlSyntax,
            range: mistake.here.clone(),
            message: format!("invalid TOML: {}", errors.first()?.message),
            label: "",
            help: "write `key = value` or a `[header]` on each line, and put text in quotes".to_owned(),
            related: None,
            open: false,
        },
    })
}

/// Describes a duplicate key or header, with the place of the first one if it can be found.
fn describe_duplicate(error: &ParserError, text: &str) -> Finding {
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
    let message = if key.is_empty() { "duplicate key".to_owned() } else { format!("duplicate {what}") };
    Finding {
        code: Code::DuplicateName,
        range: error.range.clone(),
        message,
        label: "defined again here",
        help: if mixed {
            "use one spelling for a table: TOML does not mix `args.city = …` with `[routes.x.args]`, or `reply = …` \
             with `[[routes.x.reply]]`"
                .to_owned()
        } else {
            "rename or remove one of them".to_owned()
        },
        related: first.map(|first| (first, "first defined here")),
        open: false,
    }
}

/// The name between the brackets of a header.
fn header_name(line: &str) -> Option<&str> {
    let inner = line.strip_prefix("[[").or_else(|| line.strip_prefix('['))?;
    Some(inner[..inner.find(']')?].trim())
}

/// A header and the lines below it.
struct Section<'a> {
    range: Range<usize>,
    /// The entry it belongs to: `routes.x` for `[routes.x.args]`.
    unit: &'a str,
}

/// The sections of a file; the first has no header.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut starts = vec![(0, "")];
    let mut open = Open::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if open.brackets.is_empty() && open.string.is_none() && line.trim_start().starts_with('[') {
            let name = line.trim().trim_start_matches('[');
            let name = name[..name.find([']', '#']).unwrap_or(name.len())].trim();
            let unit = name.match_indices('.').nth(1).map_or(name, |(second, _)| &name[..second]);
            starts.push((start, unit));
        } else {
            open.read(text, start, start + line.len());
        }
        start += line.len();
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([text.len()]);
    starts.iter().zip(ends).map(|((start, unit), end)| Section { range: *start..end, unit }).collect()
}
