//! The recipes in CONTRIBUTING.md: what each of them asks for and no other test checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jackfield::platform::PLATFORMS;
use regex::Regex;
use serde_json::Value;

use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn each_platform_has_a_setup_page_with_a_link() {
    let (readme, reference) = (read("README.md"), read("docs/reference.md"));
    // `http` is for clients that are set up nowhere.
    for platform in PLATFORMS.iter().filter(|platform| platform.name() != "http") {
        let page = format!("platforms/{}.md", platform.name());
        assert!(root().join("docs").join(&page).exists(), "write docs/{page}");
        assert!(readme.contains(&format!("(docs/{page})")), "link docs/{page} in README.md");
        assert!(reference.contains(&format!("({page})")), "link docs/{page} in docs/reference.md");
    }
}

#[test]
fn each_platform_is_fuzzed() {
    let target = read("tests/it/fuzz/decode.rs");
    let corpus = fs::read_dir(root().join("fuzz/corpus/decode")).unwrap();
    let inputs: Vec<Vec<u8>> = corpus.map(|input| fs::read(input.unwrap().path()).unwrap()).collect();
    for platform in PLATFORMS {
        let name = platform.name();
        let served = target.contains(&format!("[platforms.{name}]"));
        assert!(served, "add [platforms.{name}] to the table in tests/it/fuzz/decode.rs");
        let seeds = inputs.iter().filter(|input| input.starts_with(format!("{name} ").as_bytes())).count();
        assert!(seeds > 0, "add a request of `{name}` to fuzz/corpus/decode");
    }
}

/// The keys of the table's JSON Schema.
fn keys(schema: &Value, found: &mut BTreeSet<String>) {
    let Some(schema) = schema.as_object() else { return };
    for (part, value) in schema {
        match (part.as_str(), value) {
            ("properties" | "definitions", Value::Object(schemas)) => {
                for (name, schema) in schemas {
                    if part == "properties" {
                        found.insert(name.clone());
                    }
                    keys(schema, found);
                }
            }
            ("anyOf" | "allOf", Value::Array(schemas)) => {
                schemas.iter().for_each(|schema| keys(schema, found));
            }
            ("items" | "additionalProperties", schema) => keys(schema, found),
            _ => {}
        }
    }
}

#[test]
fn the_dictionaries_of_the_fuzz_targets_are_complete() {
    let words = |name: &str| read(name).lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let missing = |name: &str, wanted: BTreeSet<String>| {
        let missing: Vec<_> = wanted.difference(&words(name)).cloned().collect();
        assert!(missing.is_empty(), "add to {name}:\n{}", missing.join("\n"));
    };

    let mut found = BTreeSet::new();
    keys(&serde_json::from_str(&read("routes.schema.json")).unwrap(), &mut found);
    assert!(found.len() > 150, "{found:?}");
    missing("fuzz/table.dict", found.into_iter().map(|key| format!("\"{key}\"")).collect());

    let source = read("src/lang/template/helpers.rs");
    let helper = Regex::new(r#"(?:helper|condition)\("(\w+)""#).unwrap();
    let helpers: Vec<_> = helper.captures_iter(&source).map(|name| name[1].to_owned()).collect();
    assert!(helpers.len() > 20, "{helpers:?}");
    let forms = helpers.iter().flat_map(|name| [format!("\"{{{{{name} \""), format!("\"({name} \"")]);
    missing("fuzz/template.dict", forms.collect());
}

#[tokio::test]
async fn each_command_is_documented() {
    let folder = Folder::with(&[]);
    let mut command = jackfield(folder.path());
    command.arg("--help");
    let output = run(command).await;
    let help = String::from_utf8(output.stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 8, "{names:?}");
    let (readme, reference) = (read("README.md"), read("docs/reference.md"));
    for name in names.into_iter().filter(|name| *name != "help") {
        let row = Regex::new(&format!(r"(?m)^\| `{name}[` ]")).unwrap();
        assert!(row.is_match(&readme), "add `{name}` to the commands in README.md");
        let item = Regex::new(&format!(r"(?m)^- `jackfield {name}[` ]")).unwrap();
        assert!(item.is_match(&reference), "add `jackfield {name}` to the commands in docs/reference.md");
    }
}

/// All source files below a folder, as one text.
fn sources(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false if path.extension().is_some_and(|extension| extension == "rs") => {
            fs::read_to_string(path).unwrap()
        }
        false => String::new(),
    };
    paths.map(text).collect()
}

#[test]
fn the_types_named_for_contributors_exist() {
    let of_libraries = ["ArcSwap", "Debug", "Display", "Option"];
    let code = sources(&root().join("src"));
    let named = Regex::new(r"`([A-Z]\w+)(?:::(\w+))?`").unwrap();
    let is_defined = |keywords: &str, name: &str| {
        Regex::new(&format!(r"\b(?:{keywords}) {name}\b")).unwrap().is_match(&code)
    };
    let mut seen = 0;
    for document in ["CONTRIBUTING.md", "docs/architecture.md"] {
        for found in named.captures_iter(&read(document)).filter(|found| !of_libraries.contains(&&found[1])) {
            let is_type = is_defined("struct|enum|trait|type|static|const", &found[1]);
            let is_there = is_type && found.get(2).is_none_or(|function| is_defined("fn", function.as_str()));
            assert!(is_there, "{document}: {}", &found[0]);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn the_tests_named_in_the_recipes_exist() {
    let recipes = read("CONTRIBUTING.md");
    let prefix = Regex::new(r"`((?:\w+::)+)`").unwrap();
    let mut seen = 0;
    for found in prefix.captures_iter(&recipes) {
        let path = found[1].trim_end_matches("::").replace("::", "/");
        let homes = [format!("tests/it/{path}.rs"), format!("src/{path}.rs"), format!("src/{path}/mod.rs")];
        assert!(homes.iter().any(|home| root().join(home).exists()), "no tests under `{}`", &found[1]);
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}
