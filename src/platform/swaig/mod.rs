//! SignalWire's SWAIG: one function per request. The answer always has status 200, a text for the model, and actions.
//!
//! Wire facts are from the vendor's OpenAPI and SWML schemas in signalwire/docs (`specs/signalwire-rest/webhooks/ai`,
//! `SWMLObject.json`) and, where noted, from the source of its SDKs.

mod actions;
mod declare;
mod parameters;
mod signature;

use ::http::StatusCode;
use serde_json::{Value, json};

use self::declare::DECLARE_KEYS;
use self::signature::SIGNING_KEY;
use super::names::{NameRule, letter_or_underscore};
use super::{
    Answer, BadRequest, DeclareKey, Decoded, Encode, Endpoint, Event, EventKind, ExtensionFault, Functions,
    Inbound, Platform, Setting, Settings, StaticValue, ToolSpec, WithoutCall, payload,
};
use crate::call::{Call, Context, GivenArguments, Outcome};
use crate::diagnostic::Code;
use crate::guard::ExpansionFilter;
use crate::json::{JsonText, Kind, ObjectWriter, SharedValue, ValueRef, push_string, push_value};

const NAME: &str = "swaig";

/// The key of a reply case with call-control actions.
const ACTION: &str = "action";

/// The key of a reply case that lets the agent speak before its actions run.
const POST_PROCESS: &str = "post_process";

/// The key of a reply case with instructions for the model, apart from the result.
const PROMPT: &str = "prompt";

/// The platform's own messages, which have the form of calls. A route may answer them but need not.
const LIFECYCLE: &[&str] = &["startup_hook", "hangup_hook", "summarize_conversation", "check_for_input"];

/// The `action` of the `SWAIG.includes` handshake.
const GET_SIGNATURE: &str = "get_signature";

/// The `action` of requests to the `post_prompt_url`, after a conversation and before one.
const POST_PROMPT: &[&str] = &["post_conversation", "fetch_conversation"];

/// The events. For `post_prompt`, SignalWire reads only the answer to `fetch_conversation`.
static EVENTS: [EventKind; 3] = [
    EventKind { name: "post_prompt", deadline: None, answered: true },
    EventKind { name: "startup_hook", deadline: None, answered: true },
    EventKind { name: "hangup_hook", deadline: None, answered: true },
];

/// The rule of the servers in SignalWire's SDKs.
const FUNCTION_NAMES: NameRule = NameRule {
    punctuation: "_",
    first: letter_or_underscore,
    max_length: usize::MAX,
    rule: "SWAIG accepts letters, digits and underscores; the first character cannot be a digit",
};

/// SignalWire AI agents.
#[derive(Debug)]
pub(super) struct Swaig;

