//! Millis AI: one URL per function. The arguments and the platform's own values share the top level of the request.
//!
//! Wire facts are from docs.millis.ai (core-concepts/webhooks, the agent's configuration) and the types `Tool` and
//! `AgentConfig` of npm's @millisai/web-sdk. Only the URL, the method and the headers of the function webhook are
//! documented, not where its values are. So they are read from every plausible place.

use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::names::NameRule;
use super::{
    Answer, BadRequest, DeclareKey, DeclareType, Decoded, Endpoint, Event, EventKind, Functions, Inbound,
    Platform, Settings, ToolSpec, payload,
};
use crate::call::{Call, Context};
use crate::json::{SharedValue, to_map};

const NAME: &str = "millis";

/// The platform's id of the conversation, beside the parameters unless the tool excludes it.
const SESSION_ID: &str = "session_id";

/// The fields of a prefetch that are not the session's metadata.
const PREFETCH_FIELDS: [&str; 4] = [SESSION_ID, "agent_id", "from", "to"];

/// Sent before the conversation, to request data about the caller.
static PREFETCH: EventKind = EventKind { name: "prefetch", deadline: None, answered: true };

/// Sent after the conversation, with its transcript and cost.
static SESSION_DATA: EventKind = EventKind { name: "session_data", deadline: None, answered: false };

static EVENTS: [EventKind; 2] = [PREFETCH, SESSION_DATA];

/// The endpoints of the events, as named in the agent's configuration. A route with the same name takes precedence.
static EVENT_ENDPOINTS: [(&str, &EventKind); 3] =
    [(PREFETCH.name, &PREFETCH), (SESSION_DATA.name, &SESSION_DATA), ("end", &SESSION_DATA)];

/// The keys of a tool that cannot be derived from the route.
const TOOL_KEYS: &[DeclareKey] = &[
    DeclareKey { key: "method", value_type: DeclareType::Word(&["POST", "GET", "PUT", "PATCH", "DELETE"]) },
    DeclareKey { key: "timeout", value_type: DeclareType::Number },
    DeclareKey { key: "messages", value_type: DeclareType::Texts },
    DeclareKey { key: "response_mode", value_type: DeclareType::Word(&["strict", "flexible"]) },
    DeclareKey { key: "run_after_call", value_type: DeclareType::Flag },
    DeclareKey { key: "execute_after_message", value_type: DeclareType::Flag },
    DeclareKey { key: "exclude_session_id", value_type: DeclareType::Flag },
];

/// From the configuration of an agent's tools.
const FUNCTION_NAMES: NameRule = NameRule {
    punctuation: "_",
    first: |first| first.is_ascii_alphabetic(),
    max_length: usize::MAX,
    rule: "Millis accepts letters, digits and underscores; the first character must be a letter",
};

/// Millis agents.
#[derive(Debug)]
pub(super) struct Millis;

