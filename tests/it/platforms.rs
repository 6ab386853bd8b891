//! Every platform against its folder of fixtures, `platforms/<name>/<case>.<part>.json`. A new platform adds files.
//!
//! What arrives: `request` (the body), `inbound` (`method`, `function`, `query`, `headers`), `settings`, `functions`
//! (those that routes answer, with their arguments). What it is: `calls`, `answer` (nothing is called; with `event`, the
//! neutral answer to the event of that name) or `refusal`.
//! What goes back: `outcomes`, and for them `response` and `faults` (of the outcomes' own keys). `status` is of the
//! answer, 200 if it is not there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jackfield::call::{Arguments, Call, FailureKind, Outcome, Reply};
use jackfield::platform::auth::{BadLogin, Login, SCHEMES, SchemeValues};
use jackfield::platform::{
    Answer, Decoded, Door, Functions, Inbound, PLATFORMS, Platform, Settings, Sketch, Step, ToolSpec, find,
};
use jackfield::secret::Secret;
use serde_json::{Map, Value, json};

const PARTS: [&str; 12] = [
    "request",
    "inbound",
    "settings",
    "functions",
    "calls",
    "answer",
    "event",
    "refusal",
    "outcomes",
    "response",
    "faults",
    "status",
];

#[test]
fn platforms_read_and_answer_their_fixtures() {
    for platform in PLATFORMS {
        let cases = cases(platform.name());
        for kind in ["calls", "outcomes"] {
            let seen = cases.values().filter(|case| case.part(kind).is_some()).count();
            assert!(seen > 0, "{}: no fixture with {kind}", platform.name());
        }
        for case in cases.values() {
            case.check(*platform);
        }
    }
}

#[test]
fn platforms_read_their_own_samples() {
    for platform in PLATFORMS {
        let args = json!({"city": "Bergen", "days": 2});
        let sample = platform.sample("get_weather", &args);
        assert!(platform.any_method() || sample.method == Method::POST);
        let decoded = platform.decode(&sample, &Settings::defaults(*platform), &Routes(Map::new()));
        let Ok(Decoded::Calls(calls, _)) = decoded else { panic!("{}: {decoded:?}", platform.name()) };
        let [call] = &calls[..] else { panic!("{}: {calls:?}", platform.name()) };
        assert_eq!((&*call.context.function, &call.args), ("get_weather", &Arguments::Json(args)));
        let conversation = call.context.conversation.as_deref().unwrap_or_default();
        assert!(conversation.contains("example"), "{}: {conversation}", platform.name());
        assert!(platform.check_function_name("get_weather").is_ok());
    }
}

#[test]
fn the_vendors_signature_is_accepted_and_no_other() {
    let vector =
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vectors/voicedock-signature.json"));
    let text = |key: &str| vector[key].as_str().unwrap().to_owned();
    let (secret, timestamp, body) = (text("secret"), text("timestamp"), text("raw_body"));
    let signature = text("X-Webhook-Signature");
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == "signature").unwrap();
    let verdict = |secrets: &[&str], signature: Option<&str>, body: &str, age_s: i64| {
        let mut values = SchemeValues {
            values: vec![("secret", secrets.iter().copied().map(Secret::new).collect())],
            signature: find("voicedock").unwrap().signature(),
        };
        let auth = (scheme.build)(&mut values).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-webhook-timestamp", HeaderValue::from_str(&timestamp).unwrap());
        if let Some(signature) = signature {
            headers.insert("x-webhook-signature", HeaderValue::from_str(signature).unwrap());
        }
        let received_at = timestamp.parse::<i64>().unwrap() + age_s;
        auth.verify(&Login { headers: &headers, target: "/voicedock", body: body.as_bytes(), received_at })
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
    parts: BTreeMap<String, Value>,
}

impl Case {
    fn part(&self, part: &str) -> Option<&Value> {
        self.parts.get(part)
    }

    fn check(&self, platform: &dyn Platform) {
        let name = &self.name;
        let functions = self.part("functions").and_then(Value::as_object).cloned().unwrap_or_default();
        let decoded = platform.decode(&self.inbound(), &self.settings(platform), &Routes(functions));
        match (self.part("calls"), self.part("answer"), self.part("refusal")) {
            (Some(expected), None, None) => {
                let Ok(Decoded::Calls(calls, encoder)) = decoded else { panic!("{name}: {decoded:?}") };
                for call in &calls {
                    assert_eq!(call.context.platform, platform.name(), "{name}");
                    assert_eq!(call.context.headers, Value::Null, "{name}");
                    assert_eq!(&*call.context.raw, self.part("request").unwrap_or(&Value::Null), "{name}");
                }
                let calls: Vec<_> = calls.into_iter().map(show).collect();
                assert_eq!(Value::from(calls), *expected, "{name}");
                if let Some(outcomes) = self.part("outcomes") {
                    let outcomes: Vec<_> = outcomes.as_array().unwrap().iter().map(outcome).collect();
                    self.check_own(platform, &outcomes);
                    self.check_answer(
                        platform,
                        &encoder.encode(outcomes),
                        self.part("response").expect(name),
                    );
                }
            }
            (None, Some(expected), None) => {
                let answer = match decoded {
                    Ok(Decoded::Answer(answer)) => answer,
                    Ok(Decoded::Event(event)) => {
                        assert_eq!(Some(&json!(event.kind.name)), self.part("event"), "{name}");
                        event.neutral
                    }
                    other => panic!("{name}: {other:?}"),
                };
                self.check_answer(platform, &answer, expected);
            }
            (None, None, Some(expected)) => {
                let Err(bad) = decoded else { panic!("{name}: {decoded:?}") };
                self.check_answer(platform, &platform.refuse(&bad), expected);
            }
            _ => panic!("{name}: give one of `calls`, `answer` and `refusal`"),
        }
    }

