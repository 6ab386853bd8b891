//! `[platforms]`: the platforms that may call, and how they authenticate.

use http::HeaderName;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, suggest};
use crate::plan::{Served, budget};
use crate::platform::auth::SCHEMES;
use crate::platform::{self, PLATFORMS, Platform, Settings};
use crate::scheme::SchemeValueKind;
use crate::table::document::{Kind, Located};
use crate::table::misplaced_keys::unknown_key;
use crate::table::raw::{RawPlatform, Strings};
use crate::table::reader::{Choice, Key, wrong_type};

use crate::compile::cx::Cx;
use crate::compile::exposure::open_address;
use crate::compile::{advice, auth, values};

/// The headers that always count as credentials.
const LOGIN_HEADERS: [HeaderName; 2] = [http::header::AUTHORIZATION, http::header::PROXY_AUTHORIZATION];

/// `[platforms]`, without those that have errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>) -> Vec<Served> {
    let mut served = Vec::new();
    for (name, raw) in &cx.table.platforms {
        if cx.diagnostics.is_full() {
            break;
        }
        let Some(platform) = find(name, cx.diagnostics) else { continue };
        if let Some(raw) = raw.get() {
            let raw = &raw.value;
            served.extend(cx.allowing(&raw.allow, |cx| compile_platform(cx, platform, name, raw)));
        }
    }
    served
}

fn compile_platform(
    cx: &mut Cx<'_>,
    platform: &'static dyn Platform,
    name: &Located<String>,
    raw: &RawPlatform,
) -> Option<Served> {
    let settings = settings(cx, platform, raw);
    let deadline = match raw.deadline.get() {
        Some(text) => values::duration(text, cx.diagnostics),
        None => Some(platform.deadline()),
    };
    let auth = raw.auth.get().and_then(|choice| {
        let signs = choice.value.name.value == "signature";
        let defaults = if signs { platform.signature() } else { &[] };
        if signs && platform.any_method() {
            covers_target(cx, platform, &choice.value);
        }
        auth::compile(cx, &choice.value, SCHEMES, defaults).map(|(auth, _)| auth)
    });
    let secret_header = auth.as_ref().and_then(|auth| auth.secret_header());
    let headers = shown_headers(&raw.headers, secret_header, cx.diagnostics);
    if raw.auth.is_absent() {
        only_on_loopback(cx, name);
    }
    advice::open_platform(cx, name, raw);
    if let Some(deadline) = deadline {
        advice::deadline(cx, platform, raw, deadline);
    }
    let authenticates = raw.auth.get().is_some_and(|choice| choice.value.name.value != "none");
    let believed = platform.trusted_context() && (authenticates || open_address(cx).is_none());
    Some(Served { platform, settings, auth, budget: budget(deadline?), believed, headers })
}

/// Reports a signature that does not cover the URL of a platform whose URL names the function. A GET has its arguments
/// there, too, so the signature of one call would be valid for any other.
fn covers_target(cx: &mut Cx<'_>, platform: &dyn Platform, choice: &Choice) {
    let Kind::Table(entries) = &choice.node.value else { return };
    let Some((_, signed)) = entries.iter().find(|(key, _)| key.value == "signed") else { return };
    let Kind::List(parts) = &signed.value else { return };
    if !parts.iter().any(|part| part.as_str() == Some("target")) {
        let message =
            format!("the signature does not cover the function: `{}` takes it from the URL", platform.name());
        cx.report(Diagnostic::new(Code::UnknownValue, signed.span, message).label("signs no URL").help(
            "add \"target\" to `signed`; otherwise the signature of one call is valid for every function",
        ));
    }
}

/// The keys that only this platform has.
fn settings(cx: &mut Cx<'_>, platform: &'static dyn Platform, raw: &RawPlatform) -> Settings {
    let mut settings = Settings::defaults(platform);
    for (key, node) in &raw.options {
        let Some(setting) = platform.settings().iter().find(|setting| setting.key == key.value) else {
            let mut known: Vec<&str> = RawPlatform::KEYS.to_vec();
            known.extend(platform.settings().iter().map(|setting| setting.key));
            unknown_key(key, &known, cx.diagnostics);
            continue;
        };
        if setting.values.is_empty() {
            let kind = SchemeValueKind::RotatingSecret;
            let secrets = auth::scheme_value(cx, kind, node, &mut false);
            settings.set_secret(setting, secrets);
            continue;
        }
        match node.as_str() {
            Some(value) if setting.values.contains(&value) => settings.set(setting, value),
            Some(value) => cx.report(
                Diagnostic::new(
                    Code::UnknownValue,
                    node.span,
                    format!("invalid value `{value}` for `{}`", setting.key),
                )
                .maybe_help(suggest(value, setting.values.iter().copied())),
            ),
            None => wrong_type::<()>(node, "a string", cx.diagnostics).unwrap_or_default(),
        }
    }
    settings
}

/// The inbound headers that templates see. `secret` is the one that carries the platform's login.
fn shown_headers(
    raw: &Key<Strings>,
    secret: Option<&HeaderName>,
    diagnostics: &mut Diagnostics,
) -> Vec<String> {
    let mut headers = Vec::new();
    for header in raw.items() {
        let Ok(name) = HeaderName::from_bytes(header.value.as_bytes()) else {
            diagnostics.push(
                Diagnostic::new(
                    Code::InvalidHeader,
                    header.span,
                    format!("invalid header name `{}`", header.value),
                )
                .help("use letters, digits and hyphens, as in `x-session-id`"),
            );
            continue;
        };
        // Templates must not see the caller's credential, because upstreams and records would see it too.
        if LOGIN_HEADERS.contains(&name) || Some(&name) == secret {
            diagnostics.push(
                Diagnostic::new(
                    Code::ForbiddenHeader,
                    header.span,
                    format!("`{name}` carries the platform's login"),
                )
                .help("remove it, and put credentials for an upstream in the upstream's `auth`"),
            );
        }
        // A forbidden header still counts as known, so that its use in a template is not a second error.
        headers.push(name.as_str().to_owned());
    }
    headers
}

/// Reports a platform without `auth` that can be called from outside.
fn only_on_loopback(cx: &mut Cx<'_>, name: &Located<String>) {
    let Some((span, label)) = open_address(cx) else { return };
    let auth = advice::auth_example(&name.value);
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
    cx.report(diagnostic);
}

/// The platform of this name.
pub(in crate::compile) fn find(
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
