//! Whether the listener for platforms can be reached from other machines.

use std::net::SocketAddr;

use url::Url;

use crate::diagnostic::Span;
use crate::plan::network::is_loopback;

use crate::compile::cx::Cx;

/// Why the listener for platforms can be reached from outside, with the place that causes it; `None` on loopback.
pub(super) fn open_address(cx: &Cx<'_>) -> Option<(Option<Span>, &'static str)> {
    const OPEN: &str = "this address can be reached from outside";
    // Read the raw table, because other errors of `[server]` must not hide this one. Values that cannot be parsed are
    // reported where `[server]` is compiled.
    let (listen, public_url) = (cx.table.server.listen.get(), cx.table.server.public_url.get());
    let address = listen.and_then(|text| text.value.parse::<SocketAddr>().ok());
    let url =
        public_url.filter(|text| !text.value.contains("${")).and_then(|text| Url::parse(&text.value).ok());
    if address.is_some_and(is_outside) {
        Some((listen.map(|text| text.span), OPEN))
    } else if cx.environment.addresses.listen.is_some_and(is_outside) {
        Some((
            listen.map(|text| text.span),
            "takes effect at the next start; the current listener is reachable from outside",
        ))
    } else if url.is_some_and(|url| url.has_host() && !is_loopback(&url)) {
        Some((public_url.map(|text| text.span), OPEN))
    } else {
        None
    }
}

/// Whether a listener at this address can be reached from another machine.
pub(super) fn is_outside(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}
