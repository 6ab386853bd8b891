//! Diagnostics drawn with source snippets for people, and as JSON for machines.

use std::io;
use std::path::Path;
use std::sync::LazyLock;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use regex::Regex;
use serde::Serialize;

use super::{Code, Diagnostic, Severity, Source, Sources, Span};

/// Where a span begins, as people count: from 1, columns in characters.
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

/// All diagnostics as a person reads them, with a snippet each and a closing count; `color` adds terminal colours.
pub fn to_text(diagnostics: &[Diagnostic], sources: &Sources, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let shown: Vec<String> = sources.iter().map(hide_secrets).collect();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let level = match diagnostic.code.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let snippet = |span: Span| {
            Snippet::source(shown[span.file.0].as_str()).path(sources.get(span.file).name.as_str())
        };
        let range = |span: Span| {
            let text = &shown[span.file.0];
            let start = text.floor_char_boundary(span.start.min(text.len()));
            start..text.ceil_char_boundary(span.end.clamp(start, text.len()))
        };
        let mut primary = AnnotationKind::Primary.span(range(diagnostic.span));
        if !diagnostic.label.is_empty() {
            primary = primary.label(diagnostic.label.as_str());
        }
        let group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.slug());
        let mut main = snippet(diagnostic.span).annotation(primary);
        let mut elsewhere = None;
        if let Some((span, label)) = &diagnostic.related {
            let context = AnnotationKind::Context.span(range(*span)).label(label.as_str());
            if span.file == diagnostic.span.file {
                main = main.annotation(context);
            } else {
                elsewhere = Some(snippet(*span).annotation(context));
            }
        }
        let mut body = group.element(main);
        if let Some(snippet) = elsewhere {
            body = body.element(snippet);
        }
        if let Some(help) = &diagnostic.help {
            body = body.element(Level::HELP.message(help.as_str()));
        }
        out.push_str(&renderer.render(&[body]));
        out.push_str("\n\n");
    }
    out
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
    /// The main file itself cannot be read.
    pub fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self {
            severity: Code::UnreadableFile.severity().name(),
            code: Code::UnreadableFile.slug(),
            message: format!("`{}` cannot be read: {error}", path.display()),
            file: path.display().to_string(),
            line: 1,
            column: 1,
            help: Some("name the table with `--config`, or create it".to_owned()),
        }
    }
}

/// All diagnostics for machines: places from 1, columns in characters.
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

/// The source with what looks like a literal secret overwritten byte by byte, so that places stay true.
///
/// A snippet shows whole lines, and a line with a fault may hold a password that somebody wrote out. This reads
/// the text and not the TOML, because it must also work on a file that is not valid TOML.
fn hide_secrets(source: &Source) -> String {
    static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
        let value = r#"(?P<value>\[[^\]\n]*\]|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?)"#;
        let names =
            r"pass\w*|secret\w*|token|client_secret|api[-_]?key|x-api-key|authorization|credential\w*";
        [
            format!(r#"(?mi)["']?\b(?:{names})["']?\s*=\s*{value}"#),
            format!(r#"(?mi)\bauth\.?header\b[^\n]*\bvalue\s*=\s*{value}"#),
        ]
        .iter()
        .filter_map(|pattern| Regex::new(pattern).ok())
        .collect()
    });
    let mut bytes = source.text.clone().into_bytes();
    for found in SECRETS.iter().flat_map(|secret| secret.captures_iter(&source.text)) {
        let Some(value) = found.name("value").filter(|value| !is_reference(value.as_str())) else { continue };
        for byte in &mut bytes[value.range()] {
            if !matches!(byte, b'"' | b'\'' | b'[' | b']' | b',' | b' ') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether a quoted value holds nothing but references to secrets, which are safe to show.
fn is_reference(quoted: &str) -> bool {
    let inner = quoted.trim_matches(['"', '\'']);
    inner.is_empty() || (inner.starts_with("${") && inner.ends_with('}') && !inner[2..].contains("${"))
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
    fn places_count_from_one_in_characters() {
        assert_eq!(Place::of("a\nøb", 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of("a\nøb", 4), Place { line: 2, column: 2 });
        assert_eq!(Place::of("a", 99), Place { line: 1, column: 2 });
        assert_eq!(Place::of("ø", 1), Place { line: 1, column: 1 });
    }

    #[test]
    fn literal_secrets_are_overwritten_and_references_stay() {
        let sources = source(
            "auth.basic = { username = \"u\", password = \"hünter2\" }\ntoken = \"${TOKEN}\"\nsecret = \"half",
        );
        assert_eq!(
            hide_secrets(sources.get(FileId(0))),
            "auth.basic = { username = \"u\", password = \"********\" }\ntoken = \"${TOKEN}\"\nsecret = \"****"
        );
    }

    #[test]
    fn a_diagnostic_is_drawn_with_its_snippet() {
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
