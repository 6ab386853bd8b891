//! `server.trusted_proxies`: addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::cx::Cx;
use crate::diagnostic::{Code, Diagnostic};
use crate::table::raw::Strings;
use crate::table::reader::Key;

/// The networks, without those that have errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>, raw: &Key<Strings>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for text in raw.items() {
        cx.no_secret_in(&text.value, text.span, "[server]");
        let (message, help) = match network(&text.value) {
            Ok(network) => {
                networks.push(network);
                continue;
            }
            Err(BadNetwork::HostBits(network)) => (
                "is an address inside a network",
                format!("write \"{network}\", or the address alone for a single proxy"),
            ),
            Err(BadNetwork::Syntax) => (
                "is not an address or a network",
                "write an address such as \"127.0.0.1\", or a network such as \"10.0.0.0/8\"".to_owned(),
            ),
        };
        cx.report(
            Diagnostic::new(Code::InvalidAddress, text.span, format!("`{}` {message}", text.value))
                .help(help),
        );
    }
    networks
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadNetwork {
    /// It is not an address, or its prefix is too long.
    Syntax,
    /// The address has bits after the prefix; this is the network without them.
    HostBits(IpNet),
}

/// A network such as `10.0.0.0/8`; a single address is a network of its own.
fn network(text: &str) -> Result<IpNet, BadNetwork> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| BadNetwork::Syntax)?;
    if network.addr() == network.network() { Ok(network) } else { Err(BadNetwork::HostBits(network.trunc())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_prefix() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(&inside.parse::<IpAddr>().unwrap()), "{text} {inside}");
            assert!(!network.contains(&outside.parse::<IpAddr>().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn other_texts_are_not_networks() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::1/129", "lb.example", "10.*"]
        {
            assert_eq!(network(text), Err(BadNetwork::Syntax), "{text}");
        }
        let Err(BadNetwork::HostBits(meant)) = network("10.1.2.3/8") else { panic!() };
        assert_eq!(meant.to_string(), "10.0.0.0/8");
    }
}
