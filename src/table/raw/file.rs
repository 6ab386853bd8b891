//! A file of a table as a whole, and `[defaults]`.

use crate::table::document::Kind;
use crate::table::reader::{Named, Strings, WithJson};
use crate::table::shape::KeyForm;

use super::route::{RawForm, RawRoute};
use super::server::{RawLog, RawPlatform, RawServer, RawTraces};
use super::toml_table::toml_table;
use super::upstream::RawUpstream;

toml_table! {
    /// The main file, or an included one.
    RawFile {
        /// More files, as paths or patterns.
        include: Strings,
        /// Where and how the proxy listens.
        server: RawServer,
        /// What is logged, and how.
        log: RawLog,
        /// Where the spans of calls go.
        traces: RawTraces,
        /// Who may call, by platform name.
        platforms: Named<RawPlatform> as KeyForm::Platforms,
        /// Whom routes call, by name.
        upstreams: Named<WithJson<RawUpstream>>,
        /// What holds for every route that does not say otherwise.
        defaults: WithJson<RawDefaults>,
        /// Constants that templates see as `vars.*`.
        vars: Named<Kind>,
        /// How each function is answered, by function name.
        routes: Named<WithJson<RawRoute>>,
        /// How webhooks that are no function calls are answered, by platform and event.
        events: Named<Named<WithJson<RawRoute>>> as KeyForm::Events,
        /// What a platform asks the user in a form of its own, by the name that the model knows.
        forms: Named<WithJson<RawForm>>,
    }
    later ["state"]
}

toml_table! {
    /// `[defaults]`
    RawDefaults {
        /// What is said on each kind of failure.
        failure: Named<String> as KeyForm::FailureTexts,
        /// Headers of every request.
        headers: Named<String>,
        /// The warnings that are known and meant so, in the whole table.
        allow: Strings as KeyForm::Warnings,
    }
}
