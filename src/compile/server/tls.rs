//! `server.tls`: the certificate and key of the listener for platforms.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::fingerprint::Fingerprint;
use crate::plan::ServerTls;
use crate::table::document::Located;
use crate::table::raw::RawTls;
use crate::table::reader::missing_key;

use crate::compile::certificates::{Validity, is_for};
use crate::compile::cx::Cx;

/// The only protocol of the listener.
const ALPN: &[u8] = b"http/1.1";

/// `server.tls`, and warnings about its certificate; `None` after errors, and if the files do not exist in a check
/// without secrets.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &Located<RawTls>,
) -> Option<(ServerTls, Vec<Diagnostic>)> {
    for (key, name, file) in
        [("cert", &raw.value.cert, "\"cert.pem\""), ("key", &raw.value.key, "\"key.pem\"")]
    {
        if name.is_absent() {
            cx.report(missing_key(
                raw.span,
                format!("`tls` needs `{key}`"),
                format!("set a PEM file: `{key} = {file}`"),
            ));
        }
    }
    let cert = raw.value.cert.get().and_then(|name| pem(cx, name));
    let key = raw.value.key.get().and_then(|name| pem(cx, name));
    let chain = cert.as_ref().and_then(|cert| chain(cert, cx.diagnostics));
    let private = key.as_ref().and_then(|key| private_key(key, cx.diagnostics));
    let (cert, key, chain) = (cert?, key?, chain?);
    let validity = Validity::of_chain(&chain);
    let leaf = chain.first().cloned();
    let config =
        config(chain, private?).map_err(|error| cx.report(bad_pair(&error, cert.name, key.name))).ok()?;
    let expiry = validity.and_then(|validity| validity.warning(cx.environment.now, cert.name.span));
    let warnings = expiry.into_iter().chain(leaf.and_then(|leaf| wrong_name(cx, &leaf, cert.name))).collect();
    let fingerprint = Fingerprint::new().text(&cert.text).text(&key.text).finish();
    let not_after = validity.map(|validity| validity.until);
    Some((ServerTls { config: Arc::new(config), not_after, fingerprint }, warnings))
}

/// The warning about a certificate that is not for the host of `public_url`: platforms would refuse it.
fn wrong_name(cx: &Cx<'_>, leaf: &CertificateDer<'_>, name: &Located<String>) -> Option<Diagnostic> {
    let text = cx.listeners.public_url.as_ref()?;
    let url = Url::parse(&text.value).ok().filter(|url| url.scheme() == "https")?;
    let host = url.host_str().filter(|host| !is_for(leaf, host))?;
    let help = "use a certificate for this host; if a reverse proxy has it, add `allow = [\"tls-name\"]` to [defaults]";
    Some(
        Diagnostic::new(Code::TlsName, name.span, format!("the certificate is not for `{host}`"))
            .related(text.span, "platforms call this host")
            .help(help),
    )
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

/// A PEM file that was read.
struct Pem<'n> {
    name: &'n Located<String>,
    text: String,
}

/// The certificates of a file, the server certificate first.
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
                .help("set the key of this certificate; if you are replacing both files, Jackfield waits for the second one")
        }
        rustls::Error::InvalidCertificate(_) => Diagnostic::new(
            Code::TlsFile,
            cert.span,
            format!("no usable certificate in `{}`", cert.value),
        )
        .help("put the server certificate first, an X.509 certificate of version 3"),
        // The library's message describes the type of the key and never contains the key.
        other => Diagnostic::new(
            Code::TlsFile,
            key.span,
            format!("the key in `{}` cannot be used: {other}", key.value),
        )
        .help("use an RSA key of at least 2048 bits, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key"),
    }
}
