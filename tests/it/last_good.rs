//! `server.last_good`: a start on a table with errors serves the last accepted one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::until;

const FOLDER: &str = "conf/.jackfield/last-good";

fn table(text: &str) -> String {
    format!(
        "include = [\"../shared/*.toml\", \"**/*.toml\"]\n{LISTENERS}last_good = \".jackfield/last-good\"\n\
         admin_auth.bearer = {{ token = \"${{file:secrets/admin}}\" }}\n[platforms.http]\n\
         [routes.say]\nreply.text_file = \"say.hbs\"\n[vars]\nword = \"{text}\"\n"
    )
    .replace("\"**/*.toml\"", "\"routes.d/*.toml\"")
}

/// A table with included files inside and outside of its folder, a template, a JSON Schema and a secret.
fn folder() -> Folder {
    Folder::with(&[
        ("conf/routes.toml", &table("first")),
        ("conf/routes.d/more.toml", "[routes.more]\nargs_schema = \"more.json\"\nreply.text = \"More.\"\n"),
        ("conf/more.json", "{\"type\": \"object\", \"properties\": {}}"),
        ("conf/templates/say.hbs", "Say {{vars.word}}."),
        ("conf/secrets/admin", "s3cret-admin"),
        ("shared/other.toml", "[routes.other]\nreply.text = \"Other.\"\n"),
    ])
}

async fn start(folder: Folder) -> Proxy {
    let mut command = jackfield(folder.path());
    command.args(["--config", "conf/routes.toml"]);
    Proxy::run(folder, command).await
}

async fn restart(mut proxy: Proxy) -> Proxy {
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    let folder = std::mem::replace(&mut proxy.folder, Folder::with(&[]));
    start(folder).await
}

async fn status(proxy: &Proxy) -> Value {
    proxy.ask_admin("/status", &[("authorization", "Bearer s3cret-admin")]).await.json()
}

async fn say(proxy: &Proxy, function: &str) -> String {
    let answer = proxy.post(&format!("/http/{function}"), &json!({})).await;
    answer.json()["text"].as_str().unwrap().to_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files_below(&entry)) } else { found.push(entry) }
    }
    found
}

