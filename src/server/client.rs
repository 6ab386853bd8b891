//! The client's address: the peer of the connection, or the address that trusted proxies report in `X-Forwarded-For` or
//! `Forwarded`.

use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peer address of the connection that a request arrived on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The address of the client. Follows the hops from the nearest proxy outwards, as long as each hop is trusted.
///
/// A proxy sets one of the two headers and may forward the other as the client wrote it. So if the headers disagree,
/// both are ignored.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    let follow = |hops: Vec<Option<IpAddr>>| {
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            match hop {
                Some(before) if trusted.iter().any(|network| network.contains(&client)) => client = before,
                _ => break,
            }
        }
        client
    };
    let by_list = headers.contains_key(X_FORWARDED_FOR).then(|| follow(x_forwarded_for(headers)));
    let by_elements = headers.contains_key(FORWARDED).then(|| follow(forwarded(headers)));
    match (by_list, by_elements) {
        (Some(one), Some(other)) if one != other => peer,
        (one, other) => one.or(other).unwrap_or(peer),
    }
}

/// The hops of `X-Forwarded-For`, farthest first. A hop that is not an address is `None`.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        match value.to_str() {
            Ok(text) => hops.extend(text.split(',').map(|hop| address(hop.trim()))),
            Err(_) => hops.push(None),
        }
    }
    hops
}

/// The hops of `Forwarded` (RFC 7239), farthest first. A hop that is not an address is `None`.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    for value in headers.get_all(FORWARDED) {
        let Ok(text) = value.to_str() else {
            hops.push(None);
            continue;
        };
        // A client may leave a quote open to hide what the proxies add behind it.
        let Some(elements) = outside_quotes(text, ',') else {
            hops.push(None);
            continue;
        };
        for element in elements {
            let by = outside_quotes(element, ';').unwrap_or_default().into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
            });
            hops.push(by.and_then(|by| address(by.trim_matches('"'))));
        }
    }
    hops
}

/// Splits `text` at a character, except between quotes. `None` if a quote is not closed.
fn outside_quotes(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return character == at && !quoted,
        }
        false
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
}

/// Parses an address as proxies write it: with or without a port, and with or without brackets around IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted = ["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client(peer.parse().unwrap(), &map, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_can_report_the_client() {
        const LIST: &str = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // An untrusted peer can send anything.
            ("203.0.113.9", &[(LIST, "198.51.100.1")], "203.0.113.9"),
            ("203.0.113.9", &[("forwarded", "for=198.51.100.1")], "203.0.113.9"),
            ("127.0.0.1", &[(LIST, "198.51.100.1")], "198.51.100.1"),
            ("::ffff:127.0.0.1", &[(LIST, "198.51.100.1")], "198.51.100.1"),
            // The client's own entries are to the left of those that the proxies added.
            ("127.0.0.1", &[(LIST, "1.2.3.4, 198.51.100.1")], "198.51.100.1"),
            ("127.0.0.1", &[(LIST, "1.2.3.4, 198.51.100.1, 10.0.0.7")], "198.51.100.1"),
            ("127.0.0.1", &[(LIST, "1.2.3.4, 198.51.100.1"), (LIST, "10.0.0.7")], "198.51.100.1"),
            ("127.0.0.1", &[(LIST, "10.0.0.8,10.0.0.7")], "10.0.0.8"),
            ("127.0.0.1", &[(LIST, "198.51.100.1, ::ffff:10.0.0.7")], "198.51.100.1"),
            ("127.0.0.1", &[(LIST, "198.51.100.1:4711")], "198.51.100.1"),
            ("127.0.0.1", &[(LIST, "[2001:db9::1]:4711")], "2001:db9::1"),
            ("127.0.0.1", &[(LIST, "2001:db9::1")], "2001:db9::1"),
            // Hops beyond an unreadable one are not trusted.
            ("127.0.0.1", &[(LIST, "198.51.100.1, unknown")], "127.0.0.1"),
            ("127.0.0.1", &[(LIST, "198.51.100.1, unknown, 10.0.0.7")], "10.0.0.7"),
            ("127.0.0.1", &[(LIST, "")], "127.0.0.1"),
            ("127.0.0.1", &[(LIST, "198.51.100.1, é")], "127.0.0.1"),
            ("10.1.1.1", &[("forwarded", "for=198.51.100.1;proto=https")], "198.51.100.1"),
            (
                "10.1.1.1",
                &[("forwarded", "proto=https; For=\"[2001:db9::1]:4711\";by=10.0.0.1")],
                "2001:db9::1",
            ),
            ("10.1.1.1", &[("forwarded", "for=1.2.3.4, for=\"198.51.100.1\"")], "198.51.100.1"),
            ("10.1.1.1", &[("forwarded", "for=1.2.3.4;by=\"a,for=5.6.7.8\"")], "1.2.3.4"),
            ("10.1.1.1", &[("forwarded", "for=_hidden")], "10.1.1.1"),
            // A client left a quote open before a proxy added its element, in the same or in another header.
            ("10.1.1.1", &[("forwarded", "for=6.6.6.6;x=\"a, for=198.51.100.1")], "10.1.1.1"),
            ("10.1.1.1", &[("forwarded", "for=6.6.6.6;x=\"a\\\", for=198.51.100.1")], "10.1.1.1"),
            ("10.1.1.1", &[("forwarded", "for=6.6.6.6;x=\"a"), ("forwarded", "for=10.0.0.7")], "10.0.0.7"),
            ("10.1.1.1", &[("forwarded", "proto=https")], "10.1.1.1"),
            ("2001:db8::7", &[("forwarded", "for=198.51.100.1")], "198.51.100.1"),
            // One of the two headers comes from the client.
            ("10.1.1.1", &[("forwarded", "for=1.2.3.4"), (LIST, "198.51.100.1")], "10.1.1.1"),
            ("10.1.1.1", &[("forwarded", "for=198.51.100.1"), (LIST, "198.51.100.1")], "198.51.100.1"),
        ] {
            assert_eq!(found(peer, headers), expected, "{peer} {headers:?}");
        }
    }
}
