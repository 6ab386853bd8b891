//! `[server]`: the listeners, and the limits of the server.

pub(in crate::compile) mod log;
pub(in crate::compile) mod platforms;
pub(in crate::compile) mod settings;
pub(in crate::compile) mod tls;
pub(in crate::compile) mod traces;
pub(in crate::compile) mod trusted_proxies;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::plan::{Server, Watch};
use crate::platform::auth::{InboundAuth, SCHEMES};
use crate::table::document::Located;
use crate::table::raw::RawServer;
use crate::table::reader::Key;
use crate::table::{TEMPLATES, absolute};

use crate::compile::cx::Cx;
use crate::compile::exposure::is_outside;
use crate::compile::{auth, values};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_MAX_BODY: usize = 1024 * 1024;
const DEFAULT_MAX_CALLS: usize = 4096;
const DEFAULT_MAX_CONNECTIONS: usize = 4096;
const DEFAULT_RECORDS: usize = 200;

/// The largest accepted `max_calls` and `max_connections`.
const MAX_COUNT: u32 = 1_000_000;

/// The largest accepted `records`.
const MAX_RECORDS: u32 = 100_000;

/// The values of `server.watch`.
pub(in crate::compile) const WATCH: [(&str, Watch); 2] = [("events", Watch::Events), ("poll", Watch::Poll)];

/// The schemes that the admin listener accepts.
pub(in crate::compile) const ADMIN_SCHEMES: [&str; 2] = ["basic", "bearer"];

/// `[server]`; `None` after errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>) -> Option<Server> {
    let raw = &cx.table.server;
    let before = cx.diagnostics.len();
    for text in [&raw.watch, &raw.max_body, &raw.drain_delay] {
        if let Some(text) = text.get() {
            cx.no_secret_in(&text.value, text.span, "[server]");
        }
    }
    cx.listeners = settings::resolve(cx);
    let (listen, admin) = listeners(cx);
    let help = "use \"events\", or \"poll\" for file systems without events";
    let watch = raw.watch.get().and_then(|text| values::one_of(&WATCH, "watch", text, help, cx.diagnostics));
    let public_url = public_url(cx);
    let max_body = match raw.max_body.get() {
        Some(text) => values::size(text, cx.diagnostics),
        None => Some(DEFAULT_MAX_BODY),
    };
    let max_calls = count(&raw.max_calls, 1..=MAX_COUNT, DEFAULT_MAX_CALLS, cx.diagnostics);
    let max_connections = count(&raw.max_connections, 1..=MAX_COUNT, DEFAULT_MAX_CONNECTIONS, cx.diagnostics);
    let records = count(&raw.records, 0..=MAX_RECORDS, DEFAULT_RECORDS, cx.diagnostics);
    let drain_delay = match raw.drain_delay.get() {
        Some(text) => values::duration(text, cx.diagnostics),
        None => Some(Duration::ZERO),
    };
    let last_good = last_good(cx, raw);
    let admin_auth = admin_auth(cx, raw, admin);
    let tls = raw.tls.get().and_then(|raw| tls::compile(cx, raw));
    let trusted_proxies = trusted_proxies::compile(cx, &raw.trusted_proxies);
    if cx.diagnostics.len() > before {
        return None;
    }
    let tls = tls.map(|(tls, warnings)| {
        warnings.into_iter().for_each(|warning| cx.report(warning));
        tls
    });
    Some(Server {
        listen: listen?,
        admin,
        admin_auth,
        watch: watch.unwrap_or_default(),
        public_url,
        max_body: max_body?,
        max_calls: max_calls?,
        max_connections: max_connections?,
        records: records?,
        drain_delay: drain_delay?,
        last_good,
        tls,
        trusted_proxies,
    })
}

