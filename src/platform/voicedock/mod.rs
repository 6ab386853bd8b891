//! VoiceDock (formerly HMS Sovereign and Flireo): several calls per request, and events, on one URL.
//!
//! Wire facts are from doc.voicedock.ai, doc.hmsovereign.com and reference.flireo.com (webhooks, security, custom
//! tools) and from `src/webhooks.ts` in flireo-bv-org/hmsovereign-node. Three generations of the format are in use.
//! Each request is answered in its own generation.

use std::time::Duration;

use ::http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::names::{NameRule, letter_or_underscore};
use super::{
    Answer, BadRequest, DeclareKey, DeclareType, Decoded, Encode, Endpoint, Event, EventKind, Functions,
    Inbound, Platform, Setting, Settings, ToolSpec, WithoutCall, payload,
};
use crate::call::{Call, Context, GivenArguments, Outcome};
use crate::json::{JsonText, Kind, ObjectWriter, SharedValue, ValueRef, push_value, to_map};
use crate::scheme::SchemeDefaults;

const NAME: &str = "voicedock";

/// The `message.type` of requests that carry calls; all others are events.
const TOOL_CALLS: &str = "tool-calls";

/// The maximum number of calls in one request. A model makes fewer in one turn.
const MAX_CALLS: usize = 64;

/// The form of an answer to a single call.
const REPLY: Setting = Setting {
    key: "reply",
    about: "The form of an answer to one call.",
    values: &["results", "result", "direct"],
};

const SIGNATURE: SchemeDefaults = &[
    ("header", &["x-webhook-signature"]),
    ("prefix", &["sha256="]),
    ("timestamp_header", &["x-webhook-timestamp"]),
    ("signed", &["timestamp", ".", "body"]),
];

/// The events. VoiceDock waits 5 s for the answer to the first and ignores the answers to the others.
static EVENTS: [EventKind; 3] = [
    EventKind { name: "assistant_request", deadline: Some(Duration::from_secs(5)), answered: true },
    EventKind { name: "status_update", deadline: None, answered: false },
    EventKind { name: "end_of_call_report", deadline: None, answered: false },
];

/// The keys of a tool that the table may add, from "Declaration" of the custom tools guide. The text of an
/// `async` tool is `async_response` in older documentation and `message` in newer.
const DECLARE_KEYS: &[DeclareKey] = &[
    DeclareKey { key: "async", value_type: DeclareType::Flag },
    DeclareKey { key: "async_response", value_type: DeclareType::Text },
    DeclareKey { key: "message", value_type: DeclareType::Text },
];

/// From "Declaration" of the custom tools guide.
const FUNCTION_NAMES: NameRule = NameRule {
    punctuation: "_-",
    first: letter_or_underscore,
    max_length: 64,
    rule: "VoiceDock accepts up to 64 letters, digits, underscores and hyphens; the first must be a letter or underscore",
};

/// VoiceDock assistants.
#[derive(Debug)]
pub(super) struct VoiceDock;

