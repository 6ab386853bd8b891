//! Which addresses are on the public internet, to prevent requests to internal services (SSRF).
//!
//! DNS can change the address of a name, and internal services often trust every client. So this module checks
//! addresses, never names. It makes no DNS queries and no connections.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

/// The networks that an upstream may be on: `upstreams.x.network`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum EgressPolicy {
    /// Any network.
    #[default]
    Any,
    /// Only the public internet.
    Public,
}

impl EgressPolicy {
    /// Checks the host of `url` if it is an address. A name is checked when it is resolved.
    ///
    /// # Errors
    /// The host is an address that is not on an allowed network.
    pub fn admit(self, url: &Url) -> Result<(), NotPublic> {
        // The URL parser normalizes every spelling of an address that a resolver would accept: 127.1, 0x7f000001.
        let address = match (self, url.host()) {
            (Self::Public, Some(Host::Ipv4(address))) => IpAddr::V4(address),
            (Self::Public, Some(Host::Ipv6(address))) => IpAddr::V6(address),
            _ => return Ok(()),
        };
        judge(address)
    }
}

/// An address that is not on the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the address {address} is {class}, and `network = \"public\"` allows public ones only")]
pub struct NotPublic {
    /// The address.
    pub address: IpAddr,
    /// Its class.
    pub class: Class,
}

/// A class of addresses that are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// This host, including the unspecified address.
    Loopback,
    /// A private network, including the shared address space of internet providers.
    Private,
    /// The local link. Most clouds serve their metadata there.
    LinkLocal,
    /// A cloud's internal service at an address that looks public.
    Metadata,
    /// A multicast group.
    Multicast,
    /// Reserved for documentation, benchmarks, protocols or future use.
    Reserved,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "a cloud's metadata service",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
        })
    }
}

/// Checks that an address is public.
///
/// # Errors
/// The address is not public. An IPv4 address embedded in IPv6 is checked as IPv4.
pub fn judge(address: IpAddr) -> Result<(), NotPublic> {
    let class = match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    };
    class.map_or(Ok(()), |class| Err(NotPublic { address, class }))
}

/// The class by IANA's registry of special-purpose addresses; `None` if the address is public.
fn class_v4(address: Ipv4Addr) -> Option<Class> {
    Some(match address.octets() {
        // Linux treats 0.0.0.0 as the local host.
        [0 | 127, ..] => Class::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Class::Private,
        [169, 254, ..] => Class::LinkLocal,
        // Azure's internal service for virtual machines. Other clouds use link-local, private or reserved addresses.
        [168, 63, 129, 16] => Class::Metadata,
        // Protocols, documentation, 6to4 relays, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Class::Reserved,
        [198, 51, 100, _] | [203, 0, 113, _] => Class::Reserved,
        [224..=239, ..] => Class::Multicast,
        [240..=255, ..] => Class::Reserved,
        _ => return None,
    })
}

