//! `[state]`: where memory, deliveries and deduplication are stored.

use std::sync::Arc;
use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::plan::Route;
use crate::plan::state::StateConfig;
use crate::state::{EncryptionKey, EncryptionKeys, KeyFault, StateUrl};
use crate::table::document::Located;
use crate::table::raw::RawState;

use crate::compile::cx::Cx;
use crate::compile::values;

const DEFAULT_MEMORY_TTL: Duration = Duration::from_secs(2 * 3600);
const DEFAULT_KEEP: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_POOL: usize = 8;

/// `[state]`, or its defaults; `None` after errors.
pub(in crate::compile) fn compile(cx: &mut Cx<'_>) -> Option<StateConfig> {
    let default = RawState::default();
    let table = cx.table;
    let is_configured = !table.state.is_absent();
    let raw = table.state.get().map_or(&default, |raw| &raw.value);
    let url = match raw.url.get() {
        Some(text) => url(cx, text),
        None => Some(beside_table(cx, StateUrl::default_file())),
    };
    let keys = raw.encryption_key.get();
    let keys =
        keys.map_or(Some(EncryptionKeys::default()), |keys| encryption_keys(cx, &keys.value.0, keys.span));
    let mut duration = |text: Option<&Located<String>>, default| {
        text.map_or(Some(default), |text| values::month_duration(text, cx.diagnostics))
    };
    let memory_ttl = duration(raw.memory_ttl.get(), DEFAULT_MEMORY_TTL);
    let keep = duration(raw.keep.get(), DEFAULT_KEEP);
    let pool = raw.pool.get().map_or(Some(DEFAULT_POOL), |pool| {
        values::count(pool, 1..=1000, cx.diagnostics).map(|pool| pool as usize)
    });
    Some(StateConfig {
        url: url?,
        is_configured,
        keys: keys?,
        memory_ttl: memory_ttl?,
        pool: pool?,
        keep: keep?,
    })
}

fn url(cx: &mut Cx<'_>, text: &Located<String>) -> Option<StateUrl> {
    if !values::no_template(&text.value, text.span, "`url`", cx.diagnostics) {
        return None;
    }
    let resolved = cx.resolve(&text.value, text.span)?;
    match StateUrl::parse(&resolved.text) {
        // Without its secrets, it would name another place or login.
        _ if resolved.placeholder => None,
        Ok(url) => Some(beside_table(cx, url)),
        Err(fault) => {
            cx.report(Diagnostic::new(Code::InvalidUrl, text.span, fault.message).help(fault.help));
            None
        }
    }
}

/// The URL of a file relative to the table's folder.
fn beside_table(cx: &Cx<'_>, url: StateUrl) -> StateUrl {
    match url {
        StateUrl::Sqlite(path) => StateUrl::Sqlite(cx.table.folder.join(path)),
        other => other,
    }
}

/// One key, or two while it is replaced.
fn encryption_keys(cx: &mut Cx<'_>, keys: &[Located<String>], span: Span) -> Option<EncryptionKeys> {
    if !(1..=2).contains(&keys.len()) {
        cx.report(
            Diagnostic::new(Code::InvalidKey, span, "`encryption_key` is one key, or a list of two")
                .help("put the new key first, and remove the old one once nothing is encrypted with it"),
        );
    }
    let read: Vec<Option<EncryptionKey>> = keys.iter().map(|key| encryption_key(cx, key)).collect();
    read.into_iter().collect::<Option<_>>().map(EncryptionKeys)
}

fn encryption_key(cx: &mut Cx<'_>, text: &Located<String>) -> Option<EncryptionKey> {
    let resolved = cx.resolve(&text.value, text.span)?;
    cx.advise_on_literal(&resolved, text.span);
    match EncryptionKey::parse(&resolved.text) {
        _ if resolved.placeholder => None,
        Ok(key) => Some(key),
        Err(fault) => {
            let help = format!("{}: write `\"${{STATE_KEY}}\"` here", KeyFault::HELP);
            cx.report(Diagnostic::new(Code::InvalidKey, text.span, fault.to_string()).help(help));
            None
        }
    }
}

/// Reports each route or event that stores something sensitive without a key to encrypt it. Events come with their
/// platform: a route and the events of several platforms may have the same name.
pub(in crate::compile) fn check_encryption<'r>(
    cx: &mut Cx<'_>,
    entries: impl Iterator<Item = (Option<&'static str>, &'r Route)>,
    config: &StateConfig,
) {
    if !config.keys.0.is_empty() {
        return;
    }
    for (platform, route) in entries.filter(|(_, route)| stores_sensitive(route, config)) {
        let routes = cx.table.routes.iter().map(|(name, _)| (None, name));
        let events = cx.table.events.iter().map(|(platform, name, _)| (Some(platform.value.as_str()), name));
        let mut names = routes.chain(events);
        let name = names.find(|(of, name)| *of == platform && name.value == route.name);
        let Some(span) = name.map(|(_, name)| name.span) else { continue };
        let what = if route.state.delivery.is_some() {
            "stores its calls until they are delivered"
        } else if route.state.remembers {
            "stores what it remembers"
        } else {
            "stores the replies to its calls, so that a retry gets them on every instance"
        };
        cx.report(
            Diagnostic::new(
                Code::EncryptionKeyMissing,
                span,
                format!("`{}` has sensitive values and {what}, but nothing encrypts them", route.name),
            )
            .help(
                "make a key with `openssl rand -base64 32`, and add `[state]` with `encryption_key = \"${STATE_KEY}\"`",
            ),
        );
    }
}

fn stores_sensitive(route: &Route, config: &StateConfig) -> bool {
    let shares = config.is_configured && route.writes();
    route.state.sensitive && (route.state.delivery.is_some() || route.state.remembers || shares)
}

/// Whether a table needs its state: it has a `[state]`, or a route that cannot do without.
pub(in crate::compile) fn is_needed(
    cx: &Cx<'_>,
    routes: &[Route],
    events: &[(&str, &str, Arc<Route>)],
) -> bool {
    let events = events.iter().map(|(_, _, entry)| &**entry);
    !cx.table.state.is_absent() || routes.iter().chain(events).any(|route| route.state.is_needed())
}
