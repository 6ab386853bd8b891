//! How much a call may allocate: exact numbers, which do not depend on the load of the machine.
//!
//! A separate binary, because it counts the allocations of its global allocator.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, StatusCode};
use jackfield::flow::{self, Cache, CallEnv, CallKey, NoCaller};
use jackfield::live;
use jackfield::load::{load, process_environment};
use jackfield::plan::{FunctionsFor, Plan};
use jackfield::platform::{self, Decoded, Inbound, Platform, Settings};
use jackfield::single_flight::{FlightLookup, Retention};
use jackfield::upstream::resources::Resources;
use jackfield::upstream::{Request, Response, ResponseFuture, Times, Transport};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts for the whole process, so only one test at a time may allocate.
static ALONE: Mutex<()> = Mutex::new(());

/// The most allocations, and the most allocated bytes, for one call, from the body of its request to the body of its
/// response, without the connections at either end. Raise them only with a reason.
const BUDGETS: [(&str, usize, usize); 2] = [("swaig", 58, 18_500), ("voicedock", 75, 17_800)];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Answers the first request.
struct OneResponse(Mutex<Option<Response>>);

impl Transport for OneResponse {
    fn send<'a>(&'a self, _: &'a Request, _: Times) -> ResponseFuture<'a> {
        let response = self.0.lock().unwrap().take().expect("a second request");
        Box::pin(std::future::ready(Ok(response)))
    }
}

/// A call of the benchmarks' route, which has everything a usual route has, answered by a stub. Returns what it
/// allocated.
fn call(platform: &'static dyn Platform, body: &Bytes, plan: &Plan, resources: &Resources) -> Stats {
    let headers = [("content-type", &b"application/json"[..])].into_iter().collect();
    let reply = fs::read(project("benches/payloads/reply.json")).unwrap();
    let response = Response { status: StatusCode::OK, headers, body: Bytes::from(reply) };
    let transport = OneResponse(Mutex::new(Some(response)));
    let inbound = Inbound {
        method: Method::POST,
        uri: http::Uri::default(),
        function: None,
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: body.clone(),
        received_at: 1_790_000_000,
    };
    let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
    let (settings, functions) = (Settings::defaults(platform), FunctionsFor::new(plan, platform.name()));

    let region = Region::new(ALLOCATOR);
    let Ok(Decoded::Calls(calls, encoder)) = platform.decode(&inbound, &settings, &functions) else {
        panic!("no calls");
    };
    let mut outcomes = Vec::with_capacity(calls.len());
    for call in calls.into_iter().take(1) {
        let route = plan.route(&call.context.function, platform.name()).map(AsRef::as_ref);
        let (key, validation) = CallKey::of(&call, route, &plan.zone);
        let env = CallEnv {
            plan,
            resources,
            platform,
            transport: &transport,
            began: Instant::now(),
            deadline: Instant::now() + Duration::from_secs(3600),
            now: "2026-06-15T10:20:30Z",
            key,
            cache: &cache,
            traced: None,
            caller: &NoCaller,
            state: None,
        };
        let record = flow::answer(call, validation, route, &env).now_or_never().expect("nothing in it waits");
        assert!(record.error.is_none(), "{:?}", record.error);
        outcomes.push(record.outcome);
    }
    drop(encoder.encode(outcomes));
    region.change()
}

#[test]
fn a_call_allocates_no_more_than_its_budget() {
    let _alone = ALONE.lock().unwrap();
    let loaded = load(&project("benches/routes.toml"), &process_environment()).unwrap();
    let plan = loaded.plan.unwrap();
    let resources = live::prepare(&plan, &Resources::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _runtime = runtime.enter();
    let mut over = Vec::new();
    for (name, allocations, bytes) in BUDGETS {
        let platform = platform::find(name).unwrap();
        let body = Bytes::from(fs::read(project(&format!("benches/payloads/{name}.json"))).unwrap());
        // The first call also allocates what is created once: lazy tables, thread-local buffers.
        call(platform, &body, &plan, &resources);
        let used = call(platform, &body, &plan, &resources);
        let made = used.allocations + used.reallocations;
        if made > allocations || used.bytes_allocated > bytes {
            over.push(format!(
                "{name}: {made} allocations of {} bytes, over {allocations} of {bytes}",
                used.bytes_allocated
            ));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// A response as the client makes it.
fn received(number: usize, headers: usize, body: usize) -> Response {
    let headers: Vec<_> =
        (0..headers).map(|header| (format!("x-header-{header}"), format!("{number:0>20}"))).collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let mut buffer = bytes::BytesMut::with_capacity(body * 2);
    buffer.resize(body, b'x');
    Response { status: StatusCode::OK, headers, body: buffer.freeze() }
}

#[test]
fn the_cache_takes_what_it_says() {
    let _alone = ALONE.lock().unwrap();
    for (headers, body) in [(0, 11), (2, 11), (10, 500), (30, 5_000), (1, 60_000)] {
        let cache = Arc::new(Cache::new(usize::MAX));
        let region = Region::new(ALLOCATOR);
        for number in 0..6_000_u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            let FlightLookup::Leader(lead) = cache.find(key, Instant::now()) else {
                panic!("it is kept already")
            };
            let response = received(usize::try_from(number).unwrap(), headers, body);
            let (fresh, bytes) = (Duration::from_secs(3600), flow::cache::bytes(&response));
            let retention = Retention { fresh, stale: Duration::ZERO, bytes, owner: [0; 32] };
            lead.keep(Ok(response.compact()), retention, Instant::now());
        }
        let change = region.change();
        let taken = change.bytes_allocated - change.bytes_deallocated;
        let share = 100 * cache.bytes() / taken;
        assert!((90..=125).contains(&share), "{headers} headers, {body} bytes: {share} % of {taken} bytes");
    }
}
