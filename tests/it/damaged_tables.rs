//! Loading never panics on a damaged table: it returns a plan or reports errors.

use std::path::Path;

use jackfield::load::{Environment, Loaded, load, process_environment};

/// Loads a table beside copies of the shipped templates and returns whether it was valid.
fn is_valid(folder: &Path, text: &str) -> bool {
    let path = folder.join("routes.toml");
    std::fs::write(&path, text).unwrap();
    let environment = Environment {
        variable: &|_| Some("value".to_owned()),
        file: &|_| Ok("value\n".to_owned()),
        ..process_environment()
    };
    let Loaded { plan, diagnostics, sources, .. } = load(&path, &environment).unwrap();
    assert!(plan.is_some() || !diagnostics.is_empty(), "refused without a word:\n{text}");
    // Every diagnostic can be rendered, wherever its location is.
    jackfield::diagnostic::to_text(&diagnostics, &sources, false);
    jackfield::diagnostic::to_json(&diagnostics, &sources);
    plan.is_some()
}

fn folder(name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("robust").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    for entry in std::fs::read_dir(root.join("templates")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join("templates").join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn shipped() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("routes.toml")).unwrap()
}

#[test]
fn truncated_tables_load_or_report_an_error() {
    let (folder, text) = (folder("cut"), shipped());
    assert!(is_valid(&folder, &text));
    let mut refused = 0;
    for end in (0..text.len()).step_by(37) {
        refused += usize::from(!is_valid(&folder, &text[..text.floor_char_boundary(end)]));
    }
    assert!(refused > 100, "{refused}");
}

/// Every line that is neither empty nor a comment, with the text before and after it.
fn lines(text: &str) -> impl Iterator<Item = (String, &str, String)> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    (0..lines.len())
        .map(move |index| (lines[..index].concat(), lines[index], lines[index + 1..].concat()))
        .filter(|(_, line, _)| !line.trim().is_empty() && !line.starts_with('#'))
}

#[test]
fn tables_missing_a_line_load_or_report_an_error() {
    let (folder, text) = (folder("shorter"), shipped());
    let refused =
        lines(&text).filter(|(before, _, after)| !is_valid(&folder, &format!("{before}{after}"))).count();
    assert!(refused > 50, "{refused}");
}

#[test]
fn tables_with_a_duplicated_line_load_or_report_an_error() {
    let (folder, text) = (folder("longer"), shipped());
    let refused = lines(&text)
        .filter(|(before, line, after)| !is_valid(&folder, &format!("{before}{line}{line}{after}")))
        .count();
    assert!(refused > 100, "{refused}");
}
