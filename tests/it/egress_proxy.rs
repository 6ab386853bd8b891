//! Upstreams behind an HTTP proxy: the requests that the proxy gets, and the errors if it refuses them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::outbound_tls::{Authority, TlsUpstream};
use crate::support::folder::Folder;
use crate::support::proxy::Proxy;
use crate::support::proxy::jackfield;

/// A forward proxy on loopback. It opens tunnels, and returns `answer` to every plain request.
struct Forward {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Forward {
    /// `refusal`: the response to `CONNECT` instead of a tunnel.
    async fn new(answer: &'static str, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&seen), answer, refusal));
            }
        });
        Self { address, heads, task }
    }

    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    heads: Arc<Mutex<Vec<String>>>,
    answer: &'static str,
    refusal: Option<&'static str>,
) {
    while let Some(head) = read_head(&mut stream).await {
        heads.lock().unwrap().push(head.clone());
        let tunnel = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        match (tunnel, refusal) {
            (Some(place), None) => {
                let mut upstream = TcpStream::connect(place).await.unwrap();
                stream.write_all(ESTABLISHED).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                return;
            }
            (Some(_), Some(refusal)) => {
                stream.write_all(refusal.as_bytes()).await.unwrap();
                // A refused tunnel leaves the connection open: the client must not wait for it to close.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                return;
            }
            (None, _) => stream.write_all(answer.as_bytes()).await.unwrap(),
        }
    }
}

/// A proxy that takes long to connect may say so first.
const ESTABLISHED: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 Connection established\r\n\r\n";

/// A request without a body; `None` at the end of the connection.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(String::from_utf8(head).unwrap())
}

/// A table with an upstream behind a proxy, and a route to it.
fn table(base_url: &str, proxy: &str) -> String {
    r#"
    [server]
    listen = "127.0.0.1:0"
    [platforms.http]
    [upstreams.api]
    base_url = "BASE_URL"
    proxy = "PROXY"
    [routes.ask]
    upstream = "api"
    request = { path = "/orders", query.id = "7" }
    extract = { connection = "$.connection" }
    reply = { data = "{{connection}}" }
    "#
    .replace("BASE_URL", base_url)
    .replace("PROXY", proxy)
}

