//! Bad input: hundreds of malformed requests, byte for byte over TCP to one running proxy. Each gets a timely response
//! in its sender's format, or the connection is closed. No rejected request reaches an upstream, and the proxy keeps
//! working.

mod bodies;
mod fields;
mod framing;
mod heads;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::proxy::{GUARD, Proxy};
use crate::support::shape::assert_shape;
use crate::support::upstream::{Reply, Upstream};

use wire::{Answer, exchange};

/// How many are sent concurrently.
const CONCURRENCY: usize = 32;

/// The proxy's limit for bodies: small, so that oversized ones are quick to send.
const MAX_BODY: usize = 64 * 1024;

const TABLE: &str = r#"
[server]
listen   = "127.0.0.1:0"
admin    = "127.0.0.1:0"
max_body = "64KiB"

[platforms.swaig]
headers = ["x-case"]
[platforms.voicedock]
headers = ["x-case"]
[platforms.dailybots]
headers = ["x-case"]
[platforms.millis]
headers = ["x-case"]
[platforms.http]
headers = ["x-case"]

[upstreams.api]
base_url = "http://UPSTREAM"
headers = { x-case = "{{call.headers.x-case}}" }

[routes.get_weather]
upstream = "api"
platforms = ["swaig", "voicedock", "dailybots", "http"]
args.city = { type = "string", required = true }
args.days = { type = "integer", min = 1, max = 7 }
args.place = { type = "object", properties = { lat = { type = "number" } } }
args.list = { type = "array", items = { type = "integer" } }
request = { method = "POST", path = "/weather/{{args.city}}", body = { days = "{{args.days}}", from = "{{call.caller}}", meta = "{{call.metadata}}" } }
reply = { text = "It rains in {{args.city}}.", data = { city = "{{args.city}}", list = "{{args.list}}" } }

[routes.lookup_contact]
upstream = "api"
args.query = { type = "string", required = true }
request = { path = "/contacts", query = { q = "{{args.query}}" } }
reply.data = { query = "{{args.query}}" }

[routes.getUserInfo]
upstream = "api"
platforms = ["millis"]
args.email = { type = "string", required = true }
request = { path = "/users", query = { email = "{{args.email}}", tier = "{{call.metadata.customer_tier}}" } }
reply.text = "Known."

[routes.change_language]
upstream = "api"
platforms = ["dailybots"]
streaming = true
args.code = { type = "string", required = true }
request.path = "/languages/{{args.code}}"
reply.text = "Done."

[events.voicedock.assistant_request]
reply.data = { first_message = "Hello {{event.customer.number}}." }
"#;

/// A malformed request, or a valid one followed by garbage.
pub(super) struct Case {
    /// A unique name. It is sent in the header `x-case` if the head can carry it.
    name: String,
    bytes: Vec<u8>,
    /// Whether the sender closes its side after the last byte.
    cut_off: bool,
    /// The expected responses, in order, before the connection is closed.
    answers: Vec<Expect>,
}

/// The expected response to one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Expect {
    /// Rejected with this status; no call is made.
    Refused(u16),
    /// An error in the platform's own format; no call is made.
    ErrorReply(&'static str),
    /// A response in the platform's own format; a call may have been made.
    Answered(&'static str),
    /// A valid response of plain HTTP to one call: the odd part of the request does not matter.
    Called,
}

impl Case {
    fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>, answers: &[Expect]) -> Self {
        Self { name: name.into(), bytes: bytes.into(), cut_off: false, answers: answers.to_vec() }
    }

    fn cut_off(mut self) -> Self {
        self.cut_off = true;
        self
    }

    /// How many calls reach an upstream.
    fn calls(&self) -> RangeInclusive<usize> {
        let count = |wanted: fn(&Expect) -> bool| self.answers.iter().filter(|answer| wanted(answer)).count();
        let (called, answered) = (
            count(|answer| *answer == Expect::Called),
            count(|answer| matches!(answer, Expect::Answered(_))),
        );
        // No fixture with several calls has more than two.
        called..=called + 2 * answered
    }
}

