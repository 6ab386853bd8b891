//! TLS to upstreams: which certificate authorities are trusted, which client certificate is sent, and how both follow
//! their files.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::proxy::Proxy;
use crate::support::until;

/// A certificate authority and the certificates that it issues.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    cert: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        Issued { cert: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Issued {
    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// A TLS upstream that returns its number of connections and records the client certificate of each request.
pub(crate) struct TlsUpstream {
    pub(crate) address: SocketAddr,
    shown: Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>,
    task: JoinHandle<()>,
}

impl TlsUpstream {
    /// `clients`: the authority whose client certificates are required; `None` requires no certificate.
    pub(crate) async fn new(own: &Issued, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(vec![own.der()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&shown);
        let task = tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let mut stream = match acceptor.accept(stream).into_fallible().await {
                        Ok(stream) => stream,
                        // Read to the end: closing a connection with unread data can discard what was written.
                        Err((_, mut stream)) => {
                            let _ = stream.read_to_end(&mut Vec::new()).await;
                            return;
                        }
                    };
                    let certificates = stream.get_ref().1.peer_certificates();
                    let shown = certificates.and_then(<[_]>::first).cloned().map(CertificateDer::into_owned);
                    let mut buffer = Vec::new();
                    // Requests have no bodies, so each ends with an empty line.
                    while stream.read_buf(&mut buffer).await.is_ok_and(|read| read > 0) {
                        if buffer.ends_with(b"\r\n\r\n") {
                            buffer.clear();
                            noted.lock().unwrap().push(shown.clone());
                            let body = json!({"connection": connection}).to_string();
                            let head =
                                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                            let answer = format!("{head}{}\r\n\r\n{body}", body.len());
                            stream.write_all(answer.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self { address, shown, task }
    }

    fn take_certificates(&self) -> Vec<Option<CertificateDer<'static>>> {
        std::mem::take(&mut self.shown.lock().unwrap())
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A table with an upstream for each of `upstreams`, which differ in their TLS keys, and a route for each.
fn table(address: SocketAddr, upstreams: &[(&str, &str)]) -> String {
    let mut table =
        String::from("[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.http]\n");
    for (name, tls) in upstreams {
        table.push_str(
            &r#"
            [upstreams.NAME]
            base_url = "https://localhost:PORT"
            TLS

            [routes.NAME]
            upstream = "NAME"
            request = { path = "/" }
            extract = { connection = "$.connection" }
            reply = { data = "{{connection}}" }
            "#
            .replace("NAME", name)
            .replace("PORT", &address.port().to_string())
            .replace("TLS", tls),
        );
    }
    table
}

const MTLS: &str = r#"auth.mtls = { cert = "tls/client.pem", key = "tls/client.key", ca = "tls/ca.pem" }"#;
const CA: &str = r#"tls = { ca = "tls/ca.pem" }"#;

async fn call(proxy: &Proxy, route: &str) -> Value {
    proxy.post(&format!("/http/{route}"), &json!({})).await.json()
}

#[tokio::test]
async fn a_configured_ca_replaces_the_public_ones() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsUpstream::new(&authority.issue("localhost"), None).await;
    let elsewhere = TlsUpstream::new(&authority.issue("elsewhere.test"), None).await;
    let own = table(server.address, &[("own", CA), ("public", ""), ("other", r#"tls.ca = "tls/other.pem""#)]);
    let misnamed = table(elsewhere.address, &[("misnamed", CA)]);
    let misnamed = misnamed.split_once("[platforms.http]").unwrap().1;
    let both = format!("{}\n{}", authority.pem(), other.pem());
    let proxy = Proxy::with(
        &[
            ("routes.toml", &format!("{own}{misnamed}")),
            ("tls/ca.pem", &both),
            ("tls/other.pem", &other.pem()),
        ],
        &[],
    )
    .await;

    assert_eq!(call(&proxy, "own").await["data"], 1);
    for route in ["public", "other", "misnamed"] {
        assert_eq!(call(&proxy, route).await["error"]["kind"], "unreachable", "{route}");
    }
    assert_eq!(server.take_certificates(), [None]);
    assert!(elsewhere.take_certificates().is_empty());
}

#[tokio::test]
async fn client_certificates_are_sent_only_by_their_upstream() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (client, strange) = (authority.issue("client"), stranger.issue("client"));
    let server = TlsUpstream::new(&authority.issue("localhost"), Some(&authority)).await;
    let wrong = MTLS.replace("client.", "strange.");
    let apart = r#"auth.mtls = { cert = "tls/client.pem", key = "tls/client.key" }
                   tls = { ca = "tls/ca.pem" }"#;
    let table =
        table(server.address, &[("mtls", MTLS), ("apart", apart), ("without", CA), ("wrong", &wrong)]);
    let mut proxy = Proxy::with(
        &[
            ("routes.toml", &table),
            ("tls/ca.pem", &authority.pem()),
            ("tls/client.pem", &client.cert),
            ("tls/client.key", &client.key),
            ("tls/strange.pem", &strange.cert),
            ("tls/strange.key", &strange.key),
        ],
        &[],
    )
    .await;

    for route in ["mtls", "mtls", "apart"] {
        assert!(call(&proxy, route).await["data"].is_number(), "{route}");
    }
    assert_eq!(server.take_certificates(), vec![Some(client.der()); 3]);
    for route in ["without", "wrong"] {
        assert_eq!(call(&proxy, route).await["error"]["kind"], "unreachable", "{route}");
    }
    assert!(server.take_certificates().is_empty());
    // The TLS alert shows up in different places, depending on how far the request had got.
    let line = proxy.logged("received fatal alert: CertificateRequired").await;
    assert!(line.contains("unreachable") && line.contains("the connection was lost"), "{line}");
    assert!(!proxy.log().contains("PRIVATE KEY"));
}

#[tokio::test]
async fn changed_certificate_files_replace_certificates_and_connections() {
    let authority = Authority::new();
    let (first, second) = (authority.issue("first"), authority.issue("second"));
    let server = TlsUpstream::new(&authority.issue("localhost"), Some(&authority)).await;
    let written = table(server.address, &[("mtls", MTLS)]);
    let mut proxy = Proxy::with(
        &[
            ("routes.toml", &written),
            ("tls/ca.pem", &authority.pem()),
            ("tls/client.pem", &first.cert),
            ("tls/client.key", &first.key),
        ],
        &[],
    )
    .await;
    assert_eq!(call(&proxy, "mtls").await["data"], 1);

    // A reload that leaves the files unchanged keeps the connection.
    let more = format!("{written}\n[routes.more]\nreply.text = \"More.\"\n");
    proxy.folder.write("routes.toml", &more);
    proxy.logged("added=more").await;
    assert_eq!(call(&proxy, "mtls").await["data"], 1);

    // A certificate without its key is rejected, and the running configuration stays.
    proxy.folder.write("tls/client.pem", &second.cert);
    proxy.logged("does not belong to the certificate").await;
    assert_eq!(call(&proxy, "mtls").await["data"], 1);
    let status = proxy.status().await;
    assert_eq!(status["rejected"]["diagnostics"][0]["code"], "tls-pair");
    assert_eq!(server.take_certificates(), vec![Some(first.der()); 3]);

    proxy.folder.write("tls/client.key", &second.key);
    until("the second certificate is never shown", async || {
        assert_ne!(call(&proxy, "mtls").await["data"], Value::Null);
        server.take_certificates().last().unwrap() == &Some(second.der())
    })
    .await;
    assert_ne!(call(&proxy, "mtls").await["data"], 1);
    assert_eq!(proxy.status().await["rejected"], Value::Null);
}
