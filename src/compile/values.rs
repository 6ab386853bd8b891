//! Single values of the table: durations, sizes, addresses, headers.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::lang::pattern::BadPattern;
use crate::table::document::{Kind, Located};
use crate::table::reader::wrong_type;
use crate::upstream::OWN_HEADERS;

/// A duration such as `"3s"` or `"250ms"`, at most ten minutes.
pub(super) fn duration(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Duration> {
    duration_up_to(text, Duration::from_secs(600), "ten minutes", diagnostics)
}

/// A duration such as `"5m"` or `"1h"`, at most a day.
pub(super) fn long_duration(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Duration> {
    duration_up_to(text, Duration::from_secs(86400), "a day", diagnostics)
}

fn duration_up_to(
    text: &Located<String>,
    most: Duration,
    most_in_words: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Duration> {
    let parsed = humantime::parse_duration(&text.value);
    let (message, help) = match parsed {
        Ok(duration) if duration.is_zero() => (
            "a duration must be greater than zero".to_owned(),
            "set a duration such as \"250ms\", \"3s\" or \"1m\", or remove the key",
        ),
        Ok(duration) if duration > most => {
            (format!("duration longer than {most_in_words}"), "set a shorter duration, or remove the key")
        }
        Ok(duration) => return Some(duration),
        Err(_) => (
            format!("invalid duration `{}`", text.value),
            "write a number and a unit, such as \"250ms\", \"3s\" or \"1m\"",
        ),
    };
    diagnostics.push(Diagnostic::new(Code::InvalidDuration, text.span, message).help(help));
    None
}

/// A size such as `"1MiB"`, in bytes; at least one, at most one gibibyte.
pub(super) fn size(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<usize> {
    let parsed = text.value.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
    match parsed.and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) if (1..=1 << 30).contains(&bytes) => Some(bytes),
        other => {
            let message = match other {
                Some(_) => "a size must be between 1 byte and 1 GiB".to_owned(),
                None => format!("invalid size `{}`", text.value),
            };
            diagnostics.push(
                Diagnostic::new(Code::InvalidSize, text.span, message)
                    .help("write a number and a unit, such as \"64KiB\" or \"4MiB\""),
            );
            None
        }
    }
}

/// The value of a header.
pub(super) fn header_value(text: &str, span: Span, diagnostics: &mut Diagnostics) -> Option<HeaderValue> {
    let value = HeaderValue::from_bytes(text.as_bytes());
    if value.is_err() {
        diagnostics.push(
            Diagnostic::new(Code::InvalidHeader, span, "control character in a header value")
                .help("write the value as one line of text"),
        );
    }
    value.ok()
}

/// The name of a header that a table may set.
pub(super) fn header_name(name: &Located<String>, diagnostics: &mut Diagnostics) -> Option<HeaderName> {
    let Ok(header) = HeaderName::from_bytes(name.value.as_bytes()) else {
        diagnostics.push(
            Diagnostic::new(Code::InvalidHeader, name.span, format!("invalid header name `{}`", name.value))
                .help("use letters, digits and hyphens, as in `x-api-key`"),
        );
        return None;
    };
    if OWN_HEADERS.contains(&header.as_str()) {
        diagnostics.push(
            Diagnostic::new(
                Code::ForbiddenHeader,
                name.span,
                format!("`{header}` is set by the proxy itself"),
            )
            .help("remove it; Jackfield sends the correct value"),
        );
        return None;
    }
    Some(header)
}

/// Whether a name can be written in a template.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || "./[]{}\"'`@".contains(c))
}

/// The value of a word, if it is one of `words`.
pub(super) fn word<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning)
}

/// The value of `key`, if its text is one of these words.
pub(super) fn one_of<T: Copy>(
    words: &[(&str, T)],
    key: &str,
    text: &Located<String>,
    help: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let found = word(words, &text.value);
    if found.is_none() {
        let message = format!("invalid value `{}` for `{key}`", text.value);
        diagnostics.push(Diagnostic::new(Code::UnknownValue, text.span, message).help(help));
    }
    found
}

/// A whole number within bounds.
pub(super) fn count(
    number: &Located<u64>,
    bounds: RangeInclusive<u32>,
    diagnostics: &mut Diagnostics,
) -> Option<u32> {
    let found = u32::try_from(number.value).ok().filter(|number| bounds.contains(number));
    if found.is_none() {
        let (least, most) = bounds.into_inner();
        let message = format!("the value must be between {least} and {most}, but is {}", number.value);
        diagnostics.push(
            Diagnostic::new(Code::UnknownValue, number.span, message).help("set a number in this range"),
        );
    }
    found
}

