//! TLS on the listener for platforms, and the real address of the client.
//!
//! The certificates in `tls/` are for `localhost`. They are issued by their own CA, whose key was deleted, and expire
//! in 2126.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pages::certificate;
use crate::support::folder::Folder;
use crate::support::proxy::{GUARD, Proxy, jackfield, run};

const CA: &str = include_str!("tls/ca.pem");
const ONE: (&str, &str) = (include_str!("tls/one.pem"), include_str!("tls/one.key.pem"));
const TWO: (&str, &str) = (include_str!("tls/two.pem"), include_str!("tls/two.key.pem"));

const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
const TLS: &str = "tls = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" }\n";
const ROUTES: &str = "[platforms.http]\n[routes.greet]\nreply.text = \"Good morning.\"\n";

fn table(with: &str) -> String {
    format!("{SERVER}{with}{ROUTES}")
}

async fn tls_proxy() -> Proxy {
    let files = [("routes.toml", &*table(TLS)), ("tls/cert.pem", ONE.0), ("tls/key.pem", ONE.1)];
    Proxy::with(&files, &[]).await
}

/// One TLS connection, kept open between requests.
struct TlsConnection {
    sender: SendRequest<Full<Bytes>>,
    certificate: CertificateDer<'static>,
}

impl TlsConnection {
    async fn open(address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(CA.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, certificate }
    }

    fn presents(&self, pair: (&str, &str)) -> bool {
        self.certificate == CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap()
    }