impl Expect {
    /// Fails unless `answer` is as expected.
    fn check(self, answer: &Answer) {
        let platform = match self {
            Self::Refused(status) => return assert_eq!(answer.status, status, "{answer:?}"),
            Self::Called => {
                return assert_eq!(answer.text(), r#"{"text":"It rains in Oslo.","data":{"city":"Oslo"}}"#);
            }
            Self::ErrorReply(platform) | Self::Answered(platform) => platform,
        };
        if answer.body.starts_with(b"event: ") {
            assert!(
                self != Self::ErrorReply(platform) || answer.text().contains(r#""error":"#),
                "{answer:?}"
            );
            assert!(answer.text().ends_with("event: close\ndata: {}\n\n"), "{answer:?}");
            return;
        }
        // Plain HTTP also reports the error in the status.
        let statuses = if platform == "http" { &[200, 400, 404][..] } else { &[200] };
        assert!(statuses.contains(&answer.status), "{answer:?}");
        assert_shape(platform, &answer.body);
        if let Self::ErrorReply(_) = self {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            let error = match platform {
                "swaig" => body["response"].as_str(),
                "http" => body["error"]["text"].as_str(),
                "voicedock" => {
                    body["error"].as_str().or_else(|| body["results"][0]["result"]["error"].as_str())
                }
                _ => body["error"].as_str(),
            };
            assert!(error.is_some_and(|text| !text.is_empty()), "{body}");
        }
    }
}

/// A valid call of each platform, sent at the end: its name, path, body, and expected response.
fn good_calls() -> [(&'static str, &'static str, Value, Value); 5] {
    let weather = json!({"city": "Oslo"});
    let text = json!("It rains in Oslo.");
    [
        (
            "swaig",
            "/swaig",
            json!({"function": "get_weather", "argument": {"parsed": [{"city": "Oslo"}]}}),
            json!({"response": text}),
        ),
        (
            "voicedock",
            "/voicedock",
            json!({"message": {"type": "tool-calls", "tool_call_list": [
                {"id": "t", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
            ]}}),
            json!({"results": [{"tool_call_id": "t", "result": weather}]}),
        ),
        ("dailybots", "/dailybots/get_weather", json!({"city": "Oslo"}), weather.clone()),
        ("millis", "/millis/getUserInfo", json!({"email": "a@b.example"}), json!({"result": "Known."})),
        ("http", "/http/get_weather", json!({"city": "Oslo"}), json!({"text": text, "data": weather})),
    ]
}

#[tokio::test]
async fn malformed_requests_do_no_harm() {
    let upstream = Upstream::new(|_| Reply::json(&json!({"temp": 9}))).await;
    let mut proxy = Proxy::start(&TABLE.replace("UPSTREAM", &upstream.address.to_string())).await;
    let cases: Vec<Case> =
        [heads::cases(), framing::cases(), bodies::cases(), fields::cases()].into_iter().flatten().collect();
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "two cases are named {}", case.name);
    }
    assert!(cases.len() >= 300, "{} cases", cases.len());

    let listen = proxy.listen;
    let sent = cases.iter().map(|case| async move {
        let answers = tokio::time::timeout(GUARD, exchange(listen, case)).await;
        (case, answers)
    });
    let sent: Vec<_> = futures_util::stream::iter(sent).buffer_unordered(CONCURRENCY).collect().await;
    let mut wrong = Vec::new();
    for (case, answers) in sent {
        let Ok(answers) = answers else {
            wrong.push(format!("{}: neither answered nor closed", case.name));
            continue;
        };
        let checked = std::panic::catch_unwind(|| {
            assert_eq!(answers.len(), case.answers.len(), "answers: {answers:?}");
            case.answers.iter().zip(&answers).for_each(|(expected, answer)| expected.check(answer));
        });
        if let Err(panic) = checked {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            wrong.push(format!("{}: {text}", case.name));
        }
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for request in upstream.take() {
        *seen.entry(request.header("x-case").join(" ")).or_default() += 1;
    }
    for case in &cases {
        let calls = seen.remove(&case.name).unwrap_or_default();
        if !case.calls().contains(&calls) {
            wrong.push(format!("{}: {calls} calls reached the upstream", case.name));
        }
    }
    // Requests without a name were rejected.
    wrong.extend(seen.into_keys().map(|name| format!("`{name}` reached the upstream")));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    for (name, path, body, expected) in good_calls() {
        assert_eq!(proxy.post(path, &body).await.json(), expected, "{name}");
        upstream.one();
    }
    assert_eq!(proxy.ask_admin("/healthz", &[]).await.status, 200);
    proxy.signal("TERM");
    assert!(proxy.ended().await.success());
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}
