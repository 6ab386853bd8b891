//! The tables in `docs/platforms` are valid.

use std::fs;
use std::path::Path;

use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};

/// The TOML blocks in a Markdown text, including those in lists.
fn tables(text: &str) -> Vec<String> {
    let mut tables = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start() == "```toml" {
            let table = lines.by_ref().take_while(|line| line.trim_start() != "```");
            tables.push(table.map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n").collect());
        }
    }
    tables
}

#[tokio::test]
async fn tables_in_platform_pages_are_valid() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/platforms");
    let mut seen = 0;
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        for table in tables(&fs::read_to_string(&page).unwrap()) {
            seen += 1;
            // These tables have no tests.
            let table = format!("{table}\n[defaults]\nallow = [\"route-untested\"]\n");
            let folder = Folder::with(&[("routes.toml", &table)]);
            let mut command = jackfield(folder.path());
            command.args(["check", "--no-secrets"]);
            let output = run(command).await;
            let printed = String::from_utf8_lossy(&output.stdout);
            let quiet = !printed.contains("warning");
            assert!(output.status.success() && quiet, "{}:\n{printed}", page.display());
        }
    }
    assert!(seen >= 3, "{seen} tables");
}
