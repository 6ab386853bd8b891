//! Calls that were not made by a test: a record of the admin listener, and a response that somebody pasted into a file.
//! Both can be made again with canned responses, and then be saved as tests.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::call::FailureKind;
use crate::observe::OMITTED_BYTES;
use crate::plan::testing::Canned;
use crate::platform::{self, Platform};
use crate::secret::{HIDDEN, unescape_stars};

/// A recorded call, read from JSON.
#[derive(Debug)]
pub struct RecordedCall {
    /// The id of the record; empty if it has none.
    pub id: String,
    /// The function.
    pub function: String,
    /// The platform.
    pub platform: &'static dyn Platform,
    /// The arguments. Sensitive ones are masked.
    pub args: Map<String, Value>,
    /// The conversation id.
    pub conversation: Option<String>,
    /// When the call ended, in RFC 3339 without fractions; `None` if the record does not say.
    pub at: Option<String>,
    /// What the call came to.
    pub outcome: String,
    /// The responses of upstreams, by step.
    pub canned: Vec<(String, Canned)>,
}

impl RecordedCall {
    /// Reads a record: as `GET /records/{id}` shows it, in the output of `call --format json` or `--explain`, or in a log
    /// line.
    ///
    /// # Errors
    /// Why a test cannot be made from it.
    pub fn read(json: &Value) -> Result<Self, String> {
        let record = match (json.get("record"), json.get("calls").and_then(Value::as_array)) {
            (Some(record), _) => record,
            (None, Some(calls)) => match calls.as_slice() {
                [only] => only,
                calls => return Err(format!("it has {} calls: keep the one to save", calls.len())),
            },
            (None, None) => json,
        };
        let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
        let (Some(function), Some(platform), Some(steps)) =
            (text("function"), text("platform"), record.get("steps").and_then(Value::as_array))
        else {
            return Err("it is not a record: save the complete answer of `GET /records/{id}`".to_owned());
        };
        let platform = platform::find(&platform).ok_or_else(|| format!("unknown platform `{platform}`"))?;
        let args = record.pointer("/arguments/values").and_then(Value::as_object).cloned();
        let args = args.ok_or("it does not have the arguments of the call")?;
        let canned = steps.iter().filter_map(|step| canned(step).transpose()).collect::<Result<_, _>>()?;
        let at = text("at").or_else(|| json.get("at").and_then(Value::as_str).map(str::to_owned));
        let at = at.and_then(|at| at.parse::<jiff::Timestamp>().ok()).map(|at| format!("{at:.0}"));
        let outcome = text("late_outcome").or_else(|| text("outcome")).unwrap_or_default();
        Ok(Self {
            id: text("id").unwrap_or_default(),
            function,
            platform,
            args,
            conversation: text("conversation"),
            at,
            outcome,
            canned,
        })
    }
}

/// The result of a step; `None` if it sent nothing.
fn canned(step: &Value) -> Result<Option<(String, Canned)>, String> {
    let name = step["name"].as_str().unwrap_or_default().to_owned();
    let response = &step["response"];
    let Some(status) = response["status"].as_u64() else {
        let failure = step["failure"].as_str().and_then(FailureKind::from_slug);
        return Ok(match failure {
            Some(FailureKind::Timeout) => Some((name, Canned::Timeout)),
            Some(FailureKind::Unreachable) => Some((name, Canned::Unreachable)),
            _ => None,
        });
    };
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or("it has an invalid status")?;
    let content_type = response["content_type"].as_str();
    let body = match &as_received(&response["body"]) {
        Value::Object(omitted) if omitted.len() == 1 && omitted.contains_key(OMITTED_BYTES) => {
            return Err(
                "it does not have the body of a response, because the body was too large: save the response \
                        of the upstream, and use `jackfield call FUNCTION --response FILE --save-test NAME`"
                    .to_owned(),
            );
        }
        Value::Null => Bytes::new(),
        Value::String(text) if !content_type.is_some_and(|kind| kind.contains("json")) => {
            Bytes::copy_from_slice(text.as_bytes())
        }
        _ if content_type.is_some_and(|kind| kind.contains("xml")) => {
            return Err(
                "it shows the XML of a response as a tree: save the response of the upstream, and use \
                        `jackfield call FUNCTION --response FILE --save-test NAME`"
                    .to_owned(),
            );
        }
        json => json.to_string().into(),
    };
    let mut headers = HeaderMap::new();
    for pair in response["headers"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str())
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value))
            && !is_of_connection(&name)
            && !pair[1].as_str().is_some_and(|value| value.contains(HIDDEN))
        {
            headers.append(name, value);
        }
    }
    Ok(Some((name, Canned::Reply { status, headers, body })))
}

