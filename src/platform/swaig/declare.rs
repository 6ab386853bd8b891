//! How functions are declared to SignalWire: in an agent's SWML, and in the answer to the `SWAIG.includes` handshake.

use serde_json::{Map, Value, json};

use super::parameters::{Form, joined, parameters};
use crate::percent;
use crate::platform::{Answer, DeclareKey, DeclareType, Endpoint, Functions, ToolSpec};

/// The keys of a function's definition that the table may add, from the reference of `SWAIG.functions`.
pub(super) const DECLARE_KEYS: &[DeclareKey] = &[
    DeclareKey { key: "active", value_type: DeclareType::Flag },
    DeclareKey { key: "fillers", value_type: DeclareType::Object },
    DeclareKey { key: "meta_data", value_type: DeclareType::Object },
    DeclareKey { key: "meta_data_token", value_type: DeclareType::Text },
    DeclareKey { key: "skip_fillers", value_type: DeclareType::Flag },
    DeclareKey { key: "wait_file", value_type: DeclareType::Text },
    DeclareKey { key: "wait_file_loops", value_type: DeclareType::Number },
    DeclareKey { key: "wait_for_fillers", value_type: DeclareType::Flag },
    DeclareKey { key: LOGIN.0, value_type: DeclareType::Secret },
    DeclareKey { key: LOGIN.1, value_type: DeclareType::Secret },
];

/// The form for `ai_sidecar`.
pub(super) const SIDECAR: &str = "sidecar";

/// The name and the password of the login, with which SignalWire calls a function's URL.
const LOGIN: (&str, &str) = ("web_hook_auth_user", "web_hook_auth_password");

/// What the published schema has for functions of sidecars, besides `function`, `description` and `parameters`.
const SIDECAR_KEYS: &[&str] = &[LOGIN.0, LOGIN.1];