async fn call(proxy: &Proxy) -> Value {
    proxy.post("/http/ask", &json!({})).await.json()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"connection\":7}";
const NO_LOGIN: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
     proxy-authenticate: Basic realm=x\r\ncontent-length: 8\r\n\r\nlog in\r\n";
const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9\r\n\r\nno route\n";

/// `user:p@ss`.
const CREDENTIAL: &str = "proxy-authorization: Basic dXNlcjpwQHNz\r\n";

#[tokio::test]
async fn plain_requests_are_forwarded_with_an_absolute_url() {
    let forward = Forward::new(OK, None).await;
    let login = format!("http://user:p%40ss@{}", forward.address);
    let proxy = Proxy::start(&table("http://api.internal.test:8080/v1", &login)).await;

    for _ in 0..2 {
        assert_eq!(call(&proxy).await["data"], 7);
    }

    let heads = forward.heads();
    assert_eq!(heads.len(), 2);
    for head in heads {
        assert!(head.starts_with("GET http://api.internal.test:8080/v1/orders?id=7 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: api.internal.test:8080\r\n") && head.contains(CREDENTIAL), "{head}");
    }
}

#[tokio::test]
async fn tls_requests_use_a_tunnel_and_only_connect_carries_the_proxy_credentials() {
    let authority = Authority::new();
    let server = TlsUpstream::new(&authority.issue("localhost"), None).await;
    let forward = Forward::new(OK, None).await;
    let url = format!("https://localhost:{}", server.address.port());
    let written = table(&url, &format!("http://user:p%40ss@{}", forward.address));
    let written = written.replace("proxy = ", "tls = { ca = \"ca.pem\" }\nproxy = ");
    let proxy = Proxy::with(&[("routes.toml", &written), ("ca.pem", &authority.pem())], &[]).await;

    for _ in 0..2 {
        assert_eq!(call(&proxy).await["data"], 1);
    }

    let place = format!("localhost:{}", server.address.port());
    assert_eq!(forward.heads(), [format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n{CREDENTIAL}\r\n")]);
}

#[tokio::test]
async fn proxy_errors_name_the_proxy_but_not_its_password() {
    for (base_url, refusal, status) in [
        ("https://api.internal.test", NO_LOGIN, "407 Proxy Authentication Required"),
        ("https://api.internal.test", BAD_GATEWAY, "502 Bad Gateway"),
        ("http://api.internal.test", NO_LOGIN, "407 Proxy Authentication Required"),
    ] {
        let forward = Forward::new(NO_LOGIN, Some(refusal)).await;
        let written = table(base_url, &format!("http://user:hunter2@{}", forward.address));
        let mut proxy = Proxy::start(&written).await;

        assert_eq!(call(&proxy).await["error"]["kind"], "unreachable", "{base_url} {status}");

        let line = proxy.logged("function=ask").await;
        let why = format!("cannot connect: the proxy {} refused with status {status}", forward.address);
        assert!(line.contains(&why), "{line}");
        assert!(!proxy.log().contains("hunter2"), "{}", proxy.log());
    }
}

#[tokio::test]
async fn an_address_that_is_no_proxy_is_named_in_the_error() {
    let endless: &'static str = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000).leak();
    for says in
        ["220 mail.internal.test ESMTP\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody", endless]
    {
        let forward = Forward::new(OK, Some(says)).await;
        let address = forward.address;
        let mut proxy = Proxy::start(&table("https://api.internal.test", &format!("http://{address}"))).await;
        assert_eq!(call(&proxy).await["error"]["kind"], "unreachable");
        let line = proxy.logged("function=ask").await;
        assert!(line.contains(&format!("the proxy {address} gave no valid answer")), "{line}");
    }

    let unbound = tokio::net::TcpSocket::new_v4().unwrap();
    unbound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = unbound.local_addr().unwrap();
    let mut proxy = Proxy::start(&table("http://api.internal.test", &format!("http://{nobody}"))).await;
    assert_eq!(call(&proxy).await["error"]["kind"], "unreachable");
    let line = proxy.logged("function=ask").await;
    assert!(line.contains(&format!("the proxy {nobody}: tcp connect error: Connection refused")), "{line}");
}

#[tokio::test]
async fn the_environment_names_a_proxy_unless_the_upstream_says_otherwise() {
    let forward = Forward::new(OK, None).await;
    let address = forward.address.to_string();
    let environment = |extra: &[(&'static str, &str)]| {
        let mut all = vec![("HTTP_PROXY", format!("http://user:p%40ss@{address}"))];
        all.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
        all
    };
    let without_key = |base_url: &str| table(base_url, "").replace("proxy = \"\"", "");
    let start = async |written: &str, variables: Vec<(&'static str, String)>| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Proxy::with(&[("routes.toml", written)], &variables).await
    };

    let proxy = start(&without_key("http://api.internal.test"), environment(&[])).await;
    assert_eq!(call(&proxy).await["data"], 7);
    let heads = forward.heads();
    assert!(heads[0].starts_with("GET http://api.internal.test/orders?id=7 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains(CREDENTIAL), "{heads:?}");

    // Lower case takes precedence. Nothing listens on the port of a socket that is only bound.
    let unbound = tokio::net::TcpSocket::new_v4().unwrap();
    unbound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = unbound.local_addr().unwrap().to_string();
    let proxy =
        start(&without_key("http://api.internal.test"), environment(&[("http_proxy", &nobody)])).await;
    assert_eq!(call(&proxy).await["error"]["kind"], "unreachable");

    // Connected to directly: the forward proxy itself is the upstream, and sees no absolute URL.
    let direct = format!("http://{address}");
    for (written, variables) in [
        (without_key(&direct), environment(&[])),
        (without_key(&direct.replace("127.0.0.1", "localhost")), environment(&[])),
        (table(&direct, "none"), environment(&[])),
    ] {
        let proxy = start(&written, variables).await;
        assert_eq!(call(&proxy).await["data"], 7);
        let heads = forward.heads();
        assert!(heads[0].starts_with("GET /orders?id=7 HTTP/1.1\r\n"), "{heads:?}");
        assert!(!heads[0].contains("proxy-authorization"), "{heads:?}");
    }
    let proxy =
        start(&without_key("http://api.internal.test"), environment(&[("no_proxy", "x, internal.test")]))
            .await;
    assert_eq!(call(&proxy).await["error"]["kind"], "unreachable");
    assert!(forward.heads().is_empty());
}

#[test]
fn a_proxy_of_the_environment_is_checked_with_the_table() {
    let folder = Folder::with(&[]);
    for (key, variable, expected) in [
        ("network = \"public\"", "http://proxy.internal.test:3128", "`HTTPS_PROXY` sets a proxy"),
        ("network = \"public\"\nproxy = \"none\"", "http://proxy.internal.test:3128", ""),
        (
            "",
            "socks5://user:hunter2@proxy.internal.test",
            "`HTTPS_PROXY` is not the address of an HTTP proxy",
        ),
        ("proxy = \"none\"", "socks5://proxy.internal.test", ""),
    ] {
        folder.write("routes.toml", &table("https://api.internal.test", "").replace("proxy = \"\"", key));
        let output = jackfield(folder.path()).arg("check").env("HTTPS_PROXY", variable).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.success(), expected.is_empty(), "{key} {variable}: {text}");
        assert!(text.contains(expected) && !text.contains("hunter2"), "{key} {variable}: {text}");
    }
}
