//! `remember` and `memory.*`: a later call of the same conversation sees what an earlier one remembered.

use http::Method;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy};
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[state]
url = "sqlite:state.db"

[platforms.http]
auth.bearer = { token = "letmein" }
[upstreams.api]
base_url = "http://UPSTREAM"

[routes.find]
upstream = "api"
trusted  = true
args.name = { type = "string", required = true }
request  = { path = "/orders", query = { name = "{{args.name}}" } }
extract  = { id = "$.id", customer = "$.customer", ids = { path = "$.ids", default = [] } }
remember = { order = "{{id}}", who = { name = "{{customer}}", asked = "{{args.name}}" }, ids = "{{ids}}" }
reply    = [
  { when.status = 404, text = "No such order.", remember = { missed = "{{args.name}}" } },
  { text = "Order {{id}}." },
]

[routes.show]
reply.text = "{{default memory.order \"nothing\"}}, {{default memory.who.name \"nobody\"}}, {{default memory.missed \"-\"}}"

[routes.cancel]
upstream = "api"
args.id  = { type = "integer", required = true, allowed = "{{memory.ids}}" }
request  = { method = "DELETE", path = "/orders/{{args.id}}" }
reply.text = "Cancelled {{args.id}}."

[routes.again]
upstream = "api"
args.id  = { type = "integer", default = "{{memory.order}}", required = true }
request  = { path = "/orders/{{args.id}}" }
reply.text = "Again {{args.id}}."

[routes.forget]
remember = { order = "", who = "{{call.metadata.nobody}}" }
reply.text = "Forgotten."

[routes.steps]
upstream = "api"
steps = [
  { name = "one", request = { path = "/one" }, extract.x = "$.id", remember = { one = "{{one.x}}" } },
  { name = "two", request = { path = "/broken" }, remember = { two = "{{one.x}}" } },
]
remember = { all = "{{one.x}}" }
reply.text = "Done."

[routes.after_steps]
reply.text = "{{default memory.one \"-\"}} {{default memory.two \"-\"}} {{default memory.all \"-\"}}"
"#;

fn api(seen: &crate::support::upstream::Seen) -> Reply {
    match seen.path() {
        "/broken" => Reply::status(500, &json!({})),
        _ if seen.target.contains("name=nobody") => Reply::status(404, &json!({})),
        _ => Reply::json(&json!({"id": 7, "customer": "Ada", "ids": [7, 8]})),
    }
}

async fn call(proxy: &Proxy, conversation: &str, function: &str, args: Value) -> Answer {
    let mut headers = vec![("authorization", "Bearer letmein")];
    if !conversation.is_empty() {
        headers.push(("x-conversation-id", conversation));
    }
    proxy.send(Method::POST, &format!("/http/{function}"), &headers, args.to_string()).await
}

async fn text(proxy: &Proxy, conversation: &str, function: &str, args: Value) -> String {
    let answer = call(proxy, conversation, function, args).await.json();
    answer["text"].as_str().or(answer["error"]["text"].as_str()).unwrap().to_owned()
}

#[tokio::test]
async fn a_later_call_of_the_conversation_sees_what_an_earlier_one_remembered() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    assert_eq!(text(&proxy, "a", "show", json!({})).await, "nothing, nobody, -");
    assert_eq!(text(&proxy, "a", "find", json!({"name": "Ada"})).await, "Order 7.");
    assert_eq!(text(&proxy, "a", "show", json!({})).await, "7, Ada, -");
    // Another conversation has a memory of its own, and a call without one has none.
    assert_eq!(text(&proxy, "b", "show", json!({})).await, "nothing, nobody, -");
    assert_eq!(text(&proxy, "", "show", json!({})).await, "nothing, nobody, -");
    // A value that is empty or missing forgets its name.
    assert_eq!(text(&proxy, "a", "forget", json!({})).await, "Forgotten.");
    assert_eq!(text(&proxy, "a", "show", json!({})).await, "nothing, nobody, -");
}

