//! The responses of upstreams in a captured call, as canned responses of a test.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use crate::call::FailureKind;
use crate::load::can_be_written;
use crate::plan::testing::Canned;
use crate::upstream::recorder::Exchange;
use crate::upstream::{Request, Response, TransportError};

use super::{DraftError, Drafting};

/// Response headers that no route uses, or that must not be written to files.
const OMITTED: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::DATE,
    header::SERVER,
    header::SET_COOKIE,
    header::VARY,
];

const JSON: &str = "application/json";

impl Drafting<'_> {
    /// The canned response of each step, with the selected headers.
    pub(super) fn canned(
        &self,
        headers: fn(&Response) -> HeaderMap,
    ) -> Result<Vec<(String, Canned)>, DraftError> {
        let mut canned = Vec::new();
        for (step, step_record) in self.route.steps.iter().zip(&self.captured.call.record.steps) {
            // Without a request, the route itself decided to send nothing. It will decide the same in a test.
            let Some(sent) = &step_record.request else { continue };
            let is_it = |exchange: &&Exchange| is_same_request(&exchange.request, sent);
            let ended = self.captured.exchanges.iter().rev().find(is_it).map(|exchange| &exchange.result);
            let of = step.name.as_deref().map(|step| format!("the step `{step}`: ")).unwrap_or_default();
            let problem = |problem: String| DraftError::Upstream { step: of, problem };
            let canned_reply = match ended {
                Some(Ok(response)) => Canned::Reply {
                    status: response.status,
                    headers: self.headers_of(response, headers),
                    body: self.body_of(response).map_err(problem)?,
                },
                Some(Err(error)) => match error.cause() {
                    TransportError::Timeout { .. } => Canned::Timeout,
                    TransportError::Connect { .. } | TransportError::Lost { .. } => Canned::Unreachable,
                    error => return Err(problem(format!("a test cannot reproduce this: {error}"))),
                },
                None => {
                    let why = step_record.error.as_ref().or(self.captured.call.record.error.as_ref());
                    let why = why.map(ToString::to_string).unwrap_or_default();
                    return Err(problem(format!("a test cannot reproduce this: {why}")));
                }
            };
            canned.push((step.name.clone().unwrap_or_default(), canned_reply));
        }
        Ok(canned)
    }

    fn headers_of(&self, response: &Response, more: fn(&Response) -> HeaderMap) -> HeaderMap {
        let mut headers = more(response);
        let kind = response.headers.get(header::CONTENT_TYPE.as_str());
        if let Some(kind) = kind.and_then(|kind| HeaderValue::from_bytes(kind).ok()) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        let is_clean =
            |value: &HeaderValue| value.to_str().is_ok_and(|value| self.masks.hide(value) == value);
        headers
            .into_iter()
            .filter_map(|(name, value)| Some((name?, value)))
            .filter(|(_, value)| is_clean(value))
            .map(|(name, value)| {
                let text = value.to_str().ok().map(|text| self.invented.text(text));
                let invented = text.and_then(|text| HeaderValue::from_str(&text).ok());
                (name, invented.unwrap_or(value))
            })
            .collect()
    }

    fn body_of(&self, response: &Response) -> Result<Bytes, String> {
        let text = std::str::from_utf8(&response.body)
            .map_err(|_| "the body of the response is not UTF-8, and a test can hold only text".to_owned())?;
        if let Ok(json) = serde_json::from_str::<Value>(text) {
            let clean = self.invented.value(&self.masks.hide_value(&json));
            return Ok(if clean == json { response.body.clone() } else { clean.to_string().into() });
        }
        Ok(self.invented.text(&self.masks.hide(text)).into())
    }
}

fn is_same_request(one: &Request, other: &Request) -> bool {
    one.step == other.step && one.method == other.method && one.url == other.url && one.body == other.body
}

/// The headers of a response that a route may use.
pub(super) fn reply_headers(response: &Response) -> HeaderMap {
    let mut headers = response.headers.to_map();
    for name in OMITTED {
        headers.remove(name);
    }
    headers
}

/// A canned response in the table's form.
pub(super) fn canned_value(canned: &Canned) -> Map<String, Value> {
    let mut value = Map::new();
    let Canned::Reply { status, headers, body } = canned else {
        let kind =
            if matches!(canned, Canned::Timeout) { FailureKind::Timeout } else { FailureKind::Unreachable };
        value.insert("failure".to_owned(), kind.slug().into());
        return value;
    };
    if *status != StatusCode::OK {
        value.insert("status".to_owned(), status.as_u16().into());
    }
    let text = String::from_utf8_lossy(body);
    let json = serde_json::from_slice::<Value>(body).ok();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_json = kind.split(';').next().is_some_and(|kind| kind.trim() == JSON);
    // A string in the table is a literal body, so only other JSON is written as a value.
    let json = json.filter(|json| is_json && !json.is_string() && can_be_written(json));
    let mut named = Map::new();
    for (name, shown) in headers.iter().filter_map(|(name, value)| Some((name, value.to_str().ok()?))) {
        if *name != header::CONTENT_TYPE || json.is_none() {
            named.insert(name.as_str().to_owned(), shown.into());
        }
    }
    if !named.is_empty() {
        value.insert("headers".to_owned(), Value::Object(named));
    }
    match json {
        Some(json) => {
            value.insert("body".to_owned(), json);
        }
        None if !text.is_empty() => {
            value.insert("body".to_owned(), text.into());
        }
        None => {}
    }
    if value.is_empty() {
        value.insert("status".to_owned(), status.as_u16().into());
    }
    value
}
