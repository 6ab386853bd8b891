//! The signature of the handshake, the only request that SignalWire signs.
//!
//! From the vendor's webhook security guide: HMAC-SHA1, or HMAC-SHA256 in its own header, over the URL (without
//! credentials) and the raw body.

use ::http::HeaderName;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::platform::auth::BadLogin;
use crate::platform::{Inbound, Setting};
use crate::secret::Secret;

/// The project's signing key, for the only request that SignalWire signs.
pub(super) const SIGNING_KEY: Setting = Setting {
    key: "signing_key",
    about: "The project's signing key. If it is set, `get_signature` requests must be signed with it.",
    values: &[],
};

/// The headers that carry the signature in hexadecimal: HMAC-SHA1 and HMAC-SHA256.
const SIGNATURE: HeaderName = HeaderName::from_static("x-signalwire-signature");
const SIGNATURE_SHA256: HeaderName = HeaderName::from_static("x-signalwire-sha256-signature");

/// Checks the signature of a request to `url`. Without signing keys, every request passes.
pub(super) fn check(keys: &[Secret], inbound: &Inbound, url: &str) -> Result<(), BadLogin> {
    if keys.is_empty() {
        return Ok(());
    }
    let (name, value) = [SIGNATURE_SHA256, SIGNATURE]
        .into_iter()
        .find_map(|name| inbound.headers.get(&name).map(|value| (name, value)))
        .ok_or(BadLogin::Missing(SIGNATURE))?;
    let signature = hex::decode(value.as_bytes()).map_err(|_| BadLogin::Malformed(name.clone()))?;
    // SignalWire signs the URL that it calls: that of the endpoint, with the function and the query as received.
    let target = inbound.uri.path_and_query().map_or("", |target| target.as_str());
    let rest = target.get(1..).and_then(|target| target.find(['/', '?']).map(|at| &target[at..]));
    let parts = [url.as_bytes(), rest.unwrap_or_default().as_bytes(), &inbound.body];
    // Try all keys, so that the timing does not reveal which one is in use.
    let matches = keys.iter().fold(false, |found, key| {
        found
            | if name == SIGNATURE {
                signs::<Hmac<Sha1>>(key, &parts, &signature)
            } else {
                signs::<Hmac<Sha256>>(key, &parts, &signature)
            }
    });
    if matches { Ok(()) } else { Err(BadLogin::Wrong) }
}

fn signs<M: Mac + KeyInit>(key: &Secret, parts: &[&[u8]], signature: &[u8]) -> bool {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key.reveal().as_bytes()) else { return false };
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(signature).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::platform::payload;

    #[test]
    fn only_signatures_with_a_configured_key_are_accepted() {
        let body = json!({"action": "get_signature"});
        let url = "https://tools.example.com/swaig";
        let sign = |key: &[u8], url: &str| {
            let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key).unwrap();
            mac.update(url.as_bytes());
            mac.update(body.to_string().as_bytes());
            hex::encode(mac.finalize().into_bytes())
        };
        let keys = [Secret::new("new"), Secret::new("old")];
        let verdict_at = |uri: &str, keys: &[Secret], signature: Option<String>| {
            let mut inbound = payload::post(&body);
            inbound.uri = uri.parse().unwrap();
            if let Some(signature) = signature {
                inbound.headers.insert(SIGNATURE, signature.parse().unwrap());
            }
            check(keys, &inbound, url)
        };
        let verdict = |keys: &[Secret], signature| verdict_at("/swaig", keys, signature);
        for rest in ["?__token=abc&x=1", "/get_weather", "/get_weather?a=%20b", "/", ""] {
            let uri = format!("/swaig{rest}");
            let signed = |rest: &str| Some(sign(b"new", &format!("{url}{rest}")));
            assert!(verdict_at(&uri, &keys, signed(rest)).is_ok(), "{uri}");
            assert!(verdict_at(&uri, &keys, signed("?__token=other")).is_err(), "{uri}");
        }
        for key in [&b"new"[..], b"old"] {
            assert!(verdict(&keys, Some(sign(key, url))).is_ok());
        }
        for bad in [
            None,
            Some(sign(b"other", url)),
            Some(sign(b"new", "https://example.com/")),
            Some("x".to_owned()),
        ] {
            assert!(verdict(&keys, bad.clone()).is_err(), "{bad:?}");
        }
        assert!(verdict(&[], None).is_ok());
    }
}
