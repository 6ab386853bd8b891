//! The platform's own signature over what it sends, with a shared secret.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::{Auth, BadLogin, Login, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::secret::Secret;

pub(super) static SCHEME: Scheme =
    Scheme { name: "signature", keys: &[SchemeKey { name: "secret", secret: true }], build };

/// How a platform signs: HMAC-SHA256 in hexadecimal over some parts of the request.
#[derive(Debug)]
pub struct SignatureFormat {
    /// The header with the signature.
    pub header: HeaderName,
    /// What may stand before the signature.
    pub prefix: &'static str,
    /// The header with the time of signing, in seconds since 1970.
    pub timestamp: HeaderName,
    /// How far that time may be from ours, either way.
    pub window_s: i64,
    /// What is signed: these parts, one after the other.
    pub signed: &'static [SignedPart],
}

/// A part of what a platform signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedPart {
    /// The timestamp, as its header writes it.
    Timestamp,
    /// A fixed text.
    Literal(&'static str),
    /// The raw body.
    Body,
}

fn build(values: &mut SchemeValues) -> Result<Box<dyn Auth>, SchemeFault> {
    match values.signature {
        Some(format) => Ok(Box::new(Signature { format, secrets: values.take("secret") })),
        None => Err(SchemeFault {
            key: None,
            message: "this platform does not sign its requests".into(),
            help: "use `auth.basic`, `auth.bearer` or `auth.header`".into(),
        }),
    }
}

#[derive(Debug)]
struct Signature {
    format: &'static SignatureFormat,
    secrets: Vec<Secret>,
}

impl Auth for Signature {
    fn needs_body(&self) -> bool {
        true
    }

    fn verify(&self, login: &Login<'_>) -> Result<(), BadLogin> {
        let format = self.format;
        let signature = get(login.headers, &format.header)?.as_bytes();
        let signature = hex::decode(signature.strip_prefix(format.prefix.as_bytes()).unwrap_or(signature))
            .map_err(|_| BadLogin::Malformed(format.header.clone()))?;
        let timestamp = get(login.headers, &format.timestamp)?;
        let signed_at: i64 = timestamp
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| BadLogin::Malformed(format.timestamp.clone()))?;
        if signed_at.abs_diff(login.received_at) > format.window_s.unsigned_abs() {
            return Err(BadLogin::Stale(format.window_s));
        }
        // All secrets are tried, so that the time taken does not tell which of them is in use.
        let matches = self.secrets.iter().fold(false, |found, secret| {
            found | matches(secret, format.signed, timestamp.as_bytes(), login.body, &signature)
        });
        if matches { Ok(()) } else { Err(BadLogin::Wrong) }
    }
}

fn get<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h HeaderValue, BadLogin> {
    headers.get(name).ok_or_else(|| BadLogin::Missing(name.clone()))
}

/// Whether `secret` makes this signature; `verify_slice` compares in constant time.
fn matches(secret: &Secret, parts: &[SignedPart], timestamp: &[u8], body: &[u8], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else { return false };
    for part in parts {
        mac.update(match part {
            SignedPart::Timestamp => timestamp,
            SignedPart::Literal(text) => text.as_bytes(),
            SignedPart::Body => body,
        });
    }
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    static FORMAT: SignatureFormat = SignatureFormat {
        header: HeaderName::from_static("x-signature"),
        prefix: "sha256=",
        timestamp: HeaderName::from_static("x-timestamp"),
        window_s: 300,
        signed: &[SignedPart::Timestamp, SignedPart::Literal("."), SignedPart::Body],
    };

    fn auth(secrets: &[&str]) -> Box<dyn Auth> {
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
        auth(secrets).verify(&Login { headers: &headers, body: body.as_bytes(), received_at: 1_790_000_000 })
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
            (secrets, Some(&*prefixed), None, "{}", Err(BadLogin::Missing(FORMAT.timestamp.clone()))),
            (
                secrets,
                Some(&*prefixed),
                Some("soon"),
                "{}",
                Err(BadLogin::Malformed(FORMAT.timestamp.clone())),
            ),
            (secrets, Some(&*prefixed), Some("å"), "{}", Err(BadLogin::Malformed(FORMAT.timestamp.clone()))),
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

    #[test]
    fn a_platform_that_does_not_sign_cannot_be_checked_so() {
        let fault = build(&mut SchemeValues::default()).unwrap_err();
        assert_eq!(fault.key, None);
        assert_eq!(fault.message, "this platform does not sign its requests");
    }
}
