//! Encryption of sensitive values in the store.
//!
//! A sealed value begins with one byte. [`PLAIN`] is followed by the value itself. [`ENCRYPTED`] is followed by the id of
//! the key (4 bytes), the nonce (24 bytes) and the output of XChaCha20-Poly1305. The place of the value is authenticated
//! too, so a value that was copied to another row is rejected.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload as Aad};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rustls::crypto::ring;
use zeroize::Zeroizing;

use crate::fingerprint::Fingerprint;

use super::error::StateFault;
use super::job::Payload;

const PLAIN: u8 = 0;
const ENCRYPTED: u8 = 1;
const ID_LENGTH: usize = 4;
const NONCE_LENGTH: usize = 24;

/// Identifies a key.
pub(super) type KeyId = [u8; ID_LENGTH];

/// How each value begins that was encrypted with a key.
pub(super) fn sealed_by(key: KeyId) -> [u8; 1 + ID_LENGTH] {
    let [a, b, c, d] = key;
    [ENCRYPTED, a, b, c, d]
}

/// A key of 32 bytes. `Debug` prints only its id.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey {
    id: KeyId,
    bytes: Zeroizing<[u8; 32]>,
}

/// Why a text is not a key. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not base64.
    #[error("the key is not base64")]
    NotBase64,
    /// Not 32 bytes.
    #[error("the key has {0} bytes, not 32")]
    Length(usize),
}

impl KeyFault {
    /// How to fix it.
    pub const HELP: &str = "`openssl rand -base64 32` makes a key";
}

impl EncryptionKey {
    /// Reads a key of 32 bytes in base64.
    ///
    /// # Errors
    /// The text is not base64, or has another length.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let text = text.trim();
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let bytes = Zeroizing::new(bytes.map_err(|_| KeyFault::NotBase64)?);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| KeyFault::Length(bytes.len()))?;
        let hash = Fingerprint::new().text("jackfield state key").bytes(&bytes).finish();
        Ok(Self { id: [hash[0], hash[1], hash[2], hash[3]], bytes: Zeroizing::new(bytes) })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", hex::encode(self.id))
    }
}

/// The configured keys. The first one encrypts, all of them decrypt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionKeys(pub Vec<EncryptionKey>);

/// Where a sealed value belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct SealedAt<'a> {
    /// The kind of value.
    pub(super) kind: &'static str,
    /// What identifies its row.
    pub(super) row: &'a [u8],
    /// What identifies it within the row.
    pub(super) name: &'a str,
}

impl SealedAt<'_> {
    fn aad(&self) -> [u8; 32] {
        Fingerprint::new().text(self.kind).bytes(self.row).text(self.name).finish()
    }
}

impl EncryptionKeys {
    pub(super) fn ids(&self) -> Vec<KeyId> {
        self.0.iter().map(|key| key.id).collect()
    }

    /// Makes a payload ready to be stored.
    pub(super) fn seal(&self, payload: &Payload, at: SealedAt<'_>) -> Result<Vec<u8>, StateFault> {
        if !payload.is_sensitive {
            let mut sealed = Vec::with_capacity(1 + payload.bytes.len());
            sealed.push(PLAIN);
            sealed.extend_from_slice(&payload.bytes);
            return Ok(sealed);
        }
        let key = self.0.first().ok_or(StateFault::NoKey)?;
        let nonce: [u8; NONCE_LENGTH] = random()?;
        let aad = at.aad();
        let encrypted = key
            .cipher()
            .encrypt(&XNonce::from(nonce), Aad { msg: &payload.bytes, aad: &aad })
            .map_err(|_| StateFault::Internal)?;
        let mut sealed = Vec::with_capacity(1 + ID_LENGTH + NONCE_LENGTH + encrypted.len());
        sealed.push(ENCRYPTED);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&encrypted);
        Ok(sealed)
    }

    /// Reads a stored payload.
    pub(super) fn open(&self, mut sealed: Vec<u8>, at: SealedAt<'_>) -> Result<Vec<u8>, StateFault> {
        match sealed.first() {
            Some(&PLAIN) => {
                sealed.remove(0);
                Ok(sealed)
            }
            Some(&ENCRYPTED) if sealed.len() > 1 + ID_LENGTH + NONCE_LENGTH => {
                let (id, rest) = sealed[1..].split_at(ID_LENGTH);
                let (nonce, encrypted) = rest.split_at(NONCE_LENGTH);
                let nonce: [u8; NONCE_LENGTH] = nonce.try_into().map_err(|_| StateFault::UnknownKey)?;
                let aad = at.aad();
                // Ids are short, so two keys may have the same one.
                let keys = self.0.iter().filter(|key| key.id == id);
                keys.filter_map(|key| {
                    key.cipher().decrypt(&XNonce::from(nonce), Aad { msg: encrypted, aad: &aad }).ok()
                })
                .next()
                .ok_or(StateFault::UnknownKey)
            }
            _ => Err(StateFault::UnknownKey),
        }
    }
}

