//! Renders diagnostics as text with source snippets, and as JSON.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};
use regex::Regex;
use serde::Serialize;

use crate::printable::{printable, printable_in_place, printable_line};

use super::{Code, Diagnostic, Severity, Source, Sources, Span};

/// The start of a span as a line and column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Place {
    /// The place of the byte at `offset` in `text`.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// Renders all diagnostics as text, each with a snippet. `color` adds terminal colours.
pub fn to_text(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    if diagnostics.is_empty() {
        // Return early: hiding the secrets of every file would take longer than checking a small table.
        return String::new();
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let is_shown = |id: usize| {
        diagnostics.iter().any(|diagnostic| {
            diagnostic.span.file.0 == id
                || diagnostic.related.as_ref().is_some_and(|(span, _)| span.file.0 == id)
        })
    };
    let shown: Vec<ShownSource> =
        sources.iter().enumerate().map(|(id, source)| ShownSource::of(source, is_shown(id))).collect();
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&rendered(diagnostic, &shown, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn rendered(diagnostic: &Diagnostic, shown: &[ShownSource], renderer: &Renderer) -> String {
    let level = match diagnostic.code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let (message, label) = (printable(&diagnostic.message), printable(&diagnostic.label));
    let help = diagnostic.help.as_deref().map(printable);
    let related = diagnostic.related.as_ref().map(|(span, label)| (*span, printable(label)));
    let primary = Annotated { kind: AnnotationKind::Primary, span: diagnostic.span, label: &label };
    let mut main = vec![primary];
    let mut elsewhere = Vec::new();
    if let Some((span, label)) = &related {
        let context = Annotated { kind: AnnotationKind::Context, span: *span, label };
        let is_near =
            span.file == diagnostic.span.file && span.start.abs_diff(diagnostic.span.start) <= MAX_SNIPPET;
        if is_near { main.push(context) } else { elsewhere.push(context) }
    }
    let mut body = level.primary_title(&*message).id(diagnostic.code.slug()).elements(shown_at(shown, &main));
    if !elsewhere.is_empty() {
        body = body.elements(shown_at(shown, &elsewhere));
    }
    if let Some(help) = &help {
        body = body.element(Level::HELP.message(&**help));
    }
    renderer.render(&[body]).to_string()
}

/// How much of a file one snippet may span, in bytes. The renderer reads all of it for each diagnostic.
const MAX_SNIPPET: usize = 128 * 1024;

/// A line that is longer than this is not shown, only its place.
const MAX_LINE: usize = 4096;

/// A place in a snippet.
struct Annotated<'a> {
    kind: AnnotationKind,
    span: Span,
    label: &'a str,
}

/// The snippet with these places, which are in one file; or only the first place, if its lines are too long.
fn shown_at<'a>(shown: &'a [ShownSource], places: &[Annotated<'a>]) -> Option<Element<'a>> {
    let first = places.first()?;
    let source = shown.get(first.span.file.0)?;
    let ranges: Vec<Range<usize>> = places.iter().map(|place| source.range(place.span)).collect();
    let start = source.line_start(ranges.iter().map(|range| range.start).min()?);
    let end = source.line_end(ranges.iter().map(|range| range.end).max()?);
    let text = source.text.get(start..end)?;
    if text.len() > MAX_SNIPPET * 2 || text.lines().any(|line| line.len() > MAX_LINE) {
        let Place { line, column } = Place::of(&source.text, first.span.start);
        return Some(Origin::path(source.name.as_str()).line(line).char_column(column).into());
    }
    let annotation = |(place, range): (&Annotated<'a>, &Range<usize>)| {
        let annotation = place.kind.span(range.start - start..range.end - start);
        if place.label.is_empty() { annotation } else { annotation.label(place.label) }
    };
    let snippet = Snippet::source(text).path(source.name.as_str()).line_start(source.line_number(start));
    Some(snippet.annotations(places.iter().zip(&ranges).map(annotation)).into())
}

/// A file as diagnostics show it: without literal secrets.
struct ShownSource {
    name: String,
    text: String,
    /// Where its lines start.
    lines: Vec<usize>,
}

impl ShownSource {
    fn of(source: &Source, is_shown: bool) -> Self {
        let text =
            if is_shown { printable_in_place(&hide_secrets(source)).into_owned() } else { String::new() };
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: printable_line(&source.name).into_owned(), text, lines }
    }

    /// The range of a span, on the boundaries of characters.
    fn range(&self, span: Span) -> Range<usize> {
        let start = self.text.floor_char_boundary(span.start.min(self.text.len()));
        start..self.text.ceil_char_boundary(span.end.clamp(start, self.text.len()))
    }

    /// The number of the line that a byte is in, from 1.
    fn line_number(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at).max(1)
    }

    fn line_start(&self, at: usize) -> usize {
        self.lines.get(self.line_number(at) - 1).copied().unwrap_or(0)
    }

    fn line_end(&self, at: usize) -> usize {
        self.lines.get(self.line_number(at)).copied().unwrap_or(self.text.len())
    }
}

/// One diagnostic in `check --format json` and in `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonDiagnostic {
    severity: &'static str,
    code: &'static str,
    message: String,
    file: String,
    line: usize,
    column: usize,
    help: Option<String>,
}

