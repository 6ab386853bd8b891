//! What the schema requires of a table beyond the types of its keys: the keys whose absence the compiler reports as
//! `missing-key`.

use serde_json::{Map, Value, json};

/// The keywords that constrain a table of this name, such as `required`.
pub(super) fn of(shape: &str) -> Map<String, Value> {
    let keywords = match shape {
        "RawTls" => json!({"required": ["cert", "key"]}),
        "RawTraces" => json!({"required": ["endpoint"]}),
        "RawUpstream" => json!({"required": ["base_url"]}),
        "RawUpstreamTls" => json!({"required": ["ca"]}),
        "RawLimit" => json!({
            "anyOf": [{"required": ["concurrency"]}, {"required": ["rate"]}],
            "dependencies": {"burst": ["rate"]},
        }),
        "RawArgument" => json!({"required": ["type"]}),
        "RawExtractTable" => json!({"required": ["path"]}),
        "RawStep" => json!({"required": ["name", "request"]}),
        "RawRequest" => json!({
            "dependencies": {"body": ["method"], "form": ["method"], "body_file": ["method"]},
        }),
        "RawForm" => json!({"required": ["args"]}),
        "RawTest" => json!({"required": ["name", "expect"], "dependencies": {"event": ["request_file"]}}),
        "RawExpect" => json!({"minProperties": 1}),
        _ => json!({}),
    };
    match keywords {
        Value::Object(keywords) => keywords,
        _ => Map::new(),
    }
}
