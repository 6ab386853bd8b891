//! Tunnels to origins through a proxy: CONNECT.

use std::io;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::connect_failure;
use super::origin::Origin;
use crate::upstream::TransportError;
use crate::upstream::proxy::Proxy;

/// The most bytes of a proxy's answer to CONNECT.
const MAX_HEAD: usize = 8 * 1024;

/// Asks a proxy for a tunnel to an origin.
///
/// # Errors
/// The proxy refuses, or does not answer as a proxy does. Nothing was sent to the origin.
pub(super) async fn tunnel(
    tcp: &mut TcpStream,
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(), TransportError> {
    let lost = |error: io::Error| connect_failure(&format!("the proxy {proxy} did not answer: "), &error);
    tcp.write_all(&ask(proxy, origin)).await.map_err(lost)?;
    let mut answer = Vec::new();
    let end = loop {
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let read = tcp.read_buf(&mut answer).await.map_err(lost)?;
        if read == 0 || answer.len() > MAX_HEAD {
            return Err(not_a_proxy(proxy));
        }
    };
    match status(&answer) {
        // The upstream speaks only after our first TLS message, so nothing of it can be here yet.
        Some(status) if status.is_success() && answer.len() == end => Ok(()),
        Some(status) if !status.is_success() => Err(proxy.refused(status)),
        _ => Err(not_a_proxy(proxy)),
    }
}

fn ask(proxy: &Proxy, origin: &Origin) -> Vec<u8> {
    let place = format!("{}:{}", origin.host, origin.port);
    let mut ask = format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n").into_bytes();
    if let Some(credential) = &proxy.authorization {
        ask.extend_from_slice(b"proxy-authorization: ");
        ask.extend_from_slice(credential.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    ask
}

fn status(answer: &[u8]) -> Option<StatusCode> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    StatusCode::from_bytes(rest.get(2..5)?).ok()
}

fn not_a_proxy(proxy: &Proxy) -> TransportError {
    TransportError::Connect { detail: format!("the proxy {proxy} gave no valid answer") }
}
