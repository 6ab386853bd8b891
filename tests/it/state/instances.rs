//! Several instances over one store, restarts, and a store that is away.

use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::metrics::Scrape;
use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[state]
url = "STATE"

[platforms.http]
deadline = "40s"
[platforms.voicedock]
deadline = "40s"
auth.none = {}

[upstreams.api]
base_url = "http://UPSTREAM"
retry = { attempts = 1 }

[routes.order]
upstream = "api"
request = { method = "POST", path = "/orders" }
reply.text = "Order {{response.body.id}}."

[routes.note]
upstream = "api"
delivery = "async"
request = { method = "POST", path = "/notes" }
reply.text = "Noted."

[routes.remember]
remember = { x = "seen" }
reply.text = "I will."

[routes.recall]
reply.text = "{{default memory.x \"nothing\"}}"

[routes.plain]
reply.text = "Plain."
"#;

/// Runs each of these tests over each kind of store.
macro_rules! with_each_store {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let folder = crate::support::folder::Folder::with(&[]);
                super::$name(&super::sqlite(&folder.path().join("state.db"))).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let server = crate::state::server::Server::shared().await;
                super::$name(&server.url(&server.database().await)).await;
            })*
        }
    };
}

with_each_store!(
    a_retry_that_reaches_another_instance_gets_the_reply_of_the_first,
    a_write_of_an_instance_that_died_is_not_sent_again,
    a_call_that_was_accepted_is_delivered_after_its_instance_died,
    an_instance_with_an_older_table_hands_the_call_of_a_new_route_back,
    memory_is_shared_between_instances,
);

fn sqlite(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

/// An instance in a folder of its own, over the store at the URL `state`.
pub(super) async fn instance(api: &Upstream, state: &str) -> Proxy {
    let table = TABLE.replace("UPSTREAM", &api.address.to_string()).replace("STATE", state);
    Proxy::start(&format!("{LISTENERS}{table}")).await
}

pub(super) fn order(id: &str) -> Value {
    function_call(id, "order")
}

/// A call by VoiceDock.
pub(super) fn function_call(id: &str, name: &str) -> Value {
    let function = json!({"name": name, "arguments": {}});
    let call = json!({"id": id, "type": "function", "function": function});
    json!({"message": {"type": "tool-calls", "call": {"id": "c"}, "toolCallList": [call], "toolCalls": [call]}})
}

pub(super) fn result(answer: &Value) -> &Value {
    &answer["results"][0]["result"]
}

pub(super) async fn call(proxy: &Proxy, function: &str) -> Value {
    let headers = [("x-conversation-id", "c")];
    proxy.send(Method::POST, &format!("/http/{function}"), &headers, "{}").await.json()
}

async fn a_retry_that_reaches_another_instance_gets_the_reply_of_the_first(state: &str) {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({"id": 1}))).await;
    let (one, other) = (instance(&api, state).await, instance(&api, state).await);
    let call = order("t-1");
    let open = async {
        api.arrived(1).await;
        gate.add_permits(2);
    };
    let retry = async {
        api.arrived(1).await;
        other.post("/voicedock", &call).await.json()
    };
    let (first, second, ()) = tokio::join!(one.post("/voicedock", &call), retry, open);
    assert_eq!(result(&first.json()), "Order 1.");
    assert_eq!(result(&second), "Order 1.");
    assert_eq!(api.take().len(), 1);
    // A later retry gets the kept reply, also after a restart.
    drop((one, other));
    let third = instance(&api, state).await;
    assert_eq!(result(&third.post("/voicedock", &call).await.json()), "Order 1.");
    assert_eq!(api.take().len(), 0);
}

async fn a_write_of_an_instance_that_died_is_not_sent_again(state: &str) {
    let (api, _gate) = Upstream::gated(|_| Reply::json(&json!({"id": 1}))).await;
    let (one, mut other) = (instance(&api, state).await, instance(&api, state).await);
    let call = order("t-1");
    let url = one.url("/voicedock");
    let body = call.to_string();
    let client = one.client.clone();
    let first = tokio::spawn(async move {
        client.try_send(crate::support::client::request(Method::POST, &url, &[], body)).await
    });
    api.arrived(1).await;
    one.signal("KILL");
    assert!(first.await.unwrap().is_err());
    let answer = other.post("/voicedock", &call).await.json();
    assert!(result(&answer).to_string().contains("has not confirmed whether it was done"), "{answer}");
    assert_eq!(api.take().len(), 1);
    other.logged("reason=interrupted").await;
}