    /// The outcomes' own keys are what a table may write, with no faults but those listed, and are admitted whole.
    fn check_own(&self, platform: &dyn Platform, outcomes: &[Outcome]) {
        let mut faults = Vec::new();
        for (key, value) in outcomes.iter().flat_map(|outcome| &outcome.reply.own) {
            assert!(platform.own_keys().contains(&key.as_str()), "{}: {key}", self.name);
            for fault in platform.check_own(key, &Sketch::from(value)) {
                let path: Vec<_> = fault.path.into_iter().map(step).collect();
                faults.push(json!({"key": key, "code": fault.code.slug(), "path": path}));
            }
            let (admitted, complaints) = platform.admit_own(key, value.clone());
            assert_eq!(complaints, [""; 0], "{}", self.name);
            let whole = if value.is_object() { json!([value]) } else { value.clone() };
            assert_eq!(admitted, Some(whole), "{}", self.name);
        }
        let expected = self.part("faults").cloned().unwrap_or_else(|| json!([]));
        assert_eq!(Value::from(faults), expected, "{}", self.name);
    }

    /// The answer is the expected one, and what the platform takes by its schema in `schemas/<name>.json`.
    fn check_answer(&self, platform: &dyn Platform, answer: &Answer, expected: &Value) {
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemas");
        let schema = read(&schema.join(format!("{}.json", platform.name())));
        let faults: Vec<_> = jsonschema::validator_for(&schema)
            .unwrap()
            .iter_errors(&body)
            .map(|fault| fault.to_string())
            .collect();
        assert_eq!(faults, [""; 0], "{}", self.name);
        assert_eq!(body, *expected, "{}", self.name);
        let status = self.part("status").map_or(Some(200), Value::as_u64);
        assert_eq!(Some(u64::from(answer.status.as_u16())), status, "{}", self.name);
        assert_eq!(answer.content_type, "application/json");
    }

    fn inbound(&self) -> Inbound {
        let inbound = self.part("inbound").unwrap_or(&Value::Null);
        let mut headers = HeaderMap::new();
        for (name, value) in inbound["headers"].as_object().into_iter().flatten() {
            headers.insert(HeaderName::try_from(name).unwrap(), value.as_str().unwrap().parse().unwrap());
        }
        Inbound {
            method: inbound["method"].as_str().unwrap_or("POST").parse().unwrap(),
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

/// The functions of a case: name to a list of arguments.
struct Routes(Map<String, Value>);

impl Functions for Routes {
    fn arguments(&self, function: &str) -> Option<Vec<&str>> {
        Some(self.0.get(function)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    fn streams(&self, _: &str) -> bool {
        false
    }

    fn declared(&self) -> Vec<ToolSpec<'_>> {
        Vec::new()
    }

    fn door(&self) -> Door<'_> {
        Door { url: "https://tools.example.com/door" }
    }
}

fn cases(platform: &str) -> BTreeMap<String, Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/platforms").join(platform);
    let mut cases = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        let (case, part) = name.strip_suffix(".json").and_then(|name| name.rsplit_once('.')).expect(name);
        assert!(PARTS.contains(&part), "{}: no such part", path.display());
        let name = format!("{platform}/{case}");
        let case = cases.entry(case.to_owned()).or_insert_with(|| Case { name, parts: BTreeMap::new() });
        case.parts.insert(part.to_owned(), read(&path));
    }
    cases
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A call as `calls.json` writes it: absent fields left out.
fn show(call: Call) -> Value {
    let context = call.context;
    let mut shown = Map::new();
    shown.insert("function".into(), context.function.into());
    match call.args {
        Arguments::Json(args) => shown.insert("args".into(), args),
        Arguments::Unreadable => shown.insert("unreadable".into(), true.into()),
    };
    for (key, value) in [
        ("id", context.id.into()),
        ("conversation", context.conversation.into()),
        ("caller", context.caller.into()),
        ("called", context.called.into()),
        ("metadata", context.metadata),
        ("global", context.global),
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
        data: written.get("data").cloned(),
        own: written["own"].as_object().cloned().unwrap_or_default(),
    };
    Outcome { reply, failure }
}

fn step(step: Step) -> Value {
    match step {
        Step::Key(key) => key.into(),
        Step::Index(index) => index.into(),
    }
}
