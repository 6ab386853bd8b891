//! Valid requests of each platform with one field missing or of the wrong type.

use serde_json::{Map, Value, json};

use super::wire::request;
use super::{Case, Expect};

/// The endpoint of a request, and its fixture.
const FIXTURES: [(&str, &str, &str); 10] = [
    ("swaig", "", "get_weather"),
    ("swaig", "/get_weather", "get_weather.legacy"),
    ("swaig", "", "fetch_conversation"),
    ("voicedock", "", "two_calls"),
    ("voicedock", "", "camel"),
    ("voicedock", "", "tasks"),
    ("voicedock", "", "assistant_request"),
    ("dailybots", "", "get_weather"),
    ("millis", "/getUserInfo", "getUserInfo.metadata"),
    ("http", "/get_weather", "post"),
];

fn replacements() -> [(&'static str, Option<Value>); 9] {
    let deep = (0..100).fold(json!({}), |inner, _| json!([inner]));
    [
        ("is missing", None),
        ("is null", Some(Value::Null)),
        ("is a flag", Some(json!(true))),
        ("is a number", Some(json!(-1.5e300))),
        ("is a long number", Some(json!(12345678901234567890_u64))),
        ("is a string", Some(json!("\u{0}../\"${x}\r\n\u{202e}é"))),
        ("is empty", Some(json!(""))),
        ("is a list", Some(json!([null, 1, "x", {}]))),
        ("is deep", Some(deep)),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (platform, endpoint, name) in FIXTURES {
        let path = format!("tests/it/platforms/{platform}/{name}.request.json");
        let text = std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let good: Value = serde_json::from_slice(&text).unwrap();
        for pointer in pointers(&good) {
            for (how, other) in replacements() {
                let name = format!("{platform} {name}: {pointer} {how}");
                let body = changed(&good, &pointer, other).to_string();
                let line = format!("POST /{platform}{endpoint} HTTP/1.1");
                let bytes = request(&line, &[&format!("x-case: {name}")], body.as_bytes());
                // Some fields may be of any type.
                cases.push(Case::new(name, bytes, &[Expect::Answered(platform)]));
            }
        }
    }
    cases
}

/// The path of every field and item.
fn pointers(value: &Value) -> Vec<String> {
    let below = |key: &str, value| {
        let inner =
            pointers(value).into_iter().map(move |inner| format!("/{key}{inner}")).collect::<Vec<_>>();
        [vec![format!("/{key}")], inner].concat()
    };
    match value {
        Value::Array(items) => items.iter().enumerate().flat_map(|(i, v)| below(&i.to_string(), v)).collect(),
        Value::Object(fields) => fields.iter().flat_map(|(key, v)| below(key, v)).collect(),
        _ => Vec::new(),
    }
}

/// `value` with one place replaced or removed.
fn changed(value: &Value, pointer: &str, other: Option<Value>) -> Value {
    let mut value = value.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match (value.pointer_mut(parent).unwrap(), other) {
        (Value::Array(items), Some(other)) => items[key.parse::<usize>().unwrap()] = other,
        (Value::Array(items), None) => drop(items.remove(key.parse().unwrap())),
        (Value::Object(fields), Some(other)) => drop(fields.insert(key.to_owned(), other)),
        (fields, None) => {
            let fields: &mut Map<String, Value> = fields.as_object_mut().unwrap();
            fields.shift_remove(key);
        }
        _ => unreachable!("{pointer}"),
    }
    value
}