impl Platform for VoiceDock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn answer_timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }

    fn identifies_calls(&self) -> bool {
        true
    }

    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        FUNCTION_NAMES.check(name)
    }

    fn settings(&self) -> &'static [Setting] {
        &[REPLY]
    }

    fn signature(&self) -> SchemeDefaults {
        SIGNATURE
    }

    fn events(&self) -> &'static [EventKind] {
        &EVENTS
    }

    fn declare_keys(&self) -> &'static [DeclareKey] {
        DECLARE_KEYS
    }

    /// The settings of an assistant, for a `PATCH` request.
    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        let tools: Vec<Value> = tools
            .iter()
            .map(|tool| {
                let mut declared = Map::new();
                declared.insert("name".into(), tool.name.into());
                declared.insert("description".into(), tool.description.into());
                declared.insert("url".into(), endpoint.url.into());
                declared.insert("async".into(), false.into());
                declared.insert("parameters".into(), tool.parameters.clone());
                declared.extend(tool.extra.clone());
                Value::Object(declared)
            })
            .collect();
        Some(json!({
            "webhook_url": endpoint.url,
            "webhook_events": ["assistant-request", TOOL_CALLS, "status-update", "end-of-call-report"],
            "llm_config": {"tools": tools},
        }))
    }

    fn decode(
        &self,
        inbound: &Inbound,
        settings: &Settings,
        _: &dyn Functions,
    ) -> Result<Decoded, BadRequest> {
        if inbound.function.is_some() {
            return Err(BadRequest::new(
                "the URL has a function name, but this platform has one URL for all functions",
            ));
        }
        let body = payload::object(&inbound.body)?;
        let Some((generation, entries)) = entries(body.get())? else {
            return Ok(event(&body));
        };
        if entries.len() > MAX_CALLS {
            return Err(BadRequest::new(format!("it has more than {MAX_CALLS} calls")));
        }
        let ids = entries
            .items()
            .map(|entry| entry.get(generation.id).filter(|id| !id.is_null()).map(ValueRef::to_value))
            .collect();
        let envelope = generation.envelope(&body);
        let calls = entries
            .items()
            .map(|entry| Call {
                args: generation.arguments(&body, entry),
                context: Box::new(Context {
                    // An entry without a name becomes a call with an empty function name, so that it still gets a
                    // result.
                    function: payload::text_at(entry, generation.function).unwrap_or_default(),
                    id: payload::text_at(entry, &[generation.id]),
                    raw: body.clone(),
                    ..envelope.clone()
                }),
            })
            .collect();
        let form = ReplyForm::from_setting(settings.get(REPLY.key));
        Ok(Decoded::Calls(calls, Box::new(Results { id_key: generation.id_key, ids, form })))
    }

    /// The documented form of an error. The effect of a status other than 200 is not documented.
    fn refuse(&self, bad: &BadRequest) -> Answer {
        Answer::json(&json!({"error": format!("The webhook could not be read: {bad}.")}))
    }

    fn sample(&self, function: &str, args: &Value) -> Inbound {
        let mut inbound = payload::post(&json!({"message": {
            "type": TOOL_CALLS,
            "timestamp": "2026-01-01T00:00:00.000Z",
            "call": {"id": "example-call", "type": "inbound_phone_call", "status": "in-progress"},
            "phone_number": {"id": "example-number", "number": "+31200000001", "name": "example"},
            "customer": {"number": "+31600000042"},
            "assistant": {"metadata": {}},
            "tool_call_list": [
                {"id": "tool_example", "type": "function", "function": {"name": function, "arguments": args}}
            ]
        }}));
        inbound.headers.insert("x-webhook-event", HeaderValue::from_static(TOOL_CALLS));
        inbound
    }
}

/// A webhook that is not a call. One without an entry in [`EVENTS`] gets an empty answer.
fn event(body: &SharedValue) -> Decoded {
    let root = body.get();
    let neutral = Answer::json(&json!({}));
    let name = payload::text_at(root, &["message", "type"]).unwrap_or_default().replace('-', "_");
    let Some(kind) = EVENTS.iter().find(|kind| kind.name == name) else {
        return Decoded::Answer(neutral, WithoutCall::Event(name));
    };
    // Templates may write `event.customer.number` as well as `event.message.customer.number`.
    let mut payload = root.get("message").map(to_map).unwrap_or_default();
    payload.extend(to_map(root));
    let generation = if root.at(&["message", "phoneNumber"]).is_some() { &CAMEL } else { &CURRENT };
    let context = Context {
        function: name,
        event: Value::Object(payload).into(),
        raw: body.clone(),
        ..generation.envelope(body)
    };
    let call = Call { args: payload::no_arguments(), context: Box::new(context) };
    Decoded::Event(Box::new(Event { kind, call, neutral }))
}

