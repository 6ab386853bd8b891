//! What each verb of a call costs, the whole call without a network, and the loading of a table.
//!
//! `cargo bench` runs all of them, `cargo bench -- extract` one.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, StatusCode};
use jackfield::call::{Call, Outcome, Reply};
use jackfield::flow::{self, Cache, CallEnv, CallKey, NoCaller};
use jackfield::json::Document;
use jackfield::lang::template::{Scope, StepOutput};
use jackfield::live;
use jackfield::load::{load, process_environment};
use jackfield::plan::replies::SkippedCases;
use jackfield::plan::{FunctionsFor, Plan};
use jackfield::platform::{self, Decoded, Encode, Inbound, Settings};
use jackfield::upstream::resources::Resources;
use jackfield::upstream::stub::StubTransport;
use jackfield::upstream::{Response, TransportError};

const SWAIG: &[u8] = include_bytes!("payloads/swaig.json");
const VOICEDOCK: &[u8] = include_bytes!("payloads/voicedock.json");
const REPLY: &[u8] = include_bytes!("payloads/reply.json");

/// A route of the large table; its number takes the place of `NUMBER`.
const ROUTE: &str = include_str!("route.toml");

const FUNCTION: &str = "change_order";
const NOW: &str = "2026-06-15T10:20:30Z";

