//! Decoding of any request to each platform's endpoint, and encoding of made-up outcomes.
//!
//! An input is written like a request: `swaig get_weather?x=1`, headers, an empty line, the body. An unknown platform
//! stands for `http`; invalid header lines are ignored.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jackfield::call::{FailureKind, Outcome, Reply, ReplyExtension};
use jackfield::plan::{FunctionsFor, Plan};
use jackfield::platform::auth::Login;
use jackfield::platform::{Decoded, Inbound};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::loading::Tables;
use super::shape::assert_shape;

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
[platforms.swaig]
signing_key = "made-up-key"
auth.basic = { username = "user", password = "made-up-password" }
[platforms.voicedock]
auth.signature = { secret = "made-up-secret" }
reply = "direct"
[platforms.dailybots]
auth.signature = { secret = "made-up-secret", header = "x-signature", encoding = "base64", signed = ["timestamp", ".", "target", "body"], timestamp_header = "x-timestamp" }
[platforms.millis]
auth.bearer = { token = "made-up-token" }
[platforms.http]
auth.header = { name = "x-api-key", value = "made-up-key" }
headers = ["x-session-id"]
[routes.get_weather]
platforms = ["swaig", "voicedock", "dailybots", "http"]
description = "Current weather in a city."
args.city = { type = "string", required = true, max_length = 80, pattern = "^[A-Z]" }
args.days = { type = "integer", min = 1, max = 7, default = 2 }
args.unit = { type = "string", enum = ["celsius", "fahrenheit"] }
args.list = { type = "array", items = { type = "number" } }
args.place = { type = "object", properties = { lat = { type = "number", required = true } } }
args.exact = { type = "boolean" }
args.on = { type = "string", format = "date" }
reply.text = "{{args.city}}"
[routes.weather]
args.city = { type = "string" }
args.days = { type = "integer" }
reply.text = "{{args.city}}"
[routes.get_weather.declare]
swaig = { fillers = { en = ["One moment."] } }
[routes.change_language]
streaming = true
args.code = { type = "string" }
dailybots.before = [{ action = "tts:say", arguments = { text = "One moment." } }]
reply = { text = "Done.", dailybots.events = [{ update_config = { tts = { language = "{{args.code}}" } } }] }
[events.millis.prefetch]
reply.data = { from = "{{event.from}}" }
"#;

thread_local! {
    static PLAN: Plan = Tables::new().plan(TABLE);
}

pub(crate) fn run(data: &[u8]) {
    let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, &b""[..]),
    };
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let (name, target) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let (function, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    }
    let inbound = Inbound {
        method: Method::POST,
        uri: format!("/{name}?{query}").parse().unwrap_or_default(),
        function: (!function.is_empty()).then(|| function.to_owned()),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body: Bytes::copy_from_slice(body),
        received_at: 1_790_000_000,
    };
    PLAN.with(|plan| decode(plan, name, &inbound));
}

fn decode(plan: &Plan, name: &str, inbound: &Inbound) {
    let served = plan.served(name).or_else(|| plan.served("http")).unwrap();
    let name = served.platform.name();
    let auth = served.auth.as_ref().unwrap();
    let login = auth.verify(&Login {
        method: &http::Method::POST,
        headers: &inbound.headers,
        target: "/",
        body: &inbound.body,
        received_at: inbound.received_at,
    });
    // No input can contain a valid signature unless it was computed with the secret.
    assert!(!auth.needs_body() || login.is_err(), "{login:?}");
    let functions = FunctionsFor::new(plan, name);
    let settings = &served.settings;
    match served.platform.decode(inbound, settings, &functions) {
        Ok(Decoded::Calls(calls, encoder)) => {
            let mut outcomes = Vec::new();
            for (index, call) in calls.iter().enumerate() {
                let route = plan.route(&call.context.function, name);
                let fits = route.is_some_and(|route| route.arguments.validate(&call.args).is_ok());
                outcomes.push(outcome(index + usize::from(!fits), &call.context.raw.to_value()));
            }
            let only = calls.len() == 1;
            let answer = encoder.encode(outcomes);
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            // The plain format of a single reply is the data itself, which may be any JSON.
            if !(name == "voicedock" && only) {
                assert_shape(name, &answer.body);
            }
            if let (false, Some(results)) = (only, body.get("results").filter(|_| name == "voicedock")) {
                assert_eq!(results.as_array().map(Vec::len), Some(calls.len()), "{results}");
            }
        }
        Ok(Decoded::Stream(call, mut encoder)) => {
            let before = json!([{"action": "tts:say", "arguments": {"text": call.context.function}}]);
            let mut stream = encoder.begin(vec![ReplyExtension::valid("before", before)]).to_vec();
            stream.extend(encoder.end(outcome(inbound.body.len(), &call.context.raw.to_value())));
            let stream = String::from_utf8(stream).unwrap();
            assert!(stream.ends_with("\n\n") && stream.contains("event: close"), "{stream}");
            let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
            data.for_each(|data| drop(serde_json::from_str::<Value>(data).unwrap()));
        }
        Ok(Decoded::Event(event)) => {
            assert!(served.platform.events().contains(event.kind));
            assert_eq!(event.neutral.body, "{}");
        }
        Ok(Decoded::Answer(answer, _)) => assert_shape(name, &answer.body),
        Ok(Decoded::Denied(_)) => {}
        Err(bad) => {
            let answer = served.platform.refuse(&bad);
            assert_shape(name, &answer.body);
            assert!(name == "http" || answer.status == 200, "{answer:?}");
        }
    }
}

/// An outcome made from the input; each number gives another kind.
fn outcome(number: usize, raw: &Value) -> Outcome {
    let text = || Reply::text(raw.to_string());
    let data = || Reply { data: Some(raw.into()), ..Reply::default() };
    let failed = |kind| Outcome::failed(kind, text());
    match number % 4 {
        0 => Outcome::answered(text()),
        1 => failed(FailureKind::InvalidArgs),
        2 => Outcome::answered(data()),
        _ => failed(FailureKind::UnknownFunction),
    }
}
