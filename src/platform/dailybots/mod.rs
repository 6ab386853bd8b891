//! Daily Bots (RTVI): one function per request; the answer is a JSON object, or a stream that also steers the bot.
//!
//! Wire facts are from docs.dailybots.ai (guides/webhooks, api-reference/webhooks). The field names of requests are
//! from applications that used the service. It has been shut down, so the format no longer changes.

mod events;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::names::NameRule;
use super::{
    Answer, BadRequest, DeclareKey, DeclareType, Decoded, EncodeStream, Endpoint, ExtensionFault, Functions,
    Inbound, Platform, Settings, StaticValue, ToolSpec, payload,
};
use crate::call::{Call, Context, GivenArguments, Outcome, ReplyExtension};
use crate::json::{JsonText, SharedValue, to_map};

const NAME: &str = "dailybots";

/// The key of a route for events that are sent before the result.
const BEFORE: &str = "before";

/// The key of a reply case for events that are sent with the result.
const EVENTS: &str = "events";

/// The fields of a request with an envelope. `args` is the spelling of in-browser messages.
const FUNCTION_NAME: &str = "function_name";
const TOOL_CALL_ID: &str = "tool_call_id";
const ARGUMENTS: [&str; 2] = ["arguments", "args"];

const METHOD: &str = "method";

/// The rule of the providers of language models. Daily Bots forwards the declaration to them.
const FUNCTION_NAMES: NameRule = NameRule {
    punctuation: "_-",
    first: |_| true,
    max_length: 64,
    rule: "the models behind Daily Bots accept up to 64 letters, digits, underscores and hyphens",
};

/// Daily's hosted bots.
#[derive(Debug)]
pub(super) struct DailyBots;

impl Platform for DailyBots {
    fn name(&self) -> &'static str {
        NAME
    }

    fn any_method(&self) -> bool {
        true
    }

    fn identifies_calls(&self) -> bool {
        true
    }

    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        FUNCTION_NAMES.check(name)
    }

    fn extension_keys(&self) -> &'static [&'static str] {
        &[EVENTS]
    }

    fn route_keys(&self) -> &'static [&'static str] {
        &[BEFORE]
    }

    fn stream_keys(&self) -> &'static [&'static str] {
        &[BEFORE, EVENTS]
    }

    fn check_extension(&self, _: &str, value: &StaticValue) -> Vec<ExtensionFault> {
        events::check_all(value)
    }

    fn filter_extension(&self, _: &str, value: Value) -> (Option<Value>, Vec<String>) {
        events::filter(value)
    }

    fn declare_keys(&self) -> &'static [DeclareKey] {
        &[DeclareKey {
            key: METHOD,
            value_type: DeclareType::Word(&["POST", "GET", "PUT", "PATCH", "DELETE"]),
        }]
    }

    /// A part of the body of `POST /v1/bots/start`. It lacks the headers that authenticate the bot, because platforms
    /// do not know the table's secrets.
    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        let webhooks: Map<String, Value> = tools
            .iter()
            .map(|tool| {
                let method = tool.extra.get(METHOD).and_then(Value::as_str).unwrap_or("POST");
                let url = format!("{}/{}", endpoint.url, tool.name);
                let webhook = json!({"url": url, "method": method, "streaming": tool.streaming});
                (tool.name.to_owned(), webhook)
            })
            .collect();
        let functions: Vec<Value> = tools
            .iter()
            .map(|tool| {
                let mut function = Map::new();
                function.insert("name".into(), tool.name.into());
                if !tool.description.is_empty() {
                    function.insert("description".into(), tool.description.into());
                }
                function.insert("parameters".into(), tool.parameters.clone());
                json!({"type": "function", "function": function})
            })
            .collect();
        Some(json!({
            "webhook_tools": webhooks,
            "config": [{"service": "llm", "options": [{"name": "tools", "value": functions}]}],
        }))
    }

    fn decode(
        &self,
        inbound: &Inbound,
        _: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest> {
        let (fields, raw) = payload::body_or_query(inbound)?;
        let DailyBotsRequest { function, id, arguments } =
            DailyBotsRequest::read(inbound.function.as_deref(), fields)?;
        let streams = functions.streams(&function);
        let args =
            payload::arguments(&arguments, Some(arguments.get())).unwrap_or_else(payload::no_arguments);
        let context = Context {
            platform: NAME,
            function: function.clone(),
            id: id.as_ref().and_then(|id| payload::text_at(id.get(), &[])),
            raw,
            ..Context::default()
        };
        if streams {
            let arguments = match &args {
                GivenArguments::Json(read) => read.to_value(),
                GivenArguments::Unreadable => arguments.to_value(),
            };
            let id = id.map(|id| id.to_value());
            let call = Box::new(Call { args, context: Box::new(context) });
            return Ok(Decoded::Stream(call, Box::new(ResultStream { function, id, arguments })));
        }
        Ok(Decoded::Calls(vec![Call { args, context: Box::new(context) }], Box::new(payload::ResultObject)))
    }

    /// The effect of a status other than 200 is not documented, so the error is in the result, where the model can
    /// react to it.
    fn refuse(&self, bad: &BadRequest) -> Answer {
        Answer::json(&json!({"error": format!("The function call could not be read: {bad}.")}))
    }

    fn sample(&self, function: &str, args: &Value) -> Inbound {
        payload::post(&json!({
            FUNCTION_NAME: function,
            TOOL_CALL_ID: "example-call",
            ARGUMENTS[0]: args,
        }))
    }
}

/// The parts of a request.
#[derive(Debug, PartialEq)]
struct DailyBotsRequest {
    function: String,
    id: Option<SharedValue>,
    /// The arguments as the model wrote them.
    arguments: SharedValue,
}