/// Random bytes of the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StateFault> {
    let mut bytes = [0; N];
    ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| StateFault::Internal)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: SealedAt<'_> = SealedAt { kind: "memory", row: b"row", name: "name" };

    fn key(byte: u8) -> EncryptionKey {
        EncryptionKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    fn sensitive(text: &str) -> Payload {
        Payload { bytes: text.into(), is_sensitive: true }
    }

    #[test]
    fn a_key_has_32_bytes_and_is_never_printed() {
        for (text, fault) in [
            ("", KeyFault::Length(0)),
            ("c2hvcnQ=", KeyFault::Length(5)),
            ("not base64!", KeyFault::NotBase64),
            (&STANDARD.encode([1; 33]), KeyFault::Length(33)),
        ] {
            assert_eq!(EncryptionKey::parse(text), Err(fault), "{text}");
        }
        assert_eq!(EncryptionKey::parse(&format!(" {}\n", STANDARD_NO_PAD.encode([1; 32]))), Ok(key(1)));
        let debug = format!("{:?}", EncryptionKeys(vec![key(1)]));
        assert!(debug.len() < 60 && !debug.contains("1, 1"), "{debug}");
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let old = EncryptionKeys(vec![key(1)]);
        let both = EncryptionKeys(vec![key(2), key(1)]);
        let new = EncryptionKeys(vec![key(2)]);
        let by_old = old.seal(&sensitive("4711"), AT).unwrap();
        let by_new = both.seal(&sensitive("4711"), AT).unwrap();
        for (keys, sealed, result) in [
            (&old, &by_old, Ok(b"4711".to_vec())),
            (&both, &by_old, Ok(b"4711".to_vec())),
            (&both, &by_new, Ok(b"4711".to_vec())),
            (&new, &by_new, Ok(b"4711".to_vec())),
            (&new, &by_old, Err(StateFault::UnknownKey)),
            (&EncryptionKeys::default(), &by_old, Err(StateFault::UnknownKey)),
        ] {
            assert_eq!(keys.open(sealed.clone(), AT), result);
        }
        assert_ne!(by_old, old.seal(&sensitive("4711"), AT).unwrap(), "each nonce is new");
        assert!(!by_old.windows(4).any(|part| part == b"4711"));
    }

    #[test]
    fn a_value_opens_only_unchanged_and_at_its_own_place() {
        let keys = EncryptionKeys(vec![key(1)]);
        let sealed = keys.seal(&sensitive("4711"), AT).unwrap();
        for at in [
            SealedAt { kind: "job", ..AT },
            SealedAt { row: b"other", ..AT },
            SealedAt { name: "other", ..AT },
        ] {
            assert_eq!(keys.open(sealed.clone(), at), Err(StateFault::UnknownKey), "{at:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 2;
            assert_eq!(keys.open(changed, AT), Err(StateFault::UnknownKey), "{at}");
            assert!(keys.open(sealed[..at].to_vec(), AT).is_err(), "{at}");
        }
    }

    #[test]
    fn what_is_not_sensitive_needs_no_key() {
        let keys = EncryptionKeys::default();
        let plain = Payload { bytes: b"open".to_vec(), is_sensitive: false };
        assert_eq!(keys.open(keys.seal(&plain, AT).unwrap(), AT), Ok(b"open".to_vec()));
        assert_eq!(keys.seal(&sensitive("4711"), AT), Err(StateFault::NoKey));
    }
}
