//! Tables that are far too large or full of errors: what is told, and that it is told once.

use serde_json::Value;

use crate::check::{check, found, printed};
use crate::support::folder::Folder;

const HEAD: &str = "[platforms.http]\n[routes.b]\nreply.text = \"x\"\n";

fn numbered(form: &str, count: usize) -> String {
    (0..count).map(|number| form.replace('%', &number.to_string())).collect()
}

fn told(text: &str) -> Vec<Value> {
    let folder = Folder::with(&[("routes.toml", text)]);
    found(&folder.path().join("routes.toml"), &[])
}

fn codes(found: &[Value]) -> Vec<&str> {
    found.iter().map(|one| one["code"].as_str().unwrap()).collect()
}

#[test]
fn two_hundred_errors_are_shown_and_the_rest_is_counted() {
    for (shape, code, more) in [
        (HEAD.to_owned() + &"[routes.b]\nreply.text = \"x\"\n".repeat(900), "duplicate-name", "and 700 more"),
        (HEAD.to_owned() + &numbered("k% = 1\n", 700), "unknown-key", "and 500 more"),
        (HEAD.to_owned() + &numbered("k% = 1\n", 30_000), "unknown-key", "and at least 29800 more"),
        (
            "[platforms.http]\n".to_owned() + &numbered("[routes.r%]\nreply.text=\"{{args.x}}\"\n", 5_000),
            "unknown-name",
            "and at least 800 more",
        ),
    ] {
        let told = told(&shape);
        let codes = codes(&told);
        assert_eq!(codes.len(), 201, "{code}: {:?}", &codes[..3]);
        assert_eq!(codes.iter().filter(|one| **one == code).count(), 200);
        let note = told.iter().find(|one| one["code"] == "more-diagnostics").unwrap();
        assert_eq!(note["message"], more, "{code}");
    }
}

#[test]
fn two_hundred_warnings_are_shown_and_the_rest_is_counted() {
    let unused = numbered("[routes.r%]\nargs.a.type = \"string\"\nreply.text = \"x\"\n", 300);
    let told = told(&("[platforms.http]\n".to_owned() + &unused));
    assert_eq!(codes(&told).iter().filter(|code| **code == "argument-unused").count(), 199);
    assert_eq!(told.len(), 201);
    let note = told.iter().find(|one| one["code"] == "more-diagnostics").unwrap();
    assert_eq!(note["message"], "and 101 more");
}

#[test]
fn a_table_that_is_too_large_is_one_error() {
    for (what, text) in [
        ("routes", "[platforms.http]\n".to_owned() + &numbered("[routes.r%]\nreply.text = \"x\"\n", 20_001)),
        ("upstreams", HEAD.to_owned() + &numbered("[upstreams.u%]\nbase_url = \"http://a\"\n", 20_001)),
        ("events", HEAD.to_owned() + &numbered("[events.millis.e%]\n", 20_001)),
        ("constants", HEAD.to_owned() + "[vars]\n" + &numbered("k% = 1\n", 50_001)),
        ("values", HEAD.to_owned() + "[vars]\na = [" + &"1,".repeat(50_001) + "]\n"),
        ("signs", "=".repeat(2_000_001)),
    ] {
        let told = told(&text);
        assert_eq!(codes(&told), ["table-too-large"], "{what}");
        assert!(told[0]["message"].as_str().unwrap().contains("limited to"), "{what}: {told:?}");
    }
}

#[test]
fn a_table_just_below_the_limits_is_taken() {
    let text = HEAD.to_owned()
        + "[defaults]\nallow = [\"route-untested\"]\n[vars]\n"
        + &numbered("k% = 1\n", 50_000)
        + &numbered("[routes.r%]\nreply.text = \"x\"\n", 19_999);
    assert_eq!(codes(&told(&text)), [] as [&str; 0]);
}

#[test]
fn a_long_line_is_not_shown_but_its_place_is() {
    let text = HEAD.to_owned()
        + "[vars]\nlist = ["
        + &"1,".repeat(5_000)
        + "]\n[routes.c]\nreply.text = \"x\"\nk = 1 # "
        + &"x".repeat(5_000)
        + "\n";
    let folder = Folder::with(&[("routes.toml", &text)]);
    let shown = printed(&check(&folder.path().join("routes.toml"), &[]));
    assert!(shown.contains("routes.toml:8:1"), "{shown}");
    assert!(shown.len() < 1000, "{}", shown.len());
}

#[test]
fn a_first_definition_far_above_is_shown_as_well() {
    let text = HEAD.to_owned()
        + &numbered("[routes.r%]\nreply.text = \"x\"\n", 8_000)
        + "[routes.b]\nreply.text = \"x\"\n";
    let folder = Folder::with(&[("routes.toml", &text)]);
    let shown = printed(&check(&folder.path().join("routes.toml"), &[]));
    assert!(shown.contains("routes.toml:16004:9"), "{shown}");
    assert!(shown.contains("routes.toml:2:1"), "{shown}");
    assert!(shown.contains("first defined here"), "{shown}");
}
