//! The platform's own signature over what it sends, with a shared secret.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::{BadLogin, Holds, InboundAuth, Login, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme = Scheme {
    name: "signature",
    about: "An HMAC-SHA256 of the request; VoiceDock's is known, for another caller say how it signs.",
    keys: &[
        SchemeKey::needed("secret", Holds::Secret),
        SchemeKey::optional("header", Holds::Text),
        SchemeKey::optional("signed", Holds::Texts),
        SchemeKey::optional("timestamp_header", Holds::Text),
        SchemeKey::optional("encoding", Holds::Text),
        SchemeKey::optional("prefix", Holds::Text),
        SchemeKey::optional("window", Holds::Seconds),
    ],
    build,
};

/// How requests are signed: HMAC-SHA256 over some parts of the request.
#[derive(Debug, Clone)]
pub struct SignatureFormat {
    /// The header with the signature.
    pub header: HeaderName,
    /// What may stand before the signature.
    pub prefix: Cow<'static, str>,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// The header with the time of signing, in seconds since 1970; `None`: it is not told, and a request stays good
    /// for ever.
    pub timestamp: Option<HeaderName>,
    /// How far that time may be from ours, either way.
    pub window_s: i64,
    /// What is signed: these parts, one after the other.
    pub signed: Cow<'static, [SignedPart]>,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// In hexadecimal.
    Hex,
    /// In base64.
    Base64,
}

/// A part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedPart {
    /// The timestamp, as its header writes it.
    Timestamp,
    /// The path with its query, as it was asked for.
    Target,
    /// The raw body.
    Body,
    /// A fixed text.
    Literal(Cow<'static, str>),
}

/// The format of a table: the platform's own, changed by what is given; without one it must be given.
fn build(values: &mut SchemeValues) -> Result<Box<dyn InboundAuth>, SchemeFault> {
    let fault =
        |key, message: &str, help: &str| SchemeFault { key, message: message.into(), help: help.into() };
    let header = header_name(values, "header")?;
    let timestamp = header_name(values, "timestamp_header")?;
    let signed: Vec<SignedPart> = values
        .take("signed")
        .iter()
        .map(|part| match part.reveal() {
            "timestamp" => SignedPart::Timestamp,
            "target" => SignedPart::Target,
            "body" => SignedPart::Body,
            text => SignedPart::Literal(text.to_owned().into()),
        })
        .collect();
    let encoding = match values.text("encoding").as_deref() {
        None => None,
        Some("hex") => Some(SignatureEncoding::Hex),
        Some("base64") => Some(SignatureEncoding::Base64),
        Some(_) => {
            return Err(fault(Some("encoding"), "there is no such encoding", "write \"hex\" or \"base64\""));
        }
    };
    let mut format = match (values.signature, &header) {
        (Some(format), _) => format.clone(),
        (None, Some(header)) if !signed.is_empty() => SignatureFormat {
            header: header.clone(),
            prefix: Cow::Borrowed(""),
            encoding: SignatureEncoding::Hex,
            timestamp: None,
            window_s: 300,
            signed: Cow::Borrowed(&[]),
        },
        (None, _) => {
            return Err(fault(
                None,
                "this platform has no signature of its own",
                "say how its requests are signed: `header = \"x-signature\", signed = [\"body\"]`",
            ));
        }
    };
    format.header = header.unwrap_or(format.header);
    format.timestamp = timestamp.or(format.timestamp);
    format.encoding = encoding.unwrap_or(format.encoding);
    format.prefix = values.text("prefix").map_or(format.prefix, Cow::Owned);
    if !signed.is_empty() {
        format.signed = Cow::Owned(signed);
    }
    if let Some(window) = values.text("window").and_then(|seconds| seconds.parse().ok()) {
        format.window_s = window;
    }
    if format.signed.contains(&SignedPart::Timestamp) != format.timestamp.is_some() {
        return Err(fault(
            Some("signed"),
            "the time of signing must be told and signed, or neither",
            "name its header in `timestamp_header` and put \"timestamp\" into `signed`",
        ));
    }
    if !format.signed.contains(&SignedPart::Body) {
        return Err(fault(
            Some("signed"),
            "the body is not signed",
            "put \"body\" into `signed`: anyone could change it",
        ));
    }
    Ok(Box::new(Signature { format, secrets: values.take("secret") }))
}

fn header_name(values: &mut SchemeValues, key: &'static str) -> Result<Option<HeaderName>, SchemeFault> {
    let Some(name) = values.text(key) else { return Ok(None) };
    name.parse().map(Some).map_err(|_| SchemeFault {
        key: Some(key),
        message: "this is not the name of a header".into(),
        help: "letters, digits and hyphens, such as `x-signature`".into(),
    })
}