impl Platform for Millis {
    fn name(&self) -> &'static str {
        NAME
    }

    fn any_method(&self) -> bool {
        true
    }

    fn check_function_name(&self, name: &str) -> Result<(), &'static str> {
        FUNCTION_NAMES.check(name)
    }

    fn check_parameters(&self, schema: &Value) -> Vec<(String, String)> {
        properties(schema)
            .filter(|(_, parameter)| parameter_type(parameter).is_none())
            .map(|(name, _)| (name.clone(), "Millis accepts only strings, numbers and booleans".to_owned()))
            .collect()
    }

    /// The model's parameters and the platform's own values share one object, and their names can collide.
    fn trusted_context(&self) -> bool {
        false
    }

    fn shows_forms(&self) -> bool {
        true
    }

    fn events(&self) -> &'static [EventKind] {
        &EVENTS
    }

    fn declare_keys(&self) -> &'static [DeclareKey] {
        TOOL_KEYS
    }

    /// A part of an agent's configuration. It lacks the headers that authenticate the agent, because platforms do not
    /// know the table's secrets.
    fn declare(&self, tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Option<Value> {
        let mut declared = Map::new();
        let (forms, functions): (Vec<_>, Vec<_>) = tools.iter().partition(|tool| tool.form);
        declared.insert("tools".into(), functions.into_iter().map(|tool| webhook(tool, endpoint)).collect());
        if !forms.is_empty() {
            declared.insert("millis_functions".into(), forms.into_iter().map(form).collect());
        }
        for (kind, key) in [(&PREFETCH, "extra_prompt_webhook"), (&SESSION_DATA, "session_data_webhook")] {
            if endpoint.events.contains(&kind.name) {
                declared.insert(key.into(), format!("{}/{}", endpoint.url, kind.name).into());
            }
        }
        Some(Value::Object(declared))
    }

    fn decode(
        &self,
        inbound: &Inbound,
        _: &Settings,
        functions: &dyn Functions,
    ) -> Result<Decoded, BadRequest> {
        let Some(function) = inbound.function.clone().filter(|name| !name.is_empty()) else {
            return Err(BadRequest::new("the URL has no function name: use `/millis/<function>`"));
        };
        let (fields, raw) = fields(inbound)?;
        let declared = functions.arguments(&function);
        let mut context = Context {
            platform: NAME,
            conversation: payload::text_at(fields.get(), &[SESSION_ID]),
            function,
            raw,
            ..Context::default()
        };
        let event =
            EVENT_ENDPOINTS.iter().find(|(endpoint, _)| declared.is_none() && *endpoint == context.function);
        if let Some((_, kind)) = event {
            return Ok(Decoded::Event(Box::new(self::event(kind, context, fields))));
        }
        // An unknown function accepts any argument, so that the error is about its name.
        let is_argument =
            |key: &str| declared.as_ref().map_or(key != SESSION_ID, |arguments| arguments.contains(&key));
        let (args, rest): (Map<String, Value>, Map<String, Value>) =
            to_map(fields.get()).into_iter().partition(|(key, _)| is_argument(key));
        context.metadata = metadata(rest, &[SESSION_ID]);
        let call = Call { args: Value::Object(args).into(), context: Box::new(context) };
        Ok(Decoded::Calls(vec![call], Box::new(payload::ResultObject)))
    }

    /// No error format is documented, so the error is in the result, where the model can react to it.
    fn refuse(&self, bad: &BadRequest) -> Answer {
        Answer::json(&json!({"error": format!("The function call could not be read: {bad}.")}))
    }

    fn sample(&self, function: &str, args: &Value) -> Inbound {
        let mut body = args.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.entry(SESSION_ID).or_insert_with(|| "example-session".into());
        }
        Inbound { function: Some(function.to_owned()), ..payload::post(&body) }
    }
}

/// The values of a request, and its body. The content type may be missing or wrong, so the format is detected from the
/// body. A request without a body has its values in the query.
fn fields(inbound: &Inbound) -> Result<(SharedValue, SharedValue), BadRequest> {
    let body = inbound.body.trim_ascii();
    if body.is_empty() {
        return Ok((payload::fields(&inbound.query), SharedValue::default()));
    }
    let is_json = body.first().is_some_and(|first| b"{[\"".contains(first));
    let fields = if !is_json && body.contains(&b'=') {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        payload::fields(&pairs)
    } else {
        payload::object(&inbound.body)?
    };
    Ok((fields.clone(), fields))
}

fn event(kind: &'static EventKind, context: Context, fields: SharedValue) -> Event {
    let metadata = if *kind == PREFETCH {
        metadata(to_map(fields.get()), &PREFETCH_FIELDS)
    } else {
        fields.get().get("metadata").map(|metadata| fields.keep(metadata)).unwrap_or_default()
    };
    let context = Context { function: kind.name.to_owned(), metadata, event: fields, ..context };
    let call = Call { args: payload::no_arguments(), context: Box::new(context) };
    Event { kind, call, neutral: Answer::json(&json!({})) }
}

/// The fields except those in `known`; null if there are none.
fn metadata(mut fields: Map<String, Value>, known: &[&str]) -> SharedValue {
    fields.retain(|key, _| !known.contains(&key.as_str()));
    if fields.is_empty() { SharedValue::default() } else { Value::Object(fields).into() }
}

/// A function as an entry of `tools`.
fn webhook(tool: &ToolSpec<'_>, endpoint: &Endpoint<'_>) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), tool.name.into());
    entry.insert("description".into(), tool.description.into());
    entry.insert("webhook".into(), format!("{}/{}", endpoint.url, tool.name).into());
    entry.insert("method".into(), "POST".into());
    entry.insert("header".into(), json!({"Content-Type": "application/json"}));
    entry.insert("params".into(), parameters(tool.parameters).into());
    entry.extend(tool.extra.clone());
    Value::Object(entry)
}

/// A form as an entry of `millis_functions`.
fn form(tool: &ToolSpec<'_>) -> Value {
    json!({
        "name": tool.name,
        "description": tool.description,
        "type": "web_form",
        "data": {"param": parameters(tool.parameters).into_iter().next()},
    })
}

