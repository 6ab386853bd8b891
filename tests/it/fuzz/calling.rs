//! One whole call against canned replies, for the fuzz targets that look at what is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jackfield::flow::{self, Cache, CallEnv, CallError, CallKey, NoCaller, Record};
use jackfield::live;
use jackfield::plan::{FunctionsFor, Plan};
use jackfield::platform::{Decoded, find};
use jackfield::upstream::resources::Resources;
use jackfield::upstream::stub::StubTransport;
use jackfield::upstream::{Request, Response};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// What a call came to.
pub(crate) struct Called {
    pub(crate) record: Record,
    /// What goes back to the platform.
    pub(crate) answer: Bytes,
    /// What was sent to the upstream.
    pub(crate) requests: Vec<Request>,
}

/// A call of the function `try`, whose two steps are both answered with this body.
pub(crate) fn call(plan: &Plan, platform: &str, args: &Value, body: &str) -> Called {
    let platform = find(platform).unwrap();
    let settings = &plan.served(platform.name()).unwrap().settings;
    let sample = platform.sample("try", args);
    let decoded = platform.decode(&sample, settings, &FunctionsFor::new(plan, platform.name()));
    let Ok(Decoded::Calls(mut calls, encoder)) = decoded else { panic!("{sample:?}") };
    let call = calls.remove(0);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let response =
        Response { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()) };
    let transport = StubTransport::queued([Ok(response.clone()), Ok(response)]);
    let route = plan.route("try", platform.name()).map(AsRef::as_ref);
    let env = CallEnv {
        plan,
        resources: &live::prepare(plan, &Resources::default()),
        platform,
        transport: &transport,
        deadline: Instant::now() + Duration::from_secs(3600),
        now: "2026-06-15T10:20:30Z",
        key: CallKey::of(&call, route),
        cache: &Arc::new(Cache::new(flow::cache::MAX_BYTES)),
        traced: None,
        caller: &NoCaller,
    };
    let record = RUNTIME.with(|runtime| runtime.block_on(flow::answer(call, route, env)));
    // A panic of a task is caught on its way.
    assert!(!matches!(record.error.as_deref(), Some(CallError::Panicked)), "{record:?}");
    let answer = encoder.encode(vec![record.outcome.clone()]).body;
    Called { record, answer, requests: transport.requests() }
}