/// The generation of a request and its calls; `None` for an event.
fn entries(body: ValueRef<'_>) -> Result<Option<(&'static Generation, ValueRef<'_>)>, BadRequest> {
    if let Some(list) = body.get(OLDEST.list).filter(|list| !list.is_null()) {
        return OLDEST.entries(list).map(Some);
    }
    let Some(message) = body.get("message") else {
        return match body.get("eventType").and_then(ValueRef::as_str) {
            Some(event) if event != TOOL_CALLS => Ok(None),
            _ => Err(BadRequest::new(format!("it has neither `message` nor `{}`", OLDEST.list))),
        };
    };
    let Some(event) = message.get("type").and_then(ValueRef::as_str) else {
        return Err(BadRequest::new("`message.type` is not a string"));
    };
    if event != TOOL_CALLS {
        return Ok(None);
    }
    for generation in [&CURRENT, &CAMEL] {
        if let Some(list) = message.get(generation.list).filter(|list| !list.is_null()) {
            return generation.entries(list).map(Some);
        }
    }
    Err(BadRequest::new(format!("`message` has neither `{}` nor `{}`", CURRENT.list, CAMEL.list)))
}

/// One generation of the format, as paths into the body or into an entry of its list.
#[derive(Debug)]
struct Generation {
    list: &'static str,
    id: &'static str,
    function: &'static [&'static str],
    arguments: &'static [&'static str],
    conversation: &'static [&'static str],
    caller: &'static [&'static str],
    called: &'static [&'static str],
    metadata: &'static [&'static str],
    /// The key of an id in the reply.
    id_key: &'static str,
}

/// VoiceDock and HMS Sovereign.
static CURRENT: Generation = Generation {
    list: "tool_call_list",
    id: "id",
    function: &["function", "name"],
    arguments: &["function", "arguments"],
    conversation: &["message", "call", "id"],
    caller: &["message", "customer", "number"],
    called: &["message", "phone_number", "number"],
    metadata: &["message", "assistant", "metadata"],
    id_key: "tool_call_id",
};

/// Flireo, December 2025.
static CAMEL: Generation = Generation {
    list: "toolCallList",
    called: &["message", "phoneNumber", "number"],
    id_key: "toolCallId",
    ..CURRENT
};

/// Flireo, August 2025. It is recognised by its list at the top level.
static OLDEST: Generation = Generation {
    list: "tasksInitiated",
    id: "taskId",
    function: &["taskName"],
    arguments: &["taskPayload"],
    conversation: &["callId"],
    caller: &["fromCaller"],
    called: &["toAssistant"],
    metadata: &["userMetadata"],
    id_key: "toolCallId",
};

impl Generation {
    fn entries<'b>(&'static self, list: ValueRef<'b>) -> Result<(&'static Self, ValueRef<'b>), BadRequest> {
        match list.kind() {
            Kind::Array => Ok((self, list)),
            _ => Err(BadRequest::new(format!("`{}` is not a list", self.list))),
        }
    }

    /// The part of the context that all calls of a request share.
    fn envelope(&self, body: &SharedValue) -> Context {
        let root = body.get();
        Context {
            platform: NAME,
            conversation: payload::text_at(root, self.conversation),
            caller: payload::text_at(root, self.caller),
            called: payload::text_at(root, self.called),
            metadata: root.at(self.metadata).map(|metadata| body.keep(metadata)).unwrap_or_default(),
            ..Context::default()
        }
    }

    /// The arguments of an entry. According to the documentation they are an object; a string of JSON is accepted too.
    fn arguments(&self, body: &SharedValue, entry: ValueRef<'_>) -> GivenArguments {
        payload::arguments(body, entry.at(self.arguments)).unwrap_or_else(payload::no_arguments)
    }
}

/// The forms of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyForm {
    /// `{"results": [{id, result}]}`: the only one for several calls.
    Results,
    /// `{"result": …}`.
    Result,
    /// The object itself.
    Direct,
}

impl ReplyForm {
    fn from_setting(word: &str) -> Self {
        match word {
            "result" => Self::Result,
            "direct" => Self::Direct,
            _ => Self::Results,
        }
    }
}

/// Answers the calls of one request.
#[derive(Debug)]
struct Results {
    id_key: &'static str,
    /// The ids as received, in the order of the calls. An entry without an id gets a result without an id.
    ids: Vec<Option<Value>>,
    form: ReplyForm,
}

