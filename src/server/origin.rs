//! Detects cross-site requests from browsers. A listener without a login is open only to this machine, but any web page
//! can make a browser on this machine send requests to it, even under a host name of its own that resolves to this machine
//! (DNS rebinding).

use http::{HeaderMap, HeaderName, Version, header};
use url::Url;

use crate::plan::network::is_loopback;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a web page from another machine made the browser send this request.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let is_local = |origin: &http::HeaderValue| {
        let url = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok());
        url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && is_loopback(&url))
    };
    headers.get_all(header::ORIGIN).iter().any(|origin| !is_local(origin))
        || headers.get_all(SEC_FETCH_SITE).iter().any(|site| site == "cross-site")
}

/// Whether the `Host` header names this machine, or the host of `public_url`. A request without the header does not come
/// from a browser.
pub(super) fn is_for_here(headers: &HeaderMap, public_url: Option<&Url>) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        if is_usual(host.as_bytes(), public_url) {
            return true;
        }
        let url = host.to_str().ok().and_then(|host| Url::parse(&format!("http://{host}")).ok());
        url.is_some_and(|url| {
            is_loopback(&url) || public_url.is_some_and(|public| public.host() == url.host())
        })
    })
}

/// Whether a `Host` has a common form: a loopback name or the host of `public_url`, with or without a port. This check
/// saves parsing the header as a URL on every call.
fn is_usual(host: &[u8], public_url: Option<&Url>) -> bool {
    let mut usual = ["127.0.0.1", "localhost", "[::1]"].into_iter().chain(public_url.and_then(Url::host_str));
    usual.any(|name| match host.strip_prefix(name.as_bytes()) {
        Some([]) => true,
        Some([b':', port @ ..]) => is_port(port),
        _ => false,
    })
}

fn is_port(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit) && str::from_utf8(text).is_ok_and(|port| port.parse::<u16>().is_ok())
}

/// Whether a request says clearly which host it is for, and how its body ends (RFC 9112): a proxy in front may have read
/// an ambiguous one differently.
pub(super) fn is_clear(version: Version, headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(header::HOST).iter().count();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked =
        |coding: &http::HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    (hosts == 1 || hosts == 0 && version < Version::HTTP_11)
        && codings.next().is_none_or(is_chunked)
        && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn usual_hosts_are_known_without_parsing() {
        let public = Url::parse("https://Tools.example:8443/calls").unwrap();
        for (host, expected) in [
            ("localhost", true),
            ("127.0.0.1:8080", true),
            ("localhost:65535", true),
            ("[::1]:80", true),
            ("tools.example", true),
            ("tools.example:443", true),
            // Parsed.
            ("Tools.example", false),
            ("localhost:65536", false),
            ("localhost:", false),
            ("localhost:+80", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:80", false),
            ("localhost:80@evil.example", false),
            ("tools.example.evil.example", false),
            ("tools.example:443@evil.example", false),
        ] {
            assert_eq!(is_usual(host.as_bytes(), Some(&public)), expected, "{host}");
        }
        assert!(!is_usual(b"tools.example", None));
    }

    #[test]
    fn pages_of_this_machine_may_call() {
        const ORIGIN: &str = "origin";
        const SITE: &str = "sec-fetch-site";
        for (headers, expected) in [
            (&[][..], false),
            (&[(ORIGIN, "http://localhost")], false),
            (&[(ORIGIN, "https://localhost:3000")], false),
            (&[(ORIGIN, "http://app.localhost:3000")], false),
            (&[(ORIGIN, "http://127.0.0.1:8080")], false),
            (&[(ORIGIN, "http://127.9.9.9")], false),
            (&[(ORIGIN, "http://[::1]:8080")], false),
            (&[(ORIGIN, "http://localhost"), (SITE, "same-site")], false),
            (&[(SITE, "same-origin")], false),
            (&[(SITE, "none")], false),
            (&[(SITE, "cross-site")], true),
            (&[(ORIGIN, "http://localhost"), (SITE, "cross-site")], true),
            (&[(ORIGIN, "https://evil.example")], true),
            (&[(ORIGIN, "http://localhost.evil.example")], true),
            (&[(ORIGIN, "http://127.0.0.1.evil.example")], true),
            (&[(ORIGIN, "http://localhost@evil.example")], true),
            (&[(ORIGIN, "http://10.0.0.1")], true),
            (&[(ORIGIN, "file://localhost")], true),
            (&[(ORIGIN, "chrome-extension://localhost")], true),
            (&[(ORIGIN, "null")], true),
            (&[(ORIGIN, "")], true),
            (&[(ORIGIN, "\u{e9}")], true),
            (&[(ORIGIN, "http://localhost"), (ORIGIN, "https://evil.example")], true),
        ] {
            let mut all = HeaderMap::new();
            for (name, value) in headers {
                all.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(is_foreign(&all), expected, "{all:?}");
        }
    }
}
