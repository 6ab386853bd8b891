//! TLS settings of an upstream: its certificate authorities and the client certificate.
//!
//! PEM texts are parsed when the table is loaded. Two values that were parsed from the same texts are equal, so a
//! connection pool survives a reload if its files are unchanged.

use std::fmt;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::diagnostic::Code;
use crate::fingerprint::Fingerprint;

/// The TLS settings of an upstream. The default trusts the built-in authorities and has no client certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities to trust instead of the built-in ones. If empty, the built-in ones are trusted.
    pub authorities: Vec<Authorities>,
    /// The client certificate, sent if the upstream requests one.
    pub identity: Option<Identity>,
}

impl Tls {
    /// The rustls configuration with these settings.
    pub(super) fn client(&self) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for authorities in &self.authorities {
            roots.roots.extend(authorities.0.value.roots.iter().cloned());
        }
        if self.authorities.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        // Passing the provider here leaves the process-wide default alone.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            Some(Identity(identity)) => {
                let resolver: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(Arc::clone(&identity.value)));
                builder.with_client_cert_resolver(resolver)
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Certificate authorities that are trusted to identify an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities(Hashed<RootCertStore>);

impl Authorities {
    /// Parses a PEM text with one or more certificates.
    ///
    /// # Errors
    /// The text contains no certificate, or one that cannot be read.
    pub fn parse(pem: &str) -> Result<Self, PemFault> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(pem)? {
            roots.add(certificate).map_err(|_| UNREADABLE_CERTIFICATE)?;
        }
        Ok(Self(Hashed::new(roots, &[pem])))
    }
}

/// A client certificate with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Hashed<CertifiedKey>);

impl Identity {
    /// Parses two PEM texts: a certificate, optionally followed by its chain, and its private key.
    ///
    /// # Errors
    /// A text contains no certificate or key, or cannot be read, or the key does not belong to the certificate.
    pub fn parse(certificate: &str, key: &str) -> Result<Self, PemFault> {
        let chain = certificates(certificate)?;
        let private_key = private_key(key)?;
        let certified = CertifiedKey::from_der(chain, private_key, &ring::default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => FOREIGN_KEY,
            rustls::Error::InvalidCertificate(_) => UNREADABLE_CERTIFICATE,
            _ => UNREADABLE_KEY,
        })?;
        Ok(Self(Hashed::new(certified, &[certificate, key])))
    }

    /// The certificate and its chain.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.value.cert
    }
}

/// Why a PEM text cannot be used. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PemFault {
    /// The code of the diagnostic.
    pub code: Code,
    /// Which text has the error.
    pub part: PemPart,
    /// The problem, in lower case, without a full stop.
    pub message: &'static str,
    /// How to fix it.
    pub help: &'static str,
}

/// What a PEM text should contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PemPart {
    /// Certificates.
    Certificate,
    /// A private key.
    Key,
}

const NO_CERTIFICATE: PemFault = PemFault {
    code: Code::TlsFile,
    part: PemPart::Certificate,
    message: "this file holds no certificate",
    help: "a certificate in PEM form begins with `-----BEGIN CERTIFICATE-----`; \
           `openssl x509 -in FILE -out cert.pem` makes one from another form",
};

const UNREADABLE_CERTIFICATE: PemFault = PemFault {
    code: Code::TlsFile,
    part: PemPart::Certificate,
    message: "this file's certificate cannot be read",
    help: "run `openssl x509 -in FILE -noout -text` to see what is wrong with it",
};

const NO_KEY: PemFault = PemFault {
    code: Code::TlsFile,
    part: PemPart::Key,
    message: "this file holds no private key",
    help: "a private key in PEM form begins with `-----BEGIN PRIVATE KEY-----`; \
           `openssl pkey -in FILE -out key.pem` makes one from another form",
};

const LOCKED_KEY: PemFault = PemFault {
    code: Code::TlsFile,
    part: PemPart::Key,
    message: "this private key is locked with a passphrase",
    help: "unlock it with `openssl pkey -in FILE -out key.pem`, and let only the proxy read that file",
};

const UNREADABLE_KEY: PemFault = PemFault {
    code: Code::TlsFile,
    part: PemPart::Key,
    message: "this private key cannot be used",
    help: "keys of the kinds RSA, ECDSA (P-256, P-384) and Ed25519 can be used",
};

