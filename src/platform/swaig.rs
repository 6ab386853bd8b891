//! SignalWire's SWAIG: one function per request, answered with 200 whatever happens, text for the model and actions.
//!
//! Wire facts are from the vendor's OpenAPI and SWML schemas in signalwire/docs (`specs/signalwire-rest/webhooks/ai`,
//! `SWMLObject.json`) and, where said so, from the source of its SDKs.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    Answer, BadRequest, Decoded, Encode, Functions, Inbound, OwnFault, Platform, Settings, Sketch, payload,
    swaig_actions,
};
use crate::call::{Arguments, Call, Context, Guard, Outcome};

const NAME: &str = "swaig";

/// The key of a reply case that holds call-control actions.
const ACTION: &str = "action";

/// The platform's own messages in the same form as calls. A route may answer them, but need not.
const LIFECYCLE: &[&str] = &["startup_hook", "hangup_hook", "summarize_conversation", "check_for_input"];

/// What `action` says in requests that are not tool calls: the `SWAIG.includes` handshake and the `post_prompt_url`.
const NO_CALL: &[&str] = &["get_signature", "post_conversation", "fetch_conversation"];

/// Where the caller's number stands: voice agents, Bedrock agents, conversation reports.
const CALLER: &[&str] = &["caller_id_num", "caller_id", "caller_id_number"];

/// SignalWire AI agents.
#[derive(Debug)]
pub(super) struct Swaig;

impl Platform for Swaig {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The engine expands template functions also in what webhooks reply, some of them with side effects.
    fn guard(&self) -> Guard {
        Guard { sigils: &['$', '%', '@'] }
    }

    /// The rule of the SDKs' servers.
    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        if starts && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_') {
            Ok(())
        } else {
            Err("SWAIG takes letters, digits and underscores, and no digit first")
        }
    }

    fn own_keys(&self) -> &'static [&'static str] {
        &[ACTION]
    }

    fn check_own(&self, key: &str, value: &Sketch) -> Vec<OwnFault> {
        if key == ACTION { swaig_actions::check_all(value) } else { Vec::new() }
    }

    fn admit_own(&self, key: &str, value: Value) -> (Option<Value>, Vec<String>) {
        if key == ACTION { swaig_actions::admit(value) } else { (Some(value), Vec::new()) }
    }

    fn decode(
        &self,
        inbound: &Inbound,
        _: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest> {
        let body = payload::object(&inbound.body)?;
        let Some(function) = function(inbound, &body)? else {
            return Ok(Decoded::Answer(neutral()));
        };
        if LIFECYCLE.contains(&function.as_str()) && functions.arguments(&function).is_none() {
            return Ok(Decoded::Answer(neutral()));
        }
        let args = arguments(&body);
        let context = Context {
            platform: NAME,
            function,
            conversation: payload::text_at(&body, &["call_id"]),
            caller: CALLER.iter().find_map(|key| payload::text_at(&body, &[key])),
            metadata: body.get("meta_data").cloned().unwrap_or_default(),
            global: body.get("global_data").cloned().unwrap_or_default(),
            raw: Arc::new(body),
            ..Context::default()
        };
        Ok(Decoded::Calls(vec![Call { args, context }], Box::new(OneAnswer)))
    }

    /// Any status but 200 counts as a failed call and is tried again, so the model is told instead.
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

/// The function that is called: the URL's, else the body's. `None` for requests that the platform sends to the
/// same URL and that call nothing.
///
/// Bedrock's tool calls carry an `action` too, so it is looked at only where nothing else speaks of a call.
fn function(inbound: &Inbound, body: &Value) -> Result<Option<String>, BadRequest> {
    let in_body = match body.get("function") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.is_empty() => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(BadRequest::new("`function` is not text")),
    };
    match (&inbound.function, in_body) {
        (Some(in_url), Some(in_body)) if in_url != in_body => {
            Err(BadRequest::new("the body names another function than the URL"))
        }
        (_, Some(name)) => Ok(Some(name.clone())),
        (in_url, None) => {
            let action = body.get("action").and_then(Value::as_str);
            if action.is_some_and(|action| NO_CALL.contains(&action)) && body.get("argument").is_none() {
                return Ok(None);
            }
            match in_url {
                Some(name) => Ok(Some(name.clone())),
                None => Err(BadRequest::new("it names no function")),
            }
        }
    }
}

/// The arguments, read as the SDKs' servers do: what the platform parsed, else what the model wrote, else a flat
/// object.
fn arguments(body: &Value) -> Arguments {
    let argument = body.get("argument");
    match argument.and_then(|argument| argument.get("parsed")) {
        Some(Value::Array(items)) => {
            if let Some(first) = items.iter().find(|item| item.is_object()) {
                return Arguments::Json(first.clone());
            }
        }
        // So in the oldest documentation's table, though not in its samples.
        Some(parsed @ Value::Object(_)) => return Arguments::Json(parsed.clone()),
        _ => {}
    }
    argument
        .and_then(|argument| payload::arguments(argument.get("raw")))
        .or_else(|| payload::arguments(body.get("arguments")))
        .unwrap_or_else(payload::no_arguments)
}

/// The answer that changes nothing: SWAIG lets every field be absent.
fn neutral() -> Answer {
    Answer::json(&json!({}))
}

/// The form of every answer. Both published schemas take a text and a list; each of them refuses other forms.
#[derive(Debug)]
struct OneAnswer;

