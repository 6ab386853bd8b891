//! `auth.hmac = { secret, header, timestamp_header, prefix, encoding, signed }`: HMAC-SHA256 over the finished request.
//!
//! `signed` lists what is signed, in this order: names of request parts, and literal texts.
//!
//! ```toml
//! auth.hmac = { secret = "${SIGNING_SECRET}" }                                    # hex over the body, in x-signature
//! auth.hmac = { secret = "${SIGNING_SECRET}", timestamp_header = "x-timestamp" }  # over timestamp.body
//! auth.hmac = { secret = "${SIGNING_SECRET}", header = "x-hub-signature-256", prefix = "sha256=" }
//! auth.hmac = { secret = "${SIGNING_SECRET}", timestamp_header = "x-time", encoding = "base64",
//!               signed = ["timestamp", "\n", "method", "\n", "target", "\n", "body"] }
//! ```

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use sha2::Sha256;

use super::{
    CredentialError, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues, credential_header, sensitive,
};
use crate::diagnostic::Code;
use crate::secret::Secret;
use crate::upstream::Request;

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "hmac",
    about: "An HMAC-SHA256 signature of the finished request.",
    keys: &[
        SchemeKey::signing_key("secret"),
        SchemeKey::text("header").optional(),
        SchemeKey::text("timestamp_header").optional(),
        SchemeKey::text("prefix").optional(),
        SchemeKey::text("encoding").optional(),
        SchemeKey::list("signed").optional(),
    ],
    build,
};

const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    signer(values).map(|signer| Box::new(signer) as _)
}

fn signer(values: &SchemeValues) -> Result<Signer, SchemeFault> {
    let header = credential_header(values, "header")?.unwrap_or(SIGNATURE);
    let timestamp_header = credential_header(values, "timestamp_header")?;
    if timestamp_header.as_ref() == Some(&header) {
        return Err(SchemeFault::new(
            "timestamp_header",
            "signature and timestamp cannot share a header",
            "give each a header of its own",
        )
        .code(Code::ConflictingKeys));
    }
    let prefix = values.get("prefix").unwrap_or_default().to_owned();
    if sensitive(&prefix).is_none() {
        return Err(SchemeFault::new(
            "prefix",
            "the prefix holds characters that no header can carry",
            "look for a line break or another control character in it",
        ));
    }
    let encoding = match values.get("encoding") {
        None | Some("hex") => Encoding::Hex,
        Some("base64") => Encoding::Base64,
        Some(_) => {
            return Err(SchemeFault::new(
                "encoding",
                "unknown encoding of a signature",
                "write \"hex\", which is the default, or \"base64\"",
            ));
        }
    };
    let signed = match values.list("signed") {
        None if timestamp_header.is_some() => {
            vec![HmacPart::Timestamp, HmacPart::Text(".".to_owned()), HmacPart::Body]
        }
        None => vec![HmacPart::Body],
        Some([]) => {
            return Err(SchemeFault::new(
                "signed",
                "nothing would be signed",
                "list what is signed, as in [\"timestamp\", \".\", \"body\"]",
            ));
        }
        Some(items) => items.iter().enumerate().map(part).collect::<Result<_, _>>()?,
    };
    if let Some(index) = signed.iter().position(|part| *part == HmacPart::Timestamp)
        && timestamp_header.is_none()
    {
        return Err(SchemeFault::new(
            "signed",
            "the timestamp is signed but never sent",
            "name the header that carries it: `timestamp_header = \"x-timestamp\"`",
        )
        .code(Code::MissingKey)
        .item(index));
    }
    let secret = Secret::new(values.text("secret"));
    Ok(Signer { secret, header, timestamp_header, prefix, encoding, signed })
}

