//! Rate limits, deduplication, caching and idempotency keys of routes.

use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::plan::RouteLimit;
use crate::plan::route::{CachePolicy, Route, Step};
use crate::table::raw::RawRoute;
use crate::table::reader::missing_key;

use crate::compile::upstreams::delivery;
use crate::compile::values;

/// The limit, deduplication, caching and idempotency key of one route.
#[derive(Debug, Default)]
pub(in crate::compile) struct CallLimits {
    limit: Option<RouteLimit>,
    idempotency_key: Option<HeaderName>,
    repeat_window: Option<Duration>,
    cache: Option<CachePolicy>,
}

impl CallLimits {
    /// Compiles the limits of a route. `steps` are those of its steps that have no errors.
    pub(in crate::compile) fn compile(raw: &RawRoute, steps: &[Step], diagnostics: &mut Diagnostics) -> Self {
        let policy = raw.limit.get().and_then(|raw| delivery::limit(&raw.value, raw.span, diagnostics));
        let repeat_window = raw.repeat_window.get();
        let limits = Self {
            // Slots are assigned after all routes and events are compiled.
            limit: policy.map(|policy| RouteLimit { policy, slot: 0 }),
            idempotency_key: idempotency_key(raw, steps, diagnostics),
            repeat_window: repeat_window.and_then(|text| values::long_duration(text, diagnostics)),
            cache: cache(raw, diagnostics),
        };
        let written =
            raw.steps.get().map_or(usize::from(!raw.request.is_absent()), |steps| steps.value.len());
        // A step with errors could be the one that gives these keys an effect.
        if steps.len() == written {
            check_effect(raw, steps, diagnostics);
        }
        limits
    }

    /// Adds these limits to a route.
    pub(in crate::compile) fn apply(self, route: Route) -> Route {
        let Self { limit, idempotency_key, repeat_window, cache } = self;
        Route { limit, idempotency_key, repeat_window, cache, ..route }
    }
}

fn idempotency_key(raw: &RawRoute, steps: &[Step], diagnostics: &mut Diagnostics) -> Option<HeaderName> {
    let text = raw.idempotency_key.get()?;
    let key = values::header_name(text, diagnostics)?;
    if key == AUTHORIZATION || key == PROXY_AUTHORIZATION {
        diagnostics.push(
            Diagnostic::new(Code::ForbiddenHeader, text.span, "this header carries a login")
                .help("set the header by which the API recognizes a retry, such as \"idempotency-key\""),
        );
    }
    if steps.iter().any(|step| !step.request.is_safe() && step.request.sets_header(&key)) {
        diagnostics.push(
            Diagnostic::new(
                Code::ConflictingKeys,
                text.span,
                format!("`headers` also sets `{key}`, but a request has one idempotency key"),
            )
            .help("remove the header from `headers`: Jackfield derives its value from the call"),
        );
    }
    Some(key)
}

/// `cache` and `stale_if_error`.
fn cache(raw: &RawRoute, diagnostics: &mut Diagnostics) -> Option<CachePolicy> {
    let fresh = raw.cache.get().and_then(|text| values::long_duration(text, diagnostics));
    let stale = raw.stale_if_error.get().and_then(|text| values::long_duration(text, diagnostics));
    if let (Some(span), true) = (raw.stale_if_error.span(), raw.cache.is_absent()) {
        diagnostics.push(missing_key(
            span,
            "`stale_if_error` needs a `cache`",
            "add how long a response is reused: `cache = \"5m\"`",
        ));
    }
    fresh.map(|fresh| CachePolicy { fresh, stale: stale.unwrap_or_default() })
}

/// Reports each key that has no effect on these steps.
fn check_effect(raw: &RawRoute, steps: &[Step], diagnostics: &mut Diagnostics) {
    let writes = steps.iter().any(|step| !step.request.is_safe());
    let reads = steps.iter().any(|step| step.request.is_safe());
    let only_reads = "every request of this route is safe";
    for (span, has_effect, key, why) in [
        (raw.idempotency_key.span(), writes, "idempotency_key", only_reads),
        (raw.repeat_window.span(), writes, "repeat_window", only_reads),
        (raw.cache.span(), reads, "cache", "this route sends no safe request, such as a GET"),
    ] {
        if let Some(span) = span.filter(|_| !has_effect) {
            diagnostics.push(
                Diagnostic::new(Code::NoEffect, span, format!("`{key}` has no effect: {why}"))
                    .label("has no effect")
                    .help("remove it, or check `method` and `safe` of the request"),
            );
        }
    }
}
