//! Reads the JSON that platforms send, and writes sample requests.

use std::borrow::Cow;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, Uri, header};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{Answer, BadRequest, Encode, Inbound};
use crate::call::{GivenArguments, Outcome};
use crate::json::{Document, Kind, ObjectWriter, SharedValue, ValueRef, push_string};

/// Parses a body, which must be a JSON object.
pub(super) fn object(body: &Bytes) -> Result<SharedValue, BadRequest> {
    let value = SharedValue::whole(Arc::new(BadRequest::json(body)?));
    match value.get().kind() {
        Kind::Object => Ok(value),
        _ => Err(BadRequest::new("the body is not a JSON object")),
    }
}

/// The fields of a request, from its body or, without a body, from its query; and the body alone.
///
/// The query of a request with a body is ignored, so that a URL cannot override the body.
pub(super) fn body_or_query(inbound: &Inbound) -> Result<(SharedValue, SharedValue), BadRequest> {
    if inbound.body.trim_ascii().is_empty() {
        return Ok((fields(&inbound.query), SharedValue::default()));
    }
    let body = object(&inbound.body)?;
    Ok((body.clone(), body))
}

/// The fields of a form in the body; `None` if the body is something else. JSON is never a form: some clients send it
/// with the content type of a form.
pub(super) fn form(inbound: &Inbound) -> Option<SharedValue> {
    let content_type = inbound.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let body = inbound.body.trim_ascii();
    let is_form = media.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    if !is_form || body.is_empty() || body.starts_with(b"{") {
        return None;
    }
    let parsed: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    Some(fields(&parsed))
}

/// The values of several keys of an object, found in one pass.
pub(super) fn members<'v, const N: usize>(
    object: ValueRef<'v>,
    keys: [&str; N],
) -> [Option<ValueRef<'v>>; N] {
    let mut found = [None; N];
    for (key, value) in object.entries() {
        if let Some(at) = keys.iter().position(|known| *known == key) {
            found[at] = Some(value);
        }
    }
    found
}

/// The function that a body names at `key`; `None` if the name is absent, null or empty.
pub(super) fn function_name<'v>(
    name: Option<ValueRef<'v>>,
    key: &str,
) -> Result<Option<Cow<'v, str>>, BadRequest> {
    let Some(name) = name.filter(|name| !name.is_null()) else { return Ok(None) };
    match name.as_str() {
        Some(name) => Ok(Some(name).filter(|name| !name.is_empty())),
        None => Err(BadRequest::new(format!("`{key}` is not a string"))),
    }
}

