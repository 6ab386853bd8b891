//! `[upstreams]`: whom routes call, and how.

use crate::table::document::{Kind, Located};
use crate::table::reader::{Choice, Named, Strings};
use crate::table::shape::KeyForm;

use super::toml_table::toml_table;

toml_table! {
    /// `[upstreams.<name>]`
    RawUpstream {
        /// What every path of this upstream is appended to.
        base_url: String,
        /// The credential that is put on every request.
        auth: Choice as KeyForm::OutboundAuth,
        /// Headers of every request.
        headers: Named<String>,
        /// The longest that one attempt may take.
        timeout: String as KeyForm::Duration,
        /// The largest body that is read, after decompression; `"4MiB"` unless given.
        max_body: String as KeyForm::Size,
        /// Which redirects are followed: none unless `"same_origin"`.
        redirects: String as KeyForm::Redirects,
        /// How TLS is spoken.
        tls: RawUpstreamTls,
        /// What is tried again.
        retry: RawRetry,
        /// When a second request is sent beside one that is late: after a time, or `"p95"`.
        hedge_after: String as KeyForm::Hedge,
        /// When nothing is sent for a while, because too much fails.
        breaker: RawBreaker,
        /// How many requests are sent at a time, and in a time.
        limit: RawLimit,
        /// Where it may be: `"any"` unless `"public"`.
        network: String as KeyForm::Network,
        /// The path that `check --online` asks for; the `base_url` itself unless given.
        health: String,
        /// The warnings about this upstream that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
}

toml_table! {
    /// `upstreams.<name>.retry`
    RawRetry {
        /// The most attempts of one request, the first included; 2 unless given.
        attempts: u64,
        /// The pause before the second attempt, doubled for each further one; `"100ms"` unless given.
        backoff: String as KeyForm::Duration,
        /// The kinds of failure and the statuses that are tried again.
        on: Vec<Located<Kind>> as KeyForm::Retried,
    }
}

toml_table! {
    /// `upstreams.<name>.breaker`
    RawBreaker {
        /// The share of failures from which on it opens, above 0 and at most 1; 0.5 unless given.
        failure_rate: Kind as KeyForm::Share,
        /// Over which time they are counted; `"30s"` unless given.
        window: String as KeyForm::Duration,
        /// How many requests there must be within it; 10 unless given.
        min_calls: u64,
        /// How long nothing is sent; `"10s"` unless given.
        open_for: String as KeyForm::Duration,
        /// How many requests are tried then, which must all go well; 1 unless given.
        probes: u64,
    }
}

toml_table! {
    /// `limit` of an upstream or a route.
    RawLimit {
        /// The most at the same time.
        concurrency: u64,
        /// The most in a time: `"10/s"`, `"100/m"`, `"1000/h"`.
        rate: String as KeyForm::Rate,
        /// How many of them may come at once after a quiet time; those of one second, but one at least, unless given.
        burst: u64,
        /// The longest that one waits for its turn; `"1s"` unless given.
        wait: String as KeyForm::Duration,
    }
}

toml_table! {
    /// `upstreams.<name>.tls`
    RawUpstreamTls {
        /// A PEM file with the authorities whose certificates are believed, in place of the public ones.
        ca: String,
    }
}