#[tokio::test]
async fn a_broken_table_starts_with_the_last_accepted_one() {
    let proxy = start(folder()).await;
    assert_eq!(status(&proxy).await["last_good"], Value::Null);
    let saved = proxy.folder.path().join(FOLDER);
    // Only the owner can read the copy, and secrets are not in it.
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o700);
    for file in files_below(&saved) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
        assert!(!fs::read_to_string(&file).unwrap().contains("s3cret-admin"), "{}", file.display());
    }
    // A reload replaces the copy.
    proxy.folder.write("conf/routes.toml", &table("second"));
    until("it does not reload", async || say(&proxy, "say").await == "Say second.").await;
    let manifest = saved.join("current.json");
    let revision = status(&proxy).await["plan"]["revision"].as_str().unwrap().to_owned();
    until("the copy is not replaced", async || fs::read_to_string(&manifest).unwrap().contains(&revision))
        .await;
    until("the old copy stays", async || fs::read_dir(&saved).unwrap().count() == 2).await;

    // Every file of the table breaks.
    for (file, text) in [
        ("conf/routes.toml", "this is [not TOML"),
        ("conf/routes.d/more.toml", "[routes.more"),
        ("shared/other.toml", "[routes.other]\nrepyl.text = \"\"\n"),
        ("conf/templates/say.hbs", "{{#if}}"),
        ("conf/more.json", "{"),
    ] {
        proxy.folder.write(file, text);
    }
    let mut proxy = restart(proxy).await;
    let line = proxy.logged("serving the last accepted table").await;
    assert!(line.contains(&revision) && line.contains("conf/routes.toml"), "{line}");
    for (function, text) in [("say", "Say second."), ("more", "More."), ("other", "Other.")] {
        assert_eq!(say(&proxy, function).await, text);
    }
    let now = status(&proxy).await;
    assert_eq!(now["plan"]["revision"], revision.as_str());
    assert!(now["last_good"]["saved_at"].is_string(), "{now}");
    assert_eq!(now["rejected"]["diagnostics"][0]["code"], "toml-syntax");
    let metrics = proxy.ask_admin("/metrics", &[("authorization", "Bearer s3cret-admin")]).await;
    for series in ["jackfield_plan_last_good 1", "jackfield_plan_rejected 1"] {
        assert!(metrics.text().lines().any(|line| line == series), "{series}");
    }

    // The fix is taken without a restart.
    for (file, text) in [
        ("conf/routes.d/more.toml", "[routes.more]\nreply.text = \"More again.\"\n"),
        ("shared/other.toml", "[routes.other]\nreply.text = \"Other.\"\n"),
        ("conf/templates/say.hbs", "Say {{vars.word}}!"),
        ("conf/routes.toml", &table("third")),
    ] {
        proxy.folder.write(file, text);
    }
    until("the fix is not taken", async || say(&proxy, "say").await == "Say third!").await;
    let fixed = status(&proxy).await;
    assert_eq!((&fixed["last_good"], &fixed["rejected"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_lost_table_starts_with_the_last_accepted_one() {
    let proxy = start(folder()).await;
    fs::remove_file(proxy.folder.path().join("conf/routes.toml")).unwrap();
    let proxy = restart(proxy).await;
    assert_eq!(say(&proxy, "say").await, "Say first.");
    assert_eq!(status(&proxy).await["rejected"]["diagnostics"][0]["code"], "unreadable-file");
    proxy.folder.write("conf/routes.toml", &table("again"));
    until("the table is not taken", async || say(&proxy, "say").await == "Say again.").await;
}

/// Nobody serves an old table by accident.
#[tokio::test]
async fn the_copy_serves_only_its_own_table_and_only_if_asked_to() {
    let mut proxy = start(folder()).await;
    proxy.signal("TERM");
    proxy.ended().await;
    let folder = std::mem::replace(&mut proxy.folder, Folder::with(&[]));
    let broken = table("x").replace("say.hbs", "no.hbs");
    for (name, text, code) in [
        // The key was removed.
        ("conf/routes.toml", broken.replace("last_good = \".jackfield/last-good\"\n", ""), 1),
        // Another table of the same folder.
        ("conf/other.toml", broken.clone(), 1),
    ] {
        folder.write(name, &text);
        let mut command = jackfield(folder.path());
        command.args(["--config", name]);
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(code), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut command = jackfield(folder.path());
    command.args(["--config", "conf/none.toml"]);
    assert_eq!(run(command).await.status.code(), Some(2));
    // The copy itself may be broken or lost.
    folder.write("conf/routes.toml", &broken);
    for file in files_below(&folder.path().join(FOLDER)) {
        fs::write(file, "{").unwrap();
    }
    let mut command = jackfield(folder.path());
    command.args(["--config", "conf/routes.toml"]);
    assert_eq!(run(command).await.status.code(), Some(1));
}

/// The copy is no part of the table, even if a pattern matches it, and a change of it reloads nothing.
#[tokio::test]
async fn patterns_do_not_match_the_copy() {
    let routes = "[routes.say]\nreply.text = \"One.\"\n";
    let main = format!("include = [\"**/*.toml\"]\n{LISTENERS}last_good = \"saved\"\n[platforms.http]\n");
    let main = main.replace("**/*.toml", "*/**/*.toml");
    let proxy = Proxy::with(&[("routes.toml", &main), ("parts/say.toml", routes)], &[]).await;
    assert!(proxy.folder.path().join("saved/current.json").exists());
    proxy.signal("HUP");
    proxy.folder.write("parts/say.toml", &routes.replace("One", "Two"));
    until("it does not reload", async || say(&proxy, "say").await == "Two.").await;
    assert!(!proxy.log().contains("rejected"), "{}", proxy.log());
}

/// A folder that cannot be written stops neither the start nor a reload.
#[tokio::test]
async fn a_copy_that_cannot_be_saved_is_a_warning() {
    let table = format!(
        "{LISTENERS}last_good = \"file/saved\"\n[platforms.http]\n[routes.say]\nreply.text = \"One.\"\n"
    );
    let mut proxy = Proxy::with(&[("routes.toml", &table), ("file", "")], &[]).await;
    proxy.logged("could not be saved to `server.last_good`").await;
    assert_eq!(say(&proxy, "say").await, "One.");
}