#[derive(Debug)]
struct Signature {
    format: SignatureFormat,
    secrets: Vec<Secret>,
}

impl InboundAuth for Signature {
    fn needs_body(&self) -> bool {
        true
    }

    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let format = &self.format;
        let malformed = |name: &HeaderName| BadLogin::Malformed(name.clone());
        let signature = get(login.headers, &format.header)?.as_bytes();
        let signature = signature.strip_prefix(format.prefix.as_bytes()).unwrap_or(signature);
        let signature = match format.encoding {
            SignatureEncoding::Hex => hex::decode(signature).map_err(|_| malformed(&format.header))?,
            SignatureEncoding::Base64 => STANDARD.decode(signature).map_err(|_| malformed(&format.header))?,
        };
        let mut timestamp: &[u8] = b"";
        if let Some(name) = &format.timestamp {
            let value = get(login.headers, name)?;
            let signed_at: Option<i64> = value.to_str().ok().and_then(|text| text.parse().ok());
            let signed_at = signed_at.ok_or_else(|| malformed(name))?;
            if signed_at.abs_diff(login.received_at) > format.window_s.unsigned_abs() {
                return Err(BadLogin::Stale(format.window_s));
            }
            timestamp = value.as_bytes();
        }
        // All secrets are tried, so that the time taken does not tell which of them is in use.
        let matches = self.secrets.iter().fold(false, |found, secret| {
            found | matches(secret, &format.signed, timestamp, login, &signature)
        });
        if matches { Ok(()) } else { Err(BadLogin::Wrong) }
    }
}

fn get<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, BadLogin> {
    headers.get(name).ok_or_else(|| BadLogin::Missing(name.clone()))
}

