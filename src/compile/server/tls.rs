//! What `[server]` says about its clients: `tls`, and the trusted proxies.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::fingerprint::Fingerprint;
use crate::plan::ServerTls;
use crate::table::document::Located;
use crate::table::raw::RawTls;
use crate::table::reader::{Key, missing_key};

use crate::compile::cx::Cx;

/// The one protocol that the listener speaks.
const ALPN: &[u8] = b"http/1.1";

/// `server.tls`; `None` when there is none, after faults, and where the files are not there in a check without
/// secrets.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, raw: &Located<RawTls>) -> Option<ServerTls> {
    for (key, said, file) in
        [("cert", &raw.value.cert, "\"cert.pem\""), ("key", &raw.value.key, "\"key.pem\"")]
    {
        if said.is_absent() {
            cx.report(missing_key(
                raw.span,
                format!("`tls` needs `{key}`"),
                format!("name a PEM file: `{key} = {file}`"),
            ));
        }
    }
    let cert = raw.value.cert.get().and_then(|name| pem(cx, name));
    let key = raw.value.key.get().and_then(|name| pem(cx, name));
    let chain = cert.as_ref().and_then(|cert| chain(cert, cx.diagnostics));
    let private = key.as_ref().and_then(|key| private_key(key, cx.diagnostics));
    let (cert, key) = (cert?, key?);
    let config =
        config(chain?, private?).map_err(|error| cx.report(bad_pair(&error, cert.name, key.name))).ok()?;
    let fingerprint = Fingerprint::new().text(&cert.text).text(&key.text).finish();
    Some(ServerTls { config: Arc::new(config), fingerprint })
}

/// The PEM file that a key names.
fn pem<'n>(cx: &mut Cx<'_>, name: &'n Located<String>) -> Option<Pem<'n>> {
    let before = cx.diagnostics.len();
    cx.no_secret_in(&name.value, name.span, "[server]");
    if cx.diagnostics.len() > before {
        return None;
    }
    let text = cx.file(name, &mut false)?;
    Some(Pem { name, text })
}

/// `server.trusted_proxies`.
pub(in crate::compile) fn trusted_proxies(cx: &mut Cx<'_>, raw: &Key<Vec<Located<String>>>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in raw.items() {
        cx.no_secret_in(&text.value, text.span, "[server]");
        let (message, help) = match network(&text.value) {
            Ok(network) => {
                networks.push(network);
                continue;
            }
            Err(BadNetwork::HostBits(network)) => (
                "is an address inside a network",
                format!("write \"{network}\", or the address alone for a single proxy"),
            ),
            Err(BadNetwork::Syntax) => (
                "is not an address or a network",
                "write an address such as \"127.0.0.1\", or a network such as \"10.0.0.0/8\"".to_owned(),
            ),
        };
        cx.report(
            Diagnostic::new(Code::InvalidAddress, text.span, format!("`{}` {message}", text.value))
                .help(help),
        );
    }
    networks
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadNetwork {
    /// It is not an address, or its prefix is longer than one.
    Syntax,
    /// The address has bits after the prefix; this network is what is left without them.
    HostBits(IpNet),
}

/// A network such as `10.0.0.0/8`; a single address is a network of its own.
fn network(text: &str) -> Result<IpNet, BadNetwork> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| BadNetwork::Syntax)?;
    if network.addr() == network.network() { Ok(network) } else { Err(BadNetwork::HostBits(network.trunc())) }
}

/// A PEM file that was read.
struct Pem<'n> {
    name: &'n Located<String>,
    text: String,
}

/// The certificates of a file, the listener's own first.
fn chain(cert: &Pem<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_slice_iter(cert.text.as_bytes()).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        _ => {
            diagnostics.push(
                Diagnostic::new(
                    Code::TlsFile,
                    cert.name.span,
                    format!("no readable certificate in `{}`", cert.name.value),
                )
                .help("use PEM text, `-----BEGIN CERTIFICATE-----`, with the server certificate first and its chain after it"),
            );
            None
        }
    }
}

fn private_key(key: &Pem<'_>, diagnostics: &mut Diagnostics) -> Option<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_slice(key.text.as_bytes()) {
        Ok(key) => Some(key),
        Err(_) => {
            let help = if key.text.contains("ENCRYPTED") {
                "remove its passphrase: `openssl pkey -in locked.pem -out key.pem`"
            } else {
                "use PEM text, `-----BEGIN PRIVATE KEY-----`"
            };
            diagnostics.push(
                Diagnostic::new(
                    Code::TlsFile,
                    key.name.span,
                    format!("no readable private key in `{}`", key.name.value),
                )
                .help(help),
            );
            None
        }
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn bad_pair(error: &rustls::Error, cert: &Located<String>, key: &Located<String>) -> Diagnostic {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            Diagnostic::new(Code::TlsPair, key.span, "the key does not match the certificate")
                .related(cert.span, "the certificate")
                .help("name the key of this certificate; if you are replacing both files, Jackfield waits for the second one")
        }
        rustls::Error::InvalidCertificate(_) => Diagnostic::new(
            Code::TlsFile,
            cert.span,
            format!("no usable certificate in `{}`", cert.value),
        )
        .help("put the server certificate first, an X.509 certificate of version 3"),
        // The library's words name the kind of key; they hold nothing of the key itself.
        other => Diagnostic::new(
            Code::TlsFile,
            key.span,
            format!("the key in `{}` cannot be used: {other}", key.value),
        )
        .help("use an RSA key of at least 2048 bits, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_prefix() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(&inside.parse::<IpAddr>().unwrap()), "{text} {inside}");
            assert!(!network.contains(&outside.parse::<IpAddr>().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn other_texts_are_no_networks() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::1/129", "lb.example", "10.*"]
        {
            assert_eq!(network(text), Err(BadNetwork::Syntax), "{text}");
        }
        let Err(BadNetwork::HostBits(meant)) = network("10.1.2.3/8") else { panic!() };
        assert_eq!(meant.to_string(), "10.0.0.0/8");
    }
}
