//! Each platform against its fixtures, `platforms/<name>/<case>.<part>.json`. A new platform adds files only.
//!
//! Input: `request` (the body), `inbound` (`method`, `function`, `query`, `headers`), `settings`, `functions` (the
//! functions that routes answer, with their arguments; an object if there is `streaming` or a declared `tool`).
//! Decoded: `calls`, `event`, `answer` (no call is made) or `refusal`. Encoded: `announced` (sent at once) and
//! `outcomes`, for these `response` or `stream`, and `faults` (in their extension keys). `status` is that of the
//! response, 200 by default. Declared: `tools` and the resulting `declaration`. If the vendor has `documented` another
//! format than ours, the file beside it must match the same schema.
//!
//! `reply.schema.json`, `stream.schema.json` and `declaration.schema.json` describe what the platform accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jackfield::call::{Call, FailureKind, GivenArguments, Outcome, Reply, ReplyExtension};
use jackfield::json::JsonText;
use jackfield::platform::auth::{BadLogin, Login, SCHEMES};
use jackfield::platform::{
    Answer, Decoded, EncodeStream, Endpoint, Functions, Inbound, PLATFORMS, PathStep, Platform, Settings,
    StaticValue, ToolSpec, find,
};
use jackfield::scheme::SchemeValues;
use jackfield::secret::Secret;
use serde_json::{Map, Value, json};

const PARTS: [&str; 17] = [
    "request",
    "inbound",
    "settings",
    "functions",
    "calls",
    "event",
    "answer",
    "refusal",
    "announced",
    "outcomes",
    "response",
    "stream",
    "faults",
    "status",
    "tools",
    "declaration",
    "documented",
];

#[test]
fn platforms_decode_and_encode_their_fixtures() {
    let mut parts = BTreeSet::new();
    for platform in PLATFORMS {
        let cases = cases(platform.name());
        for kind in ["calls", "outcomes"] {
            let seen = cases.values().filter(|case| case.part(kind).is_some()).count();
            assert!(seen > 0, "{}: no fixture with {kind}", platform.name());
        }
        for case in cases.values() {
            case.check(*platform);
            parts.extend(case.parts.keys().cloned());
        }
    }
    assert_eq!(parts, PARTS.map(ToOwned::to_owned).into(), "parts that no fixture has");
}

#[test]
fn platforms_decode_their_own_samples() {
    for platform in PLATFORMS {
        let args = json!({"city": "Bergen", "days": 2});
        let sample = platform.sample("get_weather", &args);
        assert!(platform.any_method() || sample.method == Method::POST);
        let decoded = platform.decode(&sample, &Settings::defaults(*platform), &Routes(Map::new()));
        let Ok(Decoded::Calls(calls, _)) = decoded else { panic!("{}: {decoded:?}", platform.name()) };
        let [call] = &calls[..] else { panic!("{}: {calls:?}", platform.name()) };
        assert_eq!((&*call.context.function, &call.args), ("get_weather", &args.into()));
        let conversation = call.context.conversation.as_deref().unwrap_or("example");
        assert!(conversation.contains("example"), "{}: {conversation}", platform.name());
        assert!(platform.check_function_name("get_weather").is_ok());
    }
}

/// Where body and URL both name a function, no request can show one of them and call the other.
#[test]
fn a_url_that_names_another_function_than_the_body_is_refused() {
    for platform in PLATFORMS {
        let mut inbound = platform.sample("get_weather", &json!({"city": "Bergen"}));
        let in_url = inbound.function.replace("cancel_order".to_owned()).is_some();
        let decoded = platform.decode(&inbound, &Settings::defaults(*platform), &Routes(Map::new()));
        assert!(in_url || decoded.is_err(), "{}: {decoded:?}", platform.name());
    }
}

