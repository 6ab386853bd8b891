//! Who calls us: one file per platform, one trait, one list.
//!
//! A platform turns an inbound request into calls and outcomes into an answer, and knows what of a route only it
//! understands. It knows no plan, no file, no clock and no socket; no JSON key of a platform appears elsewhere.
//!
//! To add one: its file, its `mod` line, its line in [`PLATFORMS`], and a folder of fixtures.

pub mod auth;
mod dailybots;
mod http;
mod millis;
mod payload;
mod shape;
mod swaig;
mod voicedock;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::call::{Call, Guard, Outcome};
use crate::diagnostic::Code;
use crate::secret::Secret;

/// Every platform that this version can serve.
pub static PLATFORMS: &[&dyn Platform] =
    &[&swaig::Swaig, &voicedock::VoiceDock, &dailybots::DailyBots, &millis::Millis, &http::Http];

/// The platform of that name.
pub fn find(name: &str) -> Option<&'static dyn Platform> {
    PLATFORMS.iter().copied().find(|platform| platform.name() == name)
}

/// A kind of caller, with its wire format.
pub trait Platform: fmt::Debug + Send + Sync {
    /// The name in `[platforms.<name>]` and of its door, `/<name>`.
    fn name(&self) -> &'static str;

    /// Whether the door takes any method; else only POST.
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
    fn guard(&self) -> Guard {
        Guard::default()
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

    /// How the platform signs its requests, if it does.
    fn signature(&self) -> Option<&'static auth::SignatureFormat> {
        None
    }

    /// The keys of a reply case that only this platform understands, as in `swaig.action`.
    fn own_keys(&self) -> &'static [&'static str] {
        &[]
    }

    /// What the platform would refuse in the value of one of its own keys, as far as the table fixes the value.
    fn check_own(&self, key: &str, value: &Sketch) -> Vec<OwnFault> {
        let _ = (key, value);
        Vec::new()
    }

    /// Takes the value of one of its own keys as a call rendered it. What does not fit is taken out and told.
    fn admit_own(&self, key: &str, value: Value) -> (Option<Value>, Vec<String>) {
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
    fn declare(&self, tools: &[ToolSpec<'_>], door: &Door<'_>) -> Option<Value> {
        let _ = (tools, door);
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

/// What a platform sent, before anyone has looked into it.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The method.
    pub method: Method,
    /// The function that the URL names, decoded: `/swaig/{function}`.
    pub function: Option<String>,
    /// The query, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
    /// When the request arrived, in seconds since 1970.
    pub received_at: i64,
}

/// What an inbound request turned out to be.
#[derive(Debug)]
pub enum Decoded {
    /// Calls to answer, and how their outcomes are put into one answer, in the same order.
    Calls(Vec<Call>, Box<dyn Encode>),
    /// One call whose answer is a stream.
    Stream(Box<Call>, Box<dyn EncodeStream>),
    /// A webhook that is no function call.
    Event(Box<Event>),
    /// Nothing to call: the answer is known.
    Answer(Answer),
    /// The request is not from the platform: a login that only this platform knows of failed.
    Denied(auth::BadLogin),
}

/// A kind of webhook that is no function call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKind {
    /// The name in the table.
    pub name: &'static str,
    /// How long the platform waits for this answer, when that is less than for a call.
    pub deadline: Option<Duration>,
    /// Whether the platform reads the answer at all.
    pub answered: bool,
}

/// A webhook that is no function call.
#[derive(Debug)]
pub struct Event {
    /// Which one it is.
    pub kind: &'static EventKind,
    /// Its envelope; `call.event` is the payload, and there are no arguments.
    pub call: Call,
    /// The answer when the table has no entry for it, or the entry fails.
    pub neutral: Answer,
}

/// Puts one call into a stream: something at once, the rest when the call has its outcome.
pub trait EncodeStream: fmt::Debug + Send {
    /// The content type of the stream.
    fn content_type(&self) -> &'static str;

    /// What leaves as soon as the arguments fit: the values of the platform's route keys. Empty: nothing yet.
    fn begin(&mut self, own: Map<String, Value>) -> Bytes;

    /// The rest of the stream.
    fn end(&mut self, outcome: Outcome) -> Bytes;
}

/// Puts the outcomes of one request's calls into the form in which the platform asked.
pub trait Encode: fmt::Debug + Send {
    /// The answer to all calls, outcomes in the order of the calls.
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer;
}

/// What goes back to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// 200 with a JSON body.
    pub fn json(body: &Value) -> Self {
        Self::json_with(StatusCode::OK, body)
    }

    /// A JSON body with a status of its own.
    pub fn json_with(status: StatusCode, body: &Value) -> Self {
        Self { status, content_type: "application/json", body: Bytes::from(body.to_string()) }
    }
}

/// A request that could not be read. The problem is told to the caller, so it never quotes the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadRequest {
    /// What is wrong with it, in lower case, without a full stop.
    pub problem: String,
}

impl BadRequest {
    /// A request with this problem.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }

    /// Reads a body as JSON, whatever its content type says.
    pub(crate) fn json(body: &[u8]) -> Result<Value, Self> {
        serde_json::from_slice(body).map_err(|error| {
            Self::new(format!(
                "the body is not valid JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        })
    }
}

/// The functions that routes answer for the asking platform.
pub trait Functions {
    /// The names of a function's declared arguments; `None` when there is no such function.
    fn arguments(&self, function: &str) -> Option<Vec<&str>>;

    /// Whether the function's route asks for its answer as a stream.
    fn streams(&self, function: &str) -> bool;

    /// The functions that ask to be seen by the platform: those with `[routes.x.declare.<platform>]`.
    fn declared(&self) -> Vec<ToolSpec<'_>>;

    /// How the platform reaches this proxy.
    fn door(&self) -> Door<'_>;
}

/// A function as it is declared to a platform.
#[derive(Debug, Clone, Copy)]
pub struct ToolSpec<'a> {
    /// The function's name.
    pub name: &'a str,
    /// What it does, for the model; empty when the table does not say.
    pub description: &'a str,
    /// The JSON Schema of its arguments, the same that validation uses.
    pub parameters: &'a Value,
    /// Whether its answer is a stream.
    pub streaming: bool,
    /// Whether the platform shows it as a form of one field and calls nobody; only where it [`Platform::shows_forms`].
    pub form: bool,
    /// What the table says for this platform alone; an object.
    pub extra: &'a Map<String, Value>,
}

/// How a platform reaches this proxy.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// The address of the platform's door, without a slash at its end: `https://tools.example.com/swaig`.
    pub url: &'a str,
    /// The webhooks that are no function calls and that the table answers, by their names there.
    pub events: &'a [&'static str],
}

/// A key of `[routes.x.declare.<platform>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclareKey {
    /// The key.
    pub key: &'static str,
    /// What it may hold.
    pub holds: Holds,
}

/// What a key of `[routes.x.declare.<platform>]` may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A string.
    Text,
    /// True or false.
    Flag,
    /// A whole number.
    Number,
    /// One of these strings.
    Word(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// Any table.
    Object,
}

impl Holds {
    /// Whether `value` is that.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_u64() || value.is_i64(),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Self::Object => value.is_object(),
        }
    }

    /// The words for it.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Text => "a string".into(),
            Self::Flag => "true or false".into(),
            Self::Number => "a whole number".into(),
            Self::Word(words) => format!("\"{}\"", words.join("\" or \"")).into(),
            Self::Texts => "a list of strings".into(),
            Self::Object => "a table".into(),
        }
    }
}

/// A key of `[platforms.<name>]` that only one platform has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// What it decides, for whoever writes the table.
    pub about: &'static str,
    /// The words that it may be, the first of them the default; none: it holds a secret.
    pub values: &'static [&'static str],
}

/// The values of a platform's [`Setting`]s: every word is set, a secret only where the table gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    words: Vec<(&'static str, &'static str)>,
    secrets: Vec<(&'static str, Vec<Secret>)>,
}

impl Settings {
    /// The defaults of a platform.
    pub fn defaults(platform: &dyn Platform) -> Self {
        let word = |setting: &Setting| setting.values.first().map(|word| (setting.key, *word));
        Self { words: platform.settings().iter().filter_map(word).collect(), secrets: Vec::new() }
    }

    /// Sets a key to one of its words; other words change nothing.
    pub fn set(&mut self, setting: &Setting, value: &str) {
        if let Some(value) = setting.values.iter().find(|known| **known == value)
            && let Some(entry) = self.words.iter_mut().find(|(key, _)| *key == setting.key)
        {
            entry.1 = value;
        }
    }

    /// Sets a key to a secret, or to two while it is rotated.
    pub fn set_secret(&mut self, setting: &Setting, secrets: Vec<Secret>) {
        self.secrets.push((setting.key, secrets));
    }

    /// The word of a key; empty for a key that the platform does not have.
    pub fn get(&self, key: &str) -> &'static str {
        self.words.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
    }

    /// The secrets of a key; none where the table gives none.
    pub fn secrets(&self, key: &str) -> &[Secret] {
        self.secrets.iter().find(|(known, _)| *known == key).map_or(&[], |(_, secrets)| secrets)
    }
}

/// A value as far as the table fixes it before any call.
#[derive(Debug, Clone, PartialEq)]
pub enum Sketch {
    /// One expression: any value at all.
    Any,
    /// A text with expressions in it.
    Text,
    /// A value written out, but not a list or an object.
    Known(Value),
    /// A list.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl From<&Value> for Sketch {
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
            other => Self::Known(other.clone()),
        }
    }
}

/// What a platform would refuse, or what is good to know, in a value of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFault {
    /// The kind of fault; its severity says whether the platform would refuse the value.
    pub code: Code,
    /// Where in the value: keys and indexes from its top.
    pub path: Vec<Step>,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// What to write.
    pub help: Option<String>,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Routes for these functions, without arguments.
    pub(super) struct Known(pub(super) &'static [&'static str]);

    impl Functions for Known {
        fn arguments(&self, function: &str) -> Option<Vec<&str>> {
            self.0.contains(&function).then(Vec::new)
        }

        fn streams(&self, _: &str) -> bool {
            false
        }

        fn declared(&self) -> Vec<ToolSpec<'_>> {
            Vec::new()
        }

        fn door(&self) -> Door<'_> {
            Door { url: "https://tools.example.com/door", events: &[] }
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
