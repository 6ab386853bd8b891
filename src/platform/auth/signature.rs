//! The platform's signature over its request, with a shared secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::{BadLogin, InboundAuth, Login, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::diagnostic::Code;
use crate::secret::Secret;

pub(super) static SCHEME: Scheme<dyn InboundAuth> = Scheme {
    name: "signature",
    about: "An HMAC-SHA256 signature of the request. VoiceDock's format is built in; for other callers, set `header` and `signed`.",
    keys: &[
        SchemeKey::rotating_secret("secret"),
        SchemeKey::text("header").optional(),
        SchemeKey::list("signed").optional(),
        SchemeKey::text("timestamp_header").optional(),
        SchemeKey::text("encoding").optional(),
        SchemeKey::text("prefix").optional(),
        SchemeKey::seconds("window").optional(),
    ],
    build,
};

const NO_FORMAT: SchemeFault = SchemeFault {
    code: Code::UnknownAuth,
    key: "header",
    item: None,
    message: "this platform has no built-in signature format",
    help: "describe how requests are signed, as in `header = \"x-signature\", signed = [\"body\"]`",
};

/// The default for the largest accepted difference between the signed timestamp and the time of arrival, in seconds.
const WINDOW_S: i64 = 300;

/// The encoding of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignatureEncoding {
    Hex,
    Base64,
}

/// A signed part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SignedPart {
    /// The timestamp, as in its header.
    Timestamp,
    /// The method, in upper case.
    Method,
    /// The path with its query, as requested.
    Target,
    /// The raw body.
    Body,
    /// A fixed text.
    Literal(String),
}

/// Builds the scheme from the format in the table. The values of the platform's own format are the defaults.
fn build(values: &SchemeValues) -> Result<Box<dyn InboundAuth>, SchemeFault> {
    Ok(Box::new(Signature {
        header: values.header("header")?.ok_or(NO_FORMAT)?,
        prefix: values.get("prefix").unwrap_or_default().to_owned(),
        encoding: encoding(values)?,
        timestamp: values.header("timestamp_header")?,
        window_s: values.get("window").and_then(|seconds| seconds.parse().ok()).unwrap_or(WINDOW_S),
        signed: signed(values)?,
        secrets: values.secrets("secret"),
    }))
}

fn encoding(values: &SchemeValues) -> Result<SignatureEncoding, SchemeFault> {
    match values.get("encoding") {
        None | Some("hex") => Ok(SignatureEncoding::Hex),
        Some("base64") => Ok(SignatureEncoding::Base64),
        Some(_) => Err(SchemeFault::new("encoding", "unknown encoding", "write \"hex\" or \"base64\"")),
    }
}

fn signed(values: &SchemeValues) -> Result<Vec<SignedPart>, SchemeFault> {
    let parts = values.list("signed").ok_or(NO_FORMAT)?;
    let signed: Vec<SignedPart> = parts
        .iter()
        .map(|part| match part.reveal() {
            "timestamp" => SignedPart::Timestamp,
            "method" => SignedPart::Method,
            "target" => SignedPart::Target,
            "body" => SignedPart::Body,
            text => SignedPart::Literal(text.to_owned()),
        })
        .collect();
    if signed.contains(&SignedPart::Timestamp) != values.get("timestamp_header").is_some() {
        return Err(SchemeFault::new(
            "signed",
            "`timestamp_header` and \"timestamp\" in `signed` must be used together",
            "set `timestamp_header` and add \"timestamp\" to `signed`, or remove both",
        ));
    }
    if !signed.contains(&SignedPart::Body) {
        return Err(SchemeFault::new(
            "signed",
            "the body is not signed",
            "add \"body\" to `signed`; otherwise anyone could change the body",
        ));
    }
    Ok(signed)
}

/// HMAC-SHA256 over some parts of the request.
#[derive(Debug)]
struct Signature {
    /// The header with the signature.
    header: HeaderName,
    /// An optional prefix of the signature.
    prefix: String,
    encoding: SignatureEncoding,
    /// The header with the signed timestamp, in seconds since 1970. Without it, a signature never expires.
    timestamp: Option<HeaderName>,
    window_s: i64,
    /// The signed parts, in order.
    signed: Vec<SignedPart>,
    secrets: Vec<Secret>,
}