#[test]
fn only_the_vendors_signature_is_accepted() {
    let vector =
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors/voicedock-signature.json"));
    let text = |key: &str| vector[key].as_str().unwrap().to_owned();
    let (secret, timestamp, body) = (text("secret"), text("timestamp"), text("raw_body"));
    let signature = text("X-Webhook-Signature");
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == "signature").unwrap();
    let verdict = |secrets: &[&str], signature: Option<&str>, body: &str, age_s: i64| {
        let mut values = SchemeValues::default();
        values.add("secret", secrets.iter().copied().map(Secret::new).collect());
        values.add_defaults(find("voicedock").unwrap().signature());
        let auth = (scheme.build)(&values).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-webhook-timestamp", HeaderValue::from_str(&timestamp).unwrap());
        if let Some(signature) = signature {
            headers.insert("x-webhook-signature", HeaderValue::from_str(signature).unwrap());
        }
        let received_at = timestamp.parse::<i64>().unwrap() + age_s;
        let (method, body) = (&Method::POST, body.as_bytes());
        auth.verify(&Login { method, headers: &headers, target: "/voicedock", body, received_at })
    };
    let signed = Some(&*signature);
    let header = HeaderName::from_static("x-webhook-signature");
    assert_eq!(verdict(&[&secret], signed, &body, 0), Ok(()));
    assert_eq!(verdict(&[&secret], signature.strip_prefix("sha256="), &body, 300), Ok(()));
    assert_eq!(verdict(&["whsec_next", &secret], signed, &body, -300), Ok(()));
    assert_eq!(verdict(&[&secret], signed, &body.replacen("1042", "1043", 1), 0), Err(BadLogin::Wrong));
    assert_eq!(verdict(&["whsec_other"], signed, &body, 0), Err(BadLogin::Wrong));
    assert_eq!(verdict(&[&secret], signed, &body, 301), Err(BadLogin::Stale(300)));
    assert_eq!(verdict(&[&secret], None, &body, 0), Err(BadLogin::Missing(header)));
}

/// The parts of one case, by name.
struct Case {
    name: String,
    /// Shared by the whole folder.
    schemas: BTreeMap<String, Value>,
    parts: BTreeMap<String, Value>,
}

impl Case {
    fn part(&self, part: &str) -> Option<&Value> {
        self.parts.get(part)
    }

    fn check(&self, platform: &dyn Platform) {
        let name = &self.name;
        if let Some(tools) = self.part("tools") {
            return self.check_declaration(platform, tools);
        }
        let functions = self.part("functions").and_then(Value::as_object).cloned().unwrap_or_default();
        let decoded = platform.decode(&self.inbound(), &self.settings(platform), &Routes(functions));
        if let Some(documented) = self.part("documented") {
            self.check_schema("reply", documented);
        }
        let expected =
            ["calls", "event", "answer", "refusal"].map(|kind| self.part(kind).map(|value| (kind, value)));
        let [(kind, expected)] = expected.into_iter().flatten().collect::<Vec<_>>()[..] else {
            panic!("{name}: give one of `calls`, `event`, `answer` and `refusal`")
        };
        match (kind, decoded) {
            ("calls", Ok(Decoded::Stream(call, encoder))) => {
                assert_eq!(json!([call_json(*call)]), *expected, "{name}");
                self.check_stream(platform, encoder);
            }
            ("calls", Ok(Decoded::Calls(calls, encoder))) => {
                for call in &calls {
                    assert_eq!(call.context.platform, platform.name(), "{name}");
                    assert!(call.context.headers.is_null(), "{name}");
                    assert_eq!(
                        &call.context.raw.to_value(),
                        self.part("request").unwrap_or(&Value::Null),
                        "{name}"
                    );
                }
                let calls: Vec<_> = calls.into_iter().map(call_json).collect();
                assert_eq!(Value::from(calls), *expected, "{name}");
                if let Some(outcomes) = self.part("outcomes") {
                    let outcomes: Vec<_> = outcomes.as_array().unwrap().iter().map(outcome).collect();
                    let own = outcomes.iter().flat_map(|outcome| &outcome.reply.extensions);
                    self.check_extension(platform.extension_keys(), platform, own);
                    self.check_answer(&encoder.encode(outcomes), self.part("response").expect(name));
                }
            }
            ("event", Ok(Decoded::Event(event))) => {
                assert!(platform.events().contains(event.kind), "{name}");
                assert_eq!(event.call.context.platform, platform.name(), "{name}");
                let payload = event.call.context.event.clone();
                let mut shown = call_json(event.call);
                shown["payload"] = payload.to_value();
                shown["event"] = event.kind.name.into();
                shown["answered"] = event.kind.answered.into();
                assert_eq!(shown, *expected, "{name}");
                // The rendered `data` of the entry is the whole response.
                self.check_answer(&event.neutral, &json!({}));
                if let Some(response) = self.part("response") {
                    self.check_answer(&Answer::json(response), response);
                }
            }
            ("answer", Ok(Decoded::Answer(answer, _))) => self.check_answer(&answer, expected),
            ("refusal", Err(bad)) => self.check_answer(&platform.refuse(&bad), expected),
            (_, decoded) => panic!("{name}: {decoded:?}"),
        }
    }