fn part((index, item): (usize, &Secret)) -> Result<HmacPart, SchemeFault> {
    Ok(match item.reveal() {
        "method" => HmacPart::Method,
        "target" => HmacPart::Target,
        "path" => HmacPart::Path,
        "query" => HmacPart::Query,
        "timestamp" => HmacPart::Timestamp,
        "body" => HmacPart::Body,
        // A misspelled name would be signed as literal text, and the upstream would refuse the signature without a
        // reason.
        text if !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
            return Err(SchemeFault::new(
                "signed",
                "there is no such part of a request",
                "the parts are `method`, `target` (path and query), `path`, `query`, `timestamp` and `body`; \
                 a text of lower-case letters alone is read as a name",
            )
            .item(index));
        }
        text => HmacPart::Text(text.to_owned()),
    })
}

/// A part of the text that is signed.
#[derive(Clone, PartialEq, Eq)]
enum HmacPart {
    /// In upper case.
    Method,
    /// Path and query, as on the request line.
    Target,
    /// As sent: percent-encoded.
    Path,
    /// As sent: percent-encoded, without the question mark.
    Query,
    /// The time of signing in seconds since 1970.
    Timestamp,
    /// The bytes of the body, as sent.
    Body,
    /// A literal text from the table.
    Text(String),
}

/// The encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Hex,
    Base64,
}

struct Signer {
    secret: Secret,
    header: HeaderName,
    timestamp_header: Option<HeaderName>,
    prefix: String,
    encoding: Encoding,
    signed: Vec<HmacPart>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs the request, with `timestamp` as the time of signing.
    fn sign(&self, request: &mut Request, timestamp: u64) -> Result<(), CredentialError> {
        let impossible = || CredentialError::Failed("the request cannot be signed".to_owned());
        let timestamp = timestamp.to_string();
        let key = self.secret.reveal().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| impossible())?;
        let query = request.url.query();
        for part in &self.signed {
            match part {
                HmacPart::Method => mac.update(request.method.as_str().as_bytes()),
                HmacPart::Path => mac.update(request.url.path().as_bytes()),
                HmacPart::Query => mac.update(query.unwrap_or_default().as_bytes()),
                HmacPart::Target => {
                    mac.update(request.url.path().as_bytes());
                    if let Some(query) = query {
                        mac.update(b"?");
                        mac.update(query.as_bytes());
                    }
                }
                HmacPart::Timestamp => mac.update(timestamp.as_bytes()),
                HmacPart::Body => mac.update(request.body.as_deref().unwrap_or_default()),
                HmacPart::Text(text) => mac.update(text.as_bytes()),
            }
        }
        let signature = mac.finalize().into_bytes();
        let signature = match self.encoding {
            Encoding::Hex => hex::encode(signature),
            Encoding::Base64 => STANDARD.encode(signature),
        };
        let value = sensitive(&format!("{}{signature}", self.prefix)).ok_or_else(impossible)?;
        if let Some(header) = &self.timestamp_header {
            let timestamp = HeaderValue::try_from(timestamp).map_err(|_| impossible())?;
            request.headers.insert(header.clone(), timestamp);
        }
        request.headers.insert(self.header.clone(), value);
        Ok(())
    }
}

