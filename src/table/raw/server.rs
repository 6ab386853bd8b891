//! `[server]`, `[log]`, `[traces]` and `[platforms]`.

use crate::table::document::Kind;
use crate::table::reader::{Choice, Named, Strings};
use crate::table::shape::{KeyForm, Rest};

use super::toml_table::toml_table;

toml_table! {
    /// `[server]`
    RawServer {
        /// The listener for platforms: an IP address and a port, `"127.0.0.1:8080"` unless given.
        listen: String,
        /// The door for health and reload status; not opened unless given.
        admin: String,
        /// Who may open the admin listener; needed when it is not on loopback.
        admin_auth: Choice as KeyForm::AdminAuth,
        /// How changed files are noticed: `"events"` (default) or `"poll"`.
        watch: String as KeyForm::Watch,
        /// The address at which platforms reach this proxy.
        public_url: String,
        /// The largest body a platform may send; `"1MiB"` unless given.
        max_body: String as KeyForm::Size,
        /// The most calls in flight; 4096 unless given.
        max_calls: u64,
        /// The most connections to the listener for platforms; 4096 unless given.
        max_connections: u64,
        /// How many calls the admin listener can show; 200 unless given, and none with 0.
        records: u64,
        /// The certificate and key of the listener for platforms, which is plain HTTP without them.
        tls: RawTls,
        /// The proxies, as addresses or networks, that are believed when they say for whom they call.
        trusted_proxies: Strings,
    }
}

toml_table! {
    /// `server.tls`: PEM files, read again when they change.
    RawTls {
        /// The file of the door's certificate, followed by those that vouch for it.
        cert: String,
        /// The file of the certificate's private key.
        key: String,
    }
}

toml_table! {
    /// `[log]`
    RawLog {
        /// How lines are written: `"human"`, `"json"`, or `"auto"` (default): for people on a terminal, as JSON elsewhere.
        format: String as KeyForm::LogFormat,
        /// Whether arguments, requests and replies are logged too; `false` unless given.
        bodies: bool,
    }
}

toml_table! {
    /// `[traces]`
    RawTraces {
        /// Where a collector of OpenTelemetry takes spans by OTLP over HTTP.
        endpoint: String,
        /// Headers that it wants, such as a login.
        headers: Named<String>,
        /// The share of traces that are recorded, of those that begin here; all unless given.
        sample: Kind as KeyForm::Fraction,
        /// What the proxy is called in them; `"jackfield"` unless given.
        service: String,
    }
}

toml_table! {
    /// `[platforms.<name>]`: present means served.
    RawPlatform {
        /// How a caller proves to be the platform.
        auth: Choice as KeyForm::InboundAuth,
        /// How long the platform waits for an answer.
        deadline: String as KeyForm::Duration,
        /// The inbound headers that templates see as `call.headers.*`.
        headers: Strings,
        /// The warnings about this platform that are known and meant so.
        allow: Strings as KeyForm::Warnings,
    }
    rest options as Rest::Settings
}