/// The fields of a query or a form as an object. A repeated key becomes a list.
pub(super) fn fields(fields: &[(String, String)]) -> SharedValue {
    let mut object = Map::new();
    for (key, value) in fields {
        let value = Value::from(value.as_str());
        match object.get_mut(key) {
            None => {
                object.insert(key.clone(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(object).into()
}

/// The string at a path of keys. Platforms send an empty string for an unknown value, so it counts as absent.
pub(super) fn text_at<'v>(value: impl Into<ValueRef<'v>>, path: &[&str]) -> Option<String> {
    value.into().at(path)?.as_str().filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// Reads arguments, which are JSON or a string of JSON that a model wrote; `None` if there are none. `value` is a part
/// of `within`.
pub(super) fn arguments(within: &SharedValue, value: Option<ValueRef<'_>>) -> Option<GivenArguments> {
    let value = value.filter(|value| !value.is_null())?;
    let Some(text) = value.as_str() else { return Some(GivenArguments::Json(within.keep(value))) };
    if text.trim().is_empty() {
        return None;
    }
    match Document::parse(Bytes::from(text.into_owned())) {
        Ok(document) if document.root().kind() == Kind::Null => None,
        Ok(document) => Some(GivenArguments::Json(SharedValue::whole(Arc::new(document)))),
        Err(_) => Some(GivenArguments::Unreadable),
    }
}

/// Empty arguments.
pub(super) fn no_arguments() -> GivenArguments {
    Value::Object(Map::new()).into()
}

/// An outcome as one object: the data if it is an object, otherwise `{"result": …}`. A failure is `{"error": …}`.
pub(super) fn result_object(outcome: &Outcome) -> String {
    let reply = &outcome.reply;
    if let (Some(data), None) = (&reply.data, outcome.failure)
        && data.kind() == Kind::Object
    {
        return data.as_str().to_owned();
    }
    let mut object = ObjectWriter::with_capacity(256);
    match outcome.failure {
        Some(_) => push_string(object.entry("error"), &reply.to_text()),
        None => object.entry("result").push_str(reply.to_json().as_str()),
    }
    object.finish()
}

/// Encodes the outcome of a single call as one object.
#[derive(Debug)]
pub(super) struct ResultObject;

impl Encode for ResultObject {
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer {
        let body = outcomes.first().map_or_else(|| "{}".to_owned(), result_object);
        Answer::written(http::StatusCode::OK, body)
    }
}

/// A POST with a JSON body, for [`super::Platform::sample`]. It never arrived, so `received_at` is 0.
pub(super) fn post(body: &Value) -> Inbound {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Inbound {
        method: Method::POST,
        uri: Uri::default(),
        function: None,
        query: Vec::new(),
        headers,
        body: Bytes::from(body.to_string()),
        received_at: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{FailureKind, Reply};

    #[test]
    fn a_body_must_be_an_object() {
        for (body, problem) in [
            ("[]", "the body is not a JSON object"),
            ("null", "the body is not a JSON object"),
            ("{\"secret\": x}", "the body is not valid JSON (line 1, column 12)"),
            ("", "the body is not valid JSON (line 1, column 0)"),
            ("{\"a\": 1e400}", "the body is not valid JSON (number out of range)"),
        ] {
            assert_eq!(object(&Bytes::from(body)), Err(BadRequest::new(problem)), "{body}");
        }
        assert_eq!(
            object(&Bytes::from_static(b"\xff")),
            Err(BadRequest::new("the body is not valid JSON (line 1, column 1)"))
        );
        assert_eq!(object(&Bytes::from("{}")), Ok(json!({}).into()));
    }

    #[test]
    fn arguments_are_json_or_a_string_of_json() {
        for (value, expected) in [
            (json!(null), None),
            (json!(""), None),
            (json!(" \n"), None),
            (json!("null"), None),
            (json!("{\"a\": 1}"), Some(json!({"a": 1}).into())),
            (json!("[1]"), Some(json!([1]).into())),
            (json!("{\"a\": 1"), Some(GivenArguments::Unreadable)),
            (json!("Bergen"), Some(GivenArguments::Unreadable)),
            (json!({"a": 1}), Some(json!({"a": 1}).into())),
            (json!(7), Some(json!(7).into())),
        ] {
            let value = SharedValue::from(value);
            assert_eq!(arguments(&value, Some(value.get())), expected, "{value:?}");
        }
        assert_eq!(arguments(&SharedValue::default(), None), None);
    }

    #[test]
    fn an_outcome_is_one_object() {
        let data = |data: Value| Reply { data: Some(data.into()), ..Reply::text("Hi.") };
        for (reply, failure, expected) in [
            (data(json!({"a": 1})), None, json!({"a": 1})),
            (data(json!([1])), None, json!({"result": [1]})),
            (data(json!(null)), None, json!({"result": null})),
            (Reply::text("Hi."), None, json!({"result": "Hi."})),
            (Reply::default(), None, json!({"result": null})),
            (Reply::text("Slow."), Some(FailureKind::Timeout), json!({"error": "Slow."})),
            (data(json!({"a": 1})), Some(FailureKind::BadResponse), json!({"error": "Hi."})),
        ] {
            let outcome = Outcome { reply: reply.into(), failure };
            assert_eq!(ResultObject.encode(vec![outcome]), Answer::json(&expected));
        }
    }

    #[test]
    fn an_empty_string_is_absent() {
        let value = json!({"a": {"b": "x", "empty": "", "null": null, "number": 1}});
        assert_eq!(text_at(&value, &["a", "b"]).as_deref(), Some("x"));
        for path in
            [&["a", "empty"][..], &["a", "null"], &["a", "number"], &["a", "none"], &["b", "b"], &["a"]]
        {
            assert_eq!(text_at(&value, path), None, "{path:?}");
        }
    }
}
