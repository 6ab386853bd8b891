//! Records of answered calls, packed for keeping. Most of them are never looked at.
//!
//! The arguments, requests, responses and the reply of a call are dozens of small allocations. If the history freed them
//! one by one, long after the call, each would be a cache miss. So they are serialized into one buffer while they are
//! still in the cache, and read back when the record is requested.

mod codec;

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::call::Outcome;
use crate::flow::Record;
use crate::json::push_value;
use crate::plan::Route;
use crate::upstream::Request;

use codec::{Reader, put_flag, put_headers, put_reply, put_request, put_values};

/// The largest record that is packed, in bytes. Copying a larger one would cost more than it saves.
const MAX_PACKED: usize = 32 * 1024;

thread_local! {
    /// The buffer for the next content of the thread. A record is written here, and copied when its size is known.
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

/// The arguments, the reply, the requests and the responses.
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
    /// Packs a record that takes about this many bytes, or at least drops its indexes. `route` is the route that answered
    /// the call.
    pub(super) fn new(record: Box<Record>, route: Option<&Arc<Route>>, bytes: usize) -> Self {
        let route = route.filter(|route| record.steps.len() <= route.steps.len());
        // A failure is rare, and its error may hold parts of the request.
        let route = route.filter(|_| record.error.is_none() && bytes <= MAX_PACKED);
        let mut kept = Kept { record, content: None };
        match route {
            Some(route) => kept.pack(Arc::clone(route)),
            None => kept.record.give_up_indexes(),
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

    /// Passes the record to `look`, without its arguments, requests, responses and reply.
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
                put_headers(&mut out, &response.take_headers());
            }
            put_values(&mut out, output);
        }
        // Values that are no parts of a body are not packed.
        record.give_up_indexes();
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
                response.set_headers(rest.headers());
            }
            rest.values(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Call, Context, GivenArguments, Outcome, Reply, ReplyExtension};
    use crate::dispatch::Dispatcher;
    use crate::flow::StepRecord;
    use crate::json::{Document, JsonText, SharedValue};
    use crate::lang::template::{ParsedResponse, StepOutput};
    use crate::plan::arguments::Validated;
    use http::{HeaderMap, HeaderValue, Method};
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
        let response = ParsedResponse::new(200, headers, json!({"id": 7}).into());
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
    fn the_parts_of_a_body_are_packed_with_it() {
        let dispatcher = Dispatcher::over(TABLE, |_| {});
        let plan = dispatcher.live.plan();
        let route = plan.route("order", "http").unwrap();
        let document =
            Document::parse(r#" {"id": 7, "items": ["caf\u00e9", {}], "n": null} "#.into()).unwrap();
        let document = Arc::new(document);
        let part = |name: &str| Some(SharedValue::part(&document, document.root().get(name).unwrap()));
        let body = SharedValue::whole(Arc::clone(&document));
        let parts = body.keep_all(&[body.get()]);
        let seen = |record: &Record| {
            let StepOutput { response, values } = &record.outputs[0];
            let body = response.as_ref().unwrap().body();
            let shared = values.iter().flatten().filter(|value| value.shares_document(body)).count();
            let values: Vec<_> =
                values.iter().map(|value| value.as_ref().map(SharedValue::to_value)).collect();
            (body.to_value(), values, shared)
        };
        for (values, is_packed) in [
            (vec![], true),
            (vec![part("items"), None, part("id"), part("n"), Some(body.clone())], true),
            (vec![part("id"), Some(json!(7).into())], false),
            (vec![part("id"), Some(parts)], false),
        ] {
            let mut record = record(route, None);
            let response = ParsedResponse::new(200, HeaderMap::new(), body.clone());
            record.outputs = vec![StepOutput { response: Some(response), values }];
            let before = seen(&record);
            let packed = PackedRecord::new(record, Some(route), 0);
            let is_bare = |record: &Record| record.outputs[0].response.as_ref().unwrap().body().is_null();
            // Looking at a value builds the index again.
            assert_eq!(packed.facts(Record::index_bytes), 0);
            assert_eq!(packed.facts(is_bare), is_packed);
            for _ in 0..2 {
                assert_eq!(packed.whole(seen), before);
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