/// Whether `secret` makes this signature; `verify_slice` compares in constant time.
fn matches(
    secret: &Secret,
    parts: &[SignedPart],
    timestamp: &[u8],
    login: &Login<'_>,
    signature: &[u8],
) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else { return false };
    for part in parts {
        mac.update(match part {
            SignedPart::Timestamp => timestamp,
            SignedPart::Target => login.target.as_bytes(),
            SignedPart::Body => login.body,
            SignedPart::Literal(text) => text.as_bytes(),
        });
    }
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    static FORMAT: SignatureFormat = SignatureFormat {
        header: HeaderName::from_static("x-signature"),
        prefix: Cow::Borrowed("sha256="),
        encoding: SignatureEncoding::Hex,
        timestamp: Some(HeaderName::from_static("x-timestamp")),
        window_s: 300,
        signed: Cow::Borrowed(&[
            SignedPart::Timestamp,
            SignedPart::Literal(Cow::Borrowed(".")),
            SignedPart::Body,
        ]),
    };

    fn auth(secrets: &[&str]) -> Box<dyn InboundAuth> {
        let secrets = secrets.iter().copied().map(Secret::new).collect();
        build(&mut SchemeValues { values: vec![("secret", secrets)], signature: Some(&FORMAT) }).unwrap()
    }

    fn sign(secret: &str, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    fn verdict(
        secrets: &[&str],
        signature: Option<&str>,
        timestamp: Option<&str>,
        body: &str,
    ) -> Result<(), BadLogin> {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-signature", signature), ("x-timestamp", timestamp)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
        }
        let login =
            Login { headers: &headers, target: "/", body: body.as_bytes(), received_at: 1_790_000_000 };
        auth(secrets).verify(&login)
    }

    #[test]
    fn what_was_signed_with_a_secret_of_the_list_is_let_in() {
        let good = sign("old", "1790000000.{}");
        let prefixed = format!("sha256={good}");
        let secrets = &["new", "old"][..];
        let now = Some("1790000000");
        let wrong = Err(BadLogin::Wrong);
        for (secrets, signature, timestamp, body, expected) in [
            (secrets, Some(&*prefixed), now, "{}", Ok(())),
            (secrets, Some(&*good), now, "{}", Ok(())),
            (secrets, Some(&*good.to_uppercase()), now, "{}", Ok(())),
            (&["new"], Some(&*prefixed), now, "{}", wrong.clone()),
            (&[], Some(&*prefixed), now, "{}", wrong.clone()),
            (secrets, Some(&*prefixed), now, "{} ", wrong.clone()),
            (secrets, Some(&*prefixed), Some("1790000001"), "{}", wrong.clone()),
            // Read as the same number, but not what was signed.
            (secrets, Some(&*prefixed), Some("+1790000000"), "{}", wrong.clone()),
            (secrets, Some(&good[..62]), now, "{}", wrong.clone()),
            (secrets, Some(""), now, "{}", wrong),
            (secrets, Some("sha256=xyz"), now, "{}", Err(BadLogin::Malformed(FORMAT.header.clone()))),
            (secrets, Some("sha1=00"), now, "{}", Err(BadLogin::Malformed(FORMAT.header.clone()))),
            (secrets, None, now, "{}", Err(BadLogin::Missing(FORMAT.header.clone()))),
            (
                secrets,
                Some(&*prefixed),
                None,
                "{}",
                Err(BadLogin::Missing(HeaderName::from_static("x-timestamp"))),
            ),
            (
                secrets,
                Some(&*prefixed),
                Some("soon"),
                "{}",
                Err(BadLogin::Malformed(HeaderName::from_static("x-timestamp"))),
            ),
            (
                secrets,
                Some(&*prefixed),
                Some("å"),
                "{}",
                Err(BadLogin::Malformed(HeaderName::from_static("x-timestamp"))),
            ),
        ] {
            assert_eq!(
                verdict(secrets, signature, timestamp, body),
                expected,
                "{signature:?} {timestamp:?} {body}"
            );
        }
        assert!(auth(&["new"]).needs_body());
        assert!(!format!("{:?}", auth(&["hunter2"])).contains("hunter2"));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        for (signed_at, fresh) in [
            (1_790_000_000 - 300, true),
            (1_790_000_000 + 300, true),
            (1_790_000_000 - 301, false),
            (1_790_000_000 + 301, false),
            (0, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            let timestamp = signed_at.to_string();
            let signature = sign("s", &format!("{timestamp}.{{}}"));
            let expected = if fresh { Ok(()) } else { Err(BadLogin::Stale(300)) };
            assert_eq!(verdict(&["s"], Some(&signature), Some(&timestamp), "{}"), expected, "{signed_at}");
        }
    }

    fn general(values: &[(&'static str, &[&str])]) -> Result<Box<dyn InboundAuth>, SchemeFault> {
        let values = values
            .iter()
            .map(|(key, texts)| (*key, texts.iter().copied().map(Secret::new).collect()))
            .collect();
        build(&mut SchemeValues { values, signature: None })
    }

    #[test]
    fn a_table_may_say_how_requests_are_signed() {
        let auth = general(&[
            ("secret", &["s"]),
            ("header", &["X-Sig"]),
            ("signed", &["target", "\n", "body"]),
            ("encoding", &["base64"]),
            ("prefix", &["v1="]),
        ])
        .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s").unwrap();
        mac.update(b"/http/f?x=1\n{}");
        let signature = format!("v1={}", STANDARD.encode(mac.finalize().into_bytes()));
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-sig"),
            HeaderValue::from_str(&signature).unwrap(),
        )]);
        let login = |target, body| Login { headers: &headers, target, body, received_at: 0 };
        assert_eq!(auth.verify(&login("/http/f?x=1", b"{}")), Ok(()));
        assert_eq!(auth.verify(&login("/http/f?x=2", b"{}")), Err(BadLogin::Wrong));
        assert_eq!(auth.verify(&login("/http/f?x=1", b"{ }")), Err(BadLogin::Wrong));
    }

    #[test]
    fn what_would_check_too_little_is_a_fault() {
        for (values, key) in [
            (&[("secret", &["s"][..])][..], None),
            (&[("secret", &["s"]), ("header", &["x-sig"])], None),
            (&[("secret", &["s"]), ("header", &["x sig"]), ("signed", &["body"])], Some("header")),
            (&[("secret", &["s"]), ("header", &["x-sig"]), ("signed", &["target"])], Some("signed")),
            (
                &[("secret", &["s"]), ("header", &["x-sig"]), ("signed", &["timestamp", "body"])],
                Some("signed"),
            ),
            (
                &[
                    ("secret", &["s"]),
                    ("header", &["x-sig"]),
                    ("signed", &["body"]),
                    ("encoding", &["rot13"]),
                ],
                Some("encoding"),
            ),
            (
                &[
                    ("secret", &["s"]),
                    ("header", &["x-sig"]),
                    ("signed", &["body"]),
                    ("timestamp_header", &["x-t"]),
                ],
                Some("signed"),
            ),
        ] {
            assert_eq!(general(values).map(|_| ()).unwrap_err().key, key, "{values:?}");
        }
    }
}
