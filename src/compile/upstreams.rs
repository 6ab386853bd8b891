//! `[upstreams]`, and the headers that every request carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span, place_in_string};
use crate::lang::template::Names;
use crate::plan::request::{HeaderTemplate, Upstream};
use crate::table::document::Located;
use crate::table::raw::RawUpstream;
use crate::table::reader::{Choice, Key, Named, missing_key};
use crate::upstream::auth::{OutboundAuth, SCHEMES};
use crate::upstream::delivery::Delivery;
use crate::upstream::proxy::Proxy;
use crate::upstream::tls::{Authorities, Tls};
use crate::upstream::{EgressPolicy, Redirects, Target};

use super::delivery::hedge;
use super::{Inputs, TableCompiler, UpstreamProbe, values};

const DEFAULT_MAX_BODY: usize = 4 * 1024 * 1024;

/// The upstream that `serve --demo` points at the sample API.
pub const DEMO: &str = "demo";

/// What `redirects` may be.
pub(super) const REDIRECTS: [(&str, Redirects); 2] =
    [("none", Redirects::None), ("same_origin", Redirects::SameOrigin)];

/// What `network` may be.
pub(super) const NETWORKS: [(&str, EgressPolicy); 2] =
    [("any", EgressPolicy::Any), ("public", EgressPolicy::Public)];

/// An upstream that the table has, by name.
pub(super) struct CompiledUpstream<'a> {
    /// `None` after faults.
    pub(super) upstream: Option<Arc<Upstream>>,
    /// The headers of its requests, weakest first.
    pub(super) headers: Arc<[HeaderTemplate]>,
    /// What the table says of it.
    pub(super) json: &'a str,
}

/// The upstreams that the table has.
pub(super) type Upstreams<'a> = BTreeMap<&'a str, CompiledUpstream<'a>>;

impl<'a> TableCompiler<'a> {
    /// `defaults.headers`.
    pub(super) fn shared_headers(&self, diagnostics: &mut Diagnostics) -> Vec<HeaderTemplate> {
        let nothing = Inputs::none();
        let names = self.names(&nothing, &[], 0);
        self.header_templates(&self.table.defaults.headers, &names, HeaderOwner::Defaults, diagnostics)
    }

