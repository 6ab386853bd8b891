//! `[upstreams]`: the HTTP APIs that routes call.

mod credential;
pub(in crate::compile) mod delivery;
pub(in crate::compile) mod headers;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, place_in_string};
use crate::plan::request::{HeaderTemplate, Upstream};
use crate::table::Table;
use crate::table::document::{Kind, Located};
use crate::table::raw::RawUpstream;
use crate::table::reader::{Choice, Key, WithJson, missing_key};
use crate::upstream::auth::{OutboundAuth, SCHEMES};
use crate::upstream::delivery::Delivery;
use crate::upstream::probe::Probe;
use crate::upstream::tls::{Authorities, Tls};
use crate::upstream::{EgressPolicy, Redirects, Target};

use crate::compile::certificates::Validity;
use crate::compile::cx::Cx;
use crate::compile::names::Globals;
use crate::compile::{advice, auth, values};

use headers::HeaderOwner;

const DEFAULT_MAX_BODY: usize = 4 * 1024 * 1024;

/// The upstream that `serve --demo` points at the sample API.
pub const DEMO: &str = "demo";

/// The values of `redirects`.
pub(in crate::compile) const REDIRECTS: [(&str, Redirects); 2] =
    [("none", Redirects::None), ("same_origin", Redirects::SameOrigin)];

/// The values of `network`.
pub(in crate::compile) const NETWORKS: [(&str, EgressPolicy); 2] =
    [("any", EgressPolicy::Any), ("public", EgressPolicy::Public)];

/// An upstream of the table.
pub(in crate::compile) struct CompiledUpstream<'a> {
    /// `None` after errors.
    pub(in crate::compile) upstream: Option<Arc<Upstream>>,
    /// The headers of its requests, weakest first.
    pub(in crate::compile) headers: Arc<[HeaderTemplate]>,
    /// Its entry in the table as JSON.
    pub(in crate::compile) json: &'a str,
}

/// A request that tests an upstream.
#[derive(Debug)]
pub struct UpstreamProbe {
    /// The request.
    pub probe: Probe,
    /// The place of its address.
    pub place: Span,
    /// The place of its credential or headers; that of its address without either.
    pub credential: Span,
}

/// The upstreams of the table, by name.
pub(in crate::compile) type Upstreams<'a> = BTreeMap<&'a str, CompiledUpstream<'a>>;

/// `[upstreams]`
pub(in crate::compile) fn compile<'a>(cx: &mut Cx<'a>, globals: &Globals) -> Upstreams<'a> {
    let inputs = globals.inputs();
    let names = inputs.names(&[], 0);
    let shared = headers::templates(cx, &cx.table.defaults.headers, &names, HeaderOwner::Defaults);
    let slots = slots(cx.table);
    let mut upstreams = Upstreams::new();
    for (name, raw) in &cx.table.upstreams {
        if cx.diagnostics.is_full() {
            break;
        }
        let Some(raw) = raw.get() else {
            let known = CompiledUpstream { upstream: None, headers: Arc::new([]), json: "" };
            upstreams.insert(name.value.as_str(), known);
            continue;
        };
        let WithJson { entry, json } = &raw.value;
        let own = headers::templates(cx, &entry.headers, &names, HeaderOwner::Upstream);
        let upstream = cx.allowing(&entry.allow, |cx| {
            upstream(cx, name, entry, &own, slots.get(name.value.as_str()).copied())
        });
        let known = CompiledUpstream {
            upstream: upstream.map(Arc::new),
            headers: shared.iter().cloned().chain(own).collect(),
            json,
        };
        upstreams.insert(name.value.as_str(), known);
    }
    upstreams
}

/// The place of each upstream among all, by name: deliveries are sorted by the name of the upstream.
fn slots(table: &Table) -> BTreeMap<&str, usize> {
    let names: BTreeSet<&str> = table.upstreams.iter().map(|(name, _)| name.value.as_str()).collect();
    names.into_iter().enumerate().map(|(slot, name)| (name, slot)).collect()
}

/// The requests by which `check --online` tests the upstreams.
pub(in crate::compile) fn probes(cx: &Cx<'_>, upstreams: &Upstreams<'_>) -> Vec<UpstreamProbe> {
    let probes = cx.table.upstreams.iter().filter_map(|(name, raw)| {
        let (raw, known) = (&raw.get()?.value.entry, upstreams.get(name.value.as_str())?);
        let health = raw.health.get().map_or("", |path| path.value.as_str());
        let place = raw.base_url.span().unwrap_or(name.span);
        let auth = raw.auth.get().map(|choice| choice.value.name.span);
        Some(UpstreamProbe {
            probe: known.upstream.as_ref()?.probe(health, &known.headers),
            place,
            credential: auth.or(raw.headers.span()).unwrap_or(place),
        })
    });
    probes.collect()
}