impl JsonDiagnostic {
    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error.name()
    }

    /// Its code, its file and its line.
    pub fn place(&self) -> (&'static str, &str, usize) {
        (self.code, &self.file, self.line)
    }

    /// The error about an unreadable main file.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self {
            severity: Code::UnreadableFile.severity().name(),
            code: Code::UnreadableFile.slug(),
            message: format!("`{}` cannot be read: {error}", path.display()),
            file: path.display().to_string(),
            line: 1,
            column: 1,
            help: Some(unreadable_help(error).to_owned()),
        }
    }
}

/// The help for a main file that cannot be read.
pub fn unreadable_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "choose the table with `--config FILE`, or create a starter table with `jackfield init`"
        }
        _ => "choose another table with `--config FILE`, or make this file readable; it must be UTF-8 text",
    }
}

/// Converts all diagnostics to JSON. Lines and columns count from 1, columns in characters.
pub fn to_json(diagnostics: &[Diagnostic], sources: &Sources) -> Vec<JsonDiagnostic> {
    diagnostics
        .iter()
        .map(|diagnostic| {
            let source = sources.get(diagnostic.span.file);
            let place = Place::of(&source.text, diagnostic.span.start);
            JsonDiagnostic {
                severity: diagnostic.code.severity().name(),
                code: diagnostic.code.slug(),
                message: diagnostic.message.clone(),
                file: source.name.clone(),
                line: place.line,
                column: place.column,
                help: diagnostic.help.clone(),
            }
        })
        .collect()
}

