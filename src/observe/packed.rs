//! Records of answered calls, packed for keeping. Most of them are never looked at.
//!
//! The arguments, requests, headers and the reply of a call are dozens of small allocations. If the history freed them
//! one by one, long after the call, each would be a cache miss. So they are serialized into one buffer while they are
//! still in the cache, and read back when the record is requested.

use std::cell::Cell;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;

use crate::call::{Outcome, Reply, ReplyExtension};
use crate::flow::Record;
use crate::http1::response_headers::ResponseHeaders;
use crate::json::{JsonText, push_value};
use crate::plan::Route;
use crate::upstream::{Request, RequestUrl};

/// The largest record that is packed, in bytes. Copying a larger one would cost more than it saves.
const MAX_PACKED: usize = 32 * 1024;

thread_local! {
    /// A buffer that the thread reuses. A record is written here and copied once its size is known.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A record that is kept, packed if possible.
#[derive(Debug)]
pub(super) struct PackedRecord(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    record: Box<Record>,
    /// What was taken out of the record; `None` if it is whole.
    content: Option<Content>,
}

/// The arguments, the reply, the requests and the headers of the responses.
#[derive(Debug)]
struct Content {
    /// The arguments as JSON, and then the rest.
    bytes: Box<[u8]>,
    /// The length of the arguments.
    args_bytes: usize,
    /// The route that answered the call. It has the targets of the requests.
    route: Arc<Route>,
}

impl PackedRecord {
    /// Packs a record that takes about this many bytes. `route` is the route that answered the call.
    pub(super) fn new(record: Box<Record>, route: Option<&Arc<Route>>, bytes: usize) -> Self {
        let route = route.filter(|route| record.steps.len() <= route.steps.len());
        // A failure is rare, and its error may hold parts of the request.
        let route = route.filter(|_| record.error.is_none() && bytes <= MAX_PACKED);
        let mut kept = Kept { record, content: None };
        if let Some(route) = route {
            kept.pack(Arc::clone(route));
        }
        Self(Mutex::new(kept))
    }

    /// Passes the whole record to `look`.
    pub(super) fn whole<R>(&self, look: impl FnOnce(&Record) -> R) -> R {
        let mut kept = self.0.lock();
        let Some(content) = kept.content.take() else { return look(&kept.record) };
        kept.unpack(&content);
        let seen = look(&kept.record);
        kept.pack(content.route);
        seen
    }

    /// Passes the record to `look`, without its arguments, requests, headers and reply.
    pub(super) fn facts<R>(&self, look: impl FnOnce(&Record) -> R) -> R {
        look(&self.0.lock().record)
    }
}

impl Kept {
    fn pack(&mut self, route: Arc<Route>) {
        let record = &mut *self.record;
        let mut args = String::from_utf8(BUFFER.take()).unwrap_or_default();
        if let Some(validated) = &mut record.validated {
            push_value(&mut args, &std::mem::take(&mut validated.args));
        }
        let args_bytes = args.len();
        let mut out = args.into_bytes();
        put_reply(&mut out, &record.outcome.reply);
        record.outcome.reply = Outcome::pending().reply;
        for (step, output) in record.steps.iter_mut().zip(&mut record.outputs) {
            let request = step.request.take();
            put_flag(&mut out, request.is_some());
            if let Some(request) = request {
                put_request(&mut out, &request);
            }
            if let Some(response) = &mut output.response {
                put(&mut out, response.take_headers().lines());
            }
        }
        self.content = Some(Content { bytes: Box::from(&*out), args_bytes, route });
        out.clear();
        out.shrink_to(MAX_PACKED);
        BUFFER.set(out);
    }

    fn unpack(&mut self, content: &Content) {
        let record = &mut *self.record;
        let (args, rest) = content.bytes.split_at(content.args_bytes);
        let mut rest = Reader(rest);
        if let Some(validated) = &mut record.validated {
            // `pack` wrote it, so reading it cannot fail.
            validated.args = serde_json::from_slice(args).unwrap_or_default();
        }
        record.outcome.reply = Arc::new(rest.reply());
        for (step, (step_record, output)) in
            content.route.steps.iter().zip(record.steps.iter_mut().zip(&mut record.outputs))
        {
            if rest.flag() {
                let request = &step.request;
                let step_name = Some(Arc::clone(&request.step));
                let target = Arc::clone(&request.upstream.delivery.target);
                let read = rest.request();
                step_record.request = read.map(|(method, url, headers, body)| {
                    Arc::new(Request { target, step: step_name, method, url, headers, body })
                });
            }
            if let Some(response) = &mut output.response {
                response.set_headers(ResponseHeaders::of_lines(rest.next()));
            }
        }
    }
}

fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
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

fn put_request(out: &mut Vec<u8>, request: &Request) {
    put(out, request.method.as_str().as_bytes());
    put(out, request.url.as_str().as_bytes());
    put_headers(out, &request.headers);
    put_flag(out, request.body.is_some());
    put(out, request.body.as_deref().unwrap_or_default());
}

fn put_headers(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        put(out, name.as_str().as_bytes());
        put(out, value.as_bytes());
        put_flag(out, value.is_sensitive());
    }
    // An empty name ends the list: no header has one.
    put(out, b"");
}

fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // Cannot overflow: a record of more than `MAX_PACKED` bytes is not packed.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads what `put` and the functions around it have written.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn reply(&mut self) -> Reply {
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

    fn request(&mut self) -> Option<(Method, RequestUrl, HeaderMap, Option<bytes::Bytes>)> {
        let method = Method::from_bytes(self.next()).ok();
        let url = std::str::from_utf8(self.next()).ok().and_then(|url| url.parse().ok());
        let headers = self.headers();
        let has_body = self.flag();
        let body = bytes::Bytes::copy_from_slice(self.next());
        Some((method?, url?, headers, has_body.then_some(body)))
    }

    fn headers(&mut self) -> HeaderMap {
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

    fn flag(&mut self) -> bool {
        let (flag, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *flag == 1
    }

    fn next(&mut self) -> &'b [u8] {
        let Some((length, rest)) = self.0.split_first_chunk() else { return &[] };
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).unwrap_or_default();
        self.0 = rest;
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Call, Context, GivenArguments, Outcome};
    use crate::dispatch::Dispatcher;
    use crate::flow::StepRecord;
    use crate::lang::template::{ParsedResponse, StepOutput};
    use crate::plan::arguments::Validated;
    use serde_json::json;
    use std::time::Duration;

    const TABLE: &str = "[platforms.http]\n[upstreams.shop]\nbase_url = \"https://shop.example/v1\"\n\
        [routes.order]\nupstream = \"shop\"\nrequest.method = \"POST\"\nrequest.path = \"orders\"\n";

    /// A record of a call of [`TABLE`]'s route, whose request has this body.
    fn record(route: &Route, body: Option<&'static [u8]>) -> Box<Record> {
        let context =
            Box::new(Context { platform: "http", function: "order".to_owned(), ..Context::default() });
        let call = Call { args: GivenArguments::from(json!(null)), context };
        let mut record = Record::panicked(call, Duration::from_millis(7), None);
        record.error = None;
        let args = serde_json::from_str(r#"{"count": 12345678901234567890.10, "note": "caf\u00e9 \"x\""}"#);
        record.validated = Some(Validated { args: args.unwrap(), ..Validated::default() });
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("Bearer s3cr3t");
        secret.set_sensitive(true);
        headers.append("authorization", secret);
        headers.append("x-tag", HeaderValue::from_static("one"));
        headers.append("x-tag", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        let request = &route.steps[0].request;
        let sent = Request {
            target: Arc::clone(&request.upstream.delivery.target),
            step: Some(Arc::clone(&request.step)),
            method: Method::POST,
            url: "https://shop.example/v1/orders?a=b%20c".parse().unwrap(),
            headers: headers.clone(),
            body: body.map(bytes::Bytes::from_static),
        };
        let step = StepRecord { request: Some(Arc::new(sent)), ..StepRecord::default() };
        record.steps.push(step);
        let response = ParsedResponse::new(200, ResponseHeaders::from(&headers), json!({"id": 7}).into());
        record.outputs.push(StepOutput { response: Some(response), values: vec![Some(json!(7).into())] });
        let reply = Reply {
            text: Some("Done.".to_owned()),
            data: Some(json!([1, null]).into()),
            extensions: vec![
                ReplyExtension::valid("action", json!([{"say": "Hi."}])),
                ReplyExtension { is_valid: false, ..ReplyExtension::valid("n", json!(1.50)) },
            ],
        };
        record.outcome = Outcome::answered(reply);
        record
    }

    #[test]
    fn a_packed_record_is_shown_as_it_was() {
        let dispatcher = Dispatcher::over(TABLE, |_| {});
        let plan = dispatcher.live.plan();
        let route = plan.route("order", "http").unwrap();
        for body in [None, Some(&b""[..]), Some(b"{\"a\":1}"), Some(b"\xff\x00")] {
            let record = record(route, body);
            let before = format!("{record:?}");
            let packed = PackedRecord::new(record, Some(route), 0);
            packed.facts(|record| assert!(record.steps[0].request.is_none()));
            for _ in 0..2 {
                assert_eq!(packed.whole(|record| format!("{record:?}")), before);
            }
        }
    }

    #[test]
    fn a_reply_that_is_nested_too_deep_to_be_parsed_is_packed() {
        let dispatcher = Dispatcher::over(TABLE, |_| {});
        let plan = dispatcher.live.plan();
        let route = plan.route("order", "http").unwrap();
        let mut record = record(route, None);
        let deep = JsonText::written(format!("{}{}", "[".repeat(200), "]".repeat(200)));
        record.outcome = Outcome::answered(Reply { data: Some(deep), ..Reply::default() });
        let before = format!("{record:?}");
        let packed = PackedRecord::new(record, Some(route), 0);
        assert_eq!(packed.whole(|record| format!("{record:?}")), before);
    }

    #[test]
    fn failures_and_large_records_are_kept_as_they_are() {
        let dispatcher = Dispatcher::over(TABLE, |_| {});
        let plan = dispatcher.live.plan();
        let route = plan.route("order", "http").unwrap();
        let has_request = |packed: &PackedRecord| packed.facts(|record| record.steps[0].request.is_some());
        let mut failed = record(route, None);
        failed.error = Some(Arc::new(crate::flow::CallError::Busy));
        assert!(has_request(&PackedRecord::new(failed, Some(route), 0)));
        assert!(has_request(&PackedRecord::new(record(route, None), Some(route), MAX_PACKED + 1)));
        // Without a route, it could not be read back.
        assert!(has_request(&PackedRecord::new(record(route, None), None, 0)));
        assert!(!has_request(&PackedRecord::new(record(route, None), Some(route), 0)));
    }
}
