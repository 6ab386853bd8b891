//! What the schema requires of a table beyond its keys and their types: keys that must be there, keys that exclude each
//! other, and keys that only go with some types. Each is an error of the compiler too.

use serde_json::{Map, Value, json};

use crate::call::FailureKind;

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
        "RawRoute" => json!({
            "dependencies": {
                "args": without(&["args_schema"]),
                "steps": without(&["request", "response", "extract"]),
            },
        }),
        "RawArgument" => argument(),
        "RawExtractTable" => json!({
            "required": ["path"],
            "dependencies": {"default": {"properties": {"required": {"const": false}}}},
        }),
        "RawStep" => json!({"required": ["name", "request"]}),
        "RawRequest" => json!({
            "dependencies": {
                "body": with_method(&["form", "body_file"]),
                "form": with_method(&["body", "body_file"]),
                "body_file": with_method(&["body", "form"]),
            },
        }),
        "RawReply" => json!({
            "dependencies": {"text": without(&["text_file"]), "data": without(&["data_file"])},
        }),
        "RawForm" => json!({"required": ["args"]}),
        "RawTest" => json!({
            "required": ["name", "expect"],
            "dependencies": {
                "event": {"required": ["request_file"], "not": any_of(&["route", "platform", "args"])},
                "args": without(&["request_file"]),
            },
        }),
        "RawExpect" => json!({
            "minProperties": 1,
            "dependencies": {
                "failure": {"properties": {"failure": {"enum": FailureKind::NAMED.map(FailureKind::slug)}}},
            },
        }),
        _ => json!({}),
    };
    match keywords {
        Value::Object(keywords) => keywords,
        _ => Map::new(),
    }
}

/// The constraints of an argument. Most of them go with one type only.
fn argument() -> Value {
    let only = |types: &[&str]| json!({"properties": {"type": {"enum": types}}});
    json!({
        "required": ["type"],
        "dependencies": {
            "min": only(&["integer", "number"]),
            "max": only(&["integer", "number"]),
            "min_length": only(&["string", "array"]),
            "max_length": only(&["string", "array"]),
            "pattern": only(&["string"]),
            "format": only(&["string"]),
            "items": only(&["array"]),
            "properties": only(&["object"]),
        },
    })
}

/// A table with at least one of these keys.
fn any_of(keys: &[&str]) -> Value {
    let keys: Vec<Value> = keys.iter().map(|key| json!({"required": [key]})).collect();
    json!({"anyOf": keys})
}

/// A table without these keys.
fn without(keys: &[&str]) -> Value {
    json!({"not": any_of(keys)})
}

/// A request with a body of one kind: it names its method, and has no other body.
fn with_method(other_bodies: &[&str]) -> Value {
    json!({"required": ["method"], "not": any_of(other_bodies)})
}