/// A value as it was before a record showed it, apart from what is hidden.
pub fn as_received(shown: &Value) -> Value {
    match shown {
        Value::String(text) => unescape_stars(text).into(),
        Value::Array(items) => items.iter().map(as_received).collect(),
        Value::Object(entries) => {
            let entries = entries.iter();
            Value::Object(entries.map(|(key, value)| (unescape_stars(key), as_received(value))).collect())
        }
        other => other.clone(),
    }
}

/// Whether a header describes how the body was sent, not the body itself.
fn is_of_connection(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::CONNECTION]
        .contains(name)
}

/// A response with this body, as an upstream would send it. `file` is the name of its file, if it has one.
pub fn pasted(body: Vec<u8>, status: StatusCode, file: &str) -> Canned {
    let start = String::from_utf8_lossy(&body[..body.len().min(100)]).trim_start().to_lowercase();
    let content_type = if serde_json::from_slice::<Value>(&body).is_ok() {
        "application/json"
    } else if file.ends_with(".xml") || start.starts_with("<?xml") {
        "application/xml"
    } else if start.starts_with('<') {
        "text/html"
    } else {
        "text/plain"
    };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
    Canned::Reply { status, headers, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(steps: &Value) -> Value {
        json!({
            "id": "b359a709d0-2", "at": "2026-06-19T03:04:05.678Z", "function": "find", "platform": "swaig",
            "conversation": null, "outcome": "answered", "arguments": {"values": {"id": "7"}}, "steps": steps,
        })
    }

    #[test]
    fn a_record_is_read_in_every_form() {
        let one = record(&json!([]));
        for json in
            [one.clone(), json!({"record": one, "message": "x"}), json!({"calls": [one], "answer": null})]
        {
            let read = RecordedCall::read(&json).unwrap();
            assert_eq!((read.function.as_str(), read.platform.name()), ("find", "swaig"));
            assert_eq!(read.at.as_deref(), Some("2026-06-19T03:04:05Z"));
        }
        for json in [json!({}), json!([]), json!({"calls": [one, one]}), json!({"records": [one]})] {
            RecordedCall::read(&json).unwrap_err();
        }
    }

    #[test]
    fn escaped_stars_are_stars_again() {
        let shown = json!({r"\*\*\*": [r"a \*\*\*", "***", 1]});
        assert_eq!(as_received(&shown), json!({"***": ["a ***", "***", 1]}));
    }

    #[test]
    fn steps_become_canned_responses() {
        let response = |content_type: &str, body: Value| {
            let headers = json!([["content-type", content_type], ["x-key", "***"], ["content-length", "3"]]);
            json!({"name": "a", "response": {
                "status": 200, "content_type": content_type, "headers": headers, "body": body,
            }})
        };
        for (step, expected) in [
            (response("application/json", json!({"a": 1})), Ok("{\"a\":1}")),
            (response("application/json", json!("a")), Ok("\"a\"")),
            (response("text/html", json!("<p>")), Ok("<p>")),
            (response("application/xml", json!({"a": 1})), Err("XML")),
            (response("application/json", json!({"omitted_bytes": 70_000})), Err("too large")),
        ] {
            match (RecordedCall::read(&record(&json!([step]))), expected) {
                (Ok(read), Ok(expected)) => match &read.canned[..] {
                    [(name, Canned::Reply { headers, body, .. })] => {
                        assert_eq!((name.as_str(), &body[..], headers.len()), ("a", expected.as_bytes(), 1));
                    }
                    other => panic!("{other:?}"),
                },
                (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
                (read, _) => panic!("{read:?}"),
            }
        }
        let none = json!([
            {"name": "a", "failure": "timeout", "response": null},
            {"name": "b", "failure": "unreachable", "response": null},
            {"name": "c", "skipped": true, "response": null},
        ]);
        let read = RecordedCall::read(&record(&none)).unwrap();
        assert!(matches!(&read.canned[..], [(_, Canned::Timeout), (_, Canned::Unreachable)]), "{read:?}");
    }
}