    /// `[upstreams]`.
    pub(super) fn upstreams(
        &self,
        shared: &[HeaderTemplate],
        diagnostics: &mut Diagnostics,
    ) -> Upstreams<'a> {
        let mut upstreams = Upstreams::new();
        for (name, raw) in &self.table.upstreams {
            let Some(raw) = raw.get() else {
                let known = CompiledUpstream { upstream: None, headers: Arc::new([]), json: "" };
                upstreams.insert(name.value.as_str(), known);
                continue;
            };
            let nothing = Inputs::none();
            let names = self.names(&nothing, &[], 0);
            let own =
                self.header_templates(&raw.value.entry.headers, &names, HeaderOwner::Upstream, diagnostics);
            let entry = &raw.value.entry;
            let upstream = self.allowing(&entry.allow, diagnostics, |diagnostics| {
                self.upstream(name, entry, &own, diagnostics)
            });
            let known = CompiledUpstream {
                upstream: upstream.map(Arc::new),
                headers: shared.iter().cloned().chain(own.iter().cloned()).collect(),
                json: &raw.value.json,
            };
            upstreams.insert(name.value.as_str(), known);
        }
        upstreams
    }

    /// What `check --online` asks of them, and where each stands.
    pub(super) fn probes(&self, upstreams: &Upstreams<'_>) -> Vec<UpstreamProbe> {
        let asked = self.table.upstreams.iter().filter_map(|(name, raw)| {
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
        asked.collect()
    }

    /// `health`: a path below the base URL, the same for every question.
    fn check_health(&self, raw: &RawUpstream, diagnostics: &mut Diagnostics) {
        let Some(path) = raw.health.get() else { return };
        self.no_secret_in(&path.value, path.span, "`health`", diagnostics);
        if !values::no_template(&path.value, path.span, "`health`", diagnostics) {
            return;
        }
        for (range, message, _) in values::path_errors(&path.value) {
            let span = place_in_string(self.sources.text(path.span), path.span, range);
            diagnostics.push(
                Diagnostic::new(Code::InvalidPath, span, message)
                    .help("write a path below the `base_url` that answers a GET, such as \"/status\""),
            );
        }
    }

    fn upstream(
        &self,
        name: &Located<String>,
        raw: &RawUpstream,
        headers: &[HeaderTemplate],
        diagnostics: &mut Diagnostics,
    ) -> Option<Upstream> {
        let base_url = match &raw.base_url {
            Key::Is(text) => self.base_url(text, diagnostics),
            Key::Faulty => None,
            Key::Absent => {
                diagnostics.push(missing_key(
                    name.span,
                    format!("the upstream `{}` has no `base_url`", name.value),
                    "add `base_url = \"https://api.example.com/v1\"`",
                ));
                None
            }
        };
        let timeout = raw.timeout.get().map(|text| values::duration(text, diagnostics));
        let max_body = match raw.max_body.get() {
            Some(text) => values::size(text, diagnostics),
            None => Some(DEFAULT_MAX_BODY),
        };
        let redirects = match raw.redirects.get() {
            None => Redirects::None,
            Some(text) => values::word(&REDIRECTS, &text.value).unwrap_or_else(|| {
                diagnostics.push(
                    Diagnostic::new(
                        Code::UnknownValue,
                        text.span,
                        format!("invalid value `{}` for `redirects`", text.value),
                    )
                    .help("use \"same_origin\" to follow redirects within the host, or remove the key"),
                );
                Redirects::None
            }),
        };
        let tls = raw
            .tls
            .get()
            .map(|tls| self.upstream_tls(&tls.value.ca, tls.span, diagnostics))
            .unwrap_or_default();
        let network = network(raw, base_url.as_ref(), diagnostics);
        let proxy = self.proxy(raw, network, diagnostics);
        self.check_health(raw, diagnostics);
        let credential =
            raw.auth.get().and_then(|choice| self.outbound_auth(name, &choice.value, diagnostics));
        let mut target = Target {
            name: name.value.clone(),
            timeout: timeout.flatten(),
            max_body: max_body?,
            redirects,
            tls,
            network,
            proxy,
        };
        if let Some((auth, _)) = &credential {
            auth.equip(&mut target);
        }
        if target.tls != Tls::default()
            && let (Some(url), Some(span)) = (&base_url, raw.base_url.span())
            && url.scheme() == "http"
        {
            let mut diagnostic = Diagnostic::new(
                Code::ConflictingKeys,
                span,
                "certificates need https, but this is plain http",
            )
            .help("use `https://…`, or remove the certificates");
            let auth = raw.auth.get().map(|choice| choice.value.name.span);
            if let Some(span) = raw.tls.span().or(auth) {
                diagnostic = diagnostic.related(span, "would have no effect");
            }
            diagnostics.push(diagnostic);
        }
        if let Some(url) = &base_url {
            self.advise_in_clear(raw, url, headers);
        }
        let base_url = match &self.secrets.environment.demo {
            Some(demo) if name.value == DEMO => Some(demo.clone()),
            _ => base_url,
        };
        let (retry, hedge) = (self.retry(&raw.retry, diagnostics), hedge(&raw.hedge_after, diagnostics));
        let policy = self.state_policy(raw, base_url.as_ref(), diagnostics);
        let (auth, credential) = credential.unzip();
        let (target, credential) = (Arc::new(target), credential.unwrap_or_default());
        // The plan has its deliveries by name.
        let slot = self.table.upstreams.iter().filter(|(other, _)| other.value < name.value).count();
        let delivery = Delivery { target, auth, credential, retry: retry?, hedge, policy: policy?, slot };
        Some(Upstream { base_url: base_url?, delivery })
    }

    /// `upstreams.x.tls`.
    fn upstream_tls(&self, ca: &Key<String>, span: Span, diagnostics: &mut Diagnostics) -> Tls {
        if ca.is_absent() {
            diagnostics.push(missing_key(span, "`tls` needs `ca`", "add `tls = { ca = \"ca.pem\" }`"));
        }
        let pem = ca.get().and_then(|ca| {
            let pem = self.secrets.file(ca, &mut false, self.sources, diagnostics)?;
            Some(Located { value: pem, span: ca.span })
        });
        let authorities = pem.and_then(|pem| match Authorities::parse(&pem.value) {
            Ok(authorities) => Some(authorities),
            Err(fault) => {
                diagnostics.push(Diagnostic::new(fault.code, pem.span, fault.message).help(fault.help));
                None
            }
        });
        Tls { authorities: authorities.into_iter().collect(), identity: None }
    }

    /// `upstreams.x.proxy`.
    fn proxy(
        &self,
        raw: &RawUpstream,
        network: EgressPolicy,
        diagnostics: &mut Diagnostics,
    ) -> Option<Proxy> {
        let text = raw.proxy.get()?;
        if !values::no_template(&text.value, text.span, "`proxy`", diagnostics) {
            return None;
        }
        let resolved = self.secrets.resolve(&text.value, text.span, self.sources, diagnostics)?;
        if network == EgressPolicy::Public {
            let diagnostic = Diagnostic::new(
                Code::ConflictingKeys,
                text.span,
                "a proxy resolves the host itself, so Jackfield cannot check that it is public",
            );
            let related = raw.network.span().unwrap_or(text.span);
            diagnostics.push(
                diagnostic
                    .related(related, "allows public addresses only")
                    .help("remove `proxy`, or set `network = \"any\"`"),
            );
        }
        let proxy = Proxy::parse(&resolved.text);
        if proxy.is_none() && !resolved.placeholder {
            diagnostics.push(
                // The text may hold a secret.
                Diagnostic::new(Code::InvalidUrl, text.span, "this is not the address of an HTTP proxy")
                    .help("write \"http://proxy.internal:3128\", with a login as in \"http://${PROXY_LOGIN}@proxy.internal:3128\""),
            );
        }
        proxy
    }

    fn base_url(&self, text: &Located<String>, diagnostics: &mut Diagnostics) -> Option<Url> {
        if !values::no_template(&text.value, text.span, "`base_url`", diagnostics) {
            return None;
        }
        let resolved = self.secrets.resolve(&text.value, text.span, self.sources, diagnostics)?;
        // Our own words only: the address may hold a secret.
        let fault = |message: &str, help: &str| {
            Some(Diagnostic::new(Code::InvalidUrl, text.span, message).help(help))
        };
        let parsed = Url::parse(&resolved.text);
        let fault = match &parsed {
            _ if resolved.placeholder => None,
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                fault("only http and https can be called", "write \"https://api.example.com/v1\"")
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => fault(
                "`base_url` cannot contain a login",
                "use `auth.basic = { username = \"…\", password = \"${…}\" }`",
            ),
            Ok(url) if url.query().is_some() || url.fragment().is_some() => fault(
                "`base_url` cannot contain `?` or `#`",
                "put query parameters in the routes' `request.query`",
            ),
            Ok(_) if values::has_host(&resolved.text) => None,
            _ => fault(
                "invalid URL",
                "write a scheme, a host and optionally a path: \"https://api.example.com/v1\"",
            ),
        };
        if let Some(fault) = fault {
            diagnostics.push(fault);
            return None;
        }
        match parsed {
            Ok(url) if !url.cannot_be_a_base() => Some(url),
            _ => Url::parse("https://secret-not-set.invalid/").ok(),
        }
    }

    /// An outbound scheme, and a hash of what it was built from; `None` after errors.
    fn outbound_auth(
        &self,
        upstream: &Located<String>,
        choice: &Choice,
        diagnostics: &mut Diagnostics,
    ) -> Option<(Arc<dyn OutboundAuth>, [u8; 32])> {
        let (auth, values) = self.auth(choice, SCHEMES, &[], diagnostics)?;
        let fingerprint = values.fingerprint(&upstream.value, &choice.name.value);
        Some((Arc::from(auth), fingerprint))
    }

    /// Headers of a table; secrets are resolved in those of an upstream only.
    pub(super) fn header_templates(
        &self,
        headers: &Key<Named<String>>,
        names: &Names<'_>,
        place: HeaderOwner,
        diagnostics: &mut Diagnostics,
    ) -> Vec<HeaderTemplate> {
        let mut out: Vec<HeaderTemplate> = Vec::new();
        for (key, text) in headers.get().map(|headers| headers.value.0.as_slice()).unwrap_or_default() {
            let name = values::header_name(key, diagnostics);
            let Some(text) = text.get() else { continue };
            let mut template = self.template(text, names, diagnostics);
            let mut sensitive = false;
            if place == HeaderOwner::Upstream {
                // Resolved once over the whole text for its faults, then piece by piece into the parsed template,
                // so that what a secret holds is never read as an expression.
                if self.secrets.resolve(&text.value, text.span, self.sources, diagnostics).is_none() {
                    continue;
                }
                if let Some(template) = &mut template {
                    template.map_text(&mut |literal| {
                        let resolved = self.secrets.resolve(
                            literal,
                            text.span,
                            self.sources,
                            &mut Diagnostics::default(),
                        );
                        resolved.map_or_else(String::new, |resolved| {
                            sensitive |= resolved.secret;
                            resolved.text
                        })
                    });
                }
            } else {
                self.no_secret_in(&text.value, text.span, place.name(), diagnostics);
            }
            let (Some(name), Some(value)) = (name, template) else { continue };
            let literal = value.as_literal();
            if literal.is_some_and(|value| values::header_value(value, text.span, diagnostics).is_none()) {
                continue;
            }
            if out.iter().any(|known| known.name == name) {
                diagnostics.push(
                    Diagnostic::new(Code::DuplicateName, key.span, format!("duplicate header `{name}`"))
                        .help("remove one of them: header names are case-insensitive"),
                );
                continue;
            }
            out.push(HeaderTemplate { name, value, sensitive });
        }
        out
    }
}

/// `upstreams.x.network`, and whether the base URL is there. A name is judged at each call, when it is resolved.
fn network(raw: &RawUpstream, base_url: Option<&Url>, diagnostics: &mut Diagnostics) -> EgressPolicy {
    let Some(text) = raw.network.get() else { return EgressPolicy::Any };
    let Some(network) = values::word(&NETWORKS, &text.value) else {
        diagnostics.push(
            Diagnostic::new(
                Code::UnknownValue,
                text.span,
                format!("invalid value `{}` for `network`", text.value),
            )
            .help("use \"public\" to reject private addresses, or remove the key"),
        );
        return EgressPolicy::Any;
    };
    if let (Some(Err(refused)), Some(span)) = (base_url.map(|url| network.admit(url)), raw.base_url.span()) {
        diagnostics.push(
            // The address may come from a secret.
            Diagnostic::new(Code::ConflictingKeys, span, "this address is never allowed")
                .label(format!("is {}", refused.class))
                .related(text.span, "allows public addresses only")
                .help("use a public host, or set `network = \"any\"`"),
        );
    }
    network
}

/// Where headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderOwner {
    Defaults,
    Upstream,
    Request,
}

impl HeaderOwner {
    fn name(self) -> &'static str {
        match self {
            Self::Defaults => "[defaults]",
            Self::Upstream => "[upstreams]",
            Self::Request => "requests",
        }
    }
}