/// `health`: a path below the base URL, without templates.
fn check_health(cx: &mut Cx<'_>, raw: &RawUpstream) {
    let Some(path) = raw.health.get() else { return };
    cx.no_secret_in(&path.value, path.span, "`health`");
    if !values::no_template(&path.value, path.span, "`health`", cx.diagnostics) {
        return;
    }
    for (range, message, _) in values::path_errors(&path.value) {
        let span = place_in_string(cx.sources.text(path.span), path.span, range);
        cx.report(
            Diagnostic::new(Code::InvalidPath, span, message)
                .help("write a path below the `base_url` that answers a GET, such as \"/status\""),
        );
    }
}

fn upstream(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawUpstream,
    headers: &[HeaderTemplate],
    slot: Option<usize>,
) -> Option<Upstream> {
    let base_url = match &raw.base_url {
        Key::Is(text) => base_url(cx, text),
        Key::Faulty => None,
        Key::Absent => {
            cx.report(missing_key(
                name.span,
                format!("the upstream `{}` has no `base_url`", name.value),
                "add `base_url = \"https://api.example.com/v1\"`",
            ));
            None
        }
    };
    check_health(cx, raw);
    let credential = raw.auth.get().and_then(|choice| outbound_auth(cx, name, &choice.value));
    let (auth, credential) = credential.unzip();
    let target = target(cx, name, raw, base_url.as_ref(), auth.as_deref());
    if let Some(url) = &base_url {
        advice::in_clear(cx, raw, url, headers);
    }
    let base_url = match &cx.environment.demo {
        Some(demo) if name.value == DEMO => Some(demo.clone()),
        _ => base_url,
    };
    let retry = delivery::retry(&raw.retry, cx.diagnostics);
    let hedge = delivery::hedge(&raw.hedge_after, cx.diagnostics);
    let policy = delivery::state_policy(raw, base_url.as_ref(), cx.diagnostics);
    let (target, credential) = (Arc::new(target?), credential.unwrap_or_default());
    let credential_source = credential::source(name, raw);
    let (retry, policy, slot) = (retry?, policy?, slot?);
    let delivery = Delivery { target, auth, credential, credential_source, retry, hedge, policy, slot };
    Some(Upstream { base_url: Arc::new(base_url?), delivery })
}

/// The part of an upstream that the transport needs.
fn target(
    cx: &mut Cx<'_>,
    name: &Located<String>,
    raw: &RawUpstream,
    base_url: Option<&Url>,
    auth: Option<&dyn OutboundAuth>,
) -> Option<Target> {
    let timeout = raw.timeout.get().and_then(|text| values::duration(text, cx.diagnostics));
    let max_body = match raw.max_body.get() {
        Some(text) => values::size(text, cx.diagnostics),
        None => Some(DEFAULT_MAX_BODY),
    };
    let help = "use \"same_origin\" to follow redirects within the host, or remove the key";
    let redirects = raw
        .redirects
        .get()
        .and_then(|text| values::one_of(&REDIRECTS, "redirects", text, help, cx.diagnostics));
    let tls = raw.tls.get().map(|tls| upstream_tls(cx, &tls.value.ca, tls.span));
    let network = network(raw, base_url, cx.diagnostics);
    let proxy = proxy::compile(cx, raw, network, base_url);
    let mut target = Target {
        name: name.value.clone(),
        timeout,
        max_body: max_body?,
        root: base_url.map_or_else(String::new, |url| url.path().to_owned()),
        redirects: redirects.unwrap_or(Redirects::None),
        tls: tls.unwrap_or_default(),
        network,
        proxy,
    };
    if let Some(auth) = auth {
        auth.equip(&mut target);
        warn_of_expiry(cx, raw, &target.tls);
    }
    if target.tls != Tls::default() && base_url.is_some_and(|url| url.scheme() == "http") {
        cx.report(needs_https(name, raw));
    }
    Some(target)
}

/// Warns about a client certificate that is not valid now, or not for much longer: the upstream would refuse it.
fn warn_of_expiry(cx: &mut Cx<'_>, raw: &RawUpstream, tls: &Tls) {
    let (Some(identity), Some(choice)) = (&tls.identity, raw.auth.get()) else { return };
    let keys = match &choice.value.node.value {
        Kind::Table(entries) => entries.as_slice(),
        _ => &[],
    };
    let cert = keys.iter().find(|(key, _)| key.value == "cert");
    let place = cert.map_or(choice.value.name.span, |(_, node)| node.span);
    let validity = Validity::of_chain(identity.chain());
    if let Some(warning) = validity.and_then(|validity| validity.warning(cx.environment.now, place)) {
        cx.report(warning);
    }
}