async fn a_call_that_was_accepted_is_delivered_after_its_instance_died(state: &str) {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({}))).await;
    let one = instance(&api, state).await;
    assert_eq!(call(&one, "note").await, json!({"text": "Noted."}), "{}", one.log());
    api.arrived(1).await;
    one.signal("KILL");
    gate.add_permits(10);
    let mut other = instance(&api, state).await;
    let line = other.logged("note: delivered in").await;
    assert!(line.contains("(attempt 2)"), "{line}");
}

async fn an_instance_with_an_older_table_hands_the_call_of_a_new_route_back(state: &str) {
    let (api, gate) = Upstream::gated(|_| Reply::json(&json!({}))).await;
    let new = instance(&api, state).await;
    assert_eq!(call(&new, "note").await, json!({"text": "Noted."}));
    api.arrived(1).await;
    new.signal("KILL");
    let table = std::fs::read_to_string(new.folder.path().join("routes.toml")).unwrap();
    let mut old = Proxy::start(&table.replace("routes.note", "routes.earlier")).await;
    let line = old.logged("this instance cannot deliver the call now").await;
    assert!(line.contains("has no route `note`") && line.contains("attempt=2"), "{line}");
    gate.add_permits(10);
    let mut new = instance(&api, state).await;
    // The attempt of the old instance does not count.
    let line = new.logged("note: delivered in").await;
    assert!(line.contains("(attempt 2)"), "{line}");
    assert!(!old.log().contains("not delivered, given up"), "{}", old.log());
}

async fn memory_is_shared_between_instances(state: &str) {
    let api = Upstream::new(|_| Reply::json(&json!({}))).await;
    let (one, other) = (instance(&api, state).await, instance(&api, state).await);
    assert_eq!(call(&one, "remember").await["text"], "I will.");
    assert_eq!(call(&other, "recall").await["text"], "seen");
}

#[tokio::test]
async fn a_store_that_is_away_affects_only_what_needs_it_and_heals_by_itself() {
    let api = Upstream::new(|_| Reply::json(&json!({"id": 1}))).await;
    let shared = Folder::with(&[]);
    let folder = shared.path().join("later");
    let mut proxy = instance(&api, &sqlite(&folder.join("state.db"))).await;
    proxy.logged("Until it works again").await;
    assert_eq!(call(&proxy, "plain").await["text"], "Plain.");
    let refused = call(&proxy, "note").await;
    assert_eq!(refused["error"]["kind"], "unreachable");
    assert_eq!(call(&proxy, "remember").await["text"], "I will.");
    assert_eq!(call(&proxy, "recall").await["text"], "nothing");
    // Retries are recognised by this instance alone.
    for _ in 0..2 {
        assert_eq!(result(&proxy.post("/voicedock", &order("t-1")).await.json()), "Order 1.");
    }
    assert_eq!(api.take().len(), 1);
    assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 200);
    assert_eq!(proxy.ask_admin("/readyz?state", &[]).await.status, 503);
    assert!(proxy.status().await["state"]["error"].as_str().unwrap().contains("state.db"));
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.get("state_up"), 0.0);
    assert_eq!(scrape.get("local_deduplication_total"), 1.0);

    std::fs::create_dir(&folder).unwrap();
    until("the store does not heal", async || {
        proxy.ask_admin("/readyz?state", &[]).await.status == 200
            && call(&proxy, "note").await["text"] == "Noted."
    })
    .await;
    proxy.logged("the state store works again").await;
    proxy.logged("note: delivered in").await;
    assert_eq!(call(&proxy, "remember").await["text"], "I will.");
    assert_eq!(call(&proxy, "recall").await["text"], "seen");
    assert_eq!(Scrape::of(&proxy).await.get("state_up"), 1.0);
}

#[tokio::test]
async fn a_table_without_state_opens_no_store() {
    let folder = Folder::with(&[(
        "routes.toml",
        &format!("{LISTENERS}[platforms.http]\n[routes.plain]\nreply.text = \"Plain.\"\n"),
    )]);
    let command = jackfield(folder.path());
    let proxy = Proxy::run(folder, command).await;
    assert_eq!(call(&proxy, "plain").await["text"], "Plain.");
    assert_eq!(proxy.status().await["state"], Value::Null);
    assert_eq!(proxy.ask_admin("/readyz?state", &[]).await.status, 200);
    let files = std::fs::read_dir(proxy.folder.path()).unwrap();
    let stored = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(".db"));
    assert_eq!(stored.count(), 0);
}