const FOREIGN_KEY: PemFault = PemFault {
    code: Code::TlsPair,
    part: PemPart::Key,
    message: "this private key does not belong to the certificate",
    help: "give the key that the certificate was issued for; in a file with several certificates that one comes first",
};

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = read.map_err(|_| damaged(PemPart::Certificate))?;
    if certificates.is_empty() { Err(NO_CERTIFICATE) } else { Ok(certificates) }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, PemFault> {
    // Both formats of an encrypted key contain a marker line. The key cannot be parsed before it is decrypted.
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(LOCKED_KEY);
    }
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| match error {
        PemError::NoItemsFound => NO_KEY,
        _ => damaged(PemPart::Key),
    })
}

fn damaged(part: PemPart) -> PemFault {
    PemFault {
        code: Code::TlsFile,
        part,
        message: "this file is damaged",
        help: "replace it with a complete copy, from its first line `-----BEGIN …-----` to its last line `-----END …-----`",
    }
}

/// A value that is compared by the fingerprint of its texts. `Debug` prints only the fingerprint.
struct Hashed<T> {
    value: Arc<T>,
    fingerprint: [u8; 32],
}

impl<T> Hashed<T> {
    fn new(value: T, texts: &[&str]) -> Self {
        let fingerprint = texts.iter().fold(Fingerprint::new(), |all, text| all.text(text)).finish();
        Self { value: Arc::new(value), fingerprint }
    }
}

impl<T> Clone for Hashed<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), fingerprint: self.fingerprint }
    }
}

impl<T> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl<T> Eq for Hashed<T> {}

impl<T> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.fingerprint[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey as Generated, generate_simple_self_signed};

    fn generated() -> (String, String) {
        let Generated { cert, signing_key } = generate_simple_self_signed(["api.test".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn values_are_compared_by_their_texts_and_never_printed() {
        let ((cert, key), (other, other_key)) = (generated(), generated());
        let identity = Identity::parse(&cert, &key).unwrap();
        assert_eq!(identity, Identity::parse(&cert, &key).unwrap());
        assert_ne!(identity, Identity::parse(&other, &other_key).unwrap());
        let authorities = Authorities::parse(&cert).unwrap();
        assert_eq!(authorities, Authorities::parse(&cert).unwrap());
        assert_ne!(authorities, Authorities::parse(&format!("{cert}{other}")).unwrap());

        let tls = Tls { authorities: vec![authorities], identity: Some(identity) };
        assert!(format!("{tls:?}").len() < 100, "{tls:?}");
        assert!(tls.client().unwrap().client_auth_cert_resolver.has_certs());
        assert!(!Tls::default().client().unwrap().client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn each_unusable_text_has_its_error() {
        let ((cert, key), (_, other_key)) = (generated(), generated());
        let not_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let not_a_key = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
        let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old_locked = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\naGVsbG8=\n-----END RSA PRIVATE KEY-----\n";
        let cut = &cert[..cert.len() / 2];
        for (certificate, private_key, part, message) in [
            ("", &*key, PemPart::Certificate, NO_CERTIFICATE.message),
            ("not PEM", &key, PemPart::Certificate, NO_CERTIFICATE.message),
            (&key, &key, PemPart::Certificate, NO_CERTIFICATE.message),
            (cut, &key, PemPart::Certificate, "this file is damaged"),
            (not_x509, &key, PemPart::Certificate, UNREADABLE_CERTIFICATE.message),
            (&cert, "", PemPart::Key, NO_KEY.message),
            (&cert, &cert, PemPart::Key, NO_KEY.message),
            (&cert, &key[..key.len() / 2], PemPart::Key, "this file is damaged"),
            (&cert, not_a_key, PemPart::Key, UNREADABLE_KEY.message),
            (&cert, locked, PemPart::Key, LOCKED_KEY.message),
            (&cert, old_locked, PemPart::Key, LOCKED_KEY.message),
            (&cert, &other_key, PemPart::Key, FOREIGN_KEY.message),
        ] {
            let fault = Identity::parse(certificate, private_key).unwrap_err();
            assert_eq!((fault.part, fault.message), (part, message), "{certificate} {private_key}");
        }
        for bad in ["", "not PEM", cut, not_x509, &format!("{cert}{not_x509}")] {
            assert_eq!(Authorities::parse(bad).unwrap_err().part, PemPart::Certificate, "{bad}");
        }
    }
}
