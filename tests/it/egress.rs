//! Upstreams with `network = "public"`: private addresses are refused even if the name looks public, and without
//! opening a connection.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

fn routes(upstreams: &[&str]) -> String {
    let route = |name: &&str| {
        "[routes.NAME]\nupstream = \"NAME\"\nrequest.path = \"/\"\nreply.text = \"Came.\"\n"
            .replace("NAME", name)
    };
    upstreams.iter().map(route).collect()
}

async fn call(proxy: &Proxy, route: &str) -> Value {
    proxy.post(&format!("/http/{route}"), &json!({})).await.json()
}

#[tokio::test]
async fn names_that_resolve_to_loopback_are_refused_without_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstreams = r#"
        [server]
        listen = "127.0.0.1:0"
        [platforms.http]
        [upstreams.name]
        base_url = "http://localhost:PORT"
        network = "public"
        [upstreams.secure]
        base_url = "https://LOCALHOST:PORT"
        network = "public"
        redirects = "same_origin"
        [upstreams.token]
        base_url = "https://api.example.com"
        network = "public"
        auth.oauth2 = { token_url = "http://127.1:PORT/token", client_id = "me", client_secret = "hunter2" }
        "#
    .replace("PORT", &port.to_string());
    let names = ["name", "secure", "token"];
    let mut proxy = Proxy::start(&format!("{upstreams}{}", routes(&names))).await;

    for name in names {
        assert_eq!(call(&proxy, name).await["error"]["kind"], "refused", "{name}");
        let line = proxy.logged(&format!("function={name}")).await;
        assert!(line.contains("is loopback, and `network"), "{line}");
    }
    // A connection attempt would be waiting in the accept queue.
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_reload_to_a_stricter_network_reuses_no_connection() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let table = |network: &str| {
        format!(
            r#"
            [server]
            listen = "127.0.0.1:0"
            [platforms.http]
            [upstreams.api]
            base_url = "http://localhost:{}"
            {network}
            {}"#,
            upstream.address.port(),
            routes(&["api"])
        )
    };
    let mut proxy = Proxy::start(&table("network = \"any\"")).await;
    assert_eq!(call(&proxy, "api").await, json!({"text": "Came."}));
    upstream.one();

    proxy.folder.write("routes.toml", &table("network = \"public\""));
    proxy.logged("changed=api").await;
    assert_eq!(call(&proxy, "api").await["error"]["kind"], "refused");
    assert_eq!(upstream.take().len(), 0);
}
