//! What comes from outside of the table: variables in `[server]`, defaults of variables, and options of the command line.

use serde_json::{Value, json};

use crate::check::{found, printed};
use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

const ROUTE: &str = "[routes.f]\nreply.text = \"Hello.\"\n";

#[tokio::test]
async fn addresses_come_from_the_environment_and_are_no_secrets() {
    let table = format!(
        "[server]\nlisten = \"127.0.0.1:${{PORT}}\"\nadmin = \"${{HOST:-127.0.0.1}}:${{ADMIN_PORT:-0}}\"\n\
         public_url = \"https://${{NAME:-tools}}.example.com\"\n[platforms.http]\nauth.none = {{}}\n\
         [platforms.voicedock]\nauth.none = {{}}\n{ROUTE}"
    );
    let variables = [("PORT", "0"), ("NAME", "")];
    let proxy = Proxy::with(&[("routes.toml", &table)], &variables).await;
    assert_eq!(proxy.post("/http/f", &json!({})).await.json()["text"], "Hello.");
    assert!(proxy.admin.is_some_and(|admin| admin.ip().is_loopback()));
    // The value `0` would be masked all over, were it a secret.
    let status = proxy.ask_admin("/status", &[]).await.json();
    assert_eq!(status["restart_needed"], json!([]), "{status:#}");

    let mut command = jackfield(proxy.folder.path());
    command.args(["declare", "voicedock"]).envs([("PORT", "0"), ("NAME", "voice")]);
    let declared = run(command).await;
    assert!(printed(&declared).contains("https://voice.example.com"), "{declared:?}");
}

#[tokio::test]
async fn options_replace_the_addresses_of_the_table() {
    let files =
        [("routes.toml", format!("[server]\nlisten = \"127.0.0.1:${{PORT}}\"\n[platforms.http]\n{ROUTE}"))];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    for options in [
        &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"] as &[&str],
        &["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        &["--admin", "127.0.0.1:0", "serve", "--listen", "127.0.0.1:0"],
    ] {
        let folder = Folder::with(&files);
        let mut command = jackfield(folder.path());
        command.args(options);
        let mut proxy = Proxy::run(folder, command).await;
        assert_eq!(proxy.post("/http/f", &json!({})).await.json()["text"], "Hello.");
        let before = proxy.ask_admin("/status", &[]).await.json();
        proxy.signal("HUP");
        proxy.logged("SIGHUP received").await;
        let status = proxy.ask_admin("/status", &[]).await.json();
        assert_eq!(status["restart_needed"], json!([]), "{options:?}: {status:#}");
        assert_eq!(status["plan"]["revision"], before["plan"]["revision"]);
    }
    let folder = Folder::with(&files);
    for (options, code, text) in [
        (&["--listen", "localhost"] as &[&str], 2, "invalid socket address"),
        (&["--listen", "127.0.0.1:0", "check"], 2, "`--listen` and `--admin` are for `serve` only"),
        (&["--listen", "0.0.0.0:0"], 1, "auth-missing"),
        (&["--admin", "0.0.0.0:0", "--listen", "127.0.0.1:0"], 1, "auth-missing"),
    ] {
        let mut command = jackfield(folder.path());
        command.args(options);
        let ended = run(command).await;
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{options:?}: {told}");
        assert!(told.contains(text), "{options:?}: {told}");
    }
}

#[tokio::test]
async fn a_variable_that_is_not_set_or_empty_has_its_default_wherever_a_secret_may_stand() {
    let api = Upstream::new(|_| Reply::json(&json!({}))).await;
    let table = r#"
[server]
listen = "127.0.0.1:0"
[platforms.http]
auth.header = { name = "x-key", value = "${KEY:-open-sesame}" }
[upstreams.api]
base_url = "${API:-http://UPSTREAM/v1}"
auth.bearer = { token = "${TOKEN:-a-default}" }
headers = { x-one = "${ONE:-}", x-two = "${TWO:-fallback}", x-three = "$${THREE:-literal}" }
[routes.f]
upstream = "api"
request = { path = "/x" }
reply.text = "Done."
"#
    .replace("UPSTREAM", &api.address.to_string());
    let variables = [("TOKEN", "from-outside"), ("TWO", "")];
    let proxy = Proxy::with(&[("routes.toml", &table)], &variables).await;
    let key = [("x-key", "open-sesame")];
    let answer = proxy.send(http::Method::POST, "/http/f", &key, "{}").await;
    assert_eq!(answer.json()["text"], "Done.");
    let seen = api.one();
    assert_eq!(seen.target, "/v1/x");
    for (name, value) in [
        ("authorization", "Bearer from-outside"),
        ("x-one", ""),
        ("x-two", "fallback"),
        ("x-three", "${THREE:-literal}"),
    ] {
        assert_eq!(seen.header(name), [value], "{name}");
    }
    assert_eq!(proxy.send(http::Method::POST, "/http/f", &[], "{}").await.status, 401);
}

#[test]
fn a_table_is_checked_without_the_addresses_of_the_machine_that_serves_it() {
    let folder = Folder::with(&[(
        "routes.toml",
        &format!(
            "[server]\nlisten = \"0.0.0.0:${{PORT}}\"\npublic_url = \"${{URL}}\"\n[platforms.http]\nauth.none = {{}}\n{ROUTE}"
        ),
    )]);
    let table = folder.path().join("routes.toml");
    let errors = |arguments: &[&str]| -> Vec<Value> {
        let mut found = found(&table, arguments);
        found.retain(|found| found["severity"] == "error");
        found
    };
    assert_eq!(errors(&[]).len(), 2);
    assert_eq!(errors(&["--no-secrets"]), Vec::<Value>::new());
}
