//! What is taken, and is still unwise: for `jackfield check`, which tells it beside the faults. Whoever only runs the
//! table does not hear of it.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use url::Url;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity, Span, suggest};
use crate::plan::network::is_loopback;
use crate::plan::replies::Replies;
use crate::plan::request::HeaderTemplate;
use crate::plan::route::Step;
use crate::plan::template::Uses;
use crate::plan::testing::Tests;
use crate::plan::{Served, Server, budget};
use crate::platform::{Door, Platform};
use crate::table::Table;
use crate::table::document::{Kind, Located};
use crate::table::raw::{RawExtract, RawPlatform, RawRequest, RawRoute, RawUpstream, Strings};
use crate::table::reader::{Key, Named};

use super::Context;

/// The schemes that prove who we are without sending the secret, or speak over TLS only.
const KEEP_THE_SECRET: [&str; 2] = ["hmac", "mtls"];

impl Context<'_> {
    /// Builds a part of the table, without the warnings that it allows.
    pub(super) fn allowing<T>(
        &self,
        allow: &Key<Strings>,
        diagnostics: &mut Diagnostics,
        build: impl FnOnce(&mut Diagnostics) -> T,
    ) -> T {
        let (found, advised) = (diagnostics.len(), self.advice.borrow().len());
        let built = build(diagnostics);
        let codes = allowed_codes(allow);
        diagnostics.silence(found, &codes);
        self.advice.borrow_mut().silence(advised, &codes);
        self.check_allow(allow, diagnostics);
        built
    }

    /// Refuses in an `allow` what is no warning.
    pub(super) fn check_allow(&self, allow: &Key<Strings>, diagnostics: &mut Diagnostics) {
        for slug in allow.get().into_iter().flat_map(|slugs| &slugs.value) {
            let message = match Code::from_slug(&slug.value) {
                Some(code) if code.severity() != Severity::Error => continue,
                Some(_) => format!("`{}` is an error, which cannot be allowed", slug.value),
                None => format!("there is no warning `{}`", slug.value),
            };
            diagnostics.push(
                Diagnostic::new(Code::UnknownValue, slug.span, message)
                    .help(
                        "name warnings by what stands in brackets after them: `allow = [\"route-untested\"]`",
                    )
                    .maybe_help(suggest(&slug.value, Code::allowable())),
            );
        }
    }

    fn advise(&self, diagnostic: Diagnostic) {
        self.advice.borrow_mut().push(diagnostic);
    }

    /// What a route declares and nothing uses. An argument that is compared with the platform's list, or that can have
    /// one value only, does its work by being there.
    pub(super) fn advise_unused(&self, raw: &RawRoute, replies: &Replies) {
        let uses: Uses = self.templates.uses.take();
        for (name, argument) in raw.args.get().map(|args| args.value.0.as_slice()).unwrap_or_default() {
            let guards = argument.get().is_some_and(|argument| {
                let words = argument.value.enumeration.get().map(|words| words.value.len());
                !argument.value.allowed.is_absent() || words == Some(1)
            });
            if !guards && !uses.argument(&name.value) {
                self.advise(
                    Diagnostic::new(
                        Code::ArgumentUnused,
                        name.span,
                        format!("nothing uses the argument `{}`", name.value),
                    )
                    .label("the model is asked for it in vain")
                    .help(format!(
                        "write `{{{{args.{}}}}}` where it is meant to go, or take it out",
                        name.value
                    )),
                );
            }
        }
        if !replies.cases.iter().any(|case| case.when.failure.is_empty()) {
            // Without a case for what went well, all that was extracted is the answer.
            return;
        }
        let steps = raw.steps.get().map(|steps| steps.value.as_slice()).unwrap_or_default();
        match steps {
            [] => self.advise_extracts(&raw.extract, 0, None, &uses),
            steps => {
                for (index, step) in steps.iter().enumerate() {
                    let name = step.value.name.get().map(|name| name.value.as_str());
                    self.advise_extracts(&step.value.extract, index, name, &uses);
                }
            }
        }
    }

    fn advise_extracts(
        &self,
        raw: &Key<Named<RawExtract>>,
        step: usize,
        step_name: Option<&str>,
        uses: &Uses,
    ) {
        for (place, (name, extract)) in raw.get().into_iter().flat_map(|raw| &raw.value.0).enumerate() {
            // A reply without it is refused, which is what it may be for.
            let required = extract.get().and_then(|extract| extract.value.required.get());
            if required.is_some_and(|required| required.value) || uses.extract(step, place) {
                continue;
            }
            let written = match step_name {
                Some(step) => format!("{step}.{}", name.value),
                None => name.value.clone(),
            };
            self.advise(
                Diagnostic::new(
                    Code::ExtractUnused,
                    name.span,
                    format!("nothing uses the extract `{}`", name.value),
                )
                .label("taken out of the reply in vain")
                .help(format!("write `{{{{{written}}}}}` where it is meant to go, or take it out")),
            );
        }
    }

    /// A request that makes something, and would make it again when the platform repeats the call.
    pub(super) fn advise_unguarded(&self, raw: &RawRoute, steps: &[Step], callers: &[&'static dyn Platform]) {
        let repeats = callers.iter().find(|platform| !platform.identifies_calls());
        let Some(platform) = repeats else { return };
        if !raw.idempotency_key.is_absent() || !raw.repeat_window.is_absent() {
            return;
        }
        let list = raw.steps.get().map(|steps| steps.value.as_slice()).unwrap_or_default();
        let written = list.iter().map(|step| &step.value.request);
        let written = written.chain(list.is_empty().then_some(&raw.request)).filter_map(Key::get);
        // What is put or deleted twice is as if it had been once.
        let makes = |(step, _): &(&Step, &Located<RawRequest>)| {
            matches!(step.request.method, Method::POST | Method::PATCH)
        };
        if let Some((step, request)) = steps.iter().zip(written).find(makes) {
            let (method, platform) = (&step.request.method, platform.name());
            let span = request.value.method.span().unwrap_or(request.span);
            self.advise(
                Diagnostic::new(
                    Code::WriteUnguarded,
                    span,
                    format!("this {method} is sent again when `{platform}` repeats a call"),
                )
                .label(format!("`{platform}` gives calls no id by which a repeat is known"))
                .help("write `repeat_window = \"30s\"` in the route; if the request only asks, `allow = [\"write-unguarded\"]`"),
            );
        }
    }

    /// A `timeout` of a route that no platform waits for.
    pub(super) fn advise_timeout(&self, raw: &RawRoute, timeout: Option<Duration>, callers: &[&Served]) {
        let (Some(timeout), Some(text)) = (timeout, raw.timeout.get()) else { return };
        let longest = callers.iter().max_by_key(|served| served.budget);
        if let Some(served) = longest.filter(|served| budget(timeout) > served.budget) {
            self.advise(
                Diagnostic::new(
                    Code::DeadlineTooLong,
                    text.span,
                    format!("no platform waits so long: a call of `{}` ends before", served.platform.name()),
                )
                .label("has no effect")
                .help(
                    "write a shorter time or take it out; `deadline` of the platform says how long it waits",
                ),
            );
        }
    }

    /// A `deadline` that is longer than the platform is known to wait.
    pub(super) fn advise_deadline(&self, platform: &dyn Platform, raw: &RawPlatform, deadline: Duration) {
        let Some((text, waits)) = raw.deadline.get().zip(platform.waits()) else { return };
        if deadline > waits {
            let waits = humantime::format_duration(waits);
            self.advise(
                Diagnostic::new(
                    Code::DeadlineTooLong,
                    text.span,
                    format!("`{}` does not wait so long", platform.name()),
                )
                .label(format!("it gives up after {waits}"))
                .help(format!(
                    "write \"{waits}\" or less, or take it out: a later answer is heard by nobody"
                )),
            );
        }
    }

    /// A platform that proves nothing, where others than this machine can call.
    pub(super) fn advise_open(&self, name: &Located<String>, raw: &RawPlatform) {
        let auth = raw.auth.get();
        if auth.is_some_and(|choice| choice.value.name.value != "none") || raw.auth.is_faulty() {
            return;
        }
        // Without any `auth`, an address that is open is a fault.
        let open = auth.and_then(|_| self.open_address());
        let proxies = self.table.server.trusted_proxies.get().filter(|proxies| !proxies.value.is_empty());
        let proxies = proxies.map(|proxies| (Some(proxies.span), "who calls through these is from outside"));
        if let Some((span, label)) = open.or(proxies) {
            let mut diagnostic = Diagnostic::new(
                Code::PlatformOpen,
                auth.map_or(name.span, |choice| choice.value.name.span),
                format!("anyone can call for the platform `{}`", name.value),
            )
            .label("proves nothing")
            .help(format!(
                "set `{}`; if it is meant to be open, `allow = [\"platform-open\"]` beside it says so",
                login_for(&name.value)
            ));
            if let Some(span) = span {
                diagnostic = diagnostic.related(span, label);
            }
            self.advise(diagnostic);
        }
    }

    /// A door that others reach by an address which the table does not say.
    pub(super) fn advise_public_url(&self, server: &Server, platforms: &[Served]) {
        let raw = &self.table.server;
        let open = raw.listen.span().filter(|_| !server.listen.ip().is_loopback());
        let Some(span) = open.or(raw.trusted_proxies.span()).filter(|_| raw.public_url.is_absent()) else {
            return;
        };
        let door = Door { url: "", events: &[] };
        let told = platforms.iter().find(|served| served.platform.declare(&[], &door).is_some());
        if let Some(served) = told {
            let (platform, listen) = (served.platform.name(), server.listen);
            self.advise(
                Diagnostic::new(
                    Code::PublicUrlMissing,
                    span,
                    format!("`{platform}` would be told to call {listen}, for want of a `public_url`"),
                )
                .label("platforms reach the door by another address")
                .help("write in `[server]` the address that they call: `public_url = \"https://tools.example.com\"`"),
            );
        }
    }

    /// A credential that everybody on the way can read.
    pub(super) fn advise_in_clear(&self, raw: &RawUpstream, base_url: &Url, headers: &[HeaderTemplate]) {
        let Some(text) = raw.base_url.get() else { return };
        let auth = raw.auth.get().filter(|auth| !KEEP_THE_SECRET.contains(&auth.value.name.value.as_str()));
        let mut sent: Vec<(Span, &str)> = Vec::new();
        if base_url.scheme() == "http" && !is_loopback(base_url) {
            sent.extend(auth.map(|auth| (auth.value.name.span, "would be readable on the way")));
            let secret = headers.iter().any(|header| header.sensitive);
            sent.extend(raw.headers.span().filter(|_| secret).map(|span| (span, "holds a secret")));
        }
        if let Some((credential, label)) = sent.first() {
            self.advise(
                Diagnostic::new(
                    Code::CredentialInClear,
                    text.span,
                    "this is plain http, and a credential goes with each request",
                )
                .label("not encrypted")
                .related(*credential, *label)
                .help("write `https://…`; if nobody else is on that network, `allow = [\"credential-in-clear\"]`"),
            );
        }
        // The address of the tokens may be another one.
        if let Some(auth) = auth
            && let Kind::Table(entries) = &auth.value.node.value
            && let Some((_, node)) = entries.iter().find(|(key, _)| key.value == "token_url")
            && let Some(url) = node.as_str().and_then(|url| Url::parse(url).ok())
            && url.scheme() == "http"
            && !is_loopback(&url)
        {
            self.advise(
                Diagnostic::new(
                    Code::CredentialInClear,
                    node.span,
                    "this is plain http, and `client_secret` is sent to it",
                )
                .label("not encrypted")
                .help("write `https://…`; if nobody else is on that network, `allow = [\"credential-in-clear\"]`"),
            );
        }
    }
}

