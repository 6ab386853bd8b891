//! Opens connections: resolves names, races addresses and starts TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::error::connect_failure;
use super::origin::Origin;
use super::stream::Stream;
use super::tunnel::tunnel;
use crate::upstream::egress::{NotPublic, judge};
use crate::upstream::proxy::Proxy;
use crate::upstream::{EgressPolicy, TransportError};

/// How long to wait for one address before trying the next one as well (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How long a connection must be silent before the system sends a keepalive probe, and the interval between probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// After this many unanswered probes, the system closes the connection.
const KEEPALIVE_PROBES: u32 = 3;
/// The longest that the peer may take to acknowledge sent bytes.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens the connections of one client.
pub(super) struct Connector {
    pub(super) tls: TlsConnector,
    pub(super) network: EgressPolicy,
    pub(super) proxy: Option<Proxy>,
}

impl Connector {
    /// The proxy that forwards each request to this origin; `None` if there is no proxy or it tunnels the connection.
    pub(super) fn forwards(&self, origin: &Origin) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !origin.is_secure)
    }

    /// Opens a connection to an origin.
    pub(super) async fn open(&self, origin: &Origin) -> Result<Connection, TransportError> {
        let tcp = match &self.proxy {
            Some(proxy) => {
                let mut tcp = dial_proxy(proxy).await?;
                if origin.is_secure {
                    tunnel(&mut tcp, proxy, origin).await?;
                }
                tcp
            }
            None => dial(self.network, origin.address, &origin.host, origin.port).await?,
        };
        let stream = if origin.is_secure {
            let tls = self.tls.connect(origin.server_name.clone(), tcp).await;
            Stream::Tls(Box::new(tls.map_err(|error| connect_failure("", &error))?))
        } else {
            Stream::Plain(tcp)
        };
        Ok(Connection::new(stream))
    }
}

async fn dial_proxy(proxy: &Proxy) -> Result<TcpStream, TransportError> {
    let host = proxy.host.trim_matches(['[', ']']);
    dial(EgressPolicy::Any, None, host, proxy.port).await.map_err(|error| match error {
        TransportError::Connect { detail } => {
            TransportError::Connect { detail: format!("the proxy {proxy}: {detail}") }
        }
        error => error,
    })
}

/// Connects to a host. If `address` is given, the host is not resolved.
async fn dial(
    network: EgressPolicy,
    address: Option<IpAddr>,
    host: &str,
    port: u16,
) -> Result<TcpStream, TransportError> {
    let addresses = match address {
        Some(address) => vec![SocketAddr::new(address, port)],
        // The system's resolver, on a blocking thread.
        None => {
            let found = tokio::net::lookup_host((host, port)).await;
            found.map_err(|error| connect_failure("dns error: ", &error))?.collect()
        }
    };
    // These are the addresses that are connected to: the name is not resolved again, so DNS rebinding has no effect.
    let addresses = match network {
        EgressPolicy::Any => addresses,
        EgressPolicy::Public => public(addresses)?,
    };
    let tcp = race(addresses).await.map_err(|error| connect_failure("tcp connect error: ", &error))?;
    configure(&tcp).map_err(|error| connect_failure("tcp connect error: ", &error))?;
    Ok(tcp)
}

/// Sends small requests without delay, and detects a peer that has disappeared. Otherwise a request could be lost on an
/// idle connection that a firewall has silently dropped.
fn configure(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    // Only Linux can limit how long sent bytes stay unacknowledged.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}

/// The public addresses of a host.
///
/// # Errors
/// The host has addresses, but none is public. The error names the first one.
fn public(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    let mut refused: Option<NotPublic> = None;
    let mut kept = Vec::new();
    for address in addresses {
        match judge(address.ip()) {
            Ok(()) => kept.push(address),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    match refused {
        Some(error) if kept.is_empty() => Err(error),
        _ => Ok(kept),
    }
}

/// Connects to the first address that accepts the connection ("happy eyeballs", RFC 8305).
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut next = alternating(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failed = None;
    loop {
        if let Some(address) = next.next() {
            attempts.push(TcpStream::connect(address));
        }
        let finished = if next.len() == 0 {
            attempts.next().await
        } else {
            let Ok(finished) = timeout(NEXT_ADDRESS, attempts.next()).await else { continue };
            finished
        };
        match finished {
            Some(Ok(tcp)) => return Ok(tcp),
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => {
                return Err(failed.unwrap_or_else(|| io::Error::other("the name has no address")));
            }
        }
    }
}

/// Alternates IPv6 and IPv4 addresses, starting with the family of the first address, which the system prefers.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_v6);
    let mut other = other.into_iter();
    let mut mixed: Vec<_> =
        preferred.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn only_public_addresses_are_kept() {
        let kept = public(addresses(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"]));
        assert_eq!(kept.unwrap(), addresses(&["1.1.1.1", "2606:4700::1111"]));
        let refused = public(addresses(&["::ffff:10.0.0.1", "127.0.0.1"])).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the address ::ffff:10.0.0.1 is private, and `network = \"public\"` allows public ones only"
        );
    }

    #[test]
    fn address_families_alternate() {
        let mixed = alternating(addresses(&["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"]));
        assert_eq!(mixed, addresses(&["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]));
        assert_eq!(alternating(addresses(&["1.1.1.1", "::1", "::2"])), addresses(&["1.1.1.1", "::1", "::2"]));
    }

    #[tokio::test]
    async fn a_refusing_address_does_not_prevent_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let bound = tokio::net::TcpSocket::new_v4().unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refusing = bound.local_addr().unwrap();

        assert_eq!(race(vec![refusing, good]).await.unwrap().peer_addr().unwrap(), good);
        let error = race(vec![refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(race(Vec::new()).await.is_err());
    }
}