/// The `SWAIG` object of an agent's SWML, with the URL for reports if the table answers them.
pub(super) fn declare(tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Value {
    let form = if endpoint.form == Some(SIDECAR) { Form::Sidecar } else { Form::Agent };
    let functions: Vec<Value> = tools.iter().map(|tool| Value::Object(definition(tool, form))).collect();
    let mut declared = json!({"SWAIG": {"defaults": {"web_hook_url": endpoint.url}, "functions": functions}});
    if form == Form::Agent && endpoint.events.contains(&"post_prompt") {
        declared["post_prompt_url"] = endpoint.url.into();
    }
    declared
}

/// The answer to the `SWAIG.includes` handshake, in its array form.
///
/// SignalWire registers every function in it, requested or not, so it contains only the functions whose route has a
/// `declare.swaig` section.
pub(super) fn handshake(functions: &dyn Functions) -> Answer {
    let definitions = functions.tools().into_iter().filter(|tool| tool.declared).map(|tool| {
        let mut definition = definition(&tool, Form::Agent);
        definition.retain(|key, _| key != LOGIN.0 && key != LOGIN.1);
        definition.insert("web_hook_url".into(), with_login(functions.endpoint().url, &tool).into());
        Value::Object(definition)
    });
    Answer::json(&definitions.collect())
}

/// The URL with the login of the function, if it has one.
fn with_login(url: &str, tool: &ToolSpec<'_>) -> String {
    let secret = |key: &str| {
        let found = tool.secrets.iter().find(|(known, _)| *known == key);
        found.map(|(_, secret)| percent::encode(secret.reveal()).to_string())
    };
    match (secret(LOGIN.0), secret(LOGIN.1), url.split_once("://")) {
        (Some(user), Some(password), Some((scheme, rest))) => format!("{scheme}://{user}:{password}@{rest}"),
        _ => url.to_owned(),
    }
}

/// A function as `SWAIG.functions` and the handshake define it.
///
/// The platform silently drops a definition without a description, so every definition has one.
fn definition(tool: &ToolSpec<'_>, form: Form) -> Map<String, Value> {
    let description = if tool.description.is_empty() { tool.name } else { tool.description };
    let (parameters, note) = parameters(tool.parameters, form);
    let mut definition = Map::new();
    definition.insert("function".into(), tool.name.into());
    definition.insert("description".into(), joined(description, &note).into());
    definition.insert("parameters".into(), parameters);
    if form == Form::Agent {
        // Functions with the same token share their `meta_data`. Without a token, sharing depends on the URL.
        definition.insert("meta_data_token".into(), format!("jackfield-{}", tool.name).into());
    }
    let takes = |key: &str| form == Form::Agent || SIDECAR_KEYS.contains(&key);
    let extra = tool.extra.iter().filter(|(key, _)| takes(key));
    definition.extend(extra.map(|(key, value)| (key.clone(), value.clone())));
    definition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    struct Declared {
        parameters: Value,
        extra: Map<String, Value>,
        secrets: Vec<(&'static str, Secret)>,
    }

    impl Functions for Declared {
        fn arguments(&self, _: &str) -> Option<Vec<&str>> {
            None
        }
        fn streams(&self, _: &str) -> bool {
            false
        }
        fn tools(&self) -> Vec<ToolSpec<'_>> {
            vec![ToolSpec {
                name: "get_weather",
                description: "",
                parameters: &self.parameters,
                streaming: false,
                form: false,
                declared: true,
                extra: &self.extra,
                secrets: &self.secrets,
            }]
        }
        fn endpoint(&self) -> Endpoint<'_> {
            Endpoint { url: "https://tools.example.com/swaig", events: &["post_prompt"], form: None }
        }
    }

    #[test]
    fn the_handshake_contains_only_declared_functions() {
        let declared = Declared {
            parameters: json!({"type": "object"}),
            extra: Map::from_iter([("skip_fillers".to_owned(), json!(true))]),
            secrets: Vec::new(),
        };
        let expected = json!([{
            "function": "get_weather",
            "description": "get_weather",
            "parameters": {"type": "object", "properties": {}},
            "meta_data_token": "jackfield-get_weather",
            "skip_fillers": true,
            "web_hook_url": "https://tools.example.com/swaig",
        }]);
        assert_eq!(handshake(&declared), Answer::json(&expected));
    }

    #[test]
    fn a_login_is_in_the_url_of_the_handshake_and_never_in_a_printed_declaration() {
        let written = [("web_hook_auth_user", "agent"), ("web_hook_auth_password", "${PASSWORD}")];
        let declared = Declared {
            parameters: json!({"type": "object"}),
            extra: written.map(|(key, text)| (key.to_owned(), json!(text))).into_iter().collect(),
            secrets: vec![
                ("web_hook_auth_user", Secret::new("agent")),
                ("web_hook_auth_password", Secret::new("p@ss/1")),
            ],
        };
        let answer = handshake(&declared);
        let definitions: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(definitions[0]["web_hook_url"], "https://agent:p%40ss%2F1@tools.example.com/swaig");
        assert_eq!(definitions[0].get("web_hook_auth_password"), None);
        for form in [None, Some(SIDECAR)] {
            let printed = declare(&declared.tools(), &Endpoint { form, ..declared.endpoint() });
            assert_eq!(printed["SWAIG"]["functions"][0]["web_hook_auth_password"], "${PASSWORD}");
            assert!(!printed.to_string().contains("ss/1"));
        }
    }

    #[test]
    fn a_sidecar_has_only_the_keys_of_its_schema() {
        let extra = json!({"fillers": {"en-US": ["One moment."]}, "wait_file": "https://x", "active": false});
        let declared = Declared {
            parameters: json!({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}}),
            extra: extra.as_object().unwrap().clone(),
            secrets: Vec::new(),
        };
        let endpoint = Endpoint { form: Some(SIDECAR), ..declared.endpoint() };
        assert_eq!(
            declare(&declared.tools(), &endpoint),
            json!({"SWAIG": {
                "defaults": {"web_hook_url": "https://tools.example.com/swaig"},
                "functions": [{
                    "function": "get_weather",
                    "description": "get_weather",
                    "parameters": {"type": "object", "properties": {
                        "day": {"type": "string", "description": "In the format date."},
                    }},
                }],
            }})
        );
        let agent = declare(&declared.tools(), &declared.endpoint());
        assert_eq!(agent["post_prompt_url"], "https://tools.example.com/swaig");
        assert_eq!(agent["SWAIG"]["functions"][0]["wait_file"], "https://x");
    }
}
