//! The platforms that call Jackfield: a folder per platform, one trait, one list.
//!
//! A platform decodes an inbound request into calls and encodes their outcomes as an answer. It also knows the keys of
//! a route that only it understands. It does not know plans, files, clocks or sockets. A platform's JSON keys appear in
//! no other module.
//!
//! To add a platform, add its folder, its `mod` line, its line in [`PLATFORMS`] and a folder of fixtures.

pub mod auth;
mod dailybots;
mod declare;
mod extension;
mod http;
mod millis;
mod names;
mod payload;
mod settings;
mod shape;
mod swaig;
mod voicedock;
mod wire;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::guard::ExpansionFilter;
use crate::scheme::SchemeDefaults;

pub use declare::{DeclareKey, DeclareType, Endpoint, Functions, ToolSpec};
pub use extension::{ExtensionFault, PathStep, StaticValue};
pub use settings::{Setting, Settings};
pub use wire::{Answer, BadRequest, Decoded, Encode, EncodeStream, Event, EventKind, Inbound, WithoutCall};

/// Every platform that this version can serve.
pub static PLATFORMS: &[&dyn Platform] =
    &[&swaig::Swaig, &voicedock::VoiceDock, &dailybots::DailyBots, &millis::Millis, &http::Http];

/// Finds a platform by its name.
pub fn find(name: &str) -> Option<&'static dyn Platform> {
    PLATFORMS.iter().copied().find(|platform| platform.name() == name)
}

/// A platform and its wire format.
pub trait Platform: fmt::Debug + Send + Sync {
    /// The name, as in `[platforms.<name>]` and in the path of its endpoint, `/<name>`.
    fn name(&self) -> &'static str;

    /// Whether the endpoint accepts any method instead of only POST.
    fn any_method(&self) -> bool {
        false
    }

    /// The platform's own timeout for an answer, if it is documented.
    fn answer_timeout(&self) -> Option<Duration> {
        None
    }

    /// The default deadline of a call.
    fn deadline(&self) -> Duration {
        self.answer_timeout().unwrap_or(Duration::from_secs(10))
    }

    /// Whether each call has an id, so that retries can be recognised.
    fn identifies_calls(&self) -> bool {
        false
    }

    /// The character pairs that the platform expands in answers.
    fn guard(&self) -> ExpansionFilter {
        ExpansionFilter::default()
    }

    /// Checks the name of a function. The error is the rule that it breaks.
    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        let _ = name;
        Ok(())
    }

    /// The declared arguments that the platform does not support, each with the rule that it breaks.
    fn check_parameters(&self, schema: &Value) -> Vec<(String, String)> {
        let _ = schema;
        Vec::new()
    }

    /// Whether `call.*` can be trusted once the platform is authenticated. It cannot if the model's arguments share an
    /// object with the envelope and could pose as part of it.
    fn trusted_context(&self) -> bool {
        true
    }

    /// Whether the platform itself shows the forms of `[forms]` to the user.
    fn shows_forms(&self) -> bool {
        false
    }

    /// The keys of `[platforms.<name>]` that only this platform has.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// How the platform signs its requests: the defaults of `auth.signature`.
    fn signature(&self) -> SchemeDefaults {
        &[]
    }

    /// The keys of a reply case that only this platform understands, as in `swaig.action`.
    fn extension_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// Checks the value of an extension key as far as the table fixes it.
    fn check_extension(&self, key: &str, value: &StaticValue) -> Vec<ExtensionFault> {
        let _ = (key, value);
        Vec::new()
    }

    /// Filters the rendered value of an extension key: removes invalid parts and returns a message about each of them.
    fn filter_extension(&self, key: &str, value: Value) -> (Option<Value>, Vec<String>) {
        let _ = key;
        (Some(value), Vec::new())
    }

    /// The keys of a route that only this platform understands, as in `dailybots.before`. Their values are sent as soon
    /// as a call's arguments are validated.
    fn route_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// The extension and route keys that are sent only in a stream.
    fn stream_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// The platform's webhooks that are not function calls, with their names in `[events.<platform>.<name>]`.
    fn events(&self) -> &'static [EventKind] {
        &[]
    }

    /// The keys of `[routes.x.declare.<platform>]` and their types.
    fn declare_keys(&self) -> &'static [DeclareKey] {
        &[]
    }

    /// The other forms in which the platform takes declarations, by name.
    fn declare_forms(&self) -> &'static [&'static str] {
        &[]
    }

    /// The declaration of these functions, ready to paste into the platform; `None` if the platform has no such format.
    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        let _ = (tools, endpoint);
        None
    }

    /// Reads an inbound request.
    ///
    /// # Errors
    /// The request is neither a call nor an event of this platform. [`Platform::refuse`] answers it.
    fn decode(
        &self,
        inbound: &Inbound,
        settings: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest>;

    /// The answer to a request that could not be decoded.
    fn refuse(&self, bad: &BadRequest) -> Answer;

    /// A request as the platform would send it to call `function`, for `jackfield call` and tests.
    fn sample(&self, function: &str, args: &Value) -> Inbound;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;

    /// Routes for these functions, without arguments.
    pub(super) struct Known(pub(super) &'static [&'static str]);

    impl Functions for Known {
        fn arguments(&self, function: &str) -> Option<Vec<&str>> {
            self.0.contains(&function).then(Vec::new)
        }

        fn streams(&self, _: &str) -> bool {
            false
        }

        fn tools(&self) -> Vec<ToolSpec<'_>> {
            Vec::new()
        }

        fn endpoint(&self) -> Endpoint<'_> {
            Endpoint { url: "https://tools.example.com/tools", events: &[], form: None }
        }
    }

    pub(super) fn calls(decoded: Result<Decoded, BadRequest>) -> (Vec<Call>, Box<dyn Encode>) {
        match decoded {
            Ok(Decoded::Calls(calls, encoder)) => (calls, encoder),
            other => panic!("no calls: {other:?}"),
        }
    }

    pub(super) fn answer(decoded: Result<Decoded, BadRequest>) -> Answer {
        match decoded {
            Ok(Decoded::Answer(answer, _)) => answer,
            Ok(Decoded::Event(event)) => event.neutral,
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn platforms_are_found_by_name() {
        for platform in PLATFORMS {
            assert_eq!(find(platform.name()).map(Platform::name), Some(platform.name()));
        }
        assert!(find("phone").is_none());
    }

    #[test]
    fn settings_accept_only_known_values() {
        let setting = Setting { key: "reply", about: "", values: &["results", "result", "direct"] };
        let mut settings = Settings::defaults(&voicedock::VoiceDock);
        assert_eq!(settings.get("reply"), "results");
        settings.set(&setting, "direct");
        settings.set(&setting, "other");
        assert_eq!(settings.get("reply"), "direct");
        assert_eq!(settings.get("other"), "");
    }
}
