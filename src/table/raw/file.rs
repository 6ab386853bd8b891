//! A file of a table as a whole, and `[defaults]`.

use crate::table::document::Kind;
use crate::table::reader::{Named, Strings, WithJson};
use crate::table::shape::KeyForm;

use super::route::{RawForm, RawRoute};
use super::server::{RawLog, RawPlatform, RawServer, RawTraces};
use super::state::RawState;
use super::toml_table::toml_table;
use super::upstream::RawUpstream;

toml_table! {
    /// The main file, or an included one.
    RawFile {
        /// Files to include, as paths or patterns.
        include: Strings,
        /// The listeners, and the limits of the server.
        server: RawServer,
        /// The format and the content of the log.
        log: RawLog,
        /// The OpenTelemetry collector that receives the spans of calls.
        traces: RawTraces,
        /// Where memory, deliveries and deduplication are stored.
        state: RawState,
        /// The platforms that may call, by name.
        platforms: Named<RawPlatform> as KeyForm::Platforms,
        /// The HTTP APIs that routes call, by name.
        upstreams: Named<WithJson<RawUpstream>>,
        /// Defaults for every route.
        defaults: WithJson<RawDefaults>,
        /// Constants, available in templates as `vars.*`.
        vars: Named<Kind>,
        /// The routes, by function name. A route says how a function call is answered.
        routes: Named<WithJson<RawRoute>>,
        /// Webhooks that are not function calls, by platform and event.
        events: Named<Named<WithJson<RawRoute>>> as KeyForm::Events,
        /// Forms that a platform shows to the user, by the name that the model calls.
        forms: Named<WithJson<RawForm>>,
    }
}

toml_table! {
    /// `[defaults]`
    RawDefaults {
        /// The text for each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// Headers for every request.
        headers: Named<String>,
        /// The default time zone, such as `"Europe/Oslo"`, or a single expression that uses `call`. Default: UTC.
        tz: String,
        /// The codes of warnings to suppress in the whole table.
        allow: Strings as KeyForm::Warnings,
    }
}