impl Platform for Swaig {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The engine expands template functions in webhook responses too, some of them with side effects.
    fn guard(&self) -> ExpansionFilter {
        ExpansionFilter { sigils: &['$', '%', '@'] }
    }

    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        FUNCTION_NAMES.check(name)
    }

    fn extension_keys(&self) -> &'static [&'static str] {
        &[ACTION, POST_PROCESS, PROMPT]
    }

    fn check_extension(&self, key: &str, value: &StaticValue) -> Vec<ExtensionFault> {
        let wrong = |must: &str, help: &str| {
            vec![ExtensionFault {
                code: Code::InvalidAction,
                path: Vec::new(),
                message: format!("`swaig.{key}` must be {must}"),
                help: Some(help.to_owned()),
            }]
        };
        match (key, value) {
            (ACTION, _) => actions::check_all(value),
            (POST_PROCESS, StaticValue::Any) => Vec::new(),
            (POST_PROCESS, value) if value.known().is_some_and(Value::is_boolean) => Vec::new(),
            (POST_PROCESS, _) => wrong("true or false", "write `swaig.post_process = true`"),
            (PROMPT, StaticValue::Any | StaticValue::Text) => Vec::new(),
            (PROMPT, value) if value.known().is_some_and(Value::is_string) => Vec::new(),
            (PROMPT, _) => wrong("a string", "write `swaig.prompt = \"Say it in one sentence.\"`"),
            _ => Vec::new(),
        }
    }

    fn filter_extension(&self, key: &str, value: Value) -> (Option<Value>, Vec<String>) {
        match (key, value) {
            (ACTION, value) => actions::filter(value),
            (POST_PROCESS, value @ Value::Bool(_)) | (PROMPT, value @ Value::String(_)) => {
                (Some(value), Vec::new())
            }
            (key, _) => (None, vec![format!("`swaig.{key}` is left out: its value is invalid")]),
        }
    }

    fn settings(&self) -> &'static [Setting] {
        &[SIGNING_KEY]
    }

    fn events(&self) -> &'static [EventKind] {
        &EVENTS
    }

    fn declare_keys(&self) -> &'static [DeclareKey] {
        DECLARE_KEYS
    }

    fn declare_forms(&self) -> &'static [&'static str] {
        &[declare::SIDECAR]
    }

    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        Some(declare::declare(tools, endpoint))
    }

    fn decode(
        &self,
        inbound: &Inbound,
        settings: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest> {
        let body = payload::object(&inbound.body)?;
        let parts = Parts::of(body.get());
        let function = match request_kind(inbound, body.get(), &parts)? {
            SwaigRequest::Function(function) => function,
            SwaigRequest::Signature => {
                let url = functions.endpoint().url;
                return Ok(match signature::check(settings.secrets(SIGNING_KEY.key), inbound, url) {
                    Ok(()) => {
                        let declared = functions.tools().iter().filter(|tool| tool.declared).count();
                        Decoded::Answer(declare::handshake(functions), WithoutCall::Declarations(declared))
                    }
                    Err(bad) => Decoded::Denied(bad),
                });
            }
            SwaigRequest::PostPrompt => return Ok(event("post_prompt", body)),
        };
        if LIFECYCLE.contains(&function.as_str()) && functions.arguments(&function).is_none() {
            return Ok(event(&function, body));
        }
        let caller = Caller::of(&parts);
        let args = arguments(&body, parts.argument);
        let context = envelope(function, &body, &parts);
        Ok(Decoded::Calls(vec![Call { args, context: Box::new(context) }], Box::new(OneAnswer { caller })))
    }

    /// SignalWire retries after any status but 200, so the error goes to the model instead.
    fn refuse(&self, bad: &BadRequest) -> Answer {
        let text = format!("The function call could not be read: {bad}. Apologise and go on without it.");
        Answer::json(&json!({"response": text}))
    }

    fn sample(&self, function: &str, args: &Value) -> Inbound {
        payload::post(&json!({
            "app_name": "example",
            "function": function,
            "description": "",
            "argument": {"parsed": [args], "raw": args.to_string()},
            "argument_desc": {"type": "object", "properties": {}},
            "call_id": "example-call",
            "ai_session_id": "example-session",
            "conversation_id": "example-call",
            "conversation_type": "voice",
            "meta_data_token": "example-token",
            "meta_data": {},
            "global_data": {},
            "caller_id_name": "",
            "caller_id_num": "+15550100042",
            "channel_active": true,
            "channel_offhook": true,
            "channel_ready": true,
            "content_type": "text/swaig",
            "version": "2.0",
            "content_disposition": "SWAIG Function",
            "project_id": "example-project",
            "space_id": "example-space"
        }))
    }
}

/// The parts of a body that a call consists of, found in one pass.
struct Parts<'b> {
    function: Option<ValueRef<'b>>,
    argument: Option<ValueRef<'b>>,
    content_type: Option<ValueRef<'b>>,
    channel_data: Option<ValueRef<'b>>,
    call_id: Option<ValueRef<'b>>,
    meta_data: Option<ValueRef<'b>>,
    global_data: Option<ValueRef<'b>>,
    /// The caller's number: in requests of voice agents, Bedrock agents and conversation reports.
    callers: [Option<ValueRef<'b>>; 3],
}

