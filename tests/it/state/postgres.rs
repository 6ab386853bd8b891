//! The proxy over a PostgreSQL server that goes away, refuses the login, or has no TLS.

use http::Method;
use serde_json::Value;

use super::instances::{call, function_call, instance, order, result};
use super::server::Server;
use crate::metrics::Scrape;
use crate::support::client::request;
use crate::support::proxy::Proxy;
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

async fn is_ready(proxy: &Proxy) -> bool {
    proxy.ask_admin("/readyz?state", &[]).await.status == 200
}

/// What an instance does while it has no store, whatever the cause. It sends one order.
async fn check_without_store(api: &Upstream, proxy: &Proxy) {
    let refused = call(proxy, "note").await;
    assert_eq!(refused["error"]["kind"], "unreachable", "{refused}");
    assert_eq!(call(proxy, "plain").await["text"], "Plain.");
    assert_eq!(call(proxy, "remember").await["text"], "I will.");
    assert_eq!(call(proxy, "recall").await["text"], "nothing");
    for _ in 0..2 {
        assert_eq!(result(&proxy.post("/voicedock", &order("t-away")).await.json()), "Order 1.");
    }
    let sent: Vec<String> = api.take().iter().map(|seen| seen.path().to_owned()).collect();
    assert_eq!(sent, ["/orders"]);
    assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 200);
    assert!(!is_ready(proxy).await);
    assert_eq!(Scrape::of(proxy).await.get("state_up"), 0.0);
}

fn api() -> impl Future<Output = Upstream> {
    Upstream::new(|_| Reply::json(&serde_json::json!({"id": 1})))
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back() {
    let (api, server) = (api().await, Server::own("").await);
    let mut proxy = instance(&api, &server.url(&server.database().await)).await;
    assert_eq!(call(&proxy, "note").await["text"], "Noted.");
    proxy.logged("note: delivered in").await;
    assert_eq!(result(&proxy.post("/voicedock", &order("t-before")).await.json()), "Order 1.");
    assert_eq!(api.take().len(), 2);

    server.tell("kill").await;
    check_without_store(&api, &proxy).await;
    // What was done before is not done again, although nobody can be asked.
    assert_eq!(result(&proxy.post("/voicedock", &order("t-before")).await.json()), "Order 1.");
    assert_eq!(api.take().len(), 0);

    server.tell("start").await;
    until("the store does not heal", async || is_ready(&proxy).await).await;
    proxy.logged("the state store works again").await;
    let from = proxy.log_lines();
    assert_eq!(call(&proxy, "note").await["text"], "Noted.");
    proxy.logged_from(from, "note: delivered in").await;
    // The call that was refused is not delivered.
    assert_eq!(api.take().len(), 1);
    assert_eq!(call(&proxy, "remember").await["text"], "I will.");
    assert_eq!(call(&proxy, "recall").await["text"], "seen");
}

/// An instance that dies after it stored a call, before it noted that and answered.
#[tokio::test]
async fn a_retry_of_a_call_that_may_have_been_stored_does_not_store_it_again() {
    let (api, server) = (api().await, Server::shared().await);
    let database = server.database().await;
    let url = server.url(&database);
    let (one, other) = (instance(&api, &url).await, instance(&api, &url).await);
    assert_eq!(call(&one, "note").await["text"], "Noted.");
    let locking = server.client(&database).await.unwrap();
    locking.batch_execute("BEGIN; LOCK TABLE jackfield_jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let noted = function_call("t-1", "note");
    let (url, body, client) = (one.url("/voicedock"), noted.to_string(), one.client.clone());
    let first = tokio::spawn(async move { client.try_send(request(Method::POST, &url, &[], body)).await });
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() \
        AND query LIKE 'INSERT INTO jackfield_jobs%' AND wait_event_type = 'Lock'";
    let watching = server.client(&database).await.unwrap();
    until("the call is not being stored", async || !watching.query(waiting, &[]).await.unwrap().is_empty())
        .await;
    one.signal("KILL");
    assert!(first.await.unwrap().is_err());
    locking.batch_execute("COMMIT").await.unwrap();
    let retried = other.post("/voicedock", &noted).await.json();
    assert!(result(&retried).to_string().contains("has not confirmed whether it was done"), "{retried}");
    let stored = "SELECT FROM jackfield_jobs WHERE platform = 'voicedock'";
    assert_eq!(watching.query(stored, &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_that_is_refused_and_tls_that_is_missing_are_named() {
    let server = Server::shared().await;
    let database = server.database().await;
    server.run("postgres", "CREATE ROLE other_user LOGIN PASSWORD 'right'").await;
    let login = format!("postgres://other_user:wrong-horse@127.0.0.1:{}/{database}", server.port());
    let tls = format!("{}?sslmode=require", server.url(&database));
    for (url, problem, help) in [
        (login, "the server refused the user or the password", "correct the user and the password"),
        (tls, "TLS failed", "set `sslmode`"),
    ] {
        let api = api().await;
        let mut proxy = instance(&api, &url).await;
        let line = proxy.logged("Until it works again").await;
        assert!(line.contains(problem) && line.contains(help), "{line}");
        check_without_store(&api, &proxy).await;
        let status: Value = proxy.status().await;
        let error = status["state"]["error"].as_str().unwrap();
        assert!(error.contains(problem), "{error}");
        for text in [error, &proxy.log()] {
            assert!(!text.contains("wrong-horse") && !text.contains("correct-horse"), "{text}");
        }
    }
}
