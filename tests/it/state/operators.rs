//! What operators see of deliveries and memory, and do about them: on the command line and on the admin listener.

use std::process::Output;

use http::Method;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const TABLE: &str = r#"
[state]
url = "sqlite:state.db"
encryption_key = "${STATE_KEY}"

[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"

[routes.note]
upstream = "api"
delivery = { mode = "async", on_dead = "error" }
args.text = { type = "string" }
args.pin = { type = "string", sensitive = true }
request = { method = "POST", path = "/notes", body = { text = "{{args.text}}", pin = "{{args.pin}}" } }
reply = { text = "Noted.", remember = { pin = "{{args.pin}}" } }

[routes.pin]
reply.text = "{{default memory.pin \"none\"}}"

[routes.read_token]
upstream = "api"
request = { path = "/token" }
extract.token = { path = "$.token", sensitive = true }
remember = { token = "{{token}}" }
reply.text = "Read."

[routes.token]
reply.text = "{{default memory.token \"none\"}}"
"#;

async fn proxy(api: &Upstream) -> Proxy {
    let table = TABLE.replace("UPSTREAM", &api.address.to_string());
    Proxy::with(&[("routes.toml", &format!("{LISTENERS}{table}"))], &[("STATE_KEY", KEY)]).await
}

async fn note(proxy: &Proxy, text: &str) {
    let body = json!({"text": text, "pin": "pin-4711"}).to_string();
    let answer = proxy.send(Method::POST, "/http/note", &[("x-conversation-id", "c-1")], body).await;
    assert_eq!(answer.json()["text"], "Noted.");
}

async fn command(proxy: &Proxy, arguments: &[&str]) -> Output {
    let mut command = jackfield(proxy.folder.path());
    command.args(arguments).env("STATE_KEY", KEY);
    run(command).await
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn dead_deliveries_are_listed_shown_retried_and_dropped_beside_a_running_process() {
    let api = Upstream::new(|seen| match seen.json()["text"].as_str() {
        Some("bad") => Reply::status(400, &json!({})),
        _ => Reply::json(&json!({})),
    })
    .await;
    let mut proxy = proxy(&api).await;
    note(&proxy, "bad").await;
    let line = proxy.logged("not delivered, given up").await;
    assert!(line.contains("ERROR"), "{line}");
    assert!(line.contains("status 400, which is final for an `async` route"), "{line}");
    note(&proxy, "good").await;
    proxy.logged("delivered in").await;

    let list = printed(&command(&proxy, &["deliveries", "list"]).await);
    assert_eq!(list.lines().count(), 2, "{list}");
    let dead = printed(&command(&proxy, &["deliveries", "list", "--status", "dead"]).await);
    assert!(dead.contains("note") && dead.contains("status 400") && dead.lines().count() == 1, "{dead}");
    let id = dead.split_whitespace().next().unwrap();
    let shown: Value =
        serde_json::from_str(&printed(&command(&proxy, &["deliveries", "show", id]).await)).unwrap();
    assert_eq!((&shown["status"], &shown["attempts"]), (&json!("dead"), &json!(1)));
    assert_eq!(shown["call"]["args"], json!({"text": "bad", "pin": "***"}));

    let lines = proxy.log_lines();
    let retried = command(&proxy, &["deliveries", "retry", "--status", "dead", "--route", "note"]).await;
    assert_eq!(printed(&retried).trim(), "1 delivery due at once");
    proxy.logged_from(lines, "not delivered, given up").await;
    // Neither command touches what was delivered, unless its status or id is given.
    let lines = proxy.log_lines();
    let retried = command(&proxy, &["deliveries", "retry", "--route", "note"]).await;
    assert_eq!(printed(&retried).trim(), "1 delivery due at once");
    proxy.logged_from(lines, "not delivered, given up").await;
    let undefined = command(&proxy, &["deliveries", "drop", "--route", "note"]).await;
    assert_eq!(undefined.status.code(), Some(2), "{undefined:?}");
    assert!(String::from_utf8_lossy(&undefined.stderr).contains("`--status dead`"), "{undefined:?}");
    let lines = proxy.log_lines();
    let again = command(&proxy, &["deliveries", "retry", "--status", "delivered"]).await;
    assert_eq!(printed(&again).trim(), "1 delivery due at once");
    proxy.logged_from(lines, "delivered in").await;

    let dropped = command(&proxy, &["deliveries", "drop", id]).await;
    assert_eq!(printed(&dropped).trim(), "1 delivery deleted");
    let again = command(&proxy, &["deliveries", "drop", id]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let all = command(&proxy, &["deliveries", "drop"]).await;
    assert_eq!(all.status.code(), Some(2), "nothing is dropped without a filter: {all:?}");
}

#[tokio::test]
async fn the_admin_listener_lists_shows_retries_and_deletes() {
    let api = Upstream::new(|_| Reply::status(400, &json!({}))).await;
    let mut proxy = proxy(&api).await;
    note(&proxy, "bad").await;
    proxy.logged("not delivered, given up").await;
    let list = proxy.ask_admin("/deliveries?status=dead&route=note&since=1h", &[]).await.json();
    let [delivery] = list["deliveries"].as_array().unwrap().as_slice() else { panic!("{list}") };
    let id = delivery["id"].as_str().unwrap();
    let shown = proxy.ask_admin(&format!("/deliveries/{id}"), &[]).await;
    assert_eq!(shown.json()["call"]["args"], json!({"text": "bad", "pin": "***"}));
    assert!(!shown.text().contains("pin-4711"), "{}", shown.text());
    for (path, status) in [
        ("/deliveries?status=died", 400),
        ("/deliveries?sort=up", 400),
        ("/deliveries/x", 400),
        ("/deliveries/00000000000000000000000000", 404),
    ] {
        assert_eq!(proxy.ask_admin(path, &[]).await.status, status, "{path}");
    }
    let send = async |method, path: String| {
        let url = format!("http://{}{path}", proxy.admin.unwrap());
        proxy.client.send(request(method, &url, &[], "")).await.status
    };
    assert_eq!(send(Method::DELETE, format!("/deliveries/{id}")).await, 200);
    assert_eq!(send(Method::POST, format!("/deliveries/{id}/retry")).await, 404);
    assert_eq!(proxy.status().await["state"]["error"], Value::Null);
}

#[tokio::test]
async fn sensitive_values_are_stored_encrypted_shown_masked_and_can_be_forgotten() {
    let api = Upstream::new(|_| Reply::status(503, &json!({}))).await;
    let mut proxy = proxy(&api).await;
    note(&proxy, "secret-note").await;
    proxy.logged("attempt 1 failed").await;
    let pin =
        async || proxy.send(Method::POST, "/http/pin", &[("x-conversation-id", "c-1")], "{}").await.json();
    assert_eq!(pin().await["text"], "pin-4711");
    for name in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(proxy.folder.path().join(name)).unwrap_or_default();
        for text in ["pin-4711", "secret-note"] {
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{text} is in {name}");
        }
    }
    for record in proxy.ask_admin("/records", &[]).await.json()["records"].as_array().unwrap() {
        let path = format!("/records/{}", record["id"].as_str().unwrap());
        let shown = proxy.ask_admin(&path, &[]).await;
        assert!(!shown.text().contains("pin-4711"), "{}", shown.text());
    }
    assert!(!proxy.log().contains("pin-4711"));
    let forgotten = command(&proxy, &["memory", "forget", "--conversation", "c-1"]).await;
    assert_eq!(printed(&forgotten).trim(), "1 value forgotten");
    assert_eq!(pin().await["text"], "none");
}

#[tokio::test]
async fn another_key_is_reported_at_the_start() {
    let api = Upstream::new(|_| Reply::status(503, &json!({}))).await;
    let mut first = proxy(&api).await;
    note(&first, "secret").await;
    first.logged("attempt 1 failed").await;
    let state = first.folder.path().join("state.db");
    let table = TABLE.replace("UPSTREAM", &api.address.to_string());
    let table = table.replace("sqlite:state.db", &format!("sqlite:{}", state.display()));
    let other = "HwABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4=";
    let mut second =
        Proxy::with(&[("routes.toml", &format!("{LISTENERS}{table}"))], &[("STATE_KEY", other)]).await;
    let line = second.logged("encrypted with another key").await;
    assert!(line.contains("ERROR") && line.contains("fault=\"other-key\""), "{line}");
    assert_eq!(second.ask_admin("/readyz?state", &[]).await.status, 503);
    assert_eq!(second.ask_admin("/readyz", &[]).await.status, 200);
    let status = second.status().await;
    assert!(status["state"]["error"].as_str().unwrap().contains("another key"), "{status}");
    assert_eq!(first.ask_admin("/readyz?state", &[]).await.status, 200);
}

#[tokio::test]
async fn commands_need_only_the_secrets_of_the_state() {
    let api = Upstream::new(|_| Reply::status(400, &json!({}))).await;
    let auth = "base_url = \"http://UPSTREAM\"\nauth.bearer = { token = \"${API_TOKEN_OF_TEST}\" }";
    let table = TABLE.replace("base_url = \"http://UPSTREAM\"", auth);
    let table = table.replace("UPSTREAM", &api.address.to_string());
    let variables = [("STATE_KEY", KEY), ("API_TOKEN_OF_TEST", "token-0815")];
    let mut proxy = Proxy::with(&[("routes.toml", &format!("{LISTENERS}{table}"))], &variables).await;
    note(&proxy, "bad").await;
    proxy.logged("not delivered, given up").await;
    let list = printed(&command(&proxy, &["deliveries", "list"]).await);
    assert_eq!(list.lines().count(), 1, "{list}");
    printed(&command(&proxy, &["memory", "forget", "--conversation", "c-1"]).await);
    let mut without = jackfield(proxy.folder.path());
    without.args(["deliveries", "list"]).env_remove("STATE_KEY");
    let output = run(without).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("STATE_KEY"), "{output:?}");
}

#[tokio::test]
async fn a_secret_in_a_reason_is_hidden_and_not_escaped_again() {
    let api = Upstream::new(|_| Reply::status(400, &json!({}))).await;
    let base = "base_url = \"http://UPSTREAM\"";
    let table = TABLE.replace(base, &format!("{base}\nheaders.x-pin = \"${{PIN_OF_TEST}}\""));
    let table = table.replace("UPSTREAM", &api.address.to_string());
    let variables = [("STATE_KEY", KEY), ("PIN_OF_TEST", "400")];
    let mut proxy = Proxy::with(&[("routes.toml", &format!("{LISTENERS}{table}"))], &variables).await;
    note(&proxy, "bad").await;
    let line = proxy.logged("not delivered, given up").await;
    let list = printed(&command(&proxy, &["deliveries", "list"]).await);
    let shown = proxy.ask_admin("/deliveries", &[]).await.json();
    for text in [&line, &list, shown["deliveries"][0]["reason"].as_str().unwrap()] {
        assert!(text.contains("answered with status ***, which is final"), "{text}");
    }
}

#[tokio::test]
async fn a_sensitive_extract_is_remembered_encrypted_and_masked_when_it_is_recalled() {
    let api = Upstream::new(|_| Reply::json(&json!({"token": "token-4711"}))).await;
    let proxy = proxy(&api).await;
    for (function, text) in [("read_token", "Read."), ("token", "token-4711")] {
        let path = format!("/http/{function}");
        let answer = proxy.send(Method::POST, &path, &[("x-conversation-id", "c-1")], "{}").await;
        assert_eq!(answer.json()["text"], text);
    }
    for name in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(proxy.folder.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(10).any(|part| part == b"token-4711"), "{name}");
    }
    let records = proxy.ask_admin("/records", &[]).await.json();
    let records = records["records"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    for record in records {
        let path = format!("/records/{}", record["id"].as_str().unwrap());
        let shown = proxy.ask_admin(&path, &[]).await;
        assert!(!shown.text().contains("4711"), "{}", shown.text());
    }
}
