//! A forward proxy between Jackfield and an upstream: `upstreams.x.proxy`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use url::Url;

use super::TransportError;

/// The proxy that connections to an upstream go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address. An IPv6 address is in brackets.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// The value of `proxy-authorization`, marked sensitive.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Parses a URL like `http://user:password@host:port`; `None` for any other kind of URL.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|url| url.scheme() == "http")?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|_| is_bare)?.to_owned();
        let port = url.port_or_known_default()?;
        let mut authorization = None;
        if !url.username().is_empty() || url.password().is_some() {
            let user = percent_decode_str(url.username());
            let password = percent_decode_str(url.password().unwrap_or_default());
            let pair: Vec<u8> = user.chain([b':']).chain(password).collect();
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
            value.set_sensitive(true);
            authorization = Some(value);
        }
        Some(Self { host, port, authorization })
    }

    /// The error when the proxy refuses to connect: nothing was sent to the upstream.
    pub(super) fn refused(&self, status: StatusCode) -> TransportError {
        TransportError::Connect { detail: format!("the proxy {self} refused with status {status}") }
    }
}

/// Its host and port, without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_url_with_an_optional_login() {
        let proxy = Proxy::parse("http://us%40er:p%3Aw@[::1]:3128/").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("[::1]", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic dXNAZXI6cDp3");
        assert!(!format!("{proxy:?}").contains("dXNA"), "{proxy:?}");
        assert_eq!(Proxy::parse("http://proxy").unwrap().port, 80);
        for text in
            ["https://proxy", "socks5://proxy", "proxy:3128", "http://proxy/path", "http://proxy?q", ""]
        {
            assert_eq!(Proxy::parse(text), None, "{text}");
        }
    }
}
