//! Formats a client's address for the log. Every line about a call contains one.

use std::fmt;
use std::net::IpAddr;

use smallvec::SmallVec;

/// At least the length of the longest IPv4 address, which is 15 bytes.
const MAX_IPV4: usize = 16;

/// Formats an address as [`IpAddr`] does, but avoids the overhead of `write!` for IPv4.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientText(pub(super) IpAddr);

impl fmt::Display for ClientText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IpAddr::V4(address) = self.0 else { return self.0.fmt(f) };
        let mut text = SmallVec::<[u8; MAX_IPV4]>::new();
        for (at, octet) in address.octets().into_iter().enumerate() {
            if at > 0 {
                text.push(b'.');
            }
            text.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
        }
        // The bytes are digits and dots, so this cannot fail.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_the_standard_library_does() {
        for octet in 0..=u8::MAX {
            let address = IpAddr::from([octet, 255 - octet, 10, octet / 2]);
            assert_eq!(ClientText(address).to_string(), address.to_string());
        }
        for text in ["::1", "2001:db8::7", "::ffff:10.0.0.1"] {
            assert_eq!(ClientText(text.parse().unwrap()).to_string(), text);
        }
    }
}