impl<'b> Parts<'b> {
    fn of(body: ValueRef<'b>) -> Self {
        let [function, argument, content_type, channel_data, call_id, meta_data, global_data, callers @ ..] =
            payload::members(
                body,
                [
                    "function",
                    "argument",
                    "content_type",
                    "channel_data",
                    "call_id",
                    "meta_data",
                    "global_data",
                    "caller_id_num",
                    "caller_id",
                    "caller_id_number",
                ],
            );
        Self { function, argument, content_type, channel_data, call_id, meta_data, global_data, callers }
    }
}

/// The kind of a request.
enum SwaigRequest {
    /// A tool call, or a message in the form of one.
    Function(String),
    /// The definitions of the functions.
    Signature,
    /// A report after a conversation, or a request for data before one.
    PostPrompt,
}

/// The kind of a request, from the function in the URL or the body, or from `action`.
///
/// Bedrock's tool calls have an `action` too, so it counts only if nothing else in the body indicates a call.
fn request_kind(
    inbound: &Inbound,
    body: ValueRef<'_>,
    parts: &Parts<'_>,
) -> Result<SwaigRequest, BadRequest> {
    match (&inbound.function, payload::function_name(parts.function, "function")?) {
        (Some(in_url), Some(in_body)) if in_url != in_body.as_ref() => {
            Err(BadRequest::new("the function name in the body differs from the one in the URL"))
        }
        (_, Some(name)) => Ok(SwaigRequest::Function(name.into_owned())),
        (in_url, None) => {
            let action = body.get("action").and_then(ValueRef::as_str).filter(|_| parts.argument.is_none());
            match (action.as_deref(), in_url) {
                (Some(GET_SIGNATURE), _) => Ok(SwaigRequest::Signature),
                (Some(action), _) if POST_PROMPT.contains(&action) => Ok(SwaigRequest::PostPrompt),
                (_, Some(name)) => Ok(SwaigRequest::Function(name.clone())),
                (_, None) => Err(BadRequest::new("it has no function name")),
            }
        }
    }
}

/// The envelope of a request, which templates see as `call.*`.
fn envelope(function: String, body: &SharedValue, parts: &Parts<'_>) -> Context {
    let text = |part: ValueRef<'_>| payload::text_at(part, &[]);
    let kept = |part: Option<ValueRef<'_>>| part.map(|part| body.keep(part)).unwrap_or_default();
    Context {
        platform: NAME,
        function,
        conversation: parts.call_id.and_then(text),
        caller: parts.callers.into_iter().flatten().find_map(text),
        metadata: kept(parts.meta_data),
        global: kept(parts.global_data),
        raw: body.clone(),
        ..Context::default()
    }
}

/// A webhook that is not a call. One without an entry in [`EVENTS`] gets an empty answer.
fn event(name: &str, body: SharedValue) -> Decoded {
    match EVENTS.iter().find(|kind| kind.name == name) {
        Some(kind) => {
            let payload = body.clone();
            let parts = Parts::of(body.get());
            let context = Context { event: payload, ..envelope(name.to_owned(), &body, &parts) };
            let call = Call { args: payload::no_arguments(), context: Box::new(context) };
            Decoded::Event(Box::new(Event { kind, call, neutral: neutral() }))
        }
        None => Decoded::Answer(neutral(), WithoutCall::Event(name.to_owned())),
    }
}

/// Reads the arguments as the SDKs' servers do: the platform's parsed object first, then the model's raw text, then a
/// flat object.
/// What the platform parsed may itself be texts of JSON.
fn arguments(body: &SharedValue, argument: Option<ValueRef<'_>>) -> GivenArguments {
    let is_object = |value: &ValueRef<'_>| value.kind() == Kind::Object;
    let parsed = argument.and_then(|argument| argument.get("parsed"));
    let object = parsed.and_then(|parsed| match parsed.kind() {
        Kind::Array => parsed.items().find(is_object),
        // The oldest documentation describes an object, but its samples do not show one.
        _ => Some(parsed).filter(is_object),
    });
    if let Some(object) = object {
        return GivenArguments::Json(body.keep(object));
    }
    let texts = parsed.into_iter().flat_map(|parsed| std::iter::once(parsed).chain(parsed.items()));
    let read = texts
        .filter(|text| text.kind() == Kind::String)
        .find_map(|text| payload::arguments(body, Some(text)).filter(GivenArguments::are_an_object));
    if let Some(read) = read {
        return read;
    }
    argument
        .and_then(|argument| payload::arguments(body, argument.get("raw")))
        .or_else(|| payload::arguments(body, body.get().get("arguments")))
        .unwrap_or_else(payload::no_arguments)
}

