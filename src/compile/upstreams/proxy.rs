//! `upstreams.x.proxy`: the HTTP proxy that requests go through. Without the key, the environment may name one.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::compile::cx::Cx;
use crate::compile::values;
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::table::raw::RawUpstream;
use crate::upstream::EgressPolicy;
use crate::upstream::proxy::Proxy;

/// The value of the key that ignores the environment.
const NONE: &str = "none";

/// A proxy, and where it comes from.
struct Configured {
    proxy: Proxy,
    span: Span,
    /// The environment variable; `None` for the key.
    variable: Option<&'static str>,
}

pub(super) fn compile(
    cx: &mut Cx<'_>,
    raw: &RawUpstream,
    network: EgressPolicy,
    base_url: Option<&Url>,
) -> Option<Proxy> {
    let configured = match raw.proxy.get() {
        Some(text) if text.value == NONE => None,
        Some(text) => of_key(cx, &text.value, text.span),
        None => of_environment(cx, base_url?, raw.base_url.span()?),
    };
    let Configured { proxy, span, variable } = configured?;
    if network == EgressPolicy::Public {
        let (message, help) = match variable {
            None => (
                "a proxy resolves the host itself, so Jackfield cannot check that it is public".to_owned(),
                "remove `proxy`, or set `network = \"any\"`",
            ),
            Some(variable) => (
                format!(
                    "`{variable}` sets a proxy, which resolves the host itself, so Jackfield cannot check that it is public"
                ),
                "set `proxy = \"none\"` to connect directly, or `network = \"any\"`",
            ),
        };
        let related = raw.network.span().unwrap_or(span);
        cx.report(
            Diagnostic::new(Code::ConflictingKeys, span, message)
                .related(related, "allows only public addresses")
                .help(help),
        );
    }
    Some(proxy)
}

fn of_key(cx: &mut Cx<'_>, text: &str, span: Span) -> Option<Configured> {
    if !values::no_template(text, span, "`proxy`", cx.diagnostics) {
        return None;
    }
    let resolved = cx.resolve(text, span)?;
    let proxy = Proxy::parse(&resolved.text);
    if proxy.is_none() && !resolved.placeholder {
        cx.report(
            // The message must not quote the text, because it may contain a secret.
            Diagnostic::new(Code::InvalidUrl, span, "this is not the address of an HTTP proxy").help(
                "write \"http://proxy.internal:3128\", with a login as in \
                 \"http://${PROXY_LOGIN}@proxy.internal:3128\", or \"none\" for a direct connection",
            ),
        );
    }
    Some(Configured { proxy: proxy?, span, variable: None })
}

/// The proxy that the environment names for a URL, by the convention of curl and others.
fn of_environment(cx: &mut Cx<'_>, url: &Url, span: Span) -> Option<Configured> {
    let variables = match url.scheme() {
        "https" => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let variable = |name: &str| (cx.environment.variable)(name).filter(|value| !value.trim().is_empty());
    let (name, value) = variables.into_iter().find_map(|name| Some((name, variable(name)?)))?;
    let direct = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    if is_local(url) || direct.split(',').any(|entry| covers(entry.trim(), url)) {
        return None;
    }
    let value = value.trim();
    let proxy =
        if value.contains("://") { Proxy::parse(value) } else { Proxy::parse(&format!("http://{value}")) };
    if proxy.is_none() {
        // The message must not quote the value, because it may contain a password.
        let message = format!("the environment variable `{name}` is not the address of an HTTP proxy");
        cx.report(Diagnostic::new(Code::InvalidUrl, span, message).help(
            "set it to `http://proxy.internal:3128`, or set `proxy` for this upstream: an address, or \"none\"",
        ));
    }
    Some(Configured { proxy: proxy?, span, variable: Some(name) })
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether an entry of `no_proxy` covers a URL: `*`, a domain with everything below it, an address or a network, with
/// or without a port.
fn covers(entry: &str, url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    if let Some(address) = address {
        let bare = entry.trim_matches(['[', ']']);
        let network = bare
            .parse::<IpAddr>()
            .map(IpNet::from)
            .or_else(|_: std::net::AddrParseError| bare.parse::<IpNet>());
        if network.is_ok_and(|network| network.contains(&address)) {
            return true;
        }
    }
    let (host, port) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (entry, None),
    };
    let host = host.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let is_port = port.is_none() || port == url.port_or_known_default();
    let name = url.host_str().unwrap_or_default();
    let is_below = || name.strip_suffix(&host).is_some_and(|above| above.ends_with('.'));
    is_port && (host == "*" || !host.is_empty() && (name == host || address.is_none() && is_below()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_covers_a_domain_an_address_or_a_network() {
        for (entry, url, expected) in [
            ("*", "http://api.example.com", true),
            ("example.com", "https://api.example.com", true),
            ("example.com", "https://example.com", true),
            (".example.com", "https://api.example.com", true),
            ("*.example.com", "https://api.example.com", true),
            ("Example.com", "https://api.example.com", true),
            ("example.com", "https://badexample.com", false),
            ("api.example.com", "https://example.com", false),
            ("example.com:8443", "https://example.com:8443", true),
            ("example.com:443", "https://example.com", true),
            ("example.com:8443", "https://example.com", false),
            ("10.0.0.7", "http://10.0.0.7", true),
            ("10.0.0.7:80", "http://10.0.0.7", true),
            ("0.0.7", "http://10.0.0.7", false),
            ("10.0.0.0/8", "http://10.1.2.3:9000", true),
            ("10.0.0.0/8", "http://11.1.2.3", false),
            ("fd00::/8", "http://[fd00::1]", true),
            ("[fd00::1]", "http://[fd00::1]", true),
            ("", "http://api.example.com", false),
            ("com.", "http://api.example.com", false),
        ] {
            assert_eq!(covers(entry, &url.parse().unwrap()), expected, "{entry} {url}");
        }
    }
}