/// The addresses of the listener for platforms and of the admin listener.
fn listeners(cx: &mut Cx<'_>) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let listen = match &cx.listeners.listen {
        Some(text) => address(text, cx.diagnostics),
        None => Some(DEFAULT_LISTEN),
    };
    let admin = cx.listeners.admin.as_ref().and_then(|text| address(text, cx.diagnostics));
    if let (Some(listen), Some(admin), Some(text)) = (listen, admin, &cx.listeners.admin)
        && listen == admin
        && listen.port() != 0
    {
        let span = text.span;
        cx.report(
            Diagnostic::new(Code::InvalidAddress, span, "both listeners have the same address")
                .help("set a different port for the admin listener"),
        );
    }
    (listen, admin)
}

fn public_url(cx: &mut Cx<'_>) -> Option<Url> {
    let text = cx.listeners.public_url.as_ref()?;
    let url = Url::parse(&text.value)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && values::has_host(&text.value));
    if url.is_none() {
        let span = text.span;
        cx.report(
            Diagnostic::new(Code::InvalidUrl, span, "invalid URL").help(
                "set the URL at which platforms reach Jackfield, such as \"https://tools.example.com\"",
            ),
        );
    }
    url
}

/// The folder for a copy of the last accepted table. Nothing in it belongs to the table.
fn last_good(cx: &mut Cx<'_>, raw: &RawServer) -> Option<PathBuf> {
    let text = raw.last_good.get()?;
    cx.no_secret_in(&text.value, text.span, "[server]");
    let table = absolute(&cx.table.folder);
    let folder = absolute(&cx.table.folder.join(&text.value));
    if text.value.is_empty() || table.starts_with(&folder) || folder.starts_with(table.join(TEMPLATES)) {
        cx.report(
            Diagnostic::new(
                Code::LastGoodFolder,
                text.span,
                "this folder contains files of the table itself",
            )
            .help("use a folder of its own, such as \".jackfield/last-good\""),
        );
        return None;
    }
    Some(folder)
}

/// `admin_auth`, which is required if the admin listener can be reached from outside.
fn admin_auth(cx: &mut Cx<'_>, raw: &RawServer, admin: Option<SocketAddr>) -> Option<Box<dyn InboundAuth>> {
    let open = if admin.is_some_and(is_outside) {
        Some(("not on loopback", "listen on 127.0.0.1, or set `admin_auth.bearer = { token = \"…\" }`"))
    } else if cx.environment.addresses.admin.is_some_and(is_outside) {
        Some((
            "takes effect at the next start",
            "keep `admin_auth` until then: the current admin listener is not on loopback",
        ))
    } else {
        None
    };
    if let Some((label, help)) = open.filter(|_| raw.admin_auth.is_absent()) {
        let span = raw.admin.span().unwrap_or(Span::start_of(cx.table.main));
        cx.report(
            Diagnostic::new(Code::AuthMissing, span, "the admin listener would accept anyone")
                .label(label)
                .help(help),
        );
    }
    let choice = &raw.admin_auth.get()?.value;
    if !ADMIN_SCHEMES.contains(&choice.name.value.as_str()) {
        auth::unknown(&choice.name, &ADMIN_SCHEMES, cx.diagnostics);
        return None;
    }
    auth::compile(cx, choice, SCHEMES, &[]).map(|(auth, _)| auth)
}

fn count(
    key: &Key<u64>,
    bounds: RangeInclusive<u32>,
    default: usize,
    diagnostics: &mut Diagnostics,
) -> Option<usize> {
    let Some(number) = key.get() else { return Some(default) };
    let count = values::count(number, bounds, diagnostics)?;
    usize::try_from(count).ok()
}

fn address(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<SocketAddr> {
    let parsed = text.value.parse::<SocketAddr>();
    if parsed.is_err() {
        let help = match text.value.strip_prefix("localhost:") {
            Some(port) => format!("write \"127.0.0.1:{port}\""),
            None if text.value.starts_with(':') => {
                format!("write \"127.0.0.1{0}\", or \"0.0.0.0{0}\" for all interfaces", text.value)
            }
            None => "write an IP address and a port, such as \"127.0.0.1:8080\"; port 0 picks a free port"
                .to_owned(),
        };
        diagnostics.push(
            Diagnostic::new(
                Code::InvalidAddress,
                text.span,
                format!("invalid listen address `{}`", text.value),
            )
            .help(help),
        );
    }
    parsed.ok()
}