/// A login that suits a platform, as it is written.
pub(super) fn login_for(platform: &str) -> String {
    let variable = platform.to_uppercase();
    if crate::platform::find(platform).is_some_and(|known| known.signature().is_some()) {
        format!("auth.signature = {{ secret = \"${{{variable}_SECRET}}\" }}")
    } else {
        format!("auth.basic = {{ username = \"…\", password = \"${{{variable}_PASSWORD}}\" }}")
    }
}

/// The routes that no test calls. A table without any test hears it once.
pub(crate) fn untested(table: &Table, tests: &Tests, advice: &mut Diagnostics) {
    let tested: BTreeSet<&str> = tests.tests.iter().map(|test| test.route.as_str()).collect();
    let routes = table.routes.iter().filter_map(|(name, raw)| Some((name, &raw.get()?.value.entry)));
    let missed = routes.filter(|(name, raw)| {
        !tested.contains(name.value.as_str()) && !allowed_codes(&raw.allow).contains(&Code::RouteUntested)
    });
    let missed: Vec<&Located<String>> = missed.map(|(name, _)| name).collect();
    let told = if tested.is_empty() { missed.get(..1).unwrap_or_default() } else { &missed };
    for name in told {
        let message = match missed.len() {
            others @ 2.. if tested.is_empty() => {
                format!("no test calls the route `{}`, nor {} of the others", name.value, others - 1)
            }
            _ => format!("no test calls the route `{}`", name.value),
        };
        advice.push(
            Diagnostic::new(Code::RouteUntested, name.span, message).help(format!(
                "write one, `[[routes.{0}.tests]]` with `args` and `expect`; `jackfield call {0} --explain` shows what there is to expect",
                name.value
            )),
        );
    }
}

/// The warnings that `allow` names.
pub(crate) fn allowed_codes(allow: &Key<Strings>) -> Vec<Code> {
    let slugs = allow.get().into_iter().flat_map(|slugs| &slugs.value);
    let codes = slugs.filter_map(|slug| Code::from_slug(&slug.value));
    codes.filter(|code| code.severity() != Severity::Error).collect()
}
