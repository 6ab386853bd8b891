//! `[server]` and `[platforms]`.

use std::net::SocketAddr;

use http::HeaderName;
use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, suggest};
use crate::plan::network::is_loopback;
use crate::plan::{Served, Server, Watch, budget};
use crate::platform::auth::SCHEMES;
use crate::platform::{self, PLATFORMS, Platform, Settings};
use crate::scheme::SchemeValueKind;
use crate::table::document::Located;
use crate::table::raw::RawPlatform;
use crate::table::reader::{Key, unknown_key, wrong_type};

use super::advice::login_for;
use super::auth::unknown_auth;
use super::{TableCompiler, values};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_MAX_BODY: usize = 1024 * 1024;
const DEFAULT_MAX_CALLS: u32 = 4096;
const DEFAULT_MAX_CONNECTIONS: u32 = 4096;
const DEFAULT_RECORDS: u32 = 200;

/// The most calls or connections that a table may allow.
const MAX_COUNT: u32 = 1_000_000;

/// The most records that a table may ask for.
const MAX_RECORDS: u32 = 100_000;

/// What `server.watch` may be.
pub(super) const WATCH: [(&str, Watch); 2] = [("events", Watch::Events), ("poll", Watch::Poll)];

/// The schemes that the admin listener takes.
pub(super) const ADMIN_SCHEMES: [&str; 2] = ["basic", "bearer"];

/// The headers that carry a login whatever the table says.
const LOGIN_HEADERS: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::PROXY_AUTHORIZATION];