/// A number, whole or not.
pub(super) fn number(number: &Located<Kind>, diagnostics: &mut Diagnostics) -> Option<f64> {
    match &number.value {
        Kind::Float(number) => number.as_f64(),
        #[expect(clippy::cast_precision_loss, reason = "no key needs this precision")]
        Kind::Integer(number) => Some(*number as f64),
        _ => wrong_type(number, "a number", diagnostics),
    }
}

/// Whether a URL has a host. The parser would read `http:///v1` as the host `v1`.
pub(super) fn has_host(url: &str) -> bool {
    url.split_once("://")
        .is_some_and(|(_, rest)| !rest.starts_with(['/', '\\', '?', '#']) && !rest.is_empty())
}

/// Reports a template in a text that must be constant.
pub(super) fn no_template(text: &str, span: Span, what: &str, diagnostics: &mut Diagnostics) -> bool {
    let found = text.contains("{{");
    if found {
        diagnostics.push(
            Diagnostic::new(Code::TemplatePlace, span, format!("{what} cannot contain a template"))
                .help("use expressions only in paths, queries, headers, bodies and replies"),
        );
    }
    !found
}

/// The first complete template expression in a text. A language in which `{{` alone means something, such as that of
/// patterns, is asked for both pairs of braces.
pub(super) fn expression_in(text: &str) -> Option<Range<usize>> {
    let start = text.find("{{")?;
    let end = text[start..].find("}}")?;
    Some(start..start + end + 2)
}

/// A pattern that cannot be used.
pub(super) fn invalid_pattern(bad: BadPattern, span: Span) -> Diagnostic {
    Diagnostic::new(Code::InvalidPattern, span, bad.message()).help(bad.help())
}

/// An error in a path: its place in the text, the message and the help.
pub(super) type PathError = (Range<usize>, &'static str, &'static str);

/// The errors of a path, outside of its template expressions.
pub(super) fn path_errors(text: &str) -> Vec<PathError> {
    if text.contains("://") && !text.starts_with('/') {
        let help = "write a path below the upstream's `base_url`, such as \"/forecast\"";
        return vec![(0..text.len(), "a path cannot be a full URL", help)];
    }
    let mut errors = Vec::new();
    let mut segment_start = 0;
    let mut in_tag = false;
    let mut index = 0;
    while index < text.len() {
        let rest = &text[index..];
        if in_tag {
            if rest.starts_with("}}") {
                in_tag = false;
                index += 2;
                continue;
            }
        } else if rest.starts_with("{{") {
            in_tag = true;
            index += 2;
            continue;
        } else if rest.starts_with('/') {
            errors.extend(dot_segment(text, segment_start..index));
            segment_start = index + 1;
        } else if rest.starts_with('?') {
            let help = "put parameters in `query = { name = \"{{args.name}}\" }`";
            errors.push((index..text.len(), "a path cannot contain `?`", help));
            return errors;
        } else if let Some((length, message, help)) = bad_character(rest) {
            errors.push((index..index + length, message, help));
        }
        index += rest.chars().next().map_or(1, char::len_utf8);
    }
    errors.extend(dot_segment(text, segment_start..text.len()));
    errors
}

fn dot_segment(text: &str, segment: Range<usize>) -> Option<PathError> {
    let decoded = percent_encoding::percent_decode_str(&text[segment.clone()]).collect::<Vec<u8>>();
    matches!(decoded.as_slice(), b"." | b"..").then_some((
        segment,
        "a path cannot contain `..`",
        "remove it: a path must stay below the upstream's `base_url`",
    ))
}

/// The length of the character at the start of `rest`, with a message and help, if a path cannot contain it.
fn bad_character(rest: &str) -> Option<(usize, &'static str, &'static str)> {
    let first = rest.chars().next()?;
    if first.is_control() || first == '\\' && !rest.starts_with("\\{{") {
        return Some((
            first.len_utf8(),
            "a path cannot contain a backslash or a control character",
            "separate segments with `/`; write `%5C` for a backslash",
        ));
    }
    (first == '#').then_some((
        1,
        "a path cannot contain `#`",
        "write `%23` for the character itself; a fragment is never sent",
    ))
}
