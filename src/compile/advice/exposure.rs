//! Advice about platforms, listeners and the credentials of upstreams.

use std::time::Duration;

use url::Url;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::plan::network::is_loopback;
use crate::plan::request::HeaderTemplate;
use crate::plan::{Served, Server};
use crate::platform::{Endpoint, Platform};
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawPlatform, RawUpstream};
use crate::upstream::auth::SCHEMES;

use crate::compile::cx::Cx;
use crate::compile::exposure::open_address;

/// A `deadline` that is longer than the platform waits.
pub(in crate::compile) fn deadline(
    cx: &mut Cx<'_>,
    platform: &dyn Platform,
    raw: &RawPlatform,
    deadline: Duration,
) {
    let Some((text, waits)) = raw.deadline.get().zip(platform.answer_timeout()) else { return };
    if deadline > waits {
        let waits = humantime::format_duration(waits);
        cx.advise(
            Diagnostic::new(
                Code::DeadlineTooLong,
                text.span,
                format!("`{}` does not wait that long", platform.name()),
            )
            .label(format!("it gives up after {waits}"))
            .help(format!("write \"{waits}\" or less, or remove the key: a later response is discarded")),
        );
    }
}

/// A platform without a login that other machines can call.
pub(in crate::compile) fn open_platform(cx: &mut Cx<'_>, name: &Located<String>, raw: &RawPlatform) {
    let auth = raw.auth.get();
    if auth.is_some_and(|choice| choice.value.name.value != "none") || raw.auth.is_faulty() {
        return;
    }
    // Without any `auth`, an open address is an error, reported elsewhere.
    let open = auth.and_then(|_| open_address(cx));
    let proxies = proxies(cx).map(|span| (Some(span), "callers behind these proxies come from outside"));
    if let Some((span, label)) = open.or(proxies) {
        let mut diagnostic = Diagnostic::new(
            Code::PlatformOpen,
            auth.map_or(name.span, |choice| choice.value.name.span),
            format!("the platform `{}` accepts calls from anyone", name.value),
        )
        .label("does not authenticate callers")
        .help(format!(
            "set `{}`, or add `allow = [\"platform-open\"]` if it is meant to be open",
            auth_example(&name.value)
        ));
        if let Some(span) = span {
            diagnostic = diagnostic.related(span, label);
        }
        cx.advise(diagnostic);
    }
}

/// The place of the trusted proxies.
fn proxies(cx: &Cx<'_>) -> Option<Span> {
    let proxies = cx.table.server.trusted_proxies.get()?;
    (!proxies.value.is_empty()).then_some(proxies.span)
}

/// A listener whose public URL is unknown.
pub(in crate::compile) fn public_url(cx: &mut Cx<'_>, server: &Server, platforms: &[Served]) {
    let raw = &cx.table.server;
    let open = raw.listen.span().filter(|_| !server.listen.ip().is_loopback());
    let Some(span) = open.or(proxies(cx)).filter(|_| raw.public_url.is_absent()) else {
        return;
    };
    let endpoint = Endpoint { url: "", events: &[], form: None };
    let declared = platforms.iter().find(|served| served.platform.declare(&[], &endpoint).is_some());
    if let Some(served) = declared {
        let (platform, listen) = (served.platform.name(), server.listen);
        cx.advise(
            Diagnostic::new(
                Code::PublicUrlMissing,
                span,
                format!("`{platform}` would get {listen} as its URL, because `public_url` is not set"),
            )
            .label("platforms reach this listener at another address")
            .help("add the URL that they call to `[server]`: `public_url = \"https://tools.example.com\"`"),
        );
    }
}

/// A credential that is sent without TLS.
pub(in crate::compile) fn in_clear(
    cx: &mut Cx<'_>,
    raw: &RawUpstream,
    base_url: &Url,
    headers: &[HeaderTemplate],
) {
    let Some(text) = raw.base_url.get() else { return };
    let sends_secret = |name: &str| SCHEMES.iter().any(|scheme| scheme.name == name && scheme.sends_secret());
    let auth = raw.auth.get().filter(|auth| sends_secret(&auth.value.name.value));
    let mut sent: Vec<(Span, &str)> = Vec::new();
    if base_url.scheme() == "http" && !is_loopback(base_url) {
        sent.extend(auth.map(|auth| (auth.value.name.span, "could be read on the network")));
        let secret = headers.iter().any(|header| header.sensitive);
        sent.extend(raw.headers.span().filter(|_| secret).map(|span| (span, "contains a secret")));
    }
    if let Some((credential, label)) = sent.first() {
        cx.advise(
            Diagnostic::new(Code::CredentialInClear, text.span, "a credential is sent over plain http")
                .label("not encrypted")
                .related(*credential, *label)
                .help("use `https://…`, or add `allow = [\"credential-in-clear\"]` on a private network"),
        );
    }
    // Tokens may come from another URL.
    if let Some(auth) = auth
        && let Kind::Table(entries) = &auth.value.node.value
        && let Some((_, node)) = entries.iter().find(|(key, _)| key.value == "token_url")
        && let Some(url) = node.as_str().and_then(|url| Url::parse(url).ok())
        && url.scheme() == "http"
        && !is_loopback(&url)
    {
        cx.advise(
            Diagnostic::new(Code::CredentialInClear, node.span, "`client_secret` is sent over plain http")
                .label("not encrypted")
                .help("use `https://…`, or add `allow = [\"credential-in-clear\"]` on a private network"),
        );
    }
}

/// A login for a platform, as an example for help.
pub(in crate::compile) fn auth_example(platform: &str) -> String {
    let variable = platform.to_uppercase();
    if crate::platform::find(platform).is_some_and(|known| !known.signature().is_empty()) {
        format!("auth.signature = {{ secret = \"${{{variable}_SECRET}}\" }}")
    } else {
        format!("auth.basic = {{ username = \"…\", password = \"${{{variable}_PASSWORD}}\" }}")
    }
}