/// The arguments as Millis declares them. A constraint without a key in Millis becomes part of the description.
fn parameters(schema: &Value) -> Vec<Value> {
    let required = |name: &str| {
        schema
            .get("required")
            .and_then(Value::as_array)
            .is_some_and(|required| required.contains(&name.into()))
    };
    properties(schema)
        .filter_map(|(name, parameter)| {
            Some(json!({
                "name": name,
                "type": parameter_type(parameter)?,
                "description": description(parameter),
                "required": required(name),
            }))
        })
        .collect()
}

fn description(parameter: &Value) -> String {
    let described = parameter.get("description").and_then(Value::as_str).unwrap_or_default();
    let Some(values) = parameter.get("enum").and_then(Value::as_array) else { return described.to_owned() };
    let values: Vec<String> = values
        .iter()
        .map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
        .collect();
    format!("{described} One of: {}.", values.join(", ")).trim_start().to_owned()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The type that Millis has for an argument, if it has one.
fn parameter_type(parameter: &Value) -> Option<&'static str> {
    let mut types = match parameter.get("type")? {
        Value::String(only) => vec![only.as_str()],
        // A null argument counts as absent, so null does not count as a type.
        Value::Array(types) => {
            types.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => return None,
    };
    match (types.pop()?, types.is_empty()) {
        ("string", true) => Some("string"),
        ("number" | "integer", true) => Some("number"),
        ("boolean", true) => Some("boolean"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::tests::{Known, calls};
    use bytes::Bytes;

    fn decode(function: &str, content_type: &'static str, body: &'static str) -> Result<Decoded, BadRequest> {
        let mut inbound = Millis.sample(function, &json!({}));
        inbound.headers.insert("content-type", content_type.parse().unwrap());
        inbound.body = Bytes::from_static(body.as_bytes());
        inbound.query = vec![("email".into(), "q@example.com".into())];
        Millis.decode(&inbound, &Settings::default(), &Known(&["end"]))
    }

    #[test]
    fn the_body_is_read_despite_a_wrong_content_type() {
        for (content_type, body, expected) in [
            ("application/json", "{\"email\": \"a=b\"}", json!({"email": "a=b"})),
            ("text/plain", " {\"email\": \"a\"}", json!({"email": "a"})),
            ("application/json", "email=a%40b&tag=1&tag=2", json!({"email": "a@b", "tag": ["1", "2"]})),
            ("application/x-www-form-urlencoded", "{}", json!({})),
            ("application/json", " ", json!({"email": "q@example.com"})),
        ] {
            let (calls, _) = calls(decode("f", content_type, body));
            assert_eq!(calls[0].args, expected.into(), "{body}");
        }
        for body in ["[]", "[{\"a\": \"x=y\"}]", "hello", "{\"a\"=1}", "1"] {
            let bad = decode("f", "application/json", body).unwrap_err();
            assert_eq!(Millis.refuse(&bad).status, 200, "{body}");
        }
        assert!(decode("", "application/json", "{}").is_err());
    }

    #[test]
    fn a_route_takes_precedence_over_the_event_of_its_name() {
        let (calls, _) = calls(decode("end", "", "{\"session_id\": \"s\"}"));
        assert_eq!(
            (&*calls[0].context.function, calls[0].context.conversation.as_deref()),
            ("end", Some("s"))
        );
        for (endpoint, name) in [("session_data", "session_data"), ("prefetch", "prefetch")] {
            let decoded = decode(endpoint, "", "{\"session_id\": \"s\"}");
            let Ok(Decoded::Event(event)) = decoded else { panic!("{endpoint}: {decoded:?}") };
            assert_eq!(event.kind.name, name);
        }
        assert!(Millis.events().iter().all(|kind| EVENT_ENDPOINTS.iter().any(|(_, known)| *known == kind)));
    }

    #[test]
    fn only_flat_parameters_are_accepted() {
        let schema = json!({"type": "object", "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "price": {"type": ["number", "null"]},
            "yes": {"type": "boolean"},
            "list": {"type": "array"},
            "object": {"type": "object"},
            "either": {"type": ["string", "number"]},
            "any": {},
        }});
        let faults = Millis.check_parameters(&schema);
        let names: Vec<&str> = faults.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["list", "object", "either", "any"]);
        let types: Vec<Value> =
            parameters(&schema).into_iter().map(|mut parameter| parameter["type"].take()).collect();
        assert_eq!(types, ["string", "number", "number", "boolean"]);
    }
}
