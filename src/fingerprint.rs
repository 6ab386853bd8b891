//! Fingerprints: SHA-256 over parts that are each preceded by their length, so that `ab` + `c` and `a` + `bc` differ.

use sha2::{Digest, Sha256};

/// Builds a fingerprint part by part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a text.
    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds bytes. The length is always encoded in eight bytes, so that the fingerprint is the same on every machine.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The fingerprint of all parts.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn part_boundaries_change_the_fingerprint() {
        let of =
            |parts: &[&str]| parts.iter().fold(Fingerprint::new(), |hash, part| hash.text(part)).finish();
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["ab"]), of(&["ab", ""]));
    }
}
