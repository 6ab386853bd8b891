//! Shutdown: calls in flight may finish, and nothing else delays the end.

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::client::{Client, request};
use crate::support::proxy::{GUARD, LISTENERS, Proxy};
use crate::support::upstream::{Reply, Upstream};

/// A proxy with one route to an upstream that responds when the test lets it, within a minute. The first channel
/// reports each request.
async fn waiting() -> (Proxy, Upstream, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (arrived, arrivals) = mpsc::channel(10);
    let (go, let_go) = mpsc::channel(10);
    let let_go = std::sync::Arc::new(tokio::sync::Mutex::new(let_go));
    let upstream = Upstream::with(move |_| {
        let (arrived, let_go) = (arrived.clone(), std::sync::Arc::clone(&let_go));
        async move {
            arrived.send(()).await.unwrap();
            let_go.lock().await.recv().await;
            Reply::json(&json!({}))
        }
    })
    .await;
    let proxy = Proxy::over(&upstream, TABLE).await;
    (proxy, upstream, arrivals, go)
}

const TABLE: &str = r#"
[platforms.http]
deadline = "60s"
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.ask]
upstream = "api"
request = { method = "POST", path = "/" }
reply.text = "asked"
"#;

#[tokio::test]
async fn shutdown_answers_calls_in_flight_and_does_not_wait_for_idle_connections() {
    let (mut proxy, _upstream, mut arrivals, go) = waiting().await;
    let idle = TcpStream::connect(proxy.listen).await.unwrap();
    let mut kept = TcpStream::connect(proxy.listen).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(kept.read(&mut [0; 1024]).await.unwrap() > 0);
    let url = proxy.url("/http/ask");
    let answer =
        tokio::spawn(async move { Client::new().send(request(Method::POST, &url, &[], "{}")).await });
    arrivals.recv().await.unwrap();
    proxy.signal("TERM");
    proxy.logged("shutting down").await;
    go.send(()).await.unwrap();
    assert_eq!(answer.await.unwrap().json(), json!({"text": "asked"}));
    assert!(proxy.ended().await.success());
    assert!(!proxy.log().contains("still in flight"), "{}", proxy.log());
    drop((idle, kept));
}

/// The admin listener stays open until the last call has ended, and the log says how long that may take.
#[tokio::test]
async fn the_admin_listener_closes_last() {
    let (mut proxy, _upstream, mut arrivals, go) = waiting().await;
    assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 200);
    assert_eq!(proxy.status().await["shutting_down"], false);
    let url = proxy.url("/http/ask");
    let answer =
        tokio::spawn(async move { Client::new().send(request(Method::POST, &url, &[], "{}")).await });
    arrivals.recv().await.unwrap();
    proxy.signal("TERM");
    let line = proxy.logged("shutting down").await;
    // A deadline of 60 s leaves 500 ms for the way back. A detached request gets 30 s more, the admin listener one.
    for part in ["1 calls in flight", "in_flight=1", "replies_within_ms=60000", "within_ms=91000"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    for (path, status) in [("/readyz", 503), ("/healthz", 200), ("/metrics", 200), ("/records", 200)] {
        assert_eq!(proxy.ask_admin(path, &[]).await.status, status, "{path}");
    }
    assert_eq!(proxy.status().await["shutting_down"], true);
    go.send(()).await.unwrap();
    assert_eq!(answer.await.unwrap().json(), json!({"text": "asked"}));
    assert!(proxy.ended().await.success());
}

/// A load balancer needs some time to notice that the proxy is not ready. Until then, calls are answered.
#[tokio::test]
async fn calls_are_accepted_during_the_drain_delay() {
    let table = |delay: &str| {
        let say = "[platforms.http]\n[routes.say]\nreply.text = \"hello\"\n";
        format!("{LISTENERS}drain_delay = \"{delay}\"\n{say}")
    };
    let mut proxy = Proxy::start(&table("10m")).await;
    proxy.signal("TERM");
    let line = proxy.logged("not ready").await;
    assert!(line.contains("600 s") && line.contains("delay_ms=600000"), "{line}");
    assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 503);
    let new = Client::new();
    let answer = new.send(request(Method::POST, &proxy.url("/http/say"), &[], "{}")).await;
    assert_eq!(answer.json(), json!({"text": "hello"}));
    assert!(!proxy.log().contains("draining"), "{}", proxy.log());
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());

    let mut proxy = Proxy::start(&table("10ms")).await;
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    let log = proxy.log();
    assert!(log.find("not ready") < log.find("draining 0 calls"), "{log}");
    assert!(log.contains("shut down"), "{log}");
}

/// A call runs to its end even if the platform does not wait for it.
#[tokio::test]
async fn a_call_finishes_after_its_client_disconnects() {
    let (mut proxy, _upstream, mut arrivals, go) = waiting().await;
    let mut caller = TcpStream::connect(proxy.listen).await.unwrap();
    caller
        .write_all(b"POST /http/ask HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    arrivals.recv().await.unwrap();
    drop(caller);
    proxy.signal("TERM");
    proxy.logged("shutting down").await;
    go.send(()).await.unwrap();
    proxy.logged("ask: answered").await;
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    for signals in [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"]] {
        let (mut proxy, _upstream, mut arrivals, _go) = waiting().await;
        let url = proxy.url("/http/ask");
        let caller =
            tokio::spawn(async move { Client::new().try_send(request(Method::POST, &url, &[], "{}")).await });
        arrivals.recv().await.unwrap();
        proxy.signal(signals[0]);
        proxy.logged("shutting down").await;
        proxy.signal(signals[1]);
        assert!(proxy.ended().await.success());
        proxy.logged("exiting without waiting for calls").await;
        caller.await.unwrap().unwrap_err();
    }
}

/// The reader of the log may go away; calls continue.
#[tokio::test]
async fn a_closed_log_reader_fails_no_calls() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let folder = crate::support::folder::Folder::with(&[(
        "routes.toml",
        "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.http]\n[routes.say]\nreply.text = \"hello\"\n",
    )]);
    let mut command = crate::support::proxy::jackfield(folder.path());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    log.read_line(&mut ready).unwrap();
    let listen = ready.split(' ').find_map(|word| word.strip_prefix("listen=")).unwrap().to_owned();
    drop(log);
    let client = Client::new();
    for _ in 0..3 {
        let url = format!("http://{listen}/http/say");
        let sent = client.try_send(request(Method::POST, &url, &[], "{}"));
        let answer = tokio::time::timeout(GUARD, sent).await.unwrap();
        assert_eq!(answer.map(|answer| answer.json()), Ok(json!({"text": "hello"})));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
