//! A call as it is stored until it is delivered. It holds no credentials: each attempt applies them to its requests.

use serde_json::{Map, Value, json};

use crate::call::{Call, Context};
use crate::json::{Members, SharedValue};
use crate::plan::Route;

use super::Record;

/// A stored call.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCall {
    /// The call, with its arguments after validation.
    pub call: Call,
    /// What it recalled when it was accepted.
    pub memory: Value,
    /// When it was accepted, in RFC 3339.
    pub now: String,
}

impl StoredCall {
    /// The call of `record`, as JSON. The whole body of the platform's request is part of it only if a template of the
    /// route uses it.
    pub(super) fn encode(record: &Record, route: &Route, now: &str) -> Vec<u8> {
        let Context {
            platform: _,
            function,
            id,
            conversation,
            caller,
            called,
            metadata,
            global,
            headers,
            event,
            raw,
        } = &*record.call.context;
        let mut call = Map::new();
        for (key, text) in
            [("id", id), ("conversation", conversation), ("caller", caller), ("called", called)]
        {
            call.extend(text.as_ref().map(|text| (key.to_owned(), text.as_str().into())));
        }
        let raw = if route.state.uses_raw { raw.clone() } else { SharedValue::default() };
        for (key, value) in [
            ("metadata", metadata),
            ("global", global),
            ("headers", headers),
            ("event", event),
            ("raw", &raw),
        ] {
            if !value.is_null() {
                call.insert(key.to_owned(), value.to_value());
            }
        }
        let args = record.validated.as_ref().map_or(&Value::Null, |validated| &validated.args);
        let memory = record.memory.recalled.as_deref().unwrap_or(&Value::Null);
        let stored = json!({"function": function, "args": args, "call": call, "memory": memory, "now": now});
        stored.to_string().into_bytes()
    }

    /// Reads a stored call of `platform`; `None` if it is damaged.
    pub fn decode(platform: &'static str, stored: &[u8]) -> Option<Self> {
        // Each value may nest as deep as a whole document, so they are not read as one tree.
        let stored = Members::read(stored)?;
        let call = stored.members("call")?;
        let text = |key: &str| Some(call.value(key)?.as_str()?.to_owned());
        let [id, conversation, caller, called] = ["id", "conversation", "caller", "called"].map(text);
        let value = |key: &str| match call.text(key) {
            Some(_) => call.value(key).map(SharedValue::from),
            None => Some(SharedValue::default()),
        };
        let context = Context {
            platform,
            function: stored.value("function")?.as_str()?.to_owned(),
            id,
            conversation,
            caller,
            called,
            metadata: value("metadata")?,
            global: value("global")?,
            headers: value("headers")?,
            event: value("event")?,
            raw: value("raw")?,
        };
        let memory = match stored.members("memory") {
            Some(memory) => Value::Object(memory.tree()?),
            // Null, if memory could not be read.
            None => stored.value("memory")?,
        };
        let (args, now) = (stored.value("args")?, stored.value("now")?.as_str()?.to_owned());
        Some(Self { call: Call { args: args.into(), context: context.into() }, memory, now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::MAX_DEPTH;
    use crate::plan::arguments::{Arguments, Validated};
    use std::time::Instant;

    #[test]
    fn a_stored_call_is_read_back_without_the_body_that_nobody_uses() {
        let context = Context {
            platform: "http",
            function: "note".to_owned(),
            id: Some("c-1".to_owned()),
            conversation: Some("k-7".to_owned()),
            caller: None,
            called: Some("+47".to_owned()),
            metadata: json!({"lang": "no"}).into(),
            raw: json!({"secret": "body"}).into(),
            ..Context::default()
        };
        let call = Call { args: json!({"n": "5"}).into(), context: context.into() };
        let mut record = Record::new(call.clone(), Instant::now(), None);
        record.validated = Some(Validated { args: json!({"n": 5}), ..Validated::default() });
        record.memory.recalled = Some(std::sync::Arc::new(json!({"order": "A-1"})));
        let schema = json!({"type": "object"});
        let arguments = Arguments::compile(schema, Vec::new()).unwrap();
        let mut route = Route::new("note".to_owned(), arguments, [0; 32]);
        for uses_raw in [false, true] {
            route.state.uses_raw = uses_raw;
            let stored = StoredCall::encode(&record, &route, "2026-01-01T00:00:00Z");
            let raw = if uses_raw { call.context.raw.clone() } else { SharedValue::default() };
            let context = Context { raw, ..Context::clone(&call.context) };
            let expected = StoredCall {
                call: Call { args: json!({"n": 5}).into(), context: context.into() },
                memory: json!({"order": "A-1"}),
                now: "2026-01-01T00:00:00Z".to_owned(),
            };
            assert_eq!(StoredCall::decode("http", &stored), Some(expected));
        }
        assert_eq!(StoredCall::decode("http", b"{}"), None);
        assert_eq!(StoredCall::decode("http", b"not json"), None);
    }

    #[test]
    fn what_nests_as_deep_as_a_document_may_is_read_back() {
        let deep = (1..MAX_DEPTH).fold(json!("x"), |inner, _| json!([inner]));
        let object = json!({"deep": deep});
        let context = Context {
            platform: "http",
            function: "note".to_owned(),
            metadata: object.clone().into(),
            raw: object.clone().into(),
            ..Context::default()
        };
        let mut record =
            Record::new(Call { args: json!({}).into(), context: context.into() }, Instant::now(), None);
        record.validated = Some(Validated { args: object.clone(), ..Validated::default() });
        record.memory.recalled = Some(std::sync::Arc::new(json!({"order": [deep]})));
        let arguments = Arguments::compile(json!({"type": "object"}), Vec::new()).unwrap();
        let mut route = Route::new("note".to_owned(), arguments, [0; 32]);
        route.state.uses_raw = true;
        let stored = StoredCall::encode(&record, &route, "2026-01-01T00:00:00Z");
        let stored = StoredCall::decode("http", &stored).unwrap();
        assert_eq!(stored.call.args, object.clone().into());
        assert_eq!(stored.call.context, record.call.context);
        assert_eq!(stored.memory, json!({"order": [deep]}));
    }
}