impl Encode for Results {
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer {
        if self.form != ReplyForm::Results
            && let [outcome] = outcomes.as_slice()
            && let Some(data) = unambiguous(outcome)
        {
            return match self.form {
                ReplyForm::Result => {
                    let mut body = ObjectWriter::with_capacity(data.as_str().len() + 16);
                    body.entry("result").push_str(data.as_str());
                    Answer::written(StatusCode::OK, body.finish())
                }
                _ => Answer::json_text(data),
            };
        }
        let mut body = ObjectWriter::with_capacity(256 * outcomes.len());
        let results = body.entry("results");
        results.push('[');
        for (at, (id, outcome)) in self.ids.iter().zip(&outcomes).enumerate() {
            if at > 0 {
                results.push(',');
            }
            let mut entry = ObjectWriter::with_capacity(256);
            if let Some(id) = id {
                push_value(entry.entry(self.id_key), id);
            }
            push_result(entry.entry("result"), outcome);
            results.push_str(&entry.finish());
        }
        results.push(']');
        Answer::written(StatusCode::OK, body.finish())
    }
}

/// No key for the error of an entry is documented, so a failure becomes part of the result.
fn push_result(out: &mut String, outcome: &Outcome) {
    if outcome.failure.is_some() {
        push_value(out, &json!({"error": outcome.reply.to_text()}));
    } else {
        out.push_str(outcome.reply.to_json().as_str());
    }
}

