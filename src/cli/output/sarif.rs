//! Diagnostics as SARIF 2.1.0, a standard format that code hosts and editors import.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use url::Url;

use crate::diagnostic::{Code, Diagnostic, Place, Sources, Span, unreadable_help};

/// Formats all diagnostics of a table.
pub(in crate::cli) fn report(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let results = diagnostics.iter().map(|diagnostic| {
        let place = |span: Span| location(&sources.get(span.file).name, &sources.get(span.file).text, span);
        let mut result = result(diagnostic.code, &diagnostic.message, diagnostic.help.as_deref());
        result["locations"] = json!([place(diagnostic.span)]);
        if let Some((span, label)) = &diagnostic.related {
            let mut related = place(*span);
            related["message"] = json!({"text": label});
            result["relatedLocations"] = json!([related]);
        }
        result
    });
    run(results.collect())
}

/// Formats the error that the main file cannot be read.
pub(in crate::cli) fn unreadable(path: &Path, error: &io::Error) -> Value {
    let name = path.display().to_string();
    let help = unreadable_help(error);
    let mut result = result(Code::UnreadableFile, &format!("`{name}` cannot be read: {error}"), Some(help));
    result["locations"] = json!([{"physicalLocation": {"artifactLocation": {"uri": uri(&name)}}}]);
    run(vec![result])
}

fn run(results: Vec<Value>) -> Value {
    let rules: Vec<Value> = Code::ALL.iter().copied().map(rule).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "jackfield", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.slug(),
        "shortDescription": {"text": code.meaning()},
        "help": {"text": format!("jackfield explain {}", code.slug()), "markdown": code.page()},
        "defaultConfiguration": {"level": code.severity().name()},
    })
}

fn result(code: Code, message: &str, help: Option<&str>) -> Value {
    let text = match help {
        Some(help) => format!("{message}; {help}"),
        None => message.to_owned(),
    };
    json!({
        "ruleId": code.slug(),
        "ruleIndex": Code::ALL.iter().position(|known| *known == code),
        "level": code.severity().name(),
        "message": {"text": text},
    })
}

/// The location of a span. Lines and columns count from 1, columns in characters; the end is exclusive.
fn location(name: &str, text: &str, span: Span) -> Value {
    let (start, end) = (Place::of(text, span.start), Place::of(text, span.end.max(span.start)));
    json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(name)},
        "region": {
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        },
    }})
}

/// The name of a file as a URI. A relative name stays relative, so that it resolves from the folder of the run.
fn uri(name: &str) -> String {
    // File names may contain characters that are special in URIs. Let `Url` escape them.
    let absolute = Url::from_file_path(Path::new("/").join(name)).map(String::from).unwrap_or_default();
    if Path::new(name).is_absolute() {
        return absolute;
    }
    absolute.strip_prefix("file:///").unwrap_or(&absolute).to_owned()
}