    /// The events that are sent at once and those that follow, as one stream of server-sent events.
    fn check_stream(&self, platform: &dyn Platform, mut encoder: Box<dyn EncodeStream>) {
        let name = &self.name;
        let expected = self.part("stream").expect(name);
        assert_eq!(encoder.content_type(), expected["headers"]["Content-Type"], "{name}");
        let mut faults = Vec::new();
        let mut text = Vec::new();
        if let Some(announced) = self.part("announced") {
            let announced = extensions(announced);
            faults.extend(self.faults(platform.route_keys(), platform, &announced));
            text.extend(encoder.begin(announced));
            let at_once = events(&text);
            assert!(!at_once.is_empty(), "{name}");
            assert_eq!(at_once[..], expected["events"].as_array().unwrap()[..at_once.len()], "{name}");
        }
        let [outcome] = &self.part("outcomes").expect(name).as_array().unwrap()[..] else { panic!("{name}") };
        let outcome = self::outcome(outcome);
        faults.extend(self.faults(platform.extension_keys(), platform, &outcome.reply.extensions));
        assert_eq!(Value::from(faults), self.expected_faults(), "{name}");
        text.extend(encoder.end(outcome));
        let events = events(&text);
        assert_eq!(json!(events), expected["events"], "{name}");
        if let Some(whole) = expected["sse_text"].as_str() {
            assert_eq!(String::from_utf8(text).unwrap(), whole, "{name}");
        }
        self.check_schema("stream", &json!(events));
    }

    fn check_declaration(&self, platform: &dyn Platform, written: &Value) {
        let tools = written["tools"].as_array().unwrap().iter();
        let tools: Vec<ToolSpec<'_>> =
            tools.map(|tool| spec(tool["name"].as_str().expect(&self.name), tool)).collect();
        for tool in &tools {
            assert_eq!(platform.check_function_name(tool.name), Ok(()), "{}", self.name);
            assert_eq!(platform.check_parameters(tool.parameters), [], "{}", self.name);
            for (key, value) in tool.extra {
                let known = platform.declare_keys().iter().find(|known| known.key == key).expect(key);
                assert!(known.value_type.fits(value), "{}: {key} is {}", self.name, known.value_type.name());
            }
        }
        let events: Vec<&'static str> = platform
            .events()
            .iter()
            .map(|kind| kind.name)
            .filter(|name| written["events"].as_array().is_some_and(|events| events.contains(&json!(name))))
            .collect();
        let url = format!("https://tools.example.com/{}", platform.name());
        let declared = platform.declare(&tools, &Endpoint { url: &url, events: &events, form: None });
        assert_eq!(declared.as_ref(), self.part("declaration"), "{}", self.name);
        for declaration in declared.iter().chain(self.part("documented")) {
            self.check_schema("declaration", declaration);
        }
    }

