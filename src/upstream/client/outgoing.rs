//! Writes a request: its request line, the headers of the table with the client's defaults, and its body.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, PROXY_AUTHORIZATION, RANGE,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::{HeaderMap, Method};
use url::Position;

use super::origin::Origin;
use crate::http1::fields::{has_element, write_content_length, write_header};
use crate::upstream::RequestUrl;

// The headers that the table does not set, as lines.
const DEFAULT_ACCEPT: &[u8] = b"accept: */*\r\n";
const DEFAULT_AGENT: &[u8] = concat!("user-agent: jackfield/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes();
const DEFAULT_CODINGS: &[u8] = b"accept-encoding: gzip,br\r\n";

/// A request to an origin.
pub(super) struct Outgoing<'a> {
    pub(super) origin: &'a Origin,
    pub(super) method: &'a Method,
    pub(super) url: &'a RequestUrl,
    /// The headers of the table and of the credential.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// The credential for the proxy that forwards the request; `None` if no proxy does or it needs none.
    pub(super) proxy_authorization: Option<&'a HeaderValue>,
    /// Whether a proxy forwards the request. It then needs the whole URL in the request line.
    pub(super) is_forwarded: bool,
}

impl Outgoing<'_> {
    /// Writes the request line and the headers. A configured length or transfer coding is replaced by the actual
    /// length: after a wrong one, the upstream would read the rest of the body as another request.
    ///
    /// Returns whether the request itself ends the connection.
    pub(super) fn write_head(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        if self.is_forwarded {
            out.extend_from_slice(self.url.origin()[..Position::BeforeUsername].as_bytes());
            out.extend_from_slice(self.origin.header.as_bytes());
        }
        // A URL contains neither spaces nor control characters.
        out.extend_from_slice(self.url.path_and_query().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let (mut accepts, mut has_agent, mut has_codings, mut has_host) = (false, false, false, false);
        let mut closes = false;
        for (name, value) in self.headers {
            match *name {
                TRANSFER_ENCODING | CONTENT_LENGTH => continue,
                PROXY_AUTHORIZATION if self.proxy_authorization.is_some() => continue,
                ACCEPT => accepts = true,
                USER_AGENT => has_agent = true,
                // A range counts the bytes of the encoded form.
                ACCEPT_ENCODING | RANGE => has_codings = true,
                HOST => has_host = true,
                CONNECTION => closes |= has_element(value.as_bytes(), "close"),
                _ => {}
            }
            write_header(out, name, value.as_bytes());
        }
        if !accepts {
            out.extend_from_slice(DEFAULT_ACCEPT);
        }
        if !has_agent {
            out.extend_from_slice(DEFAULT_AGENT);
        }
        if !has_codings {
            out.extend_from_slice(DEFAULT_CODINGS);
        }
        if !has_host {
            write_header(out, &HOST, self.origin.header.as_bytes());
        }
        if let Some(credential) = self.proxy_authorization {
            write_header(out, &PROXY_AUTHORIZATION, credential.as_bytes());
        }
        // Some servers require the length of an empty body (411).
        if !self.body.is_empty() || matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) {
            write_content_length(out, self.body.len() as u64);
        }
        out.extend_from_slice(b"\r\n");
        closes
    }
}