#[tokio::test]
async fn a_reply_case_remembers_only_if_it_is_picked() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    assert_eq!(text(&proxy, "a", "find", json!({"name": "nobody"})).await, "No such order.");
    assert_eq!(text(&proxy, "a", "show", json!({})).await, "nothing, nobody, nobody");
}

#[tokio::test]
async fn a_step_remembers_although_a_later_one_fails() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    assert!(text(&proxy, "a", "steps", json!({})).await.contains("could not be used"));
    assert_eq!(text(&proxy, "a", "after_steps", json!({})).await, "7 - -");
}

#[tokio::test]
async fn a_remembered_list_of_a_trusted_route_decides_what_is_allowed() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    let refused = call(&proxy, "a", "cancel", json!({"id": 7})).await.json();
    assert_eq!(refused["error"]["kind"], "invalid_args");
    assert_eq!(api.take().len(), 0);
    text(&proxy, "a", "find", json!({"name": "Ada"})).await;
    assert_eq!(text(&proxy, "a", "cancel", json!({"id": 8})).await, "Cancelled 8.");
    assert_eq!(call(&proxy, "a", "cancel", json!({"id": 9})).await.json()["error"]["kind"], "invalid_args");
}

#[tokio::test]
async fn a_remembered_value_can_be_the_default_of_an_argument() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    let missing = call(&proxy, "a", "again", json!({})).await.json();
    assert_eq!(missing["error"]["kind"], "invalid_args");
    text(&proxy, "a", "find", json!({"name": "Ada"})).await;
    assert_eq!(text(&proxy, "a", "again", json!({})).await, "Again 7.");
    assert_eq!(text(&proxy, "a", "again", json!({"id": 3})).await, "Again 3.");
}

#[tokio::test]
async fn the_record_shows_what_was_recalled_and_remembered() {
    let api = Upstream::new(api).await;
    let proxy = Proxy::over(&api, TABLE).await;
    text(&proxy, "a", "find", json!({"name": "Ada"})).await;
    text(&proxy, "a", "show", json!({})).await;
    text(&proxy, "", "find", json!({"name": "Ada"})).await;
    let list = proxy.ask_admin("/records", &[]).await.json();
    let mut shown = Vec::new();
    for record in list["records"].as_array().unwrap() {
        let path = format!("/records/{}", record["id"].as_str().unwrap());
        shown.push(proxy.ask_admin(&path, &[]).await.json()["memory"].clone());
    }
    let remembered = json!({"order": 7, "who": {"name": "Ada", "asked": "Ada"}, "ids": [7, 8]});
    assert_eq!(shown[2], json!({"recalled": null, "remembered": remembered, "error": null}));
    let recalled = json!({"order": 7, "who": {"name": "Ada", "asked": "Ada"}});
    assert_eq!(shown[1], json!({"recalled": recalled, "remembered": {}, "error": null}));
    let error = "nothing was remembered: the platform names no conversation";
    assert_eq!(shown[0], json!({"recalled": null, "remembered": remembered, "error": error}));
}

const COLLECTS: &str = r#"
[state]
url = "sqlite:STATE"
encryption_key = "${STATE_KEY}"

[platforms.http]

[routes.add]
args.item = { type = "string", sensitive = true }
reply = { text = "Added.", remember = { items = "{{default memory.items \"\"}}{{args.item}};" } }

[routes.items]
reply.text = "{{default memory.items \"none\"}}"
"#;

#[tokio::test]
async fn what_cannot_be_read_is_not_replaced() {
    let folder = Folder::with(&[]);
    let table = COLLECTS.replace("STATE\"", &format!("{}\"", folder.path().join("state.db").display()));
    let table = format!("{LISTENERS}{table}");
    let with_key = async |key| Proxy::with(&[("routes.toml", &table)], &[("STATE_KEY", key)]).await;
    let proxy = with_key("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").await;
    call(&proxy, "c", "add", json!({"item": "a"})).await;
    let mut wrong_key = with_key("HxECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").await;
    call(&wrong_key, "c", "add", json!({"item": "b"})).await;
    wrong_key.logged("a stored value cannot be decrypted").await;
    assert_eq!(text(&proxy, "c", "items", json!({})).await, "a;");
}
