//! Runs one whole call against canned responses, for the fuzz targets that check what is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
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

/// The result of a call.
pub(crate) struct Called {
    pub(crate) record: Box<Record>,
    /// The reply to the platform.
    pub(crate) answer: Bytes,
    /// The requests to the upstream.
    pub(crate) requests: Vec<Request>,
}

/// Calls the function `try`. Both of its steps get this response body.
pub(crate) fn call(plan: &Plan, platform: &str, args: &Value, body: &str) -> Called {
    let platform = find(platform).unwrap();
    let settings = &plan.served(platform.name()).unwrap().settings;
    let sample = platform.sample("try", args);
    let decoded = platform.decode(&sample, settings, &FunctionsFor::new(plan, platform.name()));
    let Ok(Decoded::Calls(mut calls, encoder)) = decoded else { panic!("{sample:?}") };
    let call = calls.remove(0);
    let headers = [("content-type", &b"application/json"[..])].into_iter().collect();
    let response =
        Response { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()) };
    let transport = StubTransport::queued([Ok(response.clone()), Ok(response)]);
    let route = plan.route("try", platform.name()).map(AsRef::as_ref);
    let (key, validation) = CallKey::of(&call, route, &plan.zone);
    let env = CallEnv {
        plan,
        resources: &live::prepare(plan, &Resources::default()),
        platform,
        transport: &transport,
        began: Instant::now(),
        deadline: Instant::now() + Duration::from_secs(3600),
        now: "2026-06-15T10:20:30Z",
        key,
        cache: &Arc::new(Cache::new(flow::cache::MAX_BYTES)),
        traced: None,
        caller: &NoCaller,
        state: None,
    };
    let record = RUNTIME.with(|runtime| runtime.block_on(flow::answer(call, validation, route, &env)));
    // The runtime would catch a panic of the task, so rethrow it.
    assert!(!matches!(record.error.as_deref(), Some(CallError::Panicked)), "{record:?}");
    let answer = encoder.encode(vec![record.outcome.clone()]).body;
    Called { record, answer, requests: transport.requests() }
}