impl DailyBotsRequest {
    /// Reads the fields of a body or a query. They are an envelope with a function name, or the bare arguments of the
    /// function that the URL names.
    fn read(in_url: Option<&str>, fields: SharedValue) -> Result<Self, BadRequest> {
        let body = fields.get();
        let given = |key: &str| body.get(key).filter(|value| !value.is_null());
        let in_fields = payload::function_name(body.get(FUNCTION_NAME), FUNCTION_NAME)?;
        let function = match (in_url.filter(|name| !name.is_empty()), in_fields.as_deref()) {
            (Some(in_url), Some(in_fields)) if in_url != in_fields => {
                return Err(BadRequest::new(
                    "the function name in the request differs from the one in the URL",
                ));
            }
            (Some(name), _) | (None, Some(name)) => name.to_owned(),
            (None, None) => return Err(BadRequest::new("it has no function name")),
        };
        // Bare arguments may contain one of these keys. Only together do the id and the arguments indicate an envelope.
        let is_there = |key: &str| body.get(key).is_some();
        let envelope = in_fields.is_some() || (is_there(TOOL_CALL_ID) && ARGUMENTS.into_iter().any(is_there));
        if !envelope {
            return Ok(Self { function, id: None, arguments: fields });
        }
        let id = given(TOOL_CALL_ID).map(|id| fields.keep(id));
        if let Some(arguments) = ARGUMENTS.into_iter().find_map(given) {
            return Ok(Self { function, id, arguments: fields.keep(arguments) });
        }
        let mut rest = to_map(body);
        rest.retain(|key, _| {
            ![FUNCTION_NAME, TOOL_CALL_ID].contains(&key.as_str()) && !ARGUMENTS.contains(&key.as_str())
        });
        Ok(Self { function, id, arguments: Value::Object(rest).into() })
    }
}

/// The answer as server-sent events.
#[derive(Debug)]
struct ResultStream {
    function: String,
    id: Option<Value>,
    arguments: Value,
}

impl EncodeStream for ResultStream {
    fn content_type(&self) -> &'static str {
        "text/event-stream"
    }

    fn begin(&mut self, extensions: Vec<ReplyExtension>) -> Bytes {
        let mut out = String::new();
        let before = extensions.into_iter().find(|extension| extension.key == BEFORE);
        events::push_all(&mut out, before.map(|before| before.value.to_value()));
        out.into()
    }

    fn end(&mut self, outcome: Outcome) -> Bytes {
        let mut out = String::new();
        events::push_all(&mut out, outcome.reply.extension(EVENTS).map(JsonText::to_value));
        let (id, arguments) = (self.id.take(), self.arguments.take());
        let result = payload::result_object(&outcome);
        events::push_result(&mut out, &self.function, id.as_ref(), &arguments, &result);
        events::push_close(&mut out);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_envelopes_or_bare_arguments() {
        let request = |id: Option<Value>, arguments: Value| {
            let id = id.map(SharedValue::from);
            Ok(DailyBotsRequest { function: "f".into(), id, arguments: arguments.into() })
        };
        let call = || Some(json!("call_1"));
        for (url, fields, expected) in [
            (
                None,
                json!({"function_name": "f", "tool_call_id": "call_1", "arguments": {"a": 1}}),
                request(call(), json!({"a": 1})),
            ),
            (
                Some("f"),
                json!({"function_name": "f", "tool_call_id": "call_1", "args": {"a": 1}}),
                request(call(), json!({"a": 1})),
            ),
            (
                Some("f"),
                json!({"tool_call_id": "call_1", "arguments": "{\"a\":1}"}),
                request(call(), json!("{\"a\":1}")),
            ),
            (None, json!({"function_name": "f", "arguments": null}), request(None, json!({}))),
            (
                None,
                json!({"function_name": "f", "tool_call_id": 7, "a": 1}),
                request(Some(json!(7)), json!({"a": 1})),
            ),
            (Some("f"), json!({"city": "Lyon"}), request(None, json!({"city": "Lyon"}))),
            (Some("f"), json!({"args": {"a": 1}}), request(None, json!({"args": {"a": 1}}))),
            (Some("f"), json!({}), request(None, json!({}))),
            (
                Some("f"),
                json!({"function_name": "g"}),
                Err("the function name in the request differs from the one in the URL"),
            ),
            (Some("f"), json!({"function_name": 1}), Err("`function_name` is not a string")),
            (None, json!({"city": "Lyon"}), Err("it has no function name")),
            (Some(""), json!({"function_name": ""}), Err("it has no function name")),
        ] {
            let read = DailyBotsRequest::read(url, fields.clone().into()).map_err(|bad| bad.problem);
            assert_eq!(read, expected.map_err(ToOwned::to_owned), "{url:?} {fields}");
        }
    }

    #[test]
    fn a_stream_without_events_ends_with_the_result() {
        let mut stream = ResultStream { function: "f".into(), id: None, arguments: json!({"a": 1}) };
        assert_eq!(stream.begin(Vec::new()), "");
        let reply = crate::call::Reply::text("Slow.");
        let failure = Some(crate::call::FailureKind::Timeout);
        let text = stream.end(Outcome { reply: reply.into(), failure });
        let expected = "event: action\ndata: {\"service\":\"llm\",\"action\":\"function_result\",\"arguments\":[\
            {\"name\":\"function_name\",\"value\":\"f\"},{\"name\":\"arguments\",\"value\":{\"a\":1}},\
            {\"name\":\"result\",\"value\":{\"error\":\"Slow.\"}}]}\n\nevent: close\ndata: {}\n\n";
        assert_eq!(text, expected);
    }
}
