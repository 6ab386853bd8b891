//! Plain HTTP: arguments in, text and data out. For `curl`, tests, and callers whose platform Jackfield does not know.

use ::http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{Answer, BadRequest, Decoded, Encode, Functions, Inbound, Platform, Settings, payload};
use crate::call::{Call, Context, FailureKind, GivenArguments, Outcome};
use crate::json::{ObjectWriter, push_string};

const NAME: &str = "http";

/// The header with the id of the conversation that the call is part of.
const CONVERSATION: &str = "x-conversation-id";

/// Any HTTP client.
#[derive(Debug)]
pub(super) struct Http;

impl Platform for Http {
    fn name(&self) -> &'static str {
        NAME
    }

    fn any_method(&self) -> bool {
        true
    }

    fn decode(&self, inbound: &Inbound, _: &Settings, _: &dyn Functions) -> Result<Decoded, BadRequest> {
        let Some(function) = inbound.function.clone().filter(|name| !name.is_empty()) else {
            return Err(BadRequest::new("the URL has no function name: use `/http/<function>`"));
        };
        let (args, raw) = match payload::form(inbound) {
            Some(form) => (form.clone(), form),
            None => payload::body_or_query(inbound)?,
        };
        let conversation = inbound.headers.get(CONVERSATION).and_then(|value| value.to_str().ok());
        let context = Context {
            platform: NAME,
            function,
            conversation: conversation.filter(|id| !id.is_empty()).map(ToOwned::to_owned),
            raw,
            ..Context::default()
        };
        Ok(Decoded::Calls(
            vec![Call { args: GivenArguments::Json(args), context: Box::new(context) }],
            Box::new(Plain),
        ))
    }

    fn refuse(&self, bad: &BadRequest) -> Answer {
        Answer::json_with(StatusCode::BAD_REQUEST, &error("bad_request", &bad.problem))
    }

    fn sample(&self, function: &str, args: &Value) -> Inbound {
        let mut inbound = payload::post(args);
        inbound.function = Some(function.to_owned());
        inbound.headers.insert(CONVERSATION, HeaderValue::from_static("example-conversation"));
        inbound
    }
}

fn error(kind: &str, text: &str) -> Value {
    json!({"error": {"kind": kind, "text": text}})
}

/// Encodes the outcome of the request's one call.
#[derive(Debug)]
struct Plain;

impl Encode for Plain {
    fn encode(&self, outcomes: Vec<Outcome>) -> Answer {
        let Some(Outcome { reply, failure }) = outcomes.first() else {
            return Answer::json(&json!({}));
        };
        match failure {
            None => {
                let mut body = ObjectWriter::with_capacity(256);
                if let Some(text) = &reply.text {
                    push_string(body.entry("text"), text);
                }
                if let Some(data) = &reply.data {
                    body.entry("data").push_str(data.as_str());
                }
                Answer::written(StatusCode::OK, body.finish())
            }
            Some(kind) => {
                let status = match kind {
                    FailureKind::UnknownFunction => StatusCode::NOT_FOUND,
                    _ => StatusCode::OK,
                };
                Answer::json_with(status, &error(kind.slug(), &reply.to_text()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Reply;
    use crate::platform::tests::{Known, calls};
    use bytes::Bytes;

    fn decode(
        function: Option<&str>,
        query: &[(&str, &str)],
        body: &'static str,
    ) -> Result<Decoded, BadRequest> {
        let inbound = Inbound {
            function: function.map(ToOwned::to_owned),
            query: query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            body: Bytes::from_static(body.as_bytes()),
            ..Http.sample("", &json!({}))
        };
        Http.decode(&inbound, &Settings::default(), &Known(&[]))
    }

    #[test]
    fn arguments_are_the_body_or_else_the_query() {
        for (query, body, expected) in [
            (&[][..], "", json!({})),
            (&[("city", "Oslo"), ("days", "2")], " \n", json!({"city": "Oslo", "days": "2"})),
            (&[("a", "1"), ("b", "x"), ("a", "2"), ("a", "")], "", json!({"a": ["1", "2", ""], "b": "x"})),
            (&[("city", "Oslo")], "{\"days\": 2}", json!({"days": 2})),
        ] {
            let (calls, _) = calls(decode(Some("f"), query, body));
            assert_eq!(calls[0].args, GivenArguments::from(expected), "{query:?} {body}");
            assert_eq!(calls[0].context.conversation.as_deref(), Some("example-conversation"));
        }
    }

    #[test]
    fn a_form_is_read_like_a_query() {
        for (content_type, body, expected) in [
            (
                "application/x-www-form-urlencoded",
                "city=New+York&days=2&tag=a&tag=b%26c",
                Some(json!({"city": "New York", "days": "2", "tag": ["a", "b&c"]})),
            ),
            (
                "Application/X-WWW-Form-Urlencoded; charset=utf-8",
                "city=%C3%98rsta&x",
                Some(json!({"city": "Ørsta", "x": ""})),
            ),
            // `curl -d` sends this content type whatever the body is.
            ("application/x-www-form-urlencoded", " {\"city\": \"a=b\"}", Some(json!({"city": "a=b"}))),
            ("application/x-www-form-urlencoded", "", Some(json!({"q": "1"}))),
            ("text/plain", "city=Oslo", None),
        ] {
            let mut inbound = Http.sample("f", &json!({}));
            inbound.body = Bytes::from_static(body.as_bytes());
            inbound.query = vec![("q".to_owned(), "1".to_owned())];
            inbound.headers.insert(::http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            let decoded = Http.decode(&inbound, &Settings::default(), &Known(&[]));
            match expected {
                Some(expected) => {
                    assert_eq!(calls(decoded).0[0].args, GivenArguments::from(expected), "{body}")
                }
                None => assert!(decoded.is_err(), "{body}"),
            }
        }
    }

    #[test]
    fn a_request_without_function_or_object_is_refused() {
        for (function, body) in [(None, "{}"), (Some(""), "{}"), (Some("f"), "[]"), (Some("f"), "city=Oslo")]
        {
            let answer = Http.refuse(&decode(function, &[], body).unwrap_err());
            assert_eq!(answer.status, 400, "{body}");
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["error"]["kind"], "bad_request");
        }
    }

    #[test]
    fn outcomes_have_separate_text_and_data() {
        let error = |kind: &str, text: &str| json!({"error": {"kind": kind, "text": text}});
        let both = Reply { text: Some("Hi.".into()), data: Some(json!([1]).into()), ..Reply::default() };
        for (reply, failure, status, expected) in [
            (both, None, 200, json!({"text": "Hi.", "data": [1]})),
            (Reply::text("Hi."), None, 200, json!({"text": "Hi."})),
            (Reply { data: Some(Value::Null.into()), ..Reply::default() }, None, 200, json!({"data": null})),
            (Reply::default(), None, 200, json!({})),
            (Reply::text("Slow."), Some(FailureKind::Timeout), 200, error("timeout", "Slow.")),
            (Reply::text("Which?"), Some(FailureKind::InvalidArgs), 200, error("invalid_args", "Which?")),
            (
                Reply::text("None."),
                Some(FailureKind::UnknownFunction),
                404,
                error("unknown_function", "None."),
            ),
        ] {
            let answer = Plain.encode(vec![Outcome { reply: reply.into(), failure }]);
            assert_eq!((answer.status.as_u16(), answer.body), (status, Bytes::from(expected.to_string())));
        }
    }
}