    /// The extension keys of the outcomes are valid in a table, except for the listed errors, and are all accepted.
    fn check_extension<'o>(
        &self,
        known: &[&str],
        platform: &dyn Platform,
        own: impl IntoIterator<Item = &'o ReplyExtension>,
    ) {
        let faults = self.faults(known, platform, own);
        assert_eq!(Value::from(faults), self.expected_faults(), "{}", self.name);
    }

    fn expected_faults(&self) -> Value {
        self.part("faults").cloned().unwrap_or_else(|| json!([]))
    }

    fn faults<'o>(
        &self,
        known: &[&str],
        platform: &dyn Platform,
        own: impl IntoIterator<Item = &'o ReplyExtension>,
    ) -> Vec<Value> {
        let mut faults = Vec::new();
        for extension in own {
            let (key, value) = (&*extension.key, extension.value.to_value());
            assert!(known.contains(&key), "{}: {key}", self.name);
            for fault in platform.check_extension(key, &StaticValue::from(&value)) {
                let path: Vec<_> = fault.path.into_iter().map(step).collect();
                faults.push(json!({"key": key, "code": fault.code.slug(), "path": path}));
            }
            let (admitted, complaints) = platform.filter_extension(key, value.clone());
            assert_eq!(complaints, [""; 0], "{}", self.name);
            let whole = if value.is_object() { json!([value]) } else { value };
            assert_eq!(admitted, Some(whole), "{}", self.name);
        }
        faults
    }

    fn check_answer(&self, answer: &Answer, expected: &Value) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, *expected, "{}", self.name);
        let status = self.part("status").map_or(Some(200), Value::as_u64);
        assert_eq!(Some(u64::from(answer.status.as_u16())), status, "{}", self.name);
        assert_eq!(answer.content_type, "application/json");
        self.check_schema("reply", &body);
    }

    fn check_schema(&self, what: &str, value: &Value) {
        let schema = self.schemas.get(what).unwrap_or_else(|| panic!("{}: no {what}.schema.json", self.name));
        let schema = jsonschema::validator_for(schema).unwrap();
        let errors: Vec<String> = schema.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", self.name);
    }

    fn inbound(&self) -> Inbound {
        let inbound = self.part("inbound").unwrap_or(&Value::Null);
        let mut headers = HeaderMap::new();
        for (name, value) in inbound["headers"].as_object().into_iter().flatten() {
            headers.insert(HeaderName::try_from(name).unwrap(), value.as_str().unwrap().parse().unwrap());
        }
        Inbound {
            method: inbound["method"].as_str().unwrap_or("POST").parse().unwrap(),
            uri: http::Uri::default(),
            function: inbound["function"].as_str().map(ToOwned::to_owned),
            query: serde_json::from_value(inbound["query"].clone()).unwrap_or_default(),
            headers,
            body: self.part("request").map(|body| Bytes::from(body.to_string())).unwrap_or_default(),
            received_at: 1_790_000_000,
        }
    }

    fn settings(&self, platform: &dyn Platform) -> Settings {
        let mut settings = Settings::defaults(platform);
        for (key, value) in self.part("settings").and_then(Value::as_object).into_iter().flatten() {
            let setting = platform.settings().iter().find(|setting| setting.key == key).expect(&self.name);
            settings.set(setting, value.as_str().unwrap());
        }
        settings
    }
}

/// The functions of a case, by name, with their arguments.
struct Routes(Map<String, Value>);

impl Functions for Routes {
    fn arguments(&self, function: &str) -> Option<Vec<&str>> {
        let function = self.0.get(function)?;
        let args = function.as_array().or_else(|| function["args"].as_array())?;
        Some(args.iter().filter_map(Value::as_str).collect())
    }

    fn streams(&self, function: &str) -> bool {
        self.0.get(function).is_some_and(|function| function["streaming"] == true)
    }

