//! How the content of a packed record is written as bytes, and read back.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::call::{Reply, ReplyExtension};
use crate::json::{Document, JsonText, SharedValue};
use crate::lang::template::{ParsedResponse, StepOutput};
use crate::upstream::{Request, RequestUrl};

pub(super) fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
    put_text(out, reply.text.as_deref());
    put_text(out, reply.data.as_ref().map(JsonText::as_str));
    for extension in &reply.extensions {
        put(out, extension.key.as_bytes());
        put(out, extension.value.as_str().as_bytes());
        put_flag(out, extension.is_valid);
    }
    // An empty key ends the list: no extension has one.
    put(out, b"");
}

fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    put_flag(out, text.is_some());
    put(out, text.unwrap_or_default().as_bytes());
}

pub(super) fn put_request(out: &mut Vec<u8>, request: &Request) {
    put(out, request.method.as_str().as_bytes());
    put(out, request.url.as_str().as_bytes());
    put_headers(out, &request.headers);
    put_flag(out, request.body.is_some());
    put(out, request.body.as_deref().unwrap_or_default());
}

pub(super) fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        put(out, name.as_str().as_bytes());
        put(out, value.as_bytes());
        put_flag(out, value.is_sensitive());
    }
    // An empty name ends the list: no header has one.
    put(out, b"");
}

/// Writes the body of a response and the values that were extracted from it, and takes them out of `output`. Values that
/// are not parts of the body stay.
pub(super) fn put_values(out: &mut Vec<u8>, output: &mut StepOutput) {
    let body = output.response.as_mut().and_then(ParsedResponse::body_mut);
    let body = body.filter(|body| {
        let is_part = |value: &SharedValue| value.place_in(body).is_some();
        body.place_in(body) == Some(0) && output.values.iter().flatten().all(is_part)
    });
    put_flag(out, body.is_some());
    let Some(body) = body else { return };
    let body = std::mem::take(body);
    put(out, body.document_text());
    put_number(out, output.values.len());
    for value in std::mem::take(&mut output.values) {
        // Places are written one higher: 0 stands for a missing value.
        let place = value.and_then(|value| value.place_in(&body));
        out.extend_from_slice(&place.map_or(0, |place| place.saturating_add(1)).to_le_bytes());
    }
}

pub(super) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    // Cannot overflow: large records are not packed.
    out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

/// Reads what `put` and the functions around it have written.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn reply(&mut self) -> Reply {
        let (text, data) = (self.text(), self.text().map(JsonText::written));
        let mut extensions = Vec::new();
        loop {
            let key = self.string();
            if key.is_empty() {
                return Reply { text, data, extensions };
            }
            let value = JsonText::written(self.string());
            extensions.push(ReplyExtension { key: key.into(), value, is_valid: self.flag() });
        }
    }

    fn text(&mut self) -> Option<String> {
        let has_text = self.flag();
        let text = self.string();
        has_text.then_some(text)
    }

    fn string(&mut self) -> String {
        String::from_utf8_lossy(self.next()).into_owned()
    }

    pub(super) fn request(&mut self) -> Option<(Method, RequestUrl, HeaderMap, Option<bytes::Bytes>)> {
        let method = Method::from_bytes(self.next()).ok();
        let url = std::str::from_utf8(self.next()).ok().and_then(|url| url.parse().ok());
        let headers = self.headers();
        let has_body = self.flag();
        let body = bytes::Bytes::copy_from_slice(self.next());
        Some((method?, url?, headers, has_body.then_some(body)))
    }

    pub(super) fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        loop {
            let name = self.next();
            if name.is_empty() {
                return headers;
            }
            let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(self.next()));
            let is_sensitive = self.flag();
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(is_sensitive);
                headers.append(name, value);
            }
        }
    }

    /// Puts the values back that [`put_values`] took out of `output`.
    pub(super) fn values(&mut self, output: &mut StepOutput) {
        if !self.flag() {
            return;
        }
        let document = Document::unindexed(bytes::Bytes::copy_from_slice(self.next()));
        let (document, count) = (document.map(Arc::new), self.number());
        let value = |place: u32| Some(SharedValue::at_place(document.as_ref()?, place.checked_sub(1)?));
        output.values = (0..count).map(|_| value(self.number())).collect();
        if let (Some(document), Some(response)) = (&document, &mut output.response) {
            response.set_body(SharedValue::whole(Arc::clone(document)));
        }
    }

    fn number(&mut self) -> u32 {
        let Some((number, rest)) = self.0.split_first_chunk() else { return 0 };
        self.0 = rest;
        u32::from_le_bytes(*number)
    }

    pub(super) fn flag(&mut self) -> bool {
        let (flag, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *flag == 1
    }

    fn next(&mut self) -> &'b [u8] {
        let length = self.number() as usize;
        let (part, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        part
    }
}
