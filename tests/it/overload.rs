//! Overload: too many calls, connections, file descriptors or log lines. The excess is rejected at once, and everything
//! else continues.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener as Listener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::client::{Answer, Client, request};
use crate::support::folder::Folder;
use crate::support::proxy::{GUARD, LISTENERS, Proxy, jackfield};
use crate::support::until;
use crate::support::upstream::{Reply, Upstream};

const BUSY: &str = "The system is busy right now. Apologise and offer to try again in a moment.";

const ROUTES: &str = r#"
[platforms.swaig]
[platforms.voicedock]
[platforms.dailybots]
[platforms.millis]
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.ask]
upstream = "api"
request = { path = "/" }
reply.text = "asked"
[routes.say]
reply.text = "Hello."
[routes.stream]
streaming = true
platforms = ["dailybots"]
reply.text = "Hello."
[routes.own]
reply.text = "Hello."
failure.refused = "Everyone is on the line."
[events.voicedock.assistant_request]
upstream = "api"
request = { path = "/" }
"#;

/// An upstream that responds when the test lets it.
async fn gated() -> (Upstream, Arc<Semaphore>) {
    Upstream::gated(|_| Reply::json(&json!({}))).await
}

fn table(server: &str, upstream: SocketAddr) -> String {
    format!("{LISTENERS}{server}\n{}", ROUTES.replace("UPSTREAM", &upstream.to_string()))
}

fn swaig(function: &str) -> Value {
    json!({"function": function, "argument": {"parsed": [{}]}, "call_id": "c-1"})
}

#[tokio::test]
async fn calls_over_the_limit_are_rejected_at_once_in_the_platforms_format() {
    let (upstream, release) = gated().await;
    let mut proxy = Proxy::start(&table("max_calls = 2", upstream.address)).await;
    let asked: Vec<_> = (0..2)
        .map(|_| {
            let call = request(Method::POST, &proxy.url("/http/ask"), &[], Bytes::new());
            let client = proxy.client.clone();
            tokio::spawn(async move { client.send(call).await })
        })
        .collect();
    let mut seen = 0;
    until("two calls do not arrive", async || {
        seen += upstream.take().len();
        seen == 2
    })
    .await;

    let calls = |names: &[&str]| {
        let calls = names.iter().map(|name| json!({"id": name, "function": {"name": name, "arguments": {}}}));
        json!({"message": {"type": "tool-calls", "tool_call_list": calls.collect::<Vec<_>>()}})
    };
    let result = |id: &str, text: &str| json!({"tool_call_id": id, "result": {"error": text}});
    for (path, body, expected) in [
        ("/swaig", swaig("ask"), json!({"response": BUSY})),
        // Calls that need no upstream count too, because every reply costs something.
        ("/swaig", swaig("say"), json!({"response": BUSY})),
        ("/swaig", swaig("own"), json!({"response": "Everyone is on the line."})),
        (
            "/voicedock",
            calls(&["ask", "own"]),
            json!({"results": [result("ask", BUSY), result("own", "Everyone is on the line.")]}),
        ),
        ("/voicedock", json!({"message": {"type": "assistant-request"}}), json!({})),
        ("/dailybots/ask", json!({}), json!({"error": BUSY})),
        ("/millis/ask", json!({}), json!({"error": BUSY})),
        ("/http/ask", json!({}), json!({"error": {"kind": "refused", "text": BUSY}})),
    ] {
        let answer = proxy.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, expected), "{path} {body}");
    }
    let answer = proxy.post("/dailybots/stream", &json!({})).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(answer.text().contains(BUSY) && answer.text().contains("close"), "{}", answer.text());
    // Requests that are no calls do not count against the limit.
    assert_eq!(proxy.post("/swaig", &json!({"action": "get_signature"})).await.json(), json!([]));

    let line = proxy.logged("ask: refused after").await;
    assert!(line.contains("too many calls in flight (`server.max_calls`)"), "{line}");
    let status = proxy.status().await;
    assert_eq!(status["rejected_requests"]["busy_calls"], 10);
    assert_eq!((&status["load"]["calls"], &status["load"]["max_calls"]), (&json!(2), &json!(2)));
    assert!(upstream.take().is_empty());

    release.add_permits(2);
    for call in asked {
        assert_eq!(call.await.unwrap().json(), json!({"text": "asked"}));
    }
    assert_eq!(proxy.status().await["load"]["calls"], 0);
    assert_eq!(proxy.post("/swaig", &swaig("say")).await.json(), json!({"response": "Hello."}));
}

