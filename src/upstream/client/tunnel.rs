//! Opens tunnels to origins through a proxy with CONNECT.

use std::io;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::connect_failure;
use super::origin::Origin;
use crate::upstream::TransportError;
use crate::upstream::proxy::Proxy;

/// The maximum size of a proxy's response to CONNECT, in bytes, with any interim responses before it.
const MAX_HEAD: usize = 8 * 1024;

/// Opens a tunnel to an origin through a proxy.
///
/// # Errors
/// The proxy rejects the request or sends an invalid response. Nothing was sent to the origin.
pub(super) async fn tunnel(
    tcp: &mut TcpStream,
    proxy: &Proxy,
    origin: &Origin,
) -> Result<(), TransportError> {
    let failed = |error: io::Error| connect_failure(&format!("the proxy {proxy} did not answer: "), &error);
    tcp.write_all(&connect_request(proxy, origin)).await.map_err(failed)?;
    let (mut response, mut read) = (Vec::new(), 0);
    let (status, end) = loop {
        if let Some(end) = response.windows(4).position(|window| window == b"\r\n\r\n") {
            match status(&response) {
                Some(status) if status.is_informational() => drop(response.drain(..end + 4)),
                status => break (status, end + 4),
            }
            continue;
        }
        let length = tcp.read_buf(&mut response).await.map_err(failed)?;
        read += length;
        if length == 0 || read > MAX_HEAD {
            return Err(not_a_proxy(proxy));
        }
    };
    match status {
        // In TLS the client sends first, so no bytes can follow the head of the response.
        Some(status) if status.is_success() && response.len() == end => Ok(()),
        Some(status) if !status.is_success() => Err(proxy.refused(status)),
        _ => Err(not_a_proxy(proxy)),
    }
}

fn connect_request(proxy: &Proxy, origin: &Origin) -> Vec<u8> {
    let authority = format!("{}:{}", origin.host, origin.port);
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
    if let Some(credential) = &proxy.authorization {
        request.extend_from_slice(b"proxy-authorization: ");
        request.extend_from_slice(credential.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

fn status(response: &[u8]) -> Option<StatusCode> {
    let rest = response.strip_prefix(b"HTTP/1.")?;
    StatusCode::from_bytes(rest.get(2..5)?).ok()
}

fn not_a_proxy(proxy: &Proxy) -> TransportError {
    TransportError::Connect { detail: format!("the proxy {proxy} gave no valid answer") }
}
