//! The tables in `examples/` are valid, their tests pass and reach everything, and the commands of their pages work.
//! Each example is copied out of the checkout first, because that is how it is used.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::readme::{blocks, words};
use crate::support::folder::Folder;
use crate::support::proxy::{jackfield, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The names of the examples, in order.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(root()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// The pages of the examples.
pub(crate) fn pages() -> Vec<String> {
    let pages = names().into_iter().map(|name| format!("examples/{name}/README.md"));
    pages.chain(["examples/README.md".to_owned()]).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of an example, in which every secret file exists.
fn copied(name: &str) -> Folder {
    let folder = Folder::with(&[]);
    copy(&root().join(name), folder.path());
    let table = fs::read_to_string(folder.path().join("routes.toml")).unwrap();
    for file in Regex::new(r"\$\{file:([^}]+)\}").unwrap().captures_iter(&table) {
        folder.write(&file[1], "token-of-this-test\n");
    }
    folder
}

#[tokio::test]
async fn examples_are_valid_without_warnings_and_their_tests_pass() {
    let coverage = Regex::new(r"coverage: (\d+) of (\d+) routes, (\d+) of (\d+) reply cases").unwrap();
    for name in names() {
        let folder = copied(&name);
        let mut check = jackfield(folder.path());
        check.args(["check", "--no-secrets", "--deny-warnings"]);
        let output = run(check).await;
        assert!(output.status.success(), "{name}:\n{}", String::from_utf8_lossy(&output.stdout));

        let mut test = jackfield(folder.path());
        test.arg("test");
        let output = run(test).await;
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}:\n{printed}");
        let reached = coverage.captures(&printed).unwrap_or_else(|| panic!("{name}:\n{printed}"));
        assert!(reached[1] == reached[2] && reached[3] == reached[4], "{name}:\n{printed}");
    }
}

/// Each example shows what the model is told when the API fails.
#[test]
fn examples_have_tests_for_failures() {
    for name in names() {
        let tests = fs::read_to_string(root().join(&name).join("routes.test.toml")).unwrap();
        let tests: toml::Table = tests.parse().unwrap();
        let tests = tests["tests"].as_array().unwrap();
        let fails = |test: &&toml::Value| test["expect"].get("failure").is_some();
        assert!(tests.len() >= 6, "{name}");
        assert!(tests.iter().filter(fails).count() >= 2, "{name}");
    }
}

/// The commands in the `sh` blocks of each README, with `call` and `check` kept from the network.
#[tokio::test]
async fn commands_in_the_pages_of_examples_work() {
    let mut ran = 0;
    for name in names() {
        let folder = copied(&name);
        let mut variables = Vec::new();
        for block in blocks(&format!("examples/{name}/README.md")) {
            if block.language != "sh" {
                continue;
            }
            for line in block.text.lines() {
                if let Some(variable) = line.strip_prefix("export ") {
                    let (key, value) = variable.split_once('=').unwrap();
                    variables.push((key.to_owned(), value.to_owned()));
                    continue;
                }
                let mut words = words(line);
                match words.remove(0).as_str() {
                    "jackfield" => {}
                    "./refresh-token" => {
                        assert!(folder.path().join("refresh-token").exists(), "{name}");
                        continue;
                    }
                    other => panic!("{}: `{other}` is not known to this test", block.place),
                }
                words.retain(|word| word != "--online" && word != "--explain");
                if words[0] == "call" && !words.iter().any(|word| word == "--dry-run") {
                    words.push("--dry-run".to_owned());
                }
                let mut command = jackfield(folder.path());
                command.args(&words).envs(variables.iter().cloned());
                let output = run(command).await;
                let printed = String::from_utf8_lossy(&output.stdout);
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{}: {line}\n{printed}{errors}", block.place);
                ran += 1;
            }
        }
    }
    assert!(ran >= 15, "{ran}");
}

/// The page of the examples lists each of them.
#[test]
fn every_example_is_listed() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    for name in names() {
        assert!(page.contains(&format!("]({name}/README.md)")), "{name}");
    }
}