#[tokio::test]
async fn calls_over_the_limit_get_the_configured_text() {
    let (upstream, _release) = gated().await;
    let table = table("max_calls = 1", upstream.address);
    let proxy = Proxy::start(&format!("{table}[defaults]\nfailure.refused = \"One at a time.\"\n")).await;
    let call = request(Method::POST, &proxy.url("/http/ask"), &[], Bytes::new());
    let client = proxy.client.clone();
    let asked = tokio::spawn(async move { client.try_send(call).await });
    until("no call arrives", async || !upstream.take().is_empty()).await;
    assert_eq!(proxy.post("/swaig", &swaig("say")).await.json(), json!({"response": "One at a time."}));
    asked.abort();
}

/// An idle connection that has already carried one response.
async fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = ask(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream
}

/// One call over a connection; empty if there is no response.
async fn ask(stream: &mut TcpStream) -> String {
    let sent =
        stream.write_all(b"POST /http/say HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    let mut answer = [0; 2048];
    let received = stream.read(&mut answer);
    match (sent, tokio::time::timeout(GUARD, received).await.expect("no answer")) {
        (Ok(()), Ok(length)) => String::from_utf8(answer[..length].to_vec()).unwrap(),
        _ => String::new(),
    }
}

#[tokio::test]
async fn connections_over_the_limit_get_a_503_and_are_closed() {
    let (upstream, _release) = gated().await;
    let mut proxy = Proxy::start(&table("max_connections = 2", upstream.address)).await;
    let (first, mut second) = (open(proxy.listen).await, open(proxy.listen).await);
    for _ in 0..3 {
        // A client that sends nothing gets the response too.
        let mut stream = TcpStream::connect(proxy.listen).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(GUARD, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.ends_with("\r\nconnection: close"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, json!({"error": "too many connections for now"}));
        // A client reads the rejection as the response to its request, even if it sends a large body first.
        let answer = proxy.send(Method::POST, "/http/say", &[], "x".repeat(500_000)).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (503, body));
    }
    // Existing connections stay open, and the admin listener stays reachable.
    assert!(ask(&mut second).await.starts_with("HTTP/1.1 200 "));
    let status = proxy.status().await;
    assert_eq!(status["rejected_requests"]["busy_connections"], 6);
    assert_eq!((&status["load"]["connections"], &status["load"]["max_connections"]), (&json!(2), &json!(2)));
    let line = proxy.logged("more than 2 connections are rejected").await;
    assert!(line.contains("the listener for platforms"), "{line}");

    drop(first);
    until("there is no room", async || proxy.status().await["load"]["connections"] == 1).await;
    let third = open(proxy.listen).await;
    assert_eq!(proxy.log().matches("are rejected").count(), 1, "{}", proxy.log());

    // A reload raises the limit at once.
    let larger = table("max_connections = 3", upstream.address);
    proxy.folder.write("routes.toml", &larger);
    proxy.logged("configuration reloaded").await;
    let fourth = open(proxy.listen).await;
    drop((second, third, fourth));
}

#[tokio::test]
async fn tls_connections_over_the_limit_are_closed() {
    let table = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nmax_connections = 1\n\
         tls = { cert = \"cert.pem\", key = \"key.pem\" }\n\
         [platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n";
    let (cert, key) = (include_str!("tls/one.pem"), include_str!("tls/one.key.pem"));
    let proxy = Proxy::with(&[("routes.toml", table), ("cert.pem", cert), ("key.pem", key)], &[]).await;
    // A connection counts before its handshake is finished.
    let _first = TcpStream::connect(proxy.listen).await.unwrap();
    until("it is not accepted", async || proxy.status().await["load"]["connections"] == 1).await;
    let mut second = TcpStream::connect(proxy.listen).await.unwrap();
    let mut received = Vec::new();
    tokio::time::timeout(GUARD, second.read_to_end(&mut received)).await.unwrap().unwrap();
    assert!(received.is_empty(), "{received:?}");
    assert_eq!(proxy.status().await["rejected_requests"]["busy_connections"], 1);
}

/// When file descriptors run out, the proxy logs it once, continues with what it has, and accepts again later.
#[tokio::test]
async fn running_out_of_file_descriptors_is_survived() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let table = table("", upstream.address);
    let folder = Folder::with(&[("routes.toml", &table)]);
    let binary = jackfield(folder.path());
    let mut command = Command::new("/bin/sh");
    command.current_dir(folder.path()).env_clear().args(["-c", "ulimit -n 24; exec \"$0\""]);
    command.arg(binary.get_program());
    let mut proxy = Proxy::run(folder, command).await;
    let reduced = proxy.logged("reduced to 8: the limit of file descriptors").await;
    assert!(reduced.contains("the limit of file descriptors is 24"), "{reduced}");
    let mut inside = open(proxy.listen).await;

    // The admin listener allows more connections than there are file descriptors.
    let mut others = Vec::new();
    until("the descriptors do not end", async || {
        others.push(TcpStream::connect(proxy.admin.unwrap()).await.unwrap());
        proxy.log().contains("the admin listener: no connection can be accepted")
    })
    .await;
    // A reload cannot open any file, and changes nothing.
    proxy.folder.write("routes.toml", &table.replace("Hello.", "Good day."));
    proxy.signal("HUP");
    proxy.logged("configuration rejected, keeping revision").await;
    assert!(ask(&mut inside).await.ends_with("{\"text\":\"Hello.\"}"));
    assert_eq!(proxy.log().matches("no connection can be accepted").count(), 1, "{}", proxy.log());

    drop(others);
    assert_eq!(proxy.status().await["load"]["max_connections"], 8);
    proxy.signal("HUP");
    proxy.logged("configuration reloaded").await;
    let answer = proxy.post("/http/say", &json!({})).await;
    assert_eq!(answer.json(), json!({"text": "Good day."}));
}

/// A proxy whose log cannot report its address, so it listens on an address that only this test uses.
struct SilentProxy {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    client: Client,
    _folder: Folder,
}

impl SilentProxy {
    async fn start(host: u8, run: impl FnOnce(&Path) -> Command) -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let free = || {
            let listener = Listener::bind((std::net::Ipv4Addr::new(127, host, high, low), 0)).unwrap();
            listener.local_addr().unwrap()
        };
        let (listen, admin) = (free(), free());
        let folder = Folder::with(&[(
            "routes.toml",
            &format!(
                "[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n[platforms.voicedock]\n[platforms.http]\n\
                 [routes.say]\nreply.text = \"Hello.\"\n"
            ),
        )]);
        let child = run(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let proxy = Self { child, listen, admin, client: Client::new(), _folder: folder };
        until("it does not open", async || TcpStream::connect(admin).await.is_ok()).await;
        proxy
    }

    async fn send(&self, method: Method, address: SocketAddr, path: &str, body: impl Into<Bytes>) -> Answer {
        let sent = self.client.try_send(request(method, &format!("http://{address}{path}"), &[], body));
        tokio::time::timeout(GUARD, sent).await.expect("it is held up").unwrap()
    }

    async fn say(&self) -> Value {
        self.send(Method::POST, self.listen, "/http/say", "{}").await.json()
    }

    async fn lost(&self) -> u64 {
        let status = self.send(Method::GET, self.admin, "/status", "").await.json();
        status["lost_log_lines"].as_u64().unwrap()
    }

    /// Sends the signal to shut down and waits for the exit.
    async fn stop(mut self) {
        let sent =
            Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        until("it does not end", async || self.child.try_wait().unwrap().is_some()).await;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for SilentProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_full_log_disk_loses_lines_but_no_calls() {
    let proxy = SilentProxy::start(65, |folder| {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = jackfield(folder);
        command.stderr(full);
        command
    })
    .await;
    let before = proxy.lost().await;
    for _ in 0..3 {
        assert_eq!(proxy.say().await, json!({"text": "Hello."}));
    }
    until("no line is lost", async || proxy.lost().await == before.max(1) + 3).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_closed_log_loses_no_calls() {
    let proxy = SilentProxy::start(66, |folder| {
        let binary = jackfield(folder);
        let mut command = Command::new("/bin/sh");
        command.current_dir(folder).env_clear().args(["-c", "exec \"$0\" 2>&-"]).arg(binary.get_program());
        command
    })
    .await;
    for _ in 0..3 {
        assert_eq!(proxy.say().await, json!({"text": "Hello."}));
    }
    proxy.lost().await;
    proxy.stop().await;
}

/// Makes calls with names so long that their log lines soon fill_log the pipe and the queue.
async fn fill_log(proxy: &SilentProxy) {
    let name = "\u{1f4de}".repeat(200);
    let calls: Vec<_> = (0..50)
        .map(|id| json!({"id": id.to_string(), "function": {"name": name, "arguments": {}}}))
        .collect();
    let body =
        json!({"message": {"type": "tool-calls", "call": {"id": name}, "tool_call_list": calls}}).to_string();
    until("no line is lost", async || {
        let answer = proxy.send(Method::POST, proxy.listen, "/voicedock", body.clone()).await;
        assert_eq!(answer.json()["results"].as_array().unwrap().len(), 50);
        proxy.lost().await > 0
    })
    .await;
}

#[tokio::test]
async fn an_unread_log_blocks_no_calls_and_reports_dropped_lines() {
    let mut proxy = SilentProxy::start(67, |folder| {
        let mut command = jackfield(folder);
        command.stderr(Stdio::piped());
        command
    })
    .await;
    fill_log(&proxy).await;
    assert_eq!(proxy.say().await, json!({"text": "Hello."}));

    // The log is read again.
    let log = BufReader::new(proxy.child.stderr.take().unwrap());
    let warning = tokio::task::spawn_blocking(move || {
        let mut lines = log.lines().map_while(Result::ok);
        let warning = lines.find(|line| line.contains("log lines could not be written"));
        (warning, lines)
    });
    let (warning, lines) = tokio::time::timeout(GUARD, warning).await.expect("no warning").unwrap();
    let (warning, lost) = (warning.unwrap(), proxy.lost().await);
    assert!(
        warning.contains(&format!("WARN {lost} log lines could not be written: standard error is too slow")),
        "{warning}"
    );
    assert_eq!(proxy.say().await, json!({"text": "Hello."}));
    proxy.stop().await;
    let rest: Vec<String> = tokio::task::spawn_blocking(|| lines.collect()).await.unwrap();
    assert!(rest.iter().any(|line| line.contains("say: answered in")), "{rest:?}");
    assert!(rest.last().is_some_and(|line| line.contains("shut down")), "{rest:?}");
}

#[tokio::test]
async fn an_unread_log_does_not_delay_shutdown() {
    let mut proxy = SilentProxy::start(68, |folder| {
        let mut command = jackfield(folder);
        command.stderr(Stdio::piped());
        command
    })
    .await;
    fill_log(&proxy).await;
    let unread = proxy.child.stderr.take();
    proxy.stop().await;
    let mut log = String::new();
    unread.unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("ready"), "{log}");
}

/// Streams of records last for ever, and a client that sends nothing holds its connection for seconds.
#[tokio::test]
async fn health_probes_find_room_beside_streams_and_silent_connections() {
    let proxy = Proxy::start(&table("", SocketAddr::from(([127, 0, 0, 1], 9)))).await;
    let admin = proxy.admin.unwrap();
    let mut held = Vec::new();
    for number in 0..32 {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        stream.write_all(b"GET /records/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        let expected = if number < 16 { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
        assert_eq!(std::str::from_utf8(&answer).unwrap(), expected, "{number}");
        held.push(stream);
    }
    for _ in 0..64 {
        held.push(TcpStream::connect(admin).await.unwrap());
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(proxy.ask_admin(path, &[]).await.status, 200, "{path}");
    }
    // A stream that ends makes room for another.
    held.clear();
    let streams = async || {
        let mut stream = TcpStream::connect(admin).await.unwrap();
        stream.write_all(b"GET /records/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.is_ok() && &answer == b"HTTP/1.1 200"
    };
    until("no stream can be opened", streams).await;
}