/// How many routes the large table has.
const MANY: usize = 1000;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn plan(path: &Path) -> Plan {
    let loaded = load(path, &process_environment()).expect("the table can be read");
    loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn inbound(body: &'static [u8]) -> Inbound {
    Inbound {
        method: Method::POST,
        uri: http::Uri::default(),
        function: None,
        query: Vec::new(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(body),
        received_at: 1_790_000_000,
    }
}

fn decode(platform: &str, body: &'static [u8], plan: &Plan) -> (Vec<Call>, Box<dyn Encode>) {
    let platform = platform::find(platform).expect("the platform exists");
    let functions = FunctionsFor::new(plan, platform.name());
    match platform.decode(&inbound(body), &Settings::defaults(platform), &functions) {
        Ok(Decoded::Calls(calls, encoder)) => (calls, encoder),
        other => panic!("no calls: {other:?}"),
    }
}

fn response() -> Response {
    let headers = [("content-type", &b"application/json"[..])].into_iter().collect();
    Response { status: StatusCode::OK, headers, body: Bytes::from_static(REPLY) }
}

fn verbs(criterion: &mut Criterion) {
    let plan = plan(&project("benches/routes.toml"));
    let swaig = platform::find("swaig").expect("SWAIG exists");
    let route = plan.route(FUNCTION, "swaig").expect("the route exists");
    let call = decode("swaig", SWAIG, &plan).0.remove(0);

    criterion.bench_function("decode/swaig", |bench| {
        bench.iter(|| decode("swaig", black_box(SWAIG), &plan));
    });
    criterion.bench_function("decode/voicedock", |bench| {
        bench.iter(|| decode("voicedock", black_box(VOICEDOCK), &plan));
    });

    criterion.bench_function("validate", |bench| {
        bench.iter(|| route.arguments.validate(black_box(&call.args)).expect("the arguments fit"));
    });
    let validated = route.arguments.validate(&call.args).expect("the arguments fit");

    let step = route.steps.first().expect("the route has a request");
    let asking = Scope {
        args: &validated.args,
        call: &call.context,
        steps: &[],
        now: NOW,
        memory: &serde_json::Value::Null,
    };
    criterion.bench_function("render", |bench| {
        bench.iter(|| step.request.render(black_box(&asking)).expect("the request is rendered"));
    });

    let response = response();
    criterion.bench_function("read", |bench| {
        bench.iter(|| step.read(black_box(response.clone())));
    });
    let reading = step.read(response);
    criterion.bench_function("extract", |bench| {
        bench.iter(|| {
            step.extract(black_box(&reading), &asking, &route.replies).expect("the values are there")
        });
    });
    let values = step.extract(&reading, &asking, &route.replies).expect("the values are there");

    let steps = [StepOutput { response: Some(reading), values }];
    let answering = Scope { steps: &steps, ..asking };
    let extracted = || route.extracted(&steps);
    let pick = || {
        route.replies.pick(black_box(&answering), extracted, "swaig", swaig.guard(), &mut SkippedCases::new())
    };
    criterion.bench_function("pick", |bench| {
        bench.iter(|| pick().expect("a case holds"));
    });
    let picked = pick().expect("a case holds");

    for (name, body) in [("swaig", SWAIG), ("voicedock", VOICEDOCK)] {
        let (calls, encoder) = decode(name, body, &plan);
        let outcome = |_| Outcome::answered(picked.reply.clone());
        criterion.bench_function(&format!("encode/{name}"), |bench| {
            let outcomes = || calls.iter().map(outcome).collect::<Vec<_>>();
            bench.iter_batched(outcomes, |outcomes| encoder.encode(outcomes), BatchSize::SmallInput);
        });
    }
}

fn whole_call(criterion: &mut Criterion) {
    let plan = plan(&project("benches/routes.toml"));
    let resources = live::prepare(&plan, &Resources::default());
    let platform = platform::find("swaig").expect("SWAIG exists");
    let call = decode("swaig", SWAIG, &plan).0.remove(0);
    let deadline = Instant::now() + Duration::from_secs(3600);
    let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
    // A call makes timers, which belong to a runtime, though none of them ends here.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let _runtime = runtime.enter();
    let canned = || {
        let response: Result<Response, TransportError> = Ok(response());
        (StubTransport::queued([response]), call.clone())
    };
    let answer = |(transport, call): (StubTransport, Call)| -> Arc<Reply> {
        let route = plan.route(&call.context.function, platform.name()).map(AsRef::as_ref);
        let (key, validation) = CallKey::of(&call, route, &plan.zone);
        let env = CallEnv {
            plan: &plan,
            resources: &resources,
            platform,
            transport: &transport,
            began: Instant::now(),
            deadline,
            now: NOW,
            key,
            cache: &cache,
            traced: None,
            caller: &NoCaller,
            state: None,
        };
        // Nothing in it waits: the stub has its answer at once.
        let record =
            flow::answer(call, validation, route, &env).now_or_never().expect("the call ends at once");
        assert!(record.error.is_none(), "{:?}", record.error);
        record.outcome.reply
    };
    criterion.bench_function("answer", |bench| {
        bench.iter_batched(canned, answer, BatchSize::SmallInput);
    });
}

/// A table of many routes of about 1 KB each, with all that a usual one has.
fn many_routes() -> String {
    let mut table = "[server]\nlisten = \"127.0.0.1:0\"\n[platforms.swaig]\n[platforms.voicedock]\n\
        [upstreams.shop]\nbase_url = \"https://shop.example.com/api\"\n\n"
        .to_owned();
    table.extend((0..MANY).map(|number| ROUTE.replace("NUMBER", &number.to_string())));
    table
}

fn loading(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let many = folder.path().join("routes.toml");
    fs::write(&many, many_routes()).expect("a file can be written");
    assert_eq!(plan(&many).routes.len(), MANY);

    criterion.bench_function("load/shipped", |bench| {
        bench.iter(|| plan(&project("routes.toml")));
    });
    let mut group = criterion.benchmark_group("load");
    group.sample_size(20);
    group.bench_function("1000_routes", |bench| bench.iter(|| plan(&many)));
    group.finish();
}

/// A reply as a tree, as an indexed document, and as a tree made from the document.
fn reply_body(criterion: &mut Criterion) {
    let body = Bytes::from_static(REPLY);
    let parse = || Document::parse(black_box(body.clone())).expect("the reply is JSON");
    criterion.bench_function("body/tree", |bench| {
        bench.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(REPLY)));
    });
    criterion.bench_function("body/document", |bench| bench.iter(parse));
    criterion.bench_function("body/document_to_tree", |bench| bench.iter(|| parse().root().to_value()));
    let document = parse();
    criterion.bench_function("body/write", |bench| {
        bench.iter(|| {
            let mut out = String::with_capacity(REPLY.len());
            document.root().write_json(&mut out);
            out
        });
    });
}

criterion_group!(benches, verbs, reply_body, whole_call, loading);
criterion_main!(benches);
