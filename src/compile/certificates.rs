//! The validity of certificates: when they end, and for which names they are.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::diagnostic::{Code, Diagnostic, Span};

/// How long before its end a certificate is reported.
const EXPIRES_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The tags of DER.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Validity {
    /// The time in which all certificates of a chain are valid; `None` if one cannot be read.
    pub(super) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let all: Option<Vec<Self>> = chain.iter().map(|certificate| Self::of(certificate)).collect();
        let both = |one: Self, other: Self| Self {
            from: one.from.max(other.from),
            until: one.until.min(other.until),
        };
        all?.into_iter().reduce(both)
    }

    /// The validity in a certificate: the fifth field of its content, if it has a version.
    fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut content, _) = element(certificate, SEQUENCE)?;
        if content.first() == Some(&VERSION) {
            (_, content) = element(content, VERSION)?;
        }
        // The serial number, the algorithm of the signature, and the issuer.
        for _ in 0..3 {
            (_, content) = element(content, *content.first()?)?;
        }
        let (validity, _) = element(content, SEQUENCE)?;
        let (from, rest) = time(validity)?;
        let (until, _) = time(rest)?;
        Some(Self { from, until })
    }

    /// The warning about a certificate that is not valid now, or not for much longer.
    pub(super) fn warning(self, now: Timestamp, place: Span) -> Option<Diagnostic> {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
        let renew = "replace the certificate; Jackfield reloads it without a restart";
        let expired = |message: String| Diagnostic::new(Code::TlsExpired, place, message).help(renew);
        if now < self.from {
            return Some(expired(format!("the certificate is not valid before {}", day(self.from))));
        }
        if now > self.until {
            return Some(expired(format!("the certificate expired on {}", day(self.until))));
        }
        let left = self.until.duration_since(now);
        (left < EXPIRES_SOON).then(|| {
            let days = left.as_hours() / 24;
            let message = format!("the certificate expires on {} (in {days} days)", day(self.until));
            Diagnostic::new(Code::TlsExpiring, place, message).help(renew)
        })
    }
}

/// Whether a certificate is for this host; true if that is unknown.
pub(super) fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match (ParsedCertificate::try_from(certificate), ServerName::try_from(host)) {
        (Ok(certificate), Ok(name)) => rustls::client::verify_server_name(&certificate, &name).is_ok(),
        _ => true,
    }
}

/// The content of the element with this tag at the start of `der`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The time at the start of `der`, and what follows it. RFC 5280 allows `YYMMDDHHMMSSZ` and `YYYYMMDDHHMMSSZ`.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let tag = *der.first()?;
    let (text, rest) = element(der, tag)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // Two digits of a year mean 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", &text).ok()?;
    Some((TimeZone::UTC.to_timestamp(time).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Sources;
    use rustls::pki_types::pem::PemObject as _;
    use std::path::Path;

    fn chain(name: &str) -> Vec<CertificateDer<'static>> {
        let path = format!("{}/tests/it/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        CertificateDer::pem_slice_iter(&std::fs::read(path).unwrap()).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn times_have_two_forms() {
        let read = |tag: u8, text: &str| {
            let length = u8::try_from(text.len()).unwrap();
            let der = [&[tag, length][..], text.as_bytes()].concat();
            time(&der).map(|(time, _)| time.to_string())
        };
        assert_eq!(read(UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59Z"));
        assert_eq!(read(UTC_TIME, "500101000000Z").as_deref(), Some("1950-01-01T00:00:00Z"));
        assert_eq!(read(GENERALIZED_TIME, "20500101000000Z").as_deref(), Some("2050-01-01T00:00:00Z"));
        for text in ["", "Z", "491331235959Z", "491231235959", "æ91231235959Z"] {
            assert_eq!(read(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn cut_certificates_have_no_validity() {
        let der = &chain("one.pem")[0];
        assert!(Validity::of(der).is_some());
        for length in 0..der.len().min(300) {
            let _ = Validity::of(&der[..length]);
        }
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn warnings_depend_on_the_time() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let place = Span::start_of(Sources::default().add(Path::new("routes.toml"), String::new()));
        let validity = Validity { from: time("2026-01-01T00:00:00Z"), until: time("2026-03-31T00:00:00Z") };
        for (now, expected) in [
            ("2025-12-31T23:59:59Z", Some((Code::TlsExpired, "not valid before 2026-01-01"))),
            ("2026-01-01T00:00:00Z", None),
            ("2026-03-01T00:00:00Z", None),
            ("2026-03-02T00:00:00Z", Some((Code::TlsExpiring, "(in 29 days)"))),
            ("2026-03-31T00:00:01Z", Some((Code::TlsExpired, "expired on 2026-03-31"))),
        ] {
            let warning = validity.warning(time(now), place);
            let found = warning.as_ref().map(|warning| (warning.code, warning.message.as_str()));
            assert_eq!(found.map(|(code, _)| code), expected.map(|(code, _)| code), "{now}");
            if let (Some((_, message)), Some((_, part))) = (found, expected) {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