/// An answer without effect: all fields of a SWAIG answer are optional.
fn neutral() -> Answer {
    Answer::json(&json!({}))
}

/// Who called, as far as the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// An `ai` agent. It accepts `response` as an object, and `post_process`.
    Agent,
    /// A request that does not say so, such as one by hand or by an old engine. It accepts `post_process`.
    Unnamed,
    /// A Bedrock or sidecar agent. Its schemas of answers are closed: `response` is a string, and there is no
    /// `post_process`.
    Closed,
}

impl Caller {
    fn of(parts: &Parts<'_>) -> Self {
        match parts.content_type.and_then(ValueRef::as_str).as_deref() {
            Some("text/swaig") => Self::Agent,
            None if parts.channel_data.is_none() => Self::Unnamed,
            _ => Self::Closed,
        }
    }
}

/// Encodes the answer as a text and a list of actions, the only form that both published schemas accept.
#[derive(Debug)]
struct OneAnswer {
    caller: Caller,
}

impl Encode for OneAnswer {
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer {
        let Some(Outcome { reply, .. }) = outcomes.first() else { return neutral() };
        let actions = reply.extension(ACTION).filter(|actions| actions.as_str() != "[]");
        let prompt = reply.extension(PROMPT).map(JsonText::to_text);
        let post_process = reply.extension(POST_PROCESS).is_some_and(|value| value.as_str() == "true");
        let text = reply.to_text();
        let actions_length = actions.map_or(0, |actions| actions.as_str().len());
        let mut body = ObjectWriter::with_capacity(text.len() + actions_length + 64);
        let response = body.entry("response");
        match prompt {
            Some(prompt) if self.caller == Caller::Agent => {
                push_value(response, &json!({"tool_result": text, "tool_prompt": prompt}));
            }
            Some(prompt) => push_string(response, format!("{text}\n{prompt}").trim()),
            None => push_string(response, &text),
        }
        if post_process && self.caller != Caller::Closed {
            body.entry(POST_PROCESS).push_str("true");
        }
        if let Some(actions) = actions {
            let (open, close) = if actions.kind() == Kind::Array { ("", "") } else { ("[", "]") };
            body.entry(ACTION).extend([open, actions.as_str(), close]);
        }
        Answer::written(StatusCode::OK, body.finish())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::call::{FailureKind, Reply, ReplyExtension};
    use crate::platform::tests::{Known, answer, calls};
    use crate::secret::Secret;

    fn inbound(url: Option<&str>, body: &Value) -> Inbound {
        Inbound { function: url.map(ToOwned::to_owned), ..payload::post(body) }
    }

    fn decode(
        url: Option<&str>,
        body: &Value,
        known: &'static [&'static str],
    ) -> Result<Decoded, BadRequest> {
        Swaig.decode(&inbound(url, body), &Settings::default(), &Known(known))
    }

    fn args(body: &Value) -> GivenArguments {
        let (mut calls, _) = calls(decode(None, body, &[]));
        calls.remove(0).args
    }

