//! How functions are declared to SignalWire: in an agent's SWML, and in the answer to the `SWAIG.includes` handshake.

use serde_json::{Map, Value, json};

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
];

/// The `SWAIG` object of an agent's SWML.
pub(super) fn declare(tools: &[ToolSpec<'_>], endpoint: &Endpoint<'_>) -> Value {
    let functions: Vec<Value> = tools.iter().map(|tool| Value::Object(definition(tool))).collect();
    json!({"SWAIG": {"defaults": {"web_hook_url": endpoint.url}, "functions": functions}})
}

/// The answer to the `SWAIG.includes` handshake, in its array form.
///
/// SignalWire registers every function in it, requested or not, so it contains only the functions whose route has a
/// `declare.swaig` section.
pub(super) fn handshake(functions: &dyn Functions) -> Answer {
    let definitions = functions.tools().into_iter().filter(|tool| tool.declared).map(|tool| {
        let mut definition = definition(&tool);
        definition.insert("web_hook_url".into(), functions.endpoint().url.into());
        Value::Object(definition)
    });
    Answer::json(&definitions.collect())
}

/// A function as `SWAIG.functions` and the handshake define it.
///
/// The platform silently drops a definition without a description, so every definition has one.
fn definition(tool: &ToolSpec<'_>) -> Map<String, Value> {
    let description = if tool.description.is_empty() { tool.name } else { tool.description };
    let mut definition = Map::new();
    definition.insert("function".into(), tool.name.into());
    definition.insert("description".into(), description.into());
    definition.insert("parameters".into(), tool.parameters.clone());
    // Functions with the same token share their `meta_data`. Without a token, sharing depends on the URL.
    definition.insert("meta_data_token".into(), format!("jackfield-{}", tool.name).into());
    definition.extend(tool.extra.clone());
    definition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_contains_only_declared_functions() {
        struct Declared(Value, Map<String, Value>);
        impl Functions for Declared {
            fn arguments(&self, _: &str) -> Option<Vec<&str>> {
                None
            }
            fn streams(&self, _: &str) -> bool {
                false
            }
            fn tools(&self) -> Vec<ToolSpec<'_>> {
                let (parameters, extra) = (&self.0, &self.1);
                vec![ToolSpec {
                    name: "get_weather",
                    description: "",
                    parameters,
                    streaming: false,
                    form: false,
                    declared: true,
                    extra,
                }]
            }
            fn endpoint(&self) -> Endpoint<'_> {
                Endpoint { url: "https://tools.example.com/swaig", events: &[] }
            }
        }
        let declared =
            Declared(json!({"type": "object"}), Map::from_iter([("skip_fillers".to_owned(), json!(true))]));
        let expected = json!([{
            "function": "get_weather",
            "description": "get_weather",
            "parameters": {"type": "object"},
            "meta_data_token": "jackfield-get_weather",
            "skip_fillers": true,
            "web_hook_url": "https://tools.example.com/swaig",
        }]);
        assert_eq!(handshake(&declared), Answer::json(&expected));
    }
}