fn class_v6(address: Ipv6Addr) -> Option<Class> {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| class_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(Class::Loopback),
        // IPv4-mapped, IPv4-compatible and NAT64 addresses.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4: a tunnel to the IPv4 address after the prefix.
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo, ORCHID and other protocols; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Class::Reserved),
        [0x2000..=0x3fff, ..] => None,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Class::Private),
        [0xfe80..=0xfebf, ..] => Some(Class::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Class::Multicast),
        // IANA assigns global unicast addresses only from 2000::/3.
        _ => Some(Class::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_purpose_addresses_are_not_public() {
        use Class::{LinkLocal, Loopback, Metadata, Multicast, Private, Reserved};
        for (text, class) in [
            ("1.1.1.1", None),
            ("8.8.8.8", None),
            ("0.0.0.0", Some(Loopback)),
            ("0.1.2.3", Some(Loopback)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.255", Some(Loopback)),
            ("128.0.0.0", None),
            ("9.255.255.255", None),
            ("10.0.0.0", Some(Private)),
            ("10.255.255.255", Some(Private)),
            ("11.0.0.0", None),
            ("172.15.255.255", None),
            ("172.16.0.0", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("172.32.0.0", None),
            ("192.167.255.255", None),
            ("192.168.0.0", Some(Private)),
            ("192.169.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some(Private)),
            // Alibaba's metadata service.
            ("100.100.100.200", Some(Private)),
            ("100.127.255.255", Some(Private)),
            ("100.128.0.0", None),
            ("169.253.255.255", None),
            ("169.254.169.254", Some(LinkLocal)),
            ("169.255.0.0", None),
            ("168.63.129.15", None),
            ("168.63.129.16", Some(Metadata)),
            ("192.0.0.8", Some(Reserved)),
            // Oracle's metadata service.
            ("192.0.0.192", Some(Reserved)),
            ("192.0.1.0", None),
            ("192.0.2.1", Some(Reserved)),
            ("192.88.99.1", Some(Reserved)),
            ("198.17.255.255", None),
            ("198.18.0.0", Some(Reserved)),
            ("198.19.255.255", Some(Reserved)),
            ("198.20.0.0", None),
            ("198.51.100.7", Some(Reserved)),
            ("203.0.113.7", Some(Reserved)),
            ("203.0.114.0", None),
            ("223.255.255.255", None),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Reserved)),
            ("2606:4700::1111", None),
            ("2a00:1450:4001::1", None),
            ("::", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::2", Some(Loopback)),
            ("::ffff:10.0.0.1", Some(Private)),
            ("::ffff:1.1.1.1", None),
            ("::10.0.0.1", Some(Private)),
            ("::ffff:0:10.0.0.1", Some(Reserved)),
            ("64:ff9b::169.254.169.254", Some(LinkLocal)),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", Some(Reserved)),
            ("100::1", Some(Reserved)),
            ("2001::1", Some(Reserved)),
            ("2001:0:102:304::", Some(Reserved)),
            ("2001:1ff::1", Some(Reserved)),
            ("2001:200::1", None),
            ("2001:db7::1", None),
            ("2001:db8::1", Some(Reserved)),
            ("2001:db9::1", None),
            ("2002:7f00:1::", Some(Loopback)),
            ("2002:a00:1::1", Some(Private)),
            ("2002:808:808::1", None),
            ("3ffe::1", None),
            ("3fff::1", Some(Reserved)),
            ("3fff:fff::1", Some(Reserved)),
            ("3fff:1000::1", None),
            ("4000::1", Some(Reserved)),
            ("5f00::1", Some(Reserved)),
            ("1fff::1", Some(Reserved)),
            ("fc00::1", Some(Private)),
            // Amazon's metadata service.
            ("fd00:ec2::254", Some(Private)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("fec0::1", Some(Private)),
            ("ff02::1", Some(Multicast)),
        ] {
            let found = judge(text.parse().unwrap()).err().map(|error| error.class);
            assert_eq!(found, class, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_an_address_in_a_url_is_checked() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "2130706433",
            "127.0.0.1.",
            "127。0。0。1",
            "１２７.0.0.1",
            "%31%32%37.0.0.1",
            "0",
            "10.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:a00:1]",
            "[::10.0.0.1]",
            "[64:ff9b::a00:1]",
            "[fd00::1]",
        ] {
            let url: Url = format!("http://{host}:8080/x").parse().unwrap();
            assert!(EgressPolicy::Public.admit(&url).is_err(), "{host}");
            assert!(EgressPolicy::Any.admit(&url).is_ok(), "{host}");
        }
        // Names are checked when they are resolved.
        for host in
            ["1.1.1.1", "0x1.1.1.1", "[2606:4700::1111]", "localhost", "localhost.", "api.example.com"]
        {
            let url: Url = format!("http://{host}/").parse().unwrap();
            assert!(EgressPolicy::Public.admit(&url).is_ok(), "{host}");
        }
    }
}