    #[test]
    fn the_function_in_the_url_takes_precedence() {
        for (url, body, expected) in [
            (None, json!({"function": "a"}), Ok("a")),
            (Some("a"), json!({"function": "a"}), Ok("a")),
            (Some("a"), json!({}), Ok("a")),
            (Some("a"), json!({"function": ""}), Ok("a")),
            (Some("a"), json!({"function": null, "argument": {}, "action": "fetch_conversation"}), Ok("a")),
            (None, json!({"function": "a", "action": "get_signature"}), Ok("a")),
            (
                Some("a"),
                json!({"function": "b"}),
                Err("the function name in the body differs from the one in the URL"),
            ),
            (None, json!({"function": 1}), Err("`function` is not a string")),
            (None, json!({}), Err("it has no function name")),
            (None, json!({"function": ""}), Err("it has no function name")),
            (None, json!({"action": "something"}), Err("it has no function name")),
            (None, json!([]), Err("the body is not a JSON object")),
        ] {
            match (decode(url, &body, &[]), expected) {
                (Ok(Decoded::Calls(calls, _)), Ok(name)) => {
                    assert_eq!(calls[0].context.function, name, "{body}")
                }
                (Err(bad), Err(problem)) => assert_eq!(bad.problem, problem, "{body}"),
                (decoded, expected) => panic!("{body}: {decoded:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn arguments_are_read_from_every_documented_place() {
        let object = |city: &str| GivenArguments::from(json!({"city": city}));
        let none = || GivenArguments::from(json!({}));
        for (fields, expected) in [
            (json!({"argument": {"parsed": [{"city": "a"}, {"city": "b"}], "raw": "{}"}}), object("a")),
            (json!({"argument": {"parsed": ["x", {"city": "b"}]}}), object("b")),
            (json!({"argument": {"parsed": {"city": "a"}, "raw": "x"}}), object("a")),
            (json!({"argument": {"parsed": [], "raw": "{\"city\":\"a\"}"}}), object("a")),
            (json!({"argument": {"parsed": null, "raw": "{\"city\":\"a\"}"}}), object("a")),
            (json!({"argument": {"parsed": ["{\"city\":\"a\"}"], "raw": "x"}}), object("a")),
            (json!({"argument": {"parsed": ["x", "[1]", "{\"city\":\"a\"}"]}}), object("a")),
            (json!({"argument": {"parsed": "{\"city\":\"a\"}"}}), object("a")),
            (json!({"argument": {"parsed": ["x"], "raw": "[1]"}}), GivenArguments::from(json!([1]))),
            (json!({"argument": {"parsed": [], "raw": "the weather"}}), GivenArguments::Unreadable),
            (json!({"argument": {"parsed": [], "raw": " "}}), none()),
            (json!({"argument": {"parsed": [], "raw": ""}, "arguments": {"city": "a"}}), object("a")),
            (json!({"argument": {}}), none()),
            (json!({"argument": "x"}), none()),
            (json!({}), none()),
            (json!({"arguments": {"city": "a"}}), object("a")),
            (json!({"arguments": "{\"city\":\"a\"}"}), object("a")),
            (json!({"arguments": "Bergen"}), GivenArguments::Unreadable),
            (json!({"arguments": [1]}), GivenArguments::from(json!([1]))),
        ] {
            let mut body = fields;
            body["function"] = json!("f");
            assert_eq!(args(&body), expected, "{body}");
        }
    }

    #[test]
    fn the_first_known_caller_number_is_used() {
        for (fields, expected) in [
            (json!({"caller_id_num": "1", "caller_id": "2", "caller_id_number": "3"}), Some("1")),
            (json!({"caller_id_num": "", "caller_id": "2"}), Some("2")),
            (json!({"caller_id_number": "3"}), Some("3")),
            (json!({"caller_id_num": null}), None),
        ] {
            let mut body = fields;
            body["function"] = json!("f");
            body["call_id"] = json!("");
            let (calls, _) = calls(decode(None, &body, &[]));
            assert_eq!(calls[0].context.caller.as_deref(), expected, "{body}");
            assert_eq!(calls[0].context.conversation, None);
        }
    }

    #[test]
    fn lifecycle_messages_are_calls_only_with_a_route() {
        for name in LIFECYCLE {
            let body = json!({"function": name});
            assert_eq!(answer(decode(None, &body, &["other"])), neutral());
            let (calls, _) = calls(decode(None, &body, LIFECYCLE));
            assert_eq!(calls[0].context.function, *name);
        }
        let (calls, _) = calls(decode(None, &json!({"function": "not_known"}), &[]));
        assert_eq!(calls[0].context.function, "not_known");
    }

    #[test]
    fn outcomes_are_a_text_and_an_optional_list_of_actions() {
        let own = |actions: Value| vec![ReplyExtension::valid(ACTION, actions)];
        for (reply, failure, expected) in [
            (Reply::text("Hi."), None, json!({"response": "Hi."})),
            (
                Reply {
                    text: Some("Hi.".into()),
                    data: Some(json!({"a": 1}).into()),
                    extensions: own(json!({"say": "x"})),
                },
                None,
                json!({"response": "Hi.", "action": [{"say": "x"}]}),
            ),
            (
                Reply {
                    data: Some(json!({"a": [1, null]}).into()),
                    extensions: own(json!([])),
                    ..Reply::default()
                },
                None,
                json!({"response": "{\"a\":[1,null]}"}),
            ),
            (
                Reply { extensions: own(json!([{"stop": true}])), ..Reply::default() },
                None,
                json!({"response": "", "action": [{"stop": true}]}),
            ),
            (
                Reply { extensions: own(json!([{"hangup": true}])), ..Reply::text("Sorry.") },
                Some(FailureKind::Timeout),
                json!({"response": "Sorry.", "action": [{"hangup": true}]}),
            ),
            (Reply::text("No such."), Some(FailureKind::UnknownFunction), json!({"response": "No such."})),
        ] {
            assert_eq!(
                OneAnswer { caller: Caller::Agent }.encode(vec![Outcome { reply: reply.into(), failure }]),
                Answer::json(&expected)
            );
        }
    }

    #[test]
    fn an_unreadable_request_is_reported_to_the_model() {
        let answer = Swaig.refuse(&BadRequest::new("it has no function name"));
        assert_eq!(answer.status, 200);
        let text =
            "The function call could not be read: it has no function name. Apologise and go on without it.";
        assert_eq!(answer.body, json!({"response": text}).to_string());
    }

    #[test]
    fn a_prompt_is_separate_only_if_the_agent_accepts_it() {
        let reply = |prompt: &str| Reply {
            text: Some("9 degrees".to_owned()),
            extensions: vec![
                ReplyExtension::valid(PROMPT, json!(prompt)),
                ReplyExtension::valid(POST_PROCESS, json!(true)),
            ],
            ..Reply::default()
        };
        for (caller, expected) in [
            (
                Caller::Agent,
                json!({"response": {"tool_result": "9 degrees", "tool_prompt": "Be brief."}, "post_process": true}),
            ),
            (Caller::Unnamed, json!({"response": "9 degrees\nBe brief.", "post_process": true})),
            (Caller::Closed, json!({"response": "9 degrees\nBe brief."})),
        ] {
            let outcome = Outcome::answered(reply("Be brief."));
            assert_eq!(OneAnswer { caller }.encode(vec![outcome]), Answer::json(&expected));
        }
    }

    #[test]
    fn callers_with_closed_schemas_are_recognised() {
        for (body, caller) in [
            (json!({"content_type": "text/swaig", "channel_data": {}}), Caller::Agent),
            (json!({"function": "f"}), Caller::Unnamed),
            (json!({"content_type": "text/json"}), Caller::Closed),
            (json!({"function": "f", "channel_data": {"call_id": "a"}}), Caller::Closed),
        ] {
            let body = payload::object(&Bytes::from(body.to_string())).unwrap();
            assert_eq!(Caller::of(&Parts::of(body.get())), caller);
        }
    }

    #[test]
    fn a_handshake_must_be_signed_where_a_key_is_set() {
        let handshake = inbound(None, &json!({"action": "get_signature"}));
        let mut settings = Settings::default();
        assert_eq!(answer(Swaig.decode(&handshake, &settings, &Known(&[]))), Answer::json(&json!([])));
        settings.set_secret(&SIGNING_KEY, vec![Secret::new("key")]);
        assert!(matches!(Swaig.decode(&handshake, &settings, &Known(&[])), Ok(Decoded::Denied(_))));
    }
}