impl OutboundAuth for Signer {
    fn apply(&self, request: &mut Request, _: Option<HeaderValue>) -> Result<(), CredentialError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.sign(request, now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{apply, build, fault, request};
    use super::*;
    use bytes::Bytes;
    use http::Method;

    type Given<'a> = (&'static str, &'a [&'a str]);

    const SECRET: Given<'_> = ("secret", &["topsecret"]);
    const TIMESTAMP: Given<'_> = ("timestamp_header", &["x-time"]);

    /// The headers of a request that is signed at 1790000000.
    fn signed(given: &[Given<'_>], body: Option<&'static str>) -> Vec<(String, String)> {
        let values = &mut SchemeValues::default();
        for (key, texts) in given {
            values.add(key, texts.iter().copied().map(Secret::new).collect());
        }
        let signer = signer(values).unwrap();
        let mut request = request("https://api/v1/a%20b?x=1&y=%2F");
        request.method = Method::POST;
        request.body = body.map(|body| Bytes::from_static(body.as_bytes()));
        signer.sign(&mut request, 1_790_000_000).unwrap();
        let headers = request.headers.iter();
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    // The expected signatures were computed with Python's hmac module.
    #[test]
    fn the_table_sets_the_signed_parts_and_the_encoding() {
        let json = Some(r#"{"city":"Oslo"}"#);
        for (given, body, expected) in [
            (
                &[SECRET][..],
                json,
                &[("x-signature", "9fd8be5ea96fd14ba4bd12fd3646040c9731fa8667b2f6e96cb587372822905a")][..],
            ),
            (
                &[SECRET],
                None,
                &[("x-signature", "818f9cb88315ac08b5ef83f96650ca6f4e3dddcb4548e4879b746f56b57fa2b0")],
            ),
            (
                &[SECRET, ("header", &["X-Hub-Signature-256"]), ("prefix", &["sha256="])],
                json,
                &[(
                    "x-hub-signature-256",
                    "sha256=9fd8be5ea96fd14ba4bd12fd3646040c9731fa8667b2f6e96cb587372822905a",
                )],
            ),
            (
                &[SECRET, TIMESTAMP],
                json,
                &[
                    ("x-time", "1790000000"),
                    ("x-signature", "bb5a2544cff03ae86f6dc8a5e32f790f3c42e2f88c0c3cb7e1dc4bacee89dbdb"),
                ],
            ),
            (
                &[
                    SECRET,
                    TIMESTAMP,
                    ("encoding", &["base64"]),
                    ("signed", &["timestamp", "\n", "method", "\n", "target", "\n", "body"]),
                ],
                json,
                &[("x-time", "1790000000"), ("x-signature", "tGasLw0aml2WaLSCstJZ7guBhTP2rYSYhcQVv/ZTRpY=")],
            ),
            (
                &[SECRET, ("encoding", &["hex"]), ("signed", &["v0:", "method", "path", "query"])],
                json,
                &[("x-signature", "181ac2c361124c1d4bb9f9c66ba5cf360807d72b81f5fdd2678535aa8dd0c4fb")],
            ),
        ] {
            let signed = signed(given, body);
            let signed: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(signed, expected, "{given:?}");
        }
    }

    #[test]
    fn a_signature_replaces_headers_of_the_route_and_is_sensitive() {
        let auth = build(&SCHEME, &[SECRET, TIMESTAMP]).unwrap();
        let mut request = request("https://api/");
        for name in ["x-signature", "x-time"] {
            request.headers.append(name, HeaderValue::from_static("theirs"));
            request.headers.append(name, HeaderValue::from_static("theirs too"));
        }

        apply(auth.as_ref(), &mut request).unwrap();

        assert_eq!(request.headers.len(), 2);
        assert!(request.headers["x-signature"].is_sensitive());
        let time: u64 = request.headers["x-time"].to_str().unwrap().parse().unwrap();
        assert!(time > 1_700_000_000);
        assert!(!format!("{auth:?}").contains("topsecret"));
    }

    #[test]
    fn each_error_names_its_key_and_item() {
        for (given, key, item) in [
            (&[SECRET, ("header", &["x y"])][..], "header", None),
            (&[SECRET, ("header", &["Host"])], "header", None),
            (&[SECRET, ("header", &["X-Time"]), TIMESTAMP], "timestamp_header", None),
            (&[SECRET, ("prefix", &["a\nb"])], "prefix", None),
            (&[SECRET, ("encoding", &["hexadecimal"])], "encoding", None),
            (&[SECRET, ("signed", &[])], "signed", None),
            (&[SECRET, ("signed", &["body", "."])], "", None),
            (&[SECRET, ("signed", &["body", "timestamp"])], "signed", Some(1)),
            (&[SECRET, TIMESTAMP, ("signed", &["timestmap", ".", "body"])], "signed", Some(0)),
            (&[SECRET, TIMESTAMP, ("signed", &["timestamp", ".", "raw_body"])], "signed", Some(2)),
        ] {
            if key.is_empty() {
                build(&SCHEME, given).unwrap();
                continue;
            }
            let fault = fault(&SCHEME, given);
            assert_eq!((fault.key, fault.item), (key, item), "{given:?}");
        }
    }
}
