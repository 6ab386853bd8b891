//! The process from outside: how it starts, how it ends, and what its admin listener reports.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::client::request;
use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

const TABLE: &str = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.ask]
upstream = "api"
request = { path = "/" }
reply = { text = "{{response.body.word}}" }
[routes.say]
reply = { text = "Hello." }
"#;

#[tokio::test]
async fn calls_in_flight_are_answered_before_the_process_exits() {
    for signal in ["TERM", "INT"] {
        let release = Arc::new(Notify::new());
        let held = Arc::clone(&release);
        let upstream = Upstream::with(move |_| {
            let held = Arc::clone(&held);
            async move {
                held.notified().await;
                Reply::json(&json!({"word": "late but whole"}))
            }
        })
        .await;
        let mut proxy = Proxy::over(&upstream, TABLE).await;
        // Neither an idle connection nor one with an unfinished request head delays the exit.
        assert_eq!(proxy.post("/http/say", &json!({})).await.status, 200);
        let _half = TcpStream::connect(proxy.listen).unwrap();
        let call = request(Method::POST, &proxy.url("/http/ask"), &[], Bytes::new());
        let client = proxy.client.clone();
        let call = tokio::spawn(async move { client.send(call).await });
        until("no call arrives", async || !upstream.take().is_empty()).await;

        proxy.signal(signal);
        proxy.logged("shutting down").await;
        let listen = proxy.listen;
        until("it still accepts", async || TcpStream::connect(listen).is_err()).await;
        assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 503);
        assert!(!call.is_finished());

        release.notify_one();
        let answer = call.await.unwrap();
        assert_eq!(answer.json(), json!({"text": "late but whole"}), "{signal}");
        assert_eq!(proxy.ended().await.code(), Some(0), "{signal}: {}", proxy.log());
        proxy.log().lines().rev().find(|line| line.contains("shut down")).unwrap();
    }
}

/// The client has disconnected, but the call still runs to its end.
#[tokio::test]
async fn calls_whose_client_disconnected_finish_before_the_process_exits() {
    let release = Arc::new(Notify::new());
    let held = Arc::clone(&release);
    let upstream = Upstream::with(move |_| {
        let held = Arc::clone(&held);
        async move {
            held.notified().await;
            Reply::json(&json!({"word": "done"}))
        }
    })
    .await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    let call = request(Method::POST, &proxy.url("/http/ask"), &[], Bytes::new());
    let client = proxy.client.clone();
    let call = tokio::spawn(async move { client.try_send(call).await });
    until("no call arrives", async || !upstream.take().is_empty()).await;
    call.abort();
    assert!(call.await.is_err());
    proxy.signal("TERM");
    proxy.logged("shutting down").await;
    release.notify_one();
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(proxy.log().contains("ask: answered in"), "{}", proxy.log());
}