    fn tools(&self) -> Vec<ToolSpec<'_>> {
        let declared = self.0.iter().filter_map(|(name, function)| Some((name, function.get("tool")?)));
        declared.map(|(name, tool)| spec(name, tool)).collect()
    }

    fn endpoint(&self) -> Endpoint<'_> {
        Endpoint { url: "https://tools.example.com/door", events: &[], form: None }
    }
}

/// The declaration of a function, from its fixture.
fn spec<'a>(name: &'a str, tool: &'a Value) -> ToolSpec<'a> {
    static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    ToolSpec {
        name,
        description: tool["description"].as_str().unwrap_or_default(),
        parameters: &tool["parameters"],
        streaming: tool["streaming"] == true,
        form: tool["form"] == true,
        declared: true,
        extra: tool["extra"].as_object().unwrap_or(&NOTHING),
        secrets: &[],
    }
}

fn cases(platform: &str) -> BTreeMap<String, Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/platforms").join(platform);
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let (case, part) = name.strip_suffix(".json").and_then(|name| name.rsplit_once('.')).expect(name);
        if part == "schema" {
            schemas.insert(case.to_owned(), read(&path));
            continue;
        }
        assert!(PARTS.contains(&part), "{}: no such part", path.display());
        let name = format!("{platform}/{case}");
        let new = || Case { name, schemas: BTreeMap::new(), parts: BTreeMap::new() };
        let case = cases.entry(case.to_owned()).or_insert_with(new);
        case.parts.insert(part.to_owned(), read(&path));
    }
    for case in cases.values_mut() {
        case.schemas = schemas.clone();
    }
    cases
}

/// Parses server-sent events as a browser does: an event without `data` is dropped.
fn events(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), Vec::new());
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    for line in text.replace("\r\n", "\n").replace('\r', "\n").lines() {
        match line.split_once(": ") {
            Some(("event", value)) => name = value.to_owned(),
            Some(("data", value)) => data.push(value.to_owned()),
            None if line.is_empty() => {
                if !data.is_empty() {
                    let data: Value = serde_json::from_str(&data.join("\n")).unwrap();
                    events.push(json!({"event": name, "data": data}));
                }
                (name, data) = (String::new(), Vec::new());
            }
            _ => panic!("a line that is none of an event: {line:?}"),
        }
    }
    events
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A call in the format of `calls.json`: absent fields are omitted.
fn call_json(call: Call) -> Value {
    let context = call.context;
    let mut shown = Map::new();
    shown.insert("function".into(), context.function.into());
    match call.args {
        GivenArguments::Json(args) => shown.insert("args".into(), args.to_value()),
        GivenArguments::Unreadable => shown.insert("unreadable".into(), true.into()),
    };
    for (key, value) in [
        ("id", context.id.into()),
        ("conversation", context.conversation.into()),
        ("caller", context.caller.into()),
        ("called", context.called.into()),
        ("metadata", context.metadata.to_value()),
        ("global", context.global.to_value()),
    ] {
        if value != Value::Null {
            shown.insert(key.into(), value);
        }
    }
    shown.into()
}

fn outcome(written: &Value) -> Outcome {
    let failure = written["failure"].as_str().map(|slug| match slug {
        "unknown_function" => FailureKind::UnknownFunction,
        slug => FailureKind::from_slug(slug).expect(slug),
    });
    let reply = Reply {
        text: written["text"].as_str().map(ToOwned::to_owned),
        data: written.get("data").map(JsonText::from),
        extensions: extensions(&written["own"]),
    };
    Outcome { reply: reply.into(), failure }
}

fn extensions(written: &Value) -> Vec<ReplyExtension> {
    let entries = written.as_object().into_iter().flatten();
    entries.map(|(key, value)| ReplyExtension::valid(key.clone(), value)).collect()
}

fn step(step: PathStep) -> Value {
    match step {
        PathStep::Key(key) => key.into(),
        PathStep::Index(index) => index.into(),
    }
}