impl TableCompiler<'_> {
    /// `[server]`; `None` after faults.
    pub(super) fn server(&self, diagnostics: &mut Diagnostics) -> Option<Server> {
        let raw = &self.table.server;
        let before = diagnostics.len();
        for text in [&raw.listen, &raw.admin, &raw.watch, &raw.public_url, &raw.max_body] {
            if let Some(text) = text.get() {
                self.no_secret_in(&text.value, text.span, "[server]", diagnostics);
            }
        }
        let listen = match &raw.listen {
            Key::Is(text) => address(text, diagnostics),
            _ => Some(DEFAULT_LISTEN),
        };
        let admin = raw.admin.get().and_then(|text| address(text, diagnostics));
        if let (Some(listen), Some(admin), Some(text)) = (listen, admin, raw.admin.get())
            && listen == admin
            && listen.port() != 0
        {
            diagnostics.push(
                Diagnostic::new(Code::InvalidAddress, text.span, "both listeners have the same address")
                    .help("set a different port for the admin listener"),
            );
        }
        let watch = match raw.watch.get() {
            None => Watch::Events,
            Some(text) => values::word(&WATCH, &text.value).unwrap_or_else(|| {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownValue,
                        text.span,
                        format!("invalid value `{}` for `watch`", text.value),
                    )
                    .help("use \"events\", or \"poll\" for file systems without events"),
                );
                Watch::Events
            }),
        };
        let public_url = raw.public_url.get().filter(|text| !text.value.contains("${")).and_then(|text| match Url::parse(&text.value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && values::has_host(&text.value) => Some(url),
            _ => {
                diagnostics.push(
                    Diagnostic::new(Code::InvalidUrl, text.span, "invalid URL")
                        .help("set the URL at which platforms reach Jackfield, such as \"https://tools.example.com\""),
                );
                None
            }
        });
        let max_body = match raw.max_body.get() {
            Some(text) => values::size(text, diagnostics),
            None => Some(DEFAULT_MAX_BODY),
        };
        let count = |key: &Key<u64>, range, default, diagnostics: &mut Diagnostics| match key.get() {
            Some(number) => values::count(number, range, diagnostics),
            None => Some(default),
        };
        let max_calls = count(&raw.max_calls, 1..=MAX_COUNT, DEFAULT_MAX_CALLS, diagnostics);
        let max_connections =
            count(&raw.max_connections, 1..=MAX_COUNT, DEFAULT_MAX_CONNECTIONS, diagnostics);
        let records = count(&raw.records, 0..=MAX_RECORDS, DEFAULT_RECORDS, diagnostics);
        let admin_auth = raw.admin_auth.get().and_then(|choice| {
            if !ADMIN_SCHEMES.contains(&choice.value.name.value.as_str()) {
                unknown_auth(&choice.value.name, &ADMIN_SCHEMES, diagnostics);
                return None;
            }
            self.auth(&choice.value, SCHEMES, &[], diagnostics).map(|(auth, _)| auth)
        });
        let span = raw.admin.span().unwrap_or(Span::start_of(self.table.main));
        let open = if admin.is_some_and(is_outside) {
            Some(("not on loopback", "listen on 127.0.0.1, or set `admin_auth.bearer = { token = \"…\" }`"))
        } else if self.secrets.environment.addresses.admin.is_some_and(is_outside) {
            Some((
                "takes effect at the next start",
                "keep `admin_auth` until then: the current admin listener is not on loopback",
            ))
        } else {
            None
        };
        if let Some((label, help)) = open.filter(|_| raw.admin_auth.is_absent()) {
            diagnostics.push(
                Diagnostic::new(Code::AuthMissing, span, "the admin listener would accept anyone")
                    .label(label)
                    .help(help),
            );
        }
        let tls = self.tls(raw.tls.get(), diagnostics);
        let trusted_proxies = self.trusted_proxies(&raw.trusted_proxies, diagnostics);
        if diagnostics.len() > before {
            return None;
        }
        Some(Server {
            listen: listen?,
            admin,
            admin_auth,
            watch,
            public_url,
            max_body: max_body?,
            max_calls: usize::try_from(max_calls?).unwrap_or(usize::MAX),
            max_connections: usize::try_from(max_connections?).unwrap_or(usize::MAX),
            records: usize::try_from(records?).unwrap_or(usize::MAX),
            tls,
            trusted_proxies,
        })
    }

    /// `[platforms]`, without those that have faults.
    pub(super) fn platforms(&self, diagnostics: &mut Diagnostics) -> Vec<Served> {
        let mut served = Vec::new();
        for (name, raw) in &self.table.platforms {
            let Some(platform) = known_platform(name, diagnostics) else { continue };
            if let Some(raw) = raw.get() {
                let raw = &raw.value;
                served.extend(self.allowing(&raw.allow, diagnostics, |diagnostics| {
                    self.platform(platform, name, raw, diagnostics)
                }));
            }
        }
        served
    }

    fn platform(
        &self,
        platform: &'static dyn Platform,
        name: &Located<String>,
        raw: &RawPlatform,
        diagnostics: &mut Diagnostics,
    ) -> Option<Served> {
        let mut settings = Settings::defaults(platform);
        for (key, node) in &raw.options {
            let Some(setting) = platform.settings().iter().find(|setting| setting.key == key.value) else {
                let mut known: Vec<&str> = RawPlatform::KEYS.to_vec();
                known.extend(platform.settings().iter().map(|setting| setting.key));
                unknown_key(key, &known, diagnostics);
                continue;
            };
            if setting.values.is_empty() {
                let kind = SchemeValueKind::RotatingSecret;
                let secrets = self.scheme_value(kind, node, &mut false, diagnostics);
                settings.set_secret(setting, secrets);
                continue;
            }
            match node.as_str() {
                Some(value) if setting.values.contains(&value) => settings.set(setting, value),
                Some(value) => diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownValue,
                        node.span,
                        format!("invalid value `{value}` for `{}`", setting.key),
                    )
                    .maybe_help(suggest(value, setting.values.iter().copied())),
                ),
                None => wrong_type::<()>(node, "a string", diagnostics).unwrap_or_default(),
            }
        }
        let deadline = match raw.deadline.get() {
            Some(text) => values::duration(text, diagnostics),
            None => Some(platform.deadline()),
        };
        let auth = raw.auth.get().and_then(|choice| {
            let signs = choice.value.name.value == "signature";
            let defaults = if signs { platform.signature() } else { &[] };
            self.auth(&choice.value, SCHEMES, defaults, diagnostics).map(|(auth, _)| auth)
        });
        let secret_header = auth.as_ref().and_then(|auth| auth.secret_header());
        let mut headers = Vec::new();
        for header in raw.headers.get().map(|list| list.value.as_slice()).unwrap_or_default() {
            match HeaderName::from_bytes(header.value.as_bytes()) {
                // Templates, and with them upstreams and records, must not see what the caller proves itself with.
                Ok(name) if LOGIN_HEADERS.contains(&name) || Some(&name) == secret_header => {
                    diagnostics.push(
                        Diagnostic::new(
                            Code::ForbiddenHeader,
                            header.span,
                            format!("`{name}` carries the platform's login"),
                        )
                        .help("remove it, and put credentials for an upstream in the upstream's `auth`"),
                    );
                    // Known all the same, so that its use is no second fault.
                    headers.push(name.as_str().to_owned());
                }
                Ok(name) => headers.push(name.as_str().to_owned()),
                Err(_) => diagnostics.push(
                    Diagnostic::new(
                        Code::InvalidHeader,
                        header.span,
                        format!("invalid header name `{}`", header.value),
                    )
                    .help("use letters, digits and hyphens, as in `x-session-id`"),
                ),
            }
        }
        if raw.auth.is_absent() {
            self.only_on_loopback(name, diagnostics);
        }
        self.advise_open(name, raw);
        if let Some(deadline) = deadline {
            self.advise_deadline(platform, raw, deadline);
        }
        let proves = raw.auth.get().is_some_and(|choice| choice.value.name.value != "none");
        let believed = platform.trusted_context() && (proves || self.open_address().is_none());
        Some(Served { platform, settings, auth, budget: budget(deadline?), believed, headers })
    }

    /// A platform without `auth` is served only where nobody from outside can call it.
    fn only_on_loopback(&self, name: &Located<String>, diagnostics: &mut Diagnostics) {
        if let Some((span, label)) = self.open_address() {
            let auth = login_for(&name.value);
            let mut diagnostic = Diagnostic::new(
                Code::AuthMissing,
                name.span,
                format!("the platform `{}` accepts calls from anyone", name.value),
            )
            .label("has no `auth`")
            .help(format!("set `{auth}` or another scheme, or `auth.none = {{}}` if it is meant to be open"));
            if let Some(span) = span {
                diagnostic = diagnostic.related(span, label);
            }
            diagnostics.push(diagnostic);
        }
    }

    /// Where it is written that the listener for platforms can be reached from outside, and why so; `None` on loopback.
    pub(super) fn open_address(&self) -> Option<(Option<Span>, &'static str)> {
        const OPEN: &str = "this address can be reached from outside";
        // Read from the table, since other faults of `[server]` must not hide this one. What cannot be read is said
        // where it stands.
        let (listen, public_url) = (self.table.server.listen.get(), self.table.server.public_url.get());
        let address = listen.and_then(|text| text.value.parse::<SocketAddr>().ok());
        let url = public_url
            .filter(|text| !text.value.contains("${"))
            .and_then(|text| Url::parse(&text.value).ok());
        if address.is_some_and(is_outside) {
            Some((listen.map(|text| text.span), OPEN))
        } else if self.secrets.environment.addresses.listen.is_some_and(is_outside) {
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
}

/// Whether a listener there can be reached from another machine.
fn is_outside(address: SocketAddr) -> bool {
    !address.ip().is_loopback()
}

/// The platform of that name; a fault when there is none.
pub(super) fn known_platform(
    name: &Located<String>,
    diagnostics: &mut Diagnostics,
) -> Option<&'static dyn Platform> {
    let found = platform::find(&name.value);
    if found.is_none() {
        let names = PLATFORMS.iter().map(|platform| platform.name()).collect::<Vec<_>>();
        diagnostics.push(
            Diagnostic::new(Code::UnknownPlatform, name.span, format!("unknown platform `{}`", name.value))
                .maybe_help(suggest(&name.value, names.iter().copied()))
                .label("unknown platform"),
        );
    }
    found
}

fn address(text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<SocketAddr> {
    let parsed = text.value.parse::<SocketAddr>();
    if parsed.is_err() {
        let help = match text.value.strip_prefix("localhost:") {
            Some(port) => format!("write \"127.0.0.1:{port}\""),
            None if text.value.starts_with(':') => {
                format!("write \"127.0.0.1{0}\", or \"0.0.0.0{0}\" for all interfaces", text.value)
            }
            None => "write an IP address and a port, such as \"127.0.0.1:8080\"; port 0 takes a free one"
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