/// An upstream that never responds delays the exit no longer than the deadline.
#[tokio::test]
async fn the_process_exits_when_the_last_deadline_has_passed() {
    let upstream = Upstream::with(|_| std::future::pending()).await;
    let table = TABLE.replace("[platforms.http]", "[platforms.http]\ndeadline = \"1s\"");
    let mut proxy = Proxy::over(&upstream, &table).await;
    let call = request(Method::POST, &proxy.url("/http/ask"), &[], Bytes::new());
    let client = proxy.client.clone();
    let call = tokio::spawn(async move { client.send(call).await });
    until("no call arrives", async || !upstream.take().is_empty()).await;
    proxy.signal("TERM");
    assert_eq!(call.await.unwrap().json()["error"]["kind"], "timeout");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_admin_listener_reports_health_and_status() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut proxy = Proxy::over(&upstream, TABLE).await;
    for path in ["/healthz", "/readyz"] {
        let answer = proxy.ask_admin(path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok\n"), "{path}");
    }
    let status = proxy.ask_admin("/status", &[]).await;
    assert_eq!((status.status.as_u16(), status.header("content-type")), (200, "application/json"));
    let status = status.json();
    let keys: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "version started_at shutting_down plan rejected last_good unlinked_files tls state restart_needed upstreams limits load rejected_requests lost_log_lines";
    assert_eq!(keys.join(" "), expected);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["plan"]["routes"], json!(["ask", "say"]));
    assert_eq!(status["plan"]["files"], json!(["routes.toml"]));
    assert!(status["plan"]["revision"].as_str().is_some_and(|revision| !revision.is_empty()));
    assert_eq!((&status["rejected"], &status["restart_needed"]), (&Value::Null, &json!([])));
    for time in [&status["started_at"], &status["plan"]["loaded_at"]] {
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
    for (path, expected) in [("/", 404), ("/http/say", 404), ("/nothing", 404)] {
        let answer = proxy.ask_admin(path, &[]).await;
        assert_eq!(answer.status, expected, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }

    // A rejected table is shown with its errors, and changes neither health nor replies.
    proxy.folder.write("routes.toml", "[platforms.http]\n[routes.say]\nreply = { txet = \"Hi.\" }\n");
    proxy.signal("HUP");
    proxy.logged("unknown-key").await;
    let after = loop {
        let after = proxy.status().await;
        if !after["rejected"].is_null() {
            break after;
        }
    };
    assert_eq!(after["plan"], status["plan"]);
    let diagnostic = &after["rejected"]["diagnostics"][0];
    assert_eq!((&diagnostic["code"], &diagnostic["severity"]), (&json!("unknown-key"), &json!("error")));
    assert_eq!(
        (&diagnostic["file"], &diagnostic["line"], &diagnostic["column"]),
        (&json!("routes.toml"), &json!(3), &json!(11))
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(proxy.ask_admin(path, &[]).await.status, 200);
    }
    assert_eq!(proxy.post("/http/say", &json!({})).await.json(), json!({"text": "Hello."}));
}

#[tokio::test]
async fn the_admin_listener_requires_authentication_except_for_probes() {
    let basic = format!("Basic {}", STANDARD.encode("ops:pw"));
    for (auth, login, challenge) in [
        ("bearer = { token = \"${ADMIN}\" }", "Bearer pw", "Bearer"),
        ("basic = { username = \"ops\", password = \"${ADMIN}\" }", &basic, "Basic"),
    ] {
        let auth = auth.replace("${ADMIN}", "pw");
        let table = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nadmin_auth.{auth}\n\
             [platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n"
        );
        let proxy = Proxy::start(&table).await;
        for path in ["/healthz", "/readyz"] {
            assert_eq!(proxy.ask_admin(path, &[]).await.status, 200, "{auth} {path}");
        }
        for path in ["/status", "/", "/nothing"] {
            for login in [&[][..], &[("authorization", "Bearer no")], &[("authorization", "")]] {
                let answer = proxy.ask_admin(path, login).await;
                assert_eq!(answer.status, 401, "{auth} {path} {login:?}");
                assert!(answer.header("www-authenticate").starts_with(challenge), "{auth} {path}");
            }
        }
        let answer = proxy.ask_admin("/status", &[("authorization", login)]).await;
        assert_eq!(answer.json()["plan"]["routes"], json!(["say"]), "{auth}");
        assert_eq!(proxy.ask_admin("/nothing", &[("authorization", login)]).await.status, 404);
    }
}

#[tokio::test]
async fn the_admin_listener_is_off_without_an_address() {
    let proxy = Proxy::start(
        "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n[routes.say]\nreply = { text = \"Hello.\" }\n",
    )
    .await;
    assert_eq!(proxy.admin, None);
    assert!(proxy.log().contains("admin=off"), "{}", proxy.log());
    assert_eq!(proxy.post("/http/say", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_failed_start_prints_the_reason() {
    let in_use = TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = in_use.local_addr().unwrap();
    let good = "[platforms.http]\n[routes.say]\nreply = { text = \"Hello.\" }\n";
    let server =
        |listen: &str, admin: &str| format!("[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n{good}");
    let free = "127.0.0.1:0";
    for (name, table, code) in [
        ("listen_in_use", Some(server(&in_use.to_string(), free)), 2),
        ("admin_in_use", Some(server(free, &in_use.to_string())), 2),
        ("faults", Some(format!("{good}extract = {{ a = \"$.a\" }}\n")), 1),
        ("no_table", None, 2),
        ("empty_table", Some(String::new()), 1),
    ] {
        let folder = Folder::with(&[]);
        if let Some(table) = &table {
            folder.write("routes.toml", table);
        }
        let output = run(jackfield(folder.path())).await;
        assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
        assert!(output.stdout.is_empty(), "{name}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap().replace(&in_use.to_string(), "ADDRESS");
        insta::assert_snapshot!(format!("start_{name}"), stderr);
    }
}
