//! `[upstreams]`: the HTTP APIs that routes call.

use crate::table::document::{Kind, Located};
use crate::table::reader::{Choice, Named, Strings};
use crate::table::shape::KeyForm;

use super::toml_table::toml_table;

toml_table! {
    /// `[upstreams.<name>]`
    RawUpstream {
        /// The URL that paths of this upstream are appended to.
        base_url: String,
        /// The credential for every request.
        auth: Choice as KeyForm::OutboundAuth,
        /// Headers for every request.
        headers: Named<String>,
        /// The timeout of one attempt.
        timeout: String as KeyForm::Duration,
        /// The largest response body, after decompression. Default: `"4MiB"`.
        max_body: String as KeyForm::Size,
        /// Which redirects to follow: `"none"` (default) or `"same_origin"`.
        redirects: String as KeyForm::Redirects,
        /// TLS settings.
        tls: RawUpstreamTls,
        /// Which requests are retried.
        retry: RawRetry,
        /// When to hedge a slow request with a second one: after a time, or after the 95th percentile, `"p95"`.
        hedge_after: String as KeyForm::Hedge,
        /// The circuit breaker.
        breaker: RawBreaker,
        /// The rate limit and the concurrency limit.
        limit: RawLimit,
        /// Which addresses it may have: `"any"` (default) or `"public"`.
        network: String as KeyForm::Network,
        /// The HTTP proxy that requests go through: `"http://user:password@proxy.internal:3128"`. Default: the one that
        /// the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`); `"none"` ignores it.
        proxy: String,
        /// The path that `check --online` requests. Default: the `base_url` itself.
        health: String,
        /// The codes of warnings about this upstream to suppress.
        allow: Strings as KeyForm::Warnings,
    }
}

toml_table! {
    /// `upstreams.<name>.retry`
    RawRetry {
        /// The maximum number of attempts, including the first. Default: 2.
        attempts: u64,
        /// The pause before the first retry, doubled for each further retry. Default: `"100ms"`.
        backoff: String as KeyForm::Duration,
        /// The kinds of failure and the statuses to retry.
        on: Vec<Located<Kind>> as KeyForm::Retried,
    }
}

toml_table! {
    /// `upstreams.<name>.breaker`
    RawBreaker {
        /// The failure rate at which it opens, above 0 and at most 1. Default: 0.5.
        failure_rate: Kind as KeyForm::Share,
        /// The period over which failures are counted. Default: `"30s"`.
        window: String as KeyForm::Duration,
        /// The minimum number of requests in that period. Default: 10.
        min_calls: u64,
        /// How long it stays open. Default: `"10s"`.
        open_for: String as KeyForm::Duration,
        /// How many test requests must succeed before it closes. Default: 1.
        probes: u64,
    }
}

toml_table! {
    /// `limit` of an upstream or a route.
    RawLimit {
        /// The maximum number at the same time.
        concurrency: u64,
        /// The maximum rate: `"10/s"`, `"100/m"`, `"1000/h"`.
        rate: String as KeyForm::Rate,
        /// How many may start at once after a quiet period. Default: the number of one second, at least 1.
        burst: u64,
        /// The longest wait for a permit. Default: `"1s"`.
        wait: String as KeyForm::Duration,
    }
}

toml_table! {
    /// `upstreams.<name>.tls`
    RawUpstreamTls {
        /// A PEM file with the certificate authorities to trust, instead of the public ones.
        ca: String,
    }
}