    async fn greet(&mut self) -> Value {
        let request = Request::post("/http/greet").header("host", "localhost");
        let answer = self.sender.send_request(request.body(Full::from("{}")).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

fn greeting() -> Value {
    json!({"text": "Good morning."})
}

/// Waits for a rejected reload.
async fn rejected(proxy: &Proxy) -> Value {
    proxy.status_when("a rejected reload", |status| !status["rejected"].is_null()).await["rejected"].take()
}

#[tokio::test]
async fn tls_applies_to_platforms_and_the_admin_listener_stays_plain() {
    let mut proxy = tls_proxy().await;
    let mut connection = TlsConnection::open(proxy.listen).await;
    assert!(connection.presents(ONE));
    assert_eq!(connection.greet().await, greeting());
    assert_eq!(connection.greet().await, greeting());
    assert_eq!(proxy.ask_admin("/healthz", &[]).await.status, 200);
    // A private key is never shown, not even in a diagnostic about the table.
    let shown = format!("{}{}", proxy.log(), proxy.status().await);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn an_unfinished_handshake_blocks_nobody() {
    let mut proxy = tls_proxy().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(proxy.listen).await.unwrap());
    }
    let mut plain = TcpStream::connect(proxy.listen).await.unwrap();
    plain.write_all(b"POST /http/greet HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(TlsConnection::open(proxy.listen).await.greet().await, greeting());
    let line = proxy.logged("TLS handshake failed").await;
    assert!(line.contains("plain HTTP") && line.contains("client=127.0.0.1"), "{line}");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(GUARD, plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // It does not delay the shutdown either.
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    assert!(!proxy.log().contains("still in flight"), "{}", proxy.log());
    drop(silent);
}

#[tokio::test]
async fn new_connections_use_a_changed_certificate_and_bad_pairs_are_rejected() {
    let mut proxy = tls_proxy().await;
    let mut first = TlsConnection::open(proxy.listen).await;
    let revision = proxy.status().await["plan"]["revision"].clone();

    proxy.folder.write("tls/key.pem", TWO.1);
    let rejected = rejected(&proxy).await;
    proxy.logged("tls-pair").await;
    assert_eq!(rejected["diagnostics"][0]["code"], "tls-pair");
    assert_eq!(rejected["diagnostics"][0]["message"], "the key does not match the certificate");
    assert_eq!(rejected["diagnostics"][0]["line"], 4);
    let mut second = TlsConnection::open(proxy.listen).await;
    assert!(second.presents(ONE));

    proxy.folder.write("tls/cert.pem", TWO.0);
    proxy.logged("TLS certificate replaced").await;
    let mut third = TlsConnection::open(proxy.listen).await;
    assert!(third.presents(TWO));
    for connection in [&mut first, &mut second, &mut third] {
        assert_eq!(connection.greet().await, greeting());
    }
    let status = proxy.status().await;
    assert_eq!((&status["rejected"], &status["restart_needed"]), (&Value::Null, &json!([])));
    // The same table runs, with another certificate.
    assert_eq!(status["plan"]["revision"], revision);
}

#[tokio::test]
async fn tls_can_be_turned_on_and_off_by_a_reload() {
    let mut proxy = tls_proxy().await;
    let mut before = TlsConnection::open(proxy.listen).await;
    proxy.folder.write("routes.toml", &table(""));
    proxy.logged("TLS disabled").await;
    let plain = proxy.post("/http/greet", &json!({})).await;
    assert_eq!(plain.json(), greeting());
    assert_eq!(before.greet().await, greeting());
    assert_eq!(proxy.status().await["restart_needed"], json!([]));
    proxy.folder.write("routes.toml", &table(TLS));
    proxy.logged("TLS enabled").await;
    assert_eq!(TlsConnection::open(proxy.listen).await.greet().await, greeting());
}

#[tokio::test]
async fn a_bad_certificate_pair_prevents_the_start() {
    for (files, code, problem) in [
        (&[("tls/cert.pem", ONE.0), ("tls/key.pem", TWO.1)][..], "tls-pair", "does not match"),
        (&[("tls/cert.pem", ONE.0)], "tls-file", "cannot be read"),
        (&[("tls/cert.pem", "no PEM\n"), ("tls/key.pem", ONE.1)], "tls-file", "no readable certificate"),
        (&[("tls/cert.pem", ONE.0), ("tls/key.pem", ONE.0)], "tls-file", "no readable private key"),
        (&[("tls/cert.pem", &ONE.0[..300]), ("tls/key.pem", ONE.1)], "tls-file", "no readable certificate"),
    ] {
        let table = table(TLS);
        let folder = crate::support::folder::Folder::with(&[files, &[("routes.toml", &table)]].concat());
        let output = run(jackfield(folder.path())).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(code) && stderr.contains(problem), "{code} {problem}: {stderr}");
        let secret = ONE.1.lines().nth(1).unwrap();
        assert!(!stderr.contains(secret), "{stderr}");
    }
    // In CI, neither the certificate nor its key need exist.
    let folder = crate::support::folder::Folder::with(&[("routes.toml", &table(TLS))]);
    let mut check = jackfield(folder.path());
    check.args(["check", "--no-secrets"]);
    let output = run(check).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn the_log_shows_the_real_client_address() {
    let login = "[platforms.voicedock]\nauth.bearer = { token = \"right\" }\n";
    let trusted = table("trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]\n") + login;
    let mut proxy = Proxy::start(&trusted).await;
    for (path, header, status) in [
        ("/http/greet", ("x-forwarded-for", "1.2.3.4, 198.51.100.7, 10.1.1.1"), 200),
        ("/voicedock", ("x-forwarded-for", "198.51.100.8"), 401),
        ("/nothing/here", ("forwarded", "for=198.51.100.9"), 404),
    ] {
        assert_eq!(proxy.send(Method::POST, path, &[header], "{}").await.status, status);
    }
    for (text, client) in [
        ("greet: answered", "client=198.51.100.7"),
        ("failed login", "client=198.51.100.8"),
        ("rejected: the table serves no platform", "client=198.51.100.9"),
    ] {
        let line = proxy.logged(text).await;
        assert!(line.contains(client), "{line}");
    }

    // An address that is not in `trusted_proxies` is not trusted.
    let mut proxy = Proxy::start(&table("")).await;
    let headers = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7")];
    assert_eq!(proxy.send(Method::POST, "/http/greet", &headers, "{}").await.status, 200);
    let line = proxy.logged("greet: answered").await;
    assert!(line.contains("client=127.0.0.1"), "{line}");
}

/// The end of the certificate is a metric, a part of the status, and a warning when it is near.
#[tokio::test]
async fn expiring_certificates_are_reported() {
    let key = rcgen::KeyPair::generate().unwrap();
    let days = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(days * 24);
    let public = SERVER.replace("[server]\n", "[server]\npublic_url = \"https://tools.example.com:8443\"\n");
    let table = format!(
        "{public}{TLS}{}",
        ROUTES.replace("[platforms.http]\n", "[platforms.http]\nauth.bearer = { token = \"t\" }\n")
    );
    let certificate = |names: &[&str], days_left: i64| certificate(&key, names, days(days_left));
    let good = certificate(&["tools.example.com"], 40);
    let files = [("routes.toml", &*table), ("tls/cert.pem", &good), ("tls/key.pem", &key.serialize_pem())];
    let mut proxy = Proxy::with(&files, &[]).await;
    assert!(!proxy.log().contains("warning["), "{}", proxy.log());
    let not_after = proxy.status().await["tls"]["not_after"].as_str().unwrap().to_owned();
    let not_after: jiff::Timestamp = not_after.parse().unwrap();
    assert!((days(38)..=days(40)).contains(&not_after), "{not_after}");
    let metric = format!("jackfield_tls_not_after_timestamp_seconds {}", not_after.as_second());
    let metrics = proxy.ask_admin("/metrics", &[]).await;
    assert!(metrics.text().lines().any(|line| line == metric), "{metric}");

    for (names, left, warning) in [
        (&["tools.example.com"][..], 20, "warning[tls-expiring]"),
        (&["tools.example.com"], -2, "warning[tls-expired]"),
        (&["*.example.com"], 35, "configuration reloaded"),
        (&["localhost"], 50, "the certificate is not for `tools.example.com`"),
    ] {
        let from = proxy.log_lines();
        proxy.folder.write("tls/cert.pem", &certificate(names, left));
        proxy.logged_from(from, warning).await;
        // The warning stops no reload.
        proxy.logged_from(from, "TLS certificate replaced").await;
        let is_warned = proxy.log_from(from).contains("warning[tls-");
        assert_eq!(is_warned, warning != "configuration reloaded", "{}", proxy.log_from(from));
    }
}

/// An upstream refuses a client certificate that has expired, so its end is told as early as that of the listener.
#[tokio::test]
async fn expiring_client_certificates_are_reported() {
    let key = rcgen::KeyPair::generate().unwrap();
    let days = |days: i64| jiff::Timestamp::now() + jiff::SignedDuration::from_hours(days * 24);
    let table = "[platforms.http]\n[upstreams.bank]\nbase_url = \"https://bank.example\"\n\
                 auth.mtls = { cert = \"client.pem\", key = \"key.pem\" }\n[routes.greet]\nreply.text = \"Hi.\"\n";
    for (left, allow, expected) in [
        (40, "", None),
        (20, "", Some("warning[tls-expiring]: the certificate expires on")),
        (-2, "", Some("warning[tls-expired]: the certificate expired on")),
        (20, "allow = [\"tls-expiring\"]\n", None),
    ] {
        let table = table.replace("auth.mtls", &format!("{allow}auth.mtls"));
        let cert = certificate(&key, &["client"], days(left));
        let folder = Folder::with(&[
            ("routes.toml", &table),
            ("client.pem", &cert),
            ("key.pem", &key.serialize_pem()),
        ]);
        let mut command = jackfield(folder.path());
        command.arg("check");
        let output = run(command).await;
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}");
        match expected {
            Some(warning) => {
                assert!(shown.contains(warning) && shown.contains("routes.toml:4:22"), "{left}: {shown}");
            }
            None => assert!(!shown.contains("tls-"), "{left}: {shown}"),
        }
    }
}