/// The data if a short form can carry it: an object without keys that would mean another form.
fn unambiguous(outcome: &Outcome) -> Option<&JsonText> {
    let data = outcome.reply.data.as_ref().filter(|data| data.kind() == Kind::Object)?;
    let is_ambiguous = || {
        let entries = data.to_value();
        ["results", "result", "error"].iter().any(|key| entries.get(key).is_some())
    };
    (outcome.failure.is_none() && !is_ambiguous()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FailureKind, Reply};
    use crate::platform::tests::{Known, calls};

    fn decode(body: &Value, reply: &str) -> Result<Decoded, BadRequest> {
        let mut settings = Settings::defaults(&VoiceDock);
        settings.set(&REPLY, reply);
        VoiceDock.decode(&payload::post(body), &settings, &Known(&[]))
    }

    fn with_list(list: &Value) -> Value {
        json!({"message": {"type": "tool-calls", "tool_call_list": list}})
    }

    fn ok(data: Value) -> Outcome {
        Outcome::answered(Reply { data: Some(data.into()), ..Reply::default() })
    }

    fn failed(text: &str) -> Outcome {
        Outcome::failed(FailureKind::Timeout, Reply::text(text))
    }

    /// A copy per call would multiply the memory that a large request needs.
    #[test]
    fn calls_of_one_request_share_its_envelope() {
        let mut body = with_list(&json!([{"id": "a"}, {"id": "b"}]));
        body["message"]["assistant"]["metadata"] = json!({"x": 1});
        let (calls, _) = calls(decode(&body, "results"));
        let [one, other] = &calls[..] else { panic!("{calls:?}") };
        assert!(one.context.metadata.is_same(&other.context.metadata));
        assert!(one.context.raw.is_same(&other.context.raw));
    }

    #[test]
    fn incomplete_entries_still_get_results_in_order() {
        let body = with_list(&json!([
            {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "b", "function": {"arguments": {}}},
            null,
            {"function": {"name": "f", "arguments": "{\"x\": 2}"}},
            {"id": 7, "function": {"name": "f", "arguments": "two"}},
            {"id": "", "function": {"name": "f"}},
        ]));
        let (calls, encoder) = calls(decode(&body, "results"));
        let seen: Vec<_> = calls
            .iter()
            .map(|call| (call.context.id.as_deref(), call.context.function.as_str(), call.args.clone()))
            .collect();
        let object = |value: Value| GivenArguments::from(value);
        assert_eq!(
            seen,
            [
                (Some("a"), "f", object(json!({"x": 1}))),
                (Some("b"), "", object(json!({}))),
                (None, "", object(json!({}))),
                (None, "f", object(json!({"x": 2}))),
                (None, "f", GivenArguments::Unreadable),
                (None, "f", object(json!({}))),
            ]
        );
        let answer = encoder.encode((0..6).map(|number| ok(json!(number))).collect());
        let expected = json!({"results": [
            {"tool_call_id": "a", "result": 0},
            {"tool_call_id": "b", "result": 1},
            {"result": 2},
            {"result": 3},
            {"tool_call_id": 7, "result": 4},
            {"tool_call_id": "", "result": 5},
        ]});
        assert_eq!(answer, Answer::json(&expected));
    }

    #[test]
    fn invalid_requests_are_refused() {
        let many: Vec<_> = (0..=MAX_CALLS).map(|id| json!({"id": id, "function": {"name": "f"}})).collect();
        for (body, problem) in [
            (json!([]), "the body is not a JSON object"),
            (json!({}), "it has neither `message` nor `tasksInitiated`"),
            (json!({"eventType": "tool-calls"}), "it has neither `message` nor `tasksInitiated`"),
            (json!({"message": "hello"}), "`message.type` is not a string"),
            (
                json!({"message": {"type": "tool-calls"}}),
                "`message` has neither `tool_call_list` nor `toolCallList`",
            ),
            (with_list(&json!({})), "`tool_call_list` is not a list"),
            (json!({"tasksInitiated": 1}), "`tasksInitiated` is not a list"),
            (with_list(&json!(many)), "it has more than 64 calls"),
        ] {
            assert_eq!(decode(&body, "results").unwrap_err().problem, problem, "{body}");
        }
        let named = Inbound { function: Some("f".into()), ..VoiceDock.sample("f", &json!({})) };
        assert!(VoiceDock.decode(&named, &Settings::defaults(&VoiceDock), &Known(&[])).is_err());
        let answer = VoiceDock.refuse(&BadRequest::new("it is odd"));
        assert_eq!(answer, Answer::json(&json!({"error": "The webhook could not be read: it is odd."})));
    }

    #[test]
    fn short_forms_are_used_only_where_they_are_unambiguous() {
        let one = with_list(&json!([{"id": "a", "function": {"name": "f"}}]));
        let long = |result: Value| json!({"results": [{"tool_call_id": "a", "result": result}]});
        let object = json!({"found": true});
        for (reply, outcome, expected) in [
            ("results", ok(object.clone()), long(object.clone())),
            ("result", ok(object.clone()), json!({"result": {"found": true}})),
            ("direct", ok(object.clone()), object.clone()),
            ("direct", ok(json!({"result": 1})), long(json!({"result": 1}))),
            ("direct", ok(json!({"results": 1})), long(json!({"results": 1}))),
            ("result", ok(json!({"error": 1})), long(json!({"error": 1}))),
            ("direct", ok(json!([1])), long(json!([1]))),
            ("result", ok(json!(null)), long(json!(null))),
            ("direct", Outcome::answered(Reply::text("Hi.")), long(json!("Hi."))),
            ("direct", failed("Too slow."), long(json!({"error": "Too slow."}))),
            (
                "result",
                Outcome { failure: Some(FailureKind::BadResponse), ..ok(object) },
                long(json!({"error": "{\"found\":true}"})),
            ),
        ] {
            let (_, encoder) = calls(decode(&one, reply));
            assert_eq!(encoder.encode(vec![outcome]), Answer::json(&expected), "{reply}");
        }
        let two = with_list(&json!([{"id": "a"}, {"id": "b"}]));
        let (_, encoder) = calls(decode(&two, "direct"));
        let expected =
            json!({"results": [{"tool_call_id": "a", "result": {}}, {"tool_call_id": "b", "result": {}}]});
        assert_eq!(encoder.encode(vec![ok(json!({})), ok(json!({}))]), Answer::json(&expected));
    }

    #[test]
    fn an_empty_list_of_calls_gives_an_empty_list_of_results() {
        let (calls, encoder) = calls(decode(&with_list(&json!([])), "direct"));
        assert!(calls.is_empty());
        assert_eq!(encoder.encode(Vec::new()), Answer::json(&json!({"results": []})));
    }
}