/// The source with everything that looks like a literal secret overwritten byte by byte, so that places stay correct.
///
/// A snippet shows whole lines, and a line with an error may contain a literal password. This function works on the
/// text, because the file may not be valid TOML. When in doubt, it hides too much. References to secrets and template
/// expressions stay readable.
fn hide_secrets(source: &Source) -> String {
    static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let quoted = concat!(
            r#"(?:"""(?s:.)*?(?:"{3,5}|\z)|'''(?s:.)*?(?:'{3,5}|\z)|"#,
            // If a string contains a quote, the rest of the line after it belongs to the string as well.
            r#""(?:[^"\\\n]|\\.)*"?(?:[^\s,}\]\#"][^\n]*)?|'[^'\n]*'?(?:[^\s,}\]\#'][^\n]*)?)"#,
        );
        let value = format!(
            r#"(?:(?:[ \t]*[=:]\s*|[ \t]+)(?P<quoted>{quoted})|[ \t]*[=:]\s*(?P<list>\[[^\]]*\]?)|[ \t]*[=:][ \t]*(?P<bare>[^\s"'\[{{][^\n]*))"#
        );
        let names =
            r"[\w-]*(?:passw|secret|token|credential|authorization|api[-_]?key|apikey)[\w-]*|pass|[\w-]+-key";
        [
            format!(r#"(?i)(?:^|[^\w-])["']?(?:{names})["']?{value}"#),
            // Every value in `auth` except the user name, because a misspelled key may have a secret as well.
            format!(r#"(?i)\bauth["']?{value}"#),
            format!(r#"(?i)\bauth\b[\s.="'{{]*(?:basic|bearer|header|signature|query|hmac|oauth2|mtls)["']?{value}"#),
            r"://[^/\s:@]*:(?P<quoted>[^\s/@]*)@".to_owned(),
        ]
        .iter()
        .filter_map(|pattern| Regex::new(pattern).ok())
        .collect()
    });
    static LOGINS: LazyLock<Option<(Regex, Regex)>> = LazyLock::new(|| {
        let login = r"(?mi)\bauth\b[^\[\]\n{]*\{(?:[^{}]|\{\{[^}]*\}\}|\{(?:[^{}]|\{\{[^}]*\}\})*\}?)*\}?|\bauth\b[^\[\]\n]*\][^\[]*|\bauth\.[^\n]*";
        let entry =
            r#"(?P<key>[\w-]+)["']?\s*=\s*(?P<value>"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|[^\s"'\[{][^\s,}]*)"#;
        Some((Regex::new(login).ok()?, Regex::new(entry).ok()?))
    });
    let text = source.text.as_str();
    let mut bytes = text.to_owned().into_bytes();
    for found in SECRETS.iter().flat_map(|secret| secret.captures_iter(text)) {
        for value in ["quoted", "list", "bare"].into_iter().filter_map(|group| found.name(group)) {
            hide(value.range(), text, &mut bytes);
        }
    }
    if let Some((login, entry)) = &*LOGINS {
        for login in login.find_iter(text) {
            for found in entry.captures_iter(login.as_str()) {
                let is_name = matches!(&found["key"], "name" | "username" | "auth");
                if let Some(value) = found.name("value").filter(|_| !is_name) {
                    hide(login.start() + value.start()..login.start() + value.end(), text, &mut bytes);
                }
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Overwrites a range, except for quotes, brackets and references.
fn hide(range: Range<usize>, text: &str, bytes: &mut [u8]) {
    static SHOWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?:\b(?i:bearer|basic|digest|token|apikey) +)?\$\{(?:[A-Za-z_][A-Za-z0-9_]*|file:[^}\n]*)\}|\{\{[^}\n]*\}\}").ok()
    });
    let value = &text[range.clone()];
    let shown: Vec<Range<usize>> = SHOWN
        .iter()
        .flat_map(|shown| shown.find_iter(value))
        .map(|found| range.start + found.start()..range.start + found.end())
        .collect();
    let mut shown = shown.into_iter().peekable();
    for at in range {
        while shown.next_if(|shown| shown.end <= at).is_some() {}
        let shape =
            matches!(bytes[at], b'"' | b'\'' | b'[' | b']' | b'{' | b'}' | b',' | b' ' | b'\n' | b'\r');
        let opens = bytes[at] == b'$' && bytes.get(at + 1) == Some(&b'{');
        if !shape && !opens && !shown.peek().is_some_and(|shown| shown.contains(&at)) {
            bytes[at] = b'*';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Code, FileId};
    use std::path::Path;

    fn source(text: &str) -> Sources {
        let mut sources = Sources::default();
        sources.add(Path::new("routes.toml"), text.to_owned());
        sources
    }

    #[test]
    fn places_are_counted_from_one_in_characters() {
        assert_eq!(Place::of("a\nøb", 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of("a\nøb", 4), Place { line: 2, column: 2 });
        assert_eq!(Place::of("a", 99), Place { line: 1, column: 2 });
        assert_eq!(Place::of("ø", 1), Place { line: 1, column: 1 });
    }

    #[test]
    fn literal_secrets_are_overwritten_and_references_stay() {
        for (text, shown) in [
            (
                "auth.basic = { username = \"u\", password = \"hünter2\" }",
                "auth.basic = { username = \"u\", password = \"********\" }",
            ),
            ("token = \"${TOKEN}\"", "token = \"${TOKEN}\""),
            ("Authorization = \"Bearer ${CRM}\"", "Authorization = \"Bearer ${CRM}\""),
            ("Authorization = \"Bearer hunter2\"", "Authorization = \"****** *******\""),
            ("token = \"${file:/run/t}\"", "token = \"${file:/run/t}\""),
            ("token = \"${hunter-2}\"", "token = \"${********}\""),
            ("secret = \"half", "secret = \"****"),
            ("secret = 12345\nlisten = 1", "secret = *****\nlisten = 1"),
            ("secret = hunter two\nlisten = 1", "secret = ****** ***\nlisten = 1"),
            ("password: \"hunter2\"", "password: \"*******\""),
            ("password \"hunter2\"", "password \"*******\""),
            ("password = 'don't tell'\nb = 1", "password = '***'* ****'\nb = 1"),
            ("secret = [\n  \"one\",\n  \"two\",\n]\nb = 1", "secret = [\n  \"***\",\n  \"***\",\n]\nb = 1"),
            ("secret = \"\"\"\none\ntwo\"\"\"\nb = \"x\"", "secret = \"\"\"\n***\n***\"\"\"\nb = \"x\""),
            (
                "auth.header = { name = \"x-key\", value = \"hunter2\" }",
                "auth.header = { name = \"x-key\", value = \"*******\" }",
            ),
            (
                "[platforms.http.auth.header]\nname = \"x-key\"\nvalue = \"hunter2\"\n[a]\nb = \"x\"",
                "[platforms.http.auth.header]\nname = \"x-key\"\nvalue = \"*******\"\n[a]\nb = \"x\"",
            ),
            (
                "auth = { header = { name = \"x-key\", value = \"hunter2\" } }",
                "auth = { header = { name = \"x-key\", value = \"*******\" } }",
            ),
            ("auth.bearer = \"hunter2\"", "auth.bearer = \"*******\""),
            ("auth = \"hunter2\"", "auth = \"*******\""),
            ("auth.bearer = { tokn = \"hunter2\" }", "auth.bearer = { tokn = \"*******\" }"),
            (
                "headers = { x-api-key = \"hunter2\", accept = \"a\" }",
                "headers = { x-api-key = \"*******\", accept = \"a\" }",
            ),
            (
                "headers = { Authorization = \"Bearer hunter2\" }",
                "headers = { Authorization = \"****** *******\" }",
            ),
            ("base_url = \"http://me:hunter2@host/v1\"", "base_url = \"http://me:*******@host/v1\""),
            ("query = { token = \"a{{args.token}}\" }", "query = { token = \"*{{args.token}}\" }"),
            ("text = \"The author said {{args.x}}\"", "text = \"The author said {{args.x}}\""),
            (
                "auth.header = { name = \"x\", value = \"{{a}} hunter2\" }",
                "auth.header = { name = \"x\", value = \"{{a}} *******\" }",
            ),
            ("key = \"value\"", "key = \"value\""),
        ] {
            assert_eq!(hide_secrets(source(text).get(FileId(0))), shown, "{text}");
        }
    }

    #[test]
    fn a_diagnostic_is_rendered_with_its_snippet() {
        let sources = source("[server]\nlisten = \"nowhere\"\n");
        let diagnostic = Diagnostic::new(
            Code::InvalidAddress,
            Span { file: FileId(0), start: 18, end: 27 },
            "`nowhere` is not an address",
        )
        .help("write an IP address and a port");
        let text = to_text(&[diagnostic], &sources, false);
        assert!(text.contains("error[invalid-address]: `nowhere` is not an address"), "{text}");
        assert!(text.contains("routes.toml:2:10"), "{text}");
        assert!(text.contains("help: write an IP address and a port"), "{text}");
    }
}
