//! Who calls us: one file per platform, one trait, one list.
//!
//! A platform turns an inbound request into calls and outcomes into an answer, and knows what of a route only it
//! understands. It knows no plan, no file, no clock and no socket; no JSON key of a platform appears elsewhere.
//!
//! To add one: its file, its `mod` line, its line in [`PLATFORMS`], and a folder of fixtures.

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

pub use declare::{DeclareKey, Endpoint, Functions, Holds, ToolSpec};
pub use extension::{ExtensionFault, PathStep, StaticValue};
pub use settings::{Setting, Settings};
pub use wire::{Answer, BadRequest, Decoded, Encode, EncodeStream, Event, EventKind, Inbound};

/// Every platform that this version can serve.
pub static PLATFORMS: &[&dyn Platform] =
    &[&swaig::Swaig, &voicedock::VoiceDock, &dailybots::DailyBots, &millis::Millis, &http::Http];

/// The platform of that name.
pub fn find(name: &str) -> Option<&'static dyn Platform> {
    PLATFORMS.iter().copied().find(|platform| platform.name() == name)
}

/// A kind of caller, with its wire format.
pub trait Platform: fmt::Debug + Send + Sync {
    /// The name in `[platforms.<name>]` and of its endpoint, `/<name>`.
    fn name(&self) -> &'static str;

    /// Whether the endpoint takes any method; else only POST.
    fn any_method(&self) -> bool {
        false
    }

    /// How long the platform waits for an answer, where that is known.
    fn waits(&self) -> Option<Duration> {
        None
    }

    /// How long the platform is taken to wait for an answer, unless the table says otherwise.
    fn deadline(&self) -> Duration {
        self.waits().unwrap_or(Duration::from_secs(10))
    }

    /// Whether it gives each call an id, by which a repeat is known.
    fn identifies_calls(&self) -> bool {
        false
    }

    /// The character pairs that the platform would expand in what it receives.
    fn guard(&self) -> ExpansionFilter {
        ExpansionFilter::default()
    }

    /// What is wrong with `name` as the name of a function here, and the rule that it breaks.
    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        let _ = name;
        Ok(())
    }

    /// What of the declared arguments it cannot be told: the argument's name, and the rule that it breaks.
    fn check_parameters(&self, schema: &Value) -> Vec<(String, String)> {
        let _ = schema;
        Vec::new()
    }

    /// Whether `call.*` is the platform's own word once the platform has proved who it is. Not so where values of
    /// the model stand beside the envelope and could be taken for it.
    fn trusted_context(&self) -> bool {
        true
    }

    /// Whether it shows the forms of `[forms]` to the user by itself.
    fn shows_forms(&self) -> bool {
        false
    }

    /// The keys of `[platforms.<name>]` that only this platform has.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// How the platform signs its requests, if it does: the keys of `auth.signature` that the table may leave out.
    fn signature(&self) -> SchemeDefaults {
        &[]
    }

    /// The keys of a reply case that only this platform understands, as in `swaig.action`.
    fn extension_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the platform would refuse in the value of one of its own keys, as far as the table fixes the value.
    fn check_extension(&self, key: &str, value: &StaticValue) -> Vec<ExtensionFault> {
        let _ = (key, value);
        Vec::new()
    }

    /// Takes the value of one of its own keys as a call rendered it. What does not fit is taken out and told.
    fn filter_extension(&self, key: &str, value: Value) -> (Option<Value>, Vec<String>) {
        let _ = key;
        (Some(value), Vec::new())
    }

    /// The keys of a route that only this platform understands, as in `dailybots.before`: what it is told as soon
    /// as a call's arguments fit.
    fn route_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// Those of its own keys, of a reply or of a route, that leave in a stream only.
    fn stream_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// The webhooks of this platform that are no function calls, by their names in `[events.<platform>.<name>]`.
    fn events(&self) -> &'static [EventKind] {
        &[]
    }

    /// The keys of `[routes.x.declare.<platform>]`, with what each may hold.
    fn declare_keys(&self) -> &'static [DeclareKey] {
        &[]
    }

    /// What a user pastes into the platform so that it knows these functions; `None` when it has nothing to be told.
    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        let _ = (tools, endpoint);
        None
    }

    /// Reads an inbound request.
    ///
    /// # Errors
    /// A request that carries no call and no event of this platform; [`Platform::refuse`] answers it.
    fn decode(
        &self,
        inbound: &Inbound,
        settings: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest>;

    /// The answer to a request that could not be read.
    fn refuse(&self, bad: &BadRequest) -> Answer;

    /// The request that this platform would send for a call of `function`: for trying a route from the command line.
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
            Endpoint { url: "https://tools.example.com/door", events: &[] }
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
            Ok(Decoded::Answer(answer)) => answer,
            Ok(Decoded::Event(event)) => event.neutral,
            other => panic!("no answer: {other:?}"),
        }
    }

    #[test]
    fn platforms_are_found_by_their_own_names() {
        for platform in PLATFORMS {
            assert_eq!(find(platform.name()).map(Platform::name), Some(platform.name()));
        }
        assert!(find("phone").is_none());
    }

    #[test]
    fn settings_take_only_their_words() {
        let setting = Setting { key: "reply", about: "", values: &["results", "result", "direct"] };
        let mut settings = Settings::defaults(&voicedock::VoiceDock);
        assert_eq!(settings.get("reply"), "results");
        settings.set(&setting, "direct");
        settings.set(&setting, "other");
        assert_eq!(settings.get("reply"), "direct");
        assert_eq!(settings.get("other"), "");
    }
}