impl InboundAuth for Signature {
    fn needs_body(&self) -> bool {
        true
    }

    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let malformed = |name: &HeaderName| BadLogin::Malformed(name.clone());
        let signature = get(login.headers, &self.header)?.as_bytes();
        let signature = signature.strip_prefix(self.prefix.as_bytes()).unwrap_or(signature);
        let signature = match self.encoding {
            SignatureEncoding::Hex => hex::decode(signature).map_err(|_| malformed(&self.header))?,
            SignatureEncoding::Base64 => STANDARD.decode(signature).map_err(|_| malformed(&self.header))?,
        };
        let mut timestamp: &[u8] = b"";
        if let Some(name) = &self.timestamp {
            let value = get(login.headers, name)?;
            let signed_at: Option<i64> = value.to_str().ok().and_then(|text| text.parse().ok());
            let signed_at = signed_at.ok_or_else(|| malformed(name))?;
            if signed_at.abs_diff(login.received_at) > self.window_s.unsigned_abs() {
                return Err(BadLogin::Stale(self.window_s));
            }
            timestamp = value.as_bytes();
        }
        // Try all secrets, so that the timing does not reveal which one is in use.
        let matches = self
            .secrets
            .iter()
            .fold(false, |found, secret| found | matches(secret, &self.signed, timestamp, login, &signature));
        if matches { Ok(()) } else { Err(BadLogin::Wrong) }
    }
}

fn get<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, BadLogin> {
    headers.get(name).ok_or_else(|| BadLogin::Missing(name.clone()))
}

/// Whether the parts, signed with `secret`, have this signature. `verify_slice` compares in constant time.
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
            SignedPart::Method => login.method.as_str().as_bytes(),
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
    use crate::platform::auth::tests::scheme_values;
    use crate::scheme::SchemeDefaults;
    use http::Method;

    const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

    const FORMAT: SchemeDefaults = &[
        ("header", &["x-signature"]),
        ("prefix", &["sha256="]),
        ("timestamp_header", &["x-timestamp"]),
        ("signed", &["timestamp", ".", "body"]),
    ];

    fn auth(secrets: &[&str]) -> Box<dyn InboundAuth> {
        let mut values = scheme_values(&[("secret", secrets)]);
        values.add_defaults(FORMAT);
        build(&values).unwrap()
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
        let login = Login {
            method: &Method::POST,
            headers: &headers,
            target: "/",
            body: body.as_bytes(),
            received_at: 1_790_000_000,
        };
        auth(secrets).verify(&login)
    }

    #[test]
    fn a_signature_with_any_listed_secret_is_accepted() {
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
            // The same number, but not the signed text.
            (secrets, Some(&*prefixed), Some("+1790000000"), "{}", wrong.clone()),
            (secrets, Some(&good[..62]), now, "{}", wrong.clone()),
            (secrets, Some(""), now, "{}", wrong),
            (secrets, Some("sha256=xyz"), now, "{}", Err(BadLogin::Malformed(SIGNATURE))),
            (secrets, Some("sha1=00"), now, "{}", Err(BadLogin::Malformed(SIGNATURE))),
            (secrets, None, now, "{}", Err(BadLogin::Missing(SIGNATURE))),
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
    fn a_timestamp_may_differ_by_five_minutes_in_either_direction() {
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
        build(&scheme_values(values))
    }

    #[test]
    fn the_table_can_define_the_signature_format() {
        let auth = general(&[
            ("secret", &["s"]),
            ("header", &["X-Sig"]),
            ("signed", &["method", " ", "target", "\n", "body"]),
            ("encoding", &["base64"]),
            ("prefix", &["v1="]),
        ])
        .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s").unwrap();
        mac.update(b"PUT /http/f?x=1\n{}");
        let signature = format!("v1={}", STANDARD.encode(mac.finalize().into_bytes()));
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("x-sig"),
            HeaderValue::from_str(&signature).unwrap(),
        )]);
        let login =
            |target, body| Login { method: &Method::PUT, headers: &headers, target, body, received_at: 0 };
        assert_eq!(auth.verify(&login("/http/f?x=1", b"{}")), Ok(()));
        assert_eq!(auth.verify(&login("/http/f?x=2", b"{}")), Err(BadLogin::Wrong));
        assert_eq!(auth.verify(&login("/http/f?x=1", b"{ }")), Err(BadLogin::Wrong));
    }

    #[test]
    fn formats_that_check_too_little_are_rejected() {
        for (values, key) in [
            (&[("secret", &["s"][..])][..], "header"),
            (&[("secret", &["s"]), ("header", &["x-sig"])], "header"),
            (&[("secret", &["s"]), ("header", &["x sig"]), ("signed", &["body"])], "header"),
            (&[("secret", &["s"]), ("header", &["x-sig"]), ("signed", &["target"])], "signed"),
            (&[("secret", &["s"]), ("header", &["x-sig"]), ("signed", &["timestamp", "body"])], "signed"),
            (
                &[
                    ("secret", &["s"]),
                    ("header", &["x-sig"]),
                    ("signed", &["body"]),
                    ("encoding", &["rot13"]),
                ],
                "encoding",
            ),
            (
                &[
                    ("secret", &["s"]),
                    ("header", &["x-sig"]),
                    ("signed", &["body"]),
                    ("timestamp_header", &["x-t"]),
                ],
                "signed",
            ),
        ] {
            assert_eq!(general(values).map(|_| ()).unwrap_err().key, key, "{values:?}");
        }
    }
}