impl Encode for OneAnswer {
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer {
        let Some(Outcome { mut reply, .. }) = outcomes.into_iter().next() else { return neutral() };
        let actions = match reply.own.remove(ACTION) {
            Some(Value::Array(actions)) => actions,
            Some(action @ Value::Object(_)) => vec![action],
            _ => Vec::new(),
        };
        let mut body = Map::new();
        body.insert("response".into(), reply.into_text().into());
        if !actions.is_empty() {
            body.insert(ACTION.into(), actions.into());
        }
        Answer::json(&Value::Object(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FailureKind, Reply};
    use crate::platform::tests::{Known, answer, calls};

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

    fn args(body: &Value) -> Arguments {
        let (mut calls, _) = calls(decode(None, body, &[]));
        calls.remove(0).args
    }

    #[test]
    fn the_url_names_the_function_before_the_body() {
        for (url, body, expected) in [
            (None, json!({"function": "a"}), Ok("a")),
            (Some("a"), json!({"function": "a"}), Ok("a")),
            (Some("a"), json!({}), Ok("a")),
            (Some("a"), json!({"function": ""}), Ok("a")),
            (Some("a"), json!({"function": null, "argument": {}, "action": "fetch_conversation"}), Ok("a")),
            (None, json!({"function": "a", "action": "get_signature"}), Ok("a")),
            (Some("a"), json!({"function": "b"}), Err("the body names another function than the URL")),
            (None, json!({"function": 1}), Err("`function` is not text")),
            (None, json!({}), Err("it names no function")),
            (None, json!({"function": ""}), Err("it names no function")),
            (None, json!({"action": "something"}), Err("it names no function")),
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
    fn arguments_are_read_from_where_they_are() {
        let object = |city: &str| Arguments::Json(json!({"city": city}));
        let none = || Arguments::Json(json!({}));
        for (fields, expected) in [
            (json!({"argument": {"parsed": [{"city": "a"}, {"city": "b"}], "raw": "{}"}}), object("a")),
            (json!({"argument": {"parsed": ["x", {"city": "b"}]}}), object("b")),
            (json!({"argument": {"parsed": {"city": "a"}, "raw": "x"}}), object("a")),
            (json!({"argument": {"parsed": [], "raw": "{\"city\":\"a\"}"}}), object("a")),
            (json!({"argument": {"parsed": null, "raw": "{\"city\":\"a\"}"}}), object("a")),
            (json!({"argument": {"parsed": ["x"], "raw": "[1]"}}), Arguments::Json(json!([1]))),
            (json!({"argument": {"parsed": [], "raw": "the weather"}}), Arguments::Unreadable),
            (json!({"argument": {"parsed": [], "raw": " "}}), none()),
            (json!({"argument": {"parsed": [], "raw": ""}, "arguments": {"city": "a"}}), object("a")),
            (json!({"argument": {}}), none()),
            (json!({"argument": "x"}), none()),
            (json!({}), none()),
            (json!({"arguments": {"city": "a"}}), object("a")),
            (json!({"arguments": "{\"city\":\"a\"}"}), object("a")),
            (json!({"arguments": "Bergen"}), Arguments::Unreadable),
            (json!({"arguments": [1]}), Arguments::Json(json!([1]))),
        ] {
            let mut body = fields;
            body["function"] = json!("f");
            assert_eq!(args(&body), expected, "{body}");
        }
    }

    #[test]
    fn the_caller_is_the_first_that_is_told() {
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
    fn lifecycle_functions_are_calls_only_where_a_route_answers_them() {
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
    fn every_outcome_is_a_text_and_perhaps_a_list() {
        let own = |actions: Value| Map::from_iter([("action".to_owned(), actions)]);
        for (reply, failure, expected) in [
            (Reply::text("Hi."), None, json!({"response": "Hi."})),
            (
                Reply {
                    text: Some("Hi.".into()),
                    data: Some(json!({"a": 1})),
                    own: own(json!({"say": "x"})),
                },
                None,
                json!({"response": "Hi.", "action": [{"say": "x"}]}),
            ),
            (
                Reply { data: Some(json!({"a": [1, null]})), own: own(json!([])), ..Reply::default() },
                None,
                json!({"response": "{\"a\":[1,null]}"}),
            ),
            (
                Reply { own: own(json!([{"stop": true}])), ..Reply::default() },
                None,
                json!({"response": "", "action": [{"stop": true}]}),
            ),
            (
                Reply { own: own(json!([{"hangup": true}])), ..Reply::text("Sorry.") },
                Some(FailureKind::Timeout),
                json!({"response": "Sorry.", "action": [{"hangup": true}]}),
            ),
            (Reply::text("No such."), Some(FailureKind::UnknownFunction), json!({"response": "No such."})),
        ] {
            assert_eq!(OneAnswer.encode(vec![Outcome { reply, failure }]), Answer::json(&expected));
        }
    }

    #[test]
    fn an_unreadable_request_is_told_to_the_model() {
        let answer = Swaig.refuse(&BadRequest::new("it names no function"));
        assert_eq!(answer.status, 200);
        let text =
            "The function call could not be read: it names no function. Apologise and go on without it.";
        assert_eq!(answer.body, json!({"response": text}).to_string());
    }

    #[test]
    fn function_names_follow_the_rule() {
        for name in ["a", "_", "get_weather2", "A1"] {
            assert!(Swaig.check_function_name(name).is_ok(), "{name}");
        }
        for name in ["", "1a", "get-weather", "a b", "né", "a.b"] {
            assert!(Swaig.check_function_name(name).is_err(), "{name}");
        }
    }
}
