//! `[server]`, `[log]`, `[traces]` and `[platforms]`.

use crate::table::document::Kind;
use crate::table::reader::{Choice, Named, Strings};
use crate::table::shape::{KeyForm, Rest};

use super::toml_table::toml_table;

toml_table! {
    /// `[server]`
    RawServer {
        /// The listener for platforms: an IP address and a port. Default: `"127.0.0.1:8080"`.
        listen: String,
        /// The admin listener, for health checks, metrics and status. Off by default.
        admin: String,
        /// The login for the admin listener; required unless it is on loopback.
        admin_auth: Choice as KeyForm::AdminAuth,
        /// How Jackfield detects changed files: `"events"` (default) or `"poll"`.
        watch: String as KeyForm::Watch,
        /// The URL at which platforms reach this proxy.
        public_url: String,
        /// The largest request body that a platform may send. Default: `"1MiB"`.
        max_body: String as KeyForm::Size,
        /// The maximum number of calls in flight. Default: 4096.
        max_calls: u64,
        /// The maximum number of connections to the listener for platforms. Default: 4096.
        max_connections: u64,
        /// The number of recent calls that the admin API keeps; 0 keeps none. Default: 200.
        records: u64,
        /// How long the proxy keeps accepting calls after SIGTERM, while `/readyz` already returns 503. Default: none.
        drain_delay: String as KeyForm::Duration,
        /// The folder for a copy of the last accepted table, which a start falls back to. Default: no copy.
        last_good: String,
        /// The certificate and key of the listener for platforms. Without them the listener uses plain HTTP.
        tls: RawTls,
        /// The addresses or networks of proxies whose `X-Forwarded-For` and `Forwarded` headers are trusted.
        trusted_proxies: Strings,
    }
}

toml_table! {
    /// `server.tls`: PEM files, reloaded when they change.
    RawTls {
        /// The file with the server certificate, followed by its chain.
        cert: String,
        /// The file with the private key.
        key: String,
    }
}

toml_table! {
    /// `[log]`
    RawLog {
        /// The format of lines: `"human"`, `"json"`, or `"auto"` (default), which is JSON unless the output is a terminal.
        format: String as KeyForm::LogFormat,
        /// The least severe messages to log: `"error"`, `"warn"`, `"info"` (default), `"debug"` or `"trace"`.
        level: String as KeyForm::LogLevel,
        /// Whether to log arguments, requests and replies as well. Default: `false`.
        bodies: bool,
    }
}

toml_table! {
    /// `[traces]`
    RawTraces {
        /// The URL of an OpenTelemetry collector that accepts OTLP over HTTP.
        endpoint: String,
        /// Headers for the collector, such as a login.
        headers: Named<String>,
        /// The fraction of new traces to record, from 0 to 1. Default: 1, all of them.
        sample: Kind as KeyForm::Fraction,
        /// The service name in traces. Default: `"jackfield"`.
        service: String,
    }
}

toml_table! {
    /// `[platforms.<name>]`: a platform that is served.
    RawPlatform {
        /// How callers authenticate.
        auth: Choice as KeyForm::InboundAuth,
        /// How long the platform waits for a response.
        deadline: String as KeyForm::Duration,
        /// The inbound headers that templates can use as `call.headers.*`.
        headers: Strings,
        /// The codes of warnings about this platform to suppress.
        allow: Strings as KeyForm::Warnings,
    }
    rest options as Rest::Settings
}