fn needs_https(name: &Located<String>, raw: &RawUpstream) -> Diagnostic {
    let span = raw.base_url.span().unwrap_or(name.span);
    let diagnostic =
        Diagnostic::new(Code::ConflictingKeys, span, "certificates need https, but this is plain http")
            .help("use `https://…`, or remove the certificates");
    match raw.tls.span().or(raw.auth.get().map(|choice| choice.value.name.span)) {
        Some(certificates) => diagnostic.related(certificates, "would have no effect"),
        None => diagnostic,
    }
}

/// `upstreams.x.tls`.
fn upstream_tls(cx: &mut Cx<'_>, ca: &Key<String>, span: Span) -> Tls {
    if ca.is_absent() {
        cx.report(missing_key(span, "`tls` needs `ca`", "add `tls = { ca = \"ca.pem\" }`"));
    }
    let pem = ca.get().and_then(|ca| {
        let pem = cx.file(ca, &mut false)?;
        Some(Located { value: pem, span: ca.span })
    });
    let authorities = pem.and_then(|pem| match Authorities::parse(&pem.value) {
        Ok(authorities) => Some(authorities),
        Err(problem) => {
            cx.report(Diagnostic::new(problem.code, pem.span, problem.message).help(problem.help));
            None
        }
    });
    Tls { authorities: authorities.into_iter().collect(), identity: None }
}

fn base_url(cx: &mut Cx<'_>, text: &Located<String>) -> Option<Url> {
    if !values::no_template(&text.value, text.span, "`base_url`", cx.diagnostics) {
        return None;
    }
    let resolved = cx.resolve(&text.value, text.span)?;
    // The message must not quote the URL, because it may contain a secret.
    let problem =
        |message: &str, help: &str| Some(Diagnostic::new(Code::InvalidUrl, text.span, message).help(help));
    let parsed = Url::parse(&resolved.text);
    let problem = match &parsed {
        _ if resolved.placeholder => None,
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            problem("only http and https can be called", "write \"https://api.example.com/v1\"")
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => problem(
            "`base_url` cannot contain a login",
            "use `auth.basic = { username = \"…\", password = \"${…}\" }`",
        ),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => problem(
            "`base_url` cannot contain `?` or `#`",
            "put query parameters in the routes' `request.query`",
        ),
        Ok(_) if values::has_host(&resolved.text) => None,
        _ => problem(
            "invalid URL",
            "write a scheme, a host and optionally a path: \"https://api.example.com/v1\"",
        ),
    };
    if let Some(problem) = problem {
        cx.report(problem);
        return None;
    }
    match parsed {
        Ok(url) if !url.cannot_be_a_base() => Some(url),
        _ => Url::parse("https://secret-not-set.invalid/").ok(),
    }
}

/// An outbound scheme, and a hash of what it was built from; `None` after errors.
fn outbound_auth(
    cx: &mut Cx<'_>,
    upstream: &Located<String>,
    choice: &Choice,
) -> Option<(Arc<dyn OutboundAuth>, [u8; 32])> {
    let (auth, values) = auth::compile(cx, choice, SCHEMES, &[])?;
    let fingerprint = values.fingerprint(&upstream.value, &choice.name.value);
    Some((Arc::from(auth), fingerprint))
}

/// `upstreams.x.network`, and whether the base URL is allowed. Host names are checked at each call, when they are
/// resolved.
fn network(raw: &RawUpstream, base_url: Option<&Url>, diagnostics: &mut Diagnostics) -> EgressPolicy {
    let Some(text) = raw.network.get() else { return EgressPolicy::Any };
    let help = "use \"public\" to reject private addresses, or remove the key";
    let Some(network) = values::one_of(&NETWORKS, "network", text, help, diagnostics) else {
        return EgressPolicy::Any;
    };
    if let (Some(Err(refused)), Some(span)) = (base_url.map(|url| network.admit(url)), raw.base_url.span()) {
        diagnostics.push(
            // The message must not quote the address, because it may come from a secret.
            Diagnostic::new(Code::ConflictingKeys, span, "this address is never allowed")
                .label(format!("is {}", refused.class))
                .related(text.span, "allows only public addresses")
                .help("use a public host, or set `network = \"any\"`"),
        );
    }
    network
}
