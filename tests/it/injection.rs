//! Hostile argument values in every place of a request and a reply, with an upstream that records each byte.
//!
//! A value arrives exactly, as data, or the call is refused and nothing is sent. The expected results are worked out
//! here from the rules, independently of the code.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use url::Url;

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Seen, Upstream};

/// Values that a model, or a person talking to it, might supply.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "   leading and trailing   ",
    ".",
    "..",
    "...",
    "./",
    "../",
    "../../admin",
    "..\\",
    "..\\..\\admin",
    "a/b",
    "/",
    "//",
    "/admin",
    "//evil",
    "//evil.example/x",
    "\\evil",
    "\\\\evil\\share",
    "@evil",
    "user:pass@evil",
    ":8080",
    "http://evil.example/",
    "%2e",
    "%2e%2e",
    "%2E%2E%2f",
    "%2e%2e%2fadmin",
    ".%2e",
    "%252e%252e%252f",
    "..%2f",
    "..%5c",
    "..;/",
    "%c0%ae%c0%ae%c0%af",
    "%u002e%u002e%u2215",
    "%",
    "%zz",
    "%00",
    "?x=",
    "?x=1&y=2",
    "#",
    "#fragment",
    ";",
    ";jsessionid=1",
    "a=b",
    "&a=b",
    "&fixed=2",
    "a&fixed=2#",
    "+",
    "a+b c",
    "[0]",
    "fixed[]=1",
    "\r\n",
    "a\r\nx-evil: 1",
    "a\r\n\r\nGET /evil HTTP/1.1\r\nhost: evil\r\n\r\n",
    "a\nb",
    "a\rb",
    "a\u{85}b",
    "a\u{2028}b\u{2029}c",
    "\u{560a}\u{560d}x-evil: 1",
    "\0",
    "a\0b",
    "\u{1b}[31mred",
    "\u{7f}",
    "\t",
    "a\tb",
    "\"",
    "'",
    "`",
    "\\",
    "\\\"",
    "\\u0022",
    "\\n",
    "\"}],\"x\":[{\"",
    "\", \"fixed\": 2, \"y\": \"",
    "\"}",
    "]]>",
    "</script><script>alert(1)</script>",
    "<!--",
    "&lt;&amp;&#39;",
    "' OR 1=1 --",
    "$(id)",
    "`id`",
    "{",
    "}",
    "{x}",
    "{{",
    "}}",
    "{{env}}",
    "{{args.v}}",
    "{{vars.secret}}",
    "{{{x}}}",
    "{{&x}}",
    "{{#if x}}",
    "{{> partial}}",
    "\\{{x}}",
    "{{!-- c --}}",
    "$",
    "%",
    "@",
    "${SECRET}",
    "$${SECRET}",
    "${enc:abc}",
    "${file:/etc/passwd}",
    "${",
    "%{x}",
    "%%{x}",
    "@{pause}",
    "@@{x}",
    "${a}%{b}@{c}",
    "$%{x}",
    "$\u{200b}{x}",
    "\u{ff04}\u{ff5b}x\u{ff5d}",
    "Ålesund",
    "日本語",
    "🦀",
    "👩‍👩‍👧‍👦",
    "e\u{301}",
    "\u{202e}evil\u{202c}",
    "\u{200f}\u{200e}",
    "\u{200b}",
    "\u{feff}",
    "\u{fffd}",
    "\u{10ffff}",
    "\u{2215}\u{2044}\u{ff0f}",
    "\u{2024}\u{2024}/",
    "\u{ff0e}\u{ff0e}\u{ff0f}",
    "__proto__",
    "null",
    "true",
    "1e400",
    "-0",
    "007",
    "NaN",
];

/// JSON values that are not strings, given where a string is expected, and their results.
const NO_TEXT: &[(&str, Outcome)] = &[
    ("7", Outcome::Becomes("7")),
    ("-7.5", Outcome::Becomes("-7.5")),
    ("null", Outcome::Absent),
    ("true", Outcome::Unfit),
    ("false", Outcome::Unfit),
    ("[]", Outcome::Unfit),
    ("[\"a\", \"b\"]", Outcome::Unfit),
    ("{}", Outcome::Unfit),
    ("{\"toString\": \"x\"}", Outcome::Unfit),
    // Invalid JSON: half of a surrogate pair, or a number that is out of range.
    ("\"\\ud800\"", Outcome::Unreadable),
    ("\"\\udc00\\ud800\"", Outcome::Unreadable),
    ("\"a\\ud83d\"", Outcome::Unreadable),
    ("1e400", Outcome::Unreadable),
    ("-1e999", Outcome::Unreadable),
    ("NaN", Outcome::Unreadable),
    ("'x'", Outcome::Unreadable),
    ("\"\u{0}\"", Outcome::Unreadable),
    ("\"a\nb\"", Outcome::Unreadable),
    ("\"x\"}, \"y\": {\"z\": 1", Outcome::Unreadable),
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    /// Converted to text.
    Becomes(&'static str),
    /// Treated like a missing argument.
    Absent,
    /// The model is told that the value is invalid.
    Unfit,
    /// The whole request is rejected.
    Unreadable,
}

/// A place of a request that holds a value.
struct Place {
    function: &'static str,
    /// Whether nothing may be sent for this value.
    refused: fn(&str) -> bool,
    /// Extracts the value from the request that arrived.
    value: fn(&Seen) -> Vec<u8>,
    /// The text around the value.
    around: (&'static str, &'static str),
    /// Whether a request may omit the value.
    optional: bool,
}

const NEVER: fn(&str) -> bool = |_| false;

/// Control characters would end the header, or be rejected by the receiver.
const IN_HEADER: fn(&str) -> bool =
    |value| value.chars().any(|c| c != '\t' && (c.is_ascii_control() || c == '\u{7f}'));

const PLACES: &[Place] = &[
    Place {
        function: "path",
        refused: |value| ["", ".", ".."].contains(&value),
        value: |seen| segment(seen, 3),
        around: ("", ""),
        optional: false,
    },
    Place {
        function: "path_last",
        refused: |value| ["", ".", ".."].contains(&value),
        value: |seen| segment(seen, 3),
        around: ("", ""),
        optional: false,
    },
    Place {
        function: "path_text",
        refused: str::is_empty,
        value: |seen| segment(seen, 3),
        around: ("x-", "-y"),
        optional: false,
    },
    Place {
        function: "path_dots",
        // A dot or an escaped dot in the table must not combine with the value into two dots.
        refused: |value| ["", "."].contains(&value),
        value: |seen| segment(seen, 3),
        around: (".", ""),
        optional: false,
    },
    Place {
        function: "query",
        refused: NEVER,
        value: |seen| pair(seen.query()),
        around: ("", ""),
        optional: true,
    },
    Place {
        function: "query_text",
        refused: NEVER,
        value: |seen| pair(seen.query()),
        around: ("a ", " b"),
        optional: false,
    },
    Place {
        function: "header",
        refused: IN_HEADER,
        value: |seen| one_header(seen),
        around: ("", ""),
        optional: true,
    },
    Place {
        function: "header_text",
        refused: IN_HEADER,
        value: |seen| one_header(seen),
        around: ("a ", " b"),
        optional: false,
    },
    Place {
        function: "form",
        refused: NEVER,
        value: |seen| pair(form(seen)),
        around: ("", ""),
        optional: true,
    },
    Place {
        function: "form_text",
        refused: NEVER,
        value: |seen| pair(form(seen)),
        around: ("a ", " b"),
        optional: false,
    },
    Place { function: "body", refused: NEVER, value: in_body, around: ("", ""), optional: true },
    Place { function: "body_text", refused: NEVER, value: in_body, around: ("a ", " b"), optional: false },
    Place { function: "file_inside", refused: NEVER, value: in_body, around: ("a ", " b"), optional: false },
    Place { function: "file_outside", refused: NEVER, value: in_body, around: ("", ""), optional: false },
    Place {
        function: "file_plain",
        refused: NEVER,
        value: |seen| seen.body.clone(),
        around: ("a ", " b"),
        optional: false,
    },
];

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
max_body = "4MiB"
[platforms.http]
[platforms.swaig]
[vars]
secret = "not for everyone"
[upstreams.api]
base_url = "http://UPSTREAM/base"
headers = { x-fixed = "1" }

[routes.path]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a/{{args.v}}/z" }
reply = { text = "sent" }
[routes.path_last]
upstream = "api"
args.v = { type = "string" }
request = { path = "a/{{args.v}}" }
reply = { text = "sent" }
[routes.path_text]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a/x-{{args.v}}-y/z" }
reply = { text = "sent" }
[routes.path_dots]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a/%2e{{args.v}}/z" }
reply = { text = "sent" }
[routes.query]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", query = { v = "{{args.v}}", fixed = "1" } }
reply = { text = "sent" }
[routes.query_text]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", query = { v = "a {{args.v}} b", fixed = "1" } }
reply = { text = "sent" }
[routes.header]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", headers = { x-v = "{{args.v}}" } }
reply = { text = "sent" }
[routes.header_text]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", headers = { x-v = "a {{args.v}} b" } }
reply = { text = "sent" }
[routes.form]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", form = { v = "{{args.v}}", fixed = "1" } }
reply = { text = "sent" }
[routes.form_text]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", form = { v = "a {{args.v}} b", fixed = "1" } }
reply = { text = "sent" }
[routes.body]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", body = { v = "{{args.v}}", fixed = 1 } }
reply = { text = "sent" }
[routes.body_text]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", body = { v = "a {{args.v}} b", fixed = 1 } }
reply = { text = "sent" }
[routes.file_inside]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", body_file = "inside.json.hbs" }
reply = { text = "sent" }
[routes.file_outside]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", body_file = "outside.json.hbs" }
reply = { text = "sent" }
[routes.file_plain]
upstream = "api"
args.v = { type = "string" }
request = { method = "POST", path = "/a", body_file = "plain.txt.hbs", content_type = "text/plain" }
reply = { text = "sent" }

[routes.say]
args.v = { type = "string" }
reply = { text = "<${own}> {{args.v}} ${{args.v}}%{{args.v}}@{{args.v}}|" }
[routes.say_file]
args.v = { type = "string" }
reply = { text_file = "said.hbs" }
[routes.say_cut]
args.v = { type = "string" }
reply = { text = "{{args.v}}{{args.v}}{{args.v}}", max_chars = 12 }
[routes.say_helped]
args.v = { type = "string" }
reply = { text = "{{trim args.v}}${{lower args.v}}{{#if args.v}}{{args.v}}{{/if}}${{json args.v}}" }
[routes.give]
args.v = { type = "string" }
reply.data = { v = "{{args.v}}", w = "a${{args.v}}", l = ["{{args.v}}", { own = "${own}" }] }
[routes.give_file]
args.v = { type = "string" }
reply = { data_file = "given.json.hbs" }
[routes.act]
args.v = { type = "string" }
reply.text = "Done."
reply.swaig.action = [
  { say = "{{args.v}}" },
  { set_meta_data = { v = "{{args.v}}", w = "@{own}%{{args.v}}", l = ["{{args.v}}"] } },
  { user_input = "a${{args.v}}" },
]
[routes.nested]
args.o = { type = "object" }
reply.data = { o = "{{args.o}}", text = "{{args.o}}$" }
reply.swaig.action = [{ set_meta_data = { o = "{{args.o}}" } }]
[routes.fail]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", headers = { x-v = "{{args.v}}\u0001" } }
failure.refused = "No {{args.v}} ${{args.v}}"
[routes.fail_case]
upstream = "api"
args.v = { type = "string" }
request = { path = "/a", headers = { x-v = "{{args.v}}" } }
reply = [{ text = "sent" }, { when.failure = "any", text = "No {{args.v}} ${{args.v}}", data = { v = "{{args.v}}" } }]
[routes.hostile]
upstream = "api"
request = { path = "/hostile" }
extract = { a = "$.a", o = "$.o", all = { path = "$..*", all = true } }
[routes.told_text]
upstream = "api"
request = { path = "/hostile" }
extract = { a = "$.a", o = "$.o" }
reply = { text = "{{a}}${{o}} {{response.body}} {{response.headers.x-hostile}}" }
"#;

/// Template files. In `given`, the table's own text ends in a character that JSON escapes.
const FILES: &[(&str, &str)] = &[
    ("templates/inside.json.hbs", "{\"v\": \"a {{args.v}} b\", \"fixed\": 1}"),
    ("templates/outside.json.hbs", "{\"v\": {{args.v}}, \"fixed\": 1}"),
    ("templates/plain.txt.hbs", "a {{args.v}} b"),
    ("templates/said.hbs", "<${own}> {{args.v}} ${{args.v}}%{{args.v}}@{{args.v}}|"),
    (
        "templates/given.json.hbs",
        "{\"v\": {{args.v}}, \"w\": \"a${{args.v}}\", \"x\": \"\\u0024{{args.v}}\", \"l\": [{{args.v}}, \"{{args.v}}\", {\"own\": \"${own}\"}]}",
    ),
];

async fn start(upstream: &Upstream) -> Proxy {
    let table = TABLE.replace("UPSTREAM", &upstream.address.to_string());
    let mut files = FILES.to_vec();
    files.push(("routes.toml", &table));
    Proxy::with(&files, &[("SECRET", "hunter2")]).await
}

fn segment(seen: &Seen, index: usize) -> Vec<u8> {
    let segments: Vec<&str> = seen.path().split('/').collect();
    let raw = segments[index];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~%".contains(c);
    assert!(raw.chars().all(plain), "{raw}");
    percent_encoding::percent_decode_str(raw).collect()
}

fn pair(pairs: Vec<(String, String)>) -> Vec<u8> {
    pairs.into_iter().find(|(name, _)| name == "v").map_or_else(Vec::new, |(_, value)| value.into_bytes())
}

fn form(seen: &Seen) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

fn one_header(seen: &Seen) -> Vec<u8> {
    let values: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-v").collect();
    assert!(values.len() <= 1, "{values:?}");
    values.first().map_or_else(Vec::new, |(_, value)| value.clone())
}

fn in_body(seen: &Seen) -> Vec<u8> {
    seen.json().get("v").map_or_else(Vec::new, |value| value.as_str().unwrap().as_bytes().to_vec())
}

/// Everything in a request except the value. No value may change it.
#[derive(Debug, PartialEq)]
struct Form {
    method: String,
    segments: Vec<Option<String>>,
    query: Vec<(String, Option<String>)>,
    headers: BTreeMap<String, Option<Vec<u8>>>,
    body: Value,
}

impl Form {
    fn of(seen: &Seen) -> Self {
        let segments = seen.path().split('/').enumerate();
        let names = |pairs: Vec<(String, String)>| {
            let kept = pairs.into_iter().map(|(name, value)| {
                let value = (name != "v").then_some(value);
                (name, value)
            });
            kept.collect::<Vec<_>>()
        };
        let kind = seen.header("content-type").concat();
        let body = if kind == "application/json" {
            let mut body = seen.json();
            body["v"] = Value::Null;
            body
        } else if kind == "application/x-www-form-urlencoded" {
            json!(names(form(seen)))
        } else {
            Value::Null
        };
        let mut headers = BTreeMap::new();
        for (name, value) in &seen.headers {
            let kept = !["x-v", "content-length"].contains(&name.as_str());
            let before = headers.insert(name.clone(), kept.then(|| value.clone()));
            assert_eq!(before, None, "{name} came twice");
        }
        Self {
            method: seen.method.clone(),
            segments: segments.map(|(index, text)| (index != 3).then(|| text.to_owned())).collect(),
            query: names(seen.query()),
            headers,
            body,
        }
    }
}

async fn upstream() -> Upstream {
    Upstream::new(|seen| match seen.path() {
        "/base/hostile" => Reply::json(&json!({
            "a": "${a}$", "o": {"%{k}": "@{v}", "n": ["${x}", {"$": "{"}], "${k": "}"}, "{x}": 1
        }))
        .header("x-hostile", "{${h}"),
        _ => Reply::json(&json!({})),
    })
    .await
}

#[tokio::test]
async fn hostile_values_arrive_as_data_or_are_rejected() {
    let upstream = upstream().await;
    let proxy = start(&upstream).await;
    let long = "../%2e".repeat(17_000);
    let mut hostile: Vec<&str> = HOSTILE.to_vec();
    assert!(hostile.len() + NO_TEXT.len() >= 60);
    hostile.push(&long);
    for place in PLACES {
        let path = format!("/http/{}", place.function);
        let answer = proxy.post(&path, &json!({"v": "harmless"})).await;
        assert_eq!(answer.json(), json!({"text": "sent"}), "{}", place.function);
        let usual = Form::of(&upstream.one());
        let (mut sent, mut refused) = (0, 0);
        for &value in &hostile {
            let shown = &value[..value.floor_char_boundary(60)];
            let answer = proxy.post(&path, &json!({"v": value})).await;
            assert_eq!(answer.status, 200, "{} {shown:?}", place.function);
            let answer = answer.json();
            let arrived = upstream.take();
            // A URL or header of a hundred thousand characters may be too long for the client.
            let too_long = value.len() > 60_000 && arrived.is_empty();
            if (place.refused)(value) || too_long {
                assert_eq!(answer["error"]["kind"], "refused", "{} {shown:?}: {answer}", place.function);
                assert!(arrived.is_empty(), "{} {shown:?}: {arrived:?}", place.function);
                refused += 1;
                continue;
            }
            assert_eq!(answer, json!({"text": "sent"}), "{} {shown:?}", place.function);
            let [seen] = &arrived[..] else { panic!("{} {shown:?}: {arrived:?}", place.function) };
            check(place, value, seen, &usual, &upstream);
            sent += 1;
        }
        assert!(sent > 60, "{}: {sent} sent, {refused} refused", place.function);
    }
}

/// Checks that a value arrived unchanged, and that nothing else in the request differs.
fn check(place: &Place, value: &str, seen: &Seen, usual: &Form, upstream: &Upstream) {
    let shown = &value[..value.floor_char_boundary(60)];
    let expected = format!("{}{value}{}", place.around.0, place.around.1);
    let arrived = (place.value)(seen);
    if place.function.starts_with("header") {
        // White space around a header value is not part of it.
        let trimmed = expected.trim_matches([' ', '\t']);
        assert_eq!(arrived.trim_ascii(), trimmed.as_bytes(), "{} {shown:?}", place.function);
    } else {
        assert!(arrived == expected.as_bytes(), "{} {shown:?}: {arrived:?}", place.function);
    }
    assert_eq!(Form::of(seen), *usual, "{} {shown:?}", place.function);
    assert_eq!(seen.header("host"), [upstream.address.to_string()]);
    // Normalizing the URL gives the same URL.
    let url = Url::parse(&format!("http://upstream{}", seen.target)).unwrap();
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    assert_eq!(target, seen.target, "{} {shown:?}", place.function);
    assert!(seen.path().starts_with("/base/a"), "{}", seen.target);
}

#[tokio::test]
async fn non_text_values_are_converted_omitted_or_rejected() {
    let upstream = upstream().await;
    let proxy = start(&upstream).await;
    for place in PLACES {
        for (raw, outcome) in NO_TEXT {
            let path = format!("/http/{}", place.function);
            let answer = proxy.send(Method::POST, &path, &[], format!("{{\"v\": {raw}}}")).await;
            let arrived = upstream.take();
            let about = format!("{} {raw}: {} {}", place.function, answer.status, answer.text());
            match outcome {
                Outcome::Becomes(text) => {
                    let expected = format!("{}{text}{}", place.around.0, place.around.1);
                    assert_eq!((place.value)(&arrived[0]), expected.as_bytes(), "{about}");
                }
                Outcome::Absent if place.optional => {
                    assert_eq!((arrived.len(), (place.value)(&arrived[0])), (1, Vec::new()), "{about}");
                    let text = String::from_utf8_lossy(&arrived[0].body).into_owned() + &arrived[0].target;
                    assert!(!text.contains("v=") && !text.contains("\"v\""), "{about}: {text}");
                }
                Outcome::Absent | Outcome::Unfit => {
                    assert_eq!((answer.status.as_u16(), arrived.len()), (200, 0), "{about}");
                    assert_eq!(answer.json()["error"]["kind"], "invalid_args", "{about}");
                }
                Outcome::Unreadable => {
                    assert_eq!((answer.status.as_u16(), arrived.len()), (400, 0), "{about}");
                    // The error does not contain the value.
                    assert!(answer.json()["error"]["text"].as_str().unwrap().contains("not valid JSON"));
                }
            }
        }
    }
}

/// Breaks up the pairs that SWAIG would expand.
fn broken(text: &str) -> String {
    ["$", "%", "@"]
        .iter()
        .fold(text.to_owned(), |text, sigil| text.replace(&format!("{sigil}{{"), &format!("{sigil} {{")))
}

/// Breaks up the pairs in all strings and keys of a value.
fn all_broken(value: &Value) -> Value {
    match value {
        Value::String(text) => broken(text).into(),
        Value::Array(items) => items.iter().map(all_broken).collect(),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (broken(key), all_broken(value))).collect())
        }
        other => other.clone(),
    }
}

/// Fails if the response contains a pair other than the table's own, as sent or as parsed.
fn assert_no_pair(body: &str, about: &str) {
    fn texts(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) => out.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
            Value::Object(entries) => entries.iter().for_each(|(key, value)| {
                out.push(key.clone());
                texts(value, out);
            }),
            _ => {}
        }
    }
    let mut all = vec![body.to_owned()];
    let value: Value = serde_json::from_str(body).unwrap();
    texts(&value, &mut all);
    // `data` is a string of JSON, which the platform may parse once more.
    if let Some(Ok(data)) = value["response"].as_str().map(serde_json::from_str::<Value>) {
        texts(&data, &mut all);
    }
    for text in all {
        let text = text.replace("${own}", "").replace("@{own}", "");
        for sigil in ["${", "%{", "@{"] {
            assert!(!text.contains(sigil), "{about}: {text}");
        }
    }
}

async fn swaig(proxy: &Proxy, function: &str, args: &Value) -> Value {
    let body = json!({"function": function, "argument": {"parsed": [args], "raw": args.to_string()}});
    let answer = proxy.post("/swaig", &body).await;
    assert_eq!(answer.status, 200);
    let about = format!("{function} {args}");
    assert_no_pair(answer.text(), &about[..about.floor_char_boundary(200)]);
    answer.json()
}

fn parsed(answer: &Value) -> Value {
    serde_json::from_str(answer["response"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn only_the_tables_own_variables_are_expanded_in_swaig_replies() {
    let upstream = upstream().await;
    let proxy = start(&upstream).await;
    let mut seen = 0;
    for &value in HOSTILE {
        let args = json!({"v": value});
        let b = broken(value);
        let expected = format!("<${{own}}> {b} {}|", broken(&format!("${value}%{value}@{value}")));
        for function in ["say", "say_file"] {
            assert_eq!(swaig(&proxy, function, &args).await, json!({"response": expected}), "{value:?}");
        }
        let cut = swaig(&proxy, "say_cut", &args).await;
        assert!(cut["response"].as_str().unwrap().chars().count() <= 12, "{value:?}: {cut}");
        swaig(&proxy, "say_helped", &args).await;

        let w = broken(&format!("a${value}"));
        let given = json!({"v": b, "w": w, "l": [b, {"own": "${own}"}]});
        assert_eq!(parsed(&swaig(&proxy, "give", &args).await), given, "{value:?}");
        let x = broken(&format!("${value}"));
        let given = json!({"v": b, "w": w, "x": x, "l": [b, b, {"own": "${own}"}]});
        assert_eq!(parsed(&swaig(&proxy, "give_file", &args).await), given, "{value:?}");

        let acted = swaig(&proxy, "act", &args).await;
        let meta = json!({"v": b, "w": format!("@{{own}}{}", broken(&format!("%{value}"))), "l": [b]});
        let expected = json!({
            "response": "Done.",
            "action": [{"say": b}, {"set_meta_data": meta}, {"user_input": w}],
        });
        assert_eq!(acted, expected, "{value:?}");

        let no = format!("No {b} {}", broken(&format!("${value}")));
        assert_eq!(swaig(&proxy, "fail", &args).await["response"], json!(no), "{value:?}");
        let answer = swaig(&proxy, "fail_case", &args).await["response"].clone();
        assert_eq!(answer, if IN_HEADER(value) { json!(no) } else { json!("sent") }, "{value:?}");

        // The same for keys and values of objects at any depth.
        let nested = json!({value: value, "l": [{"x": {value: [value, 1, null]}}], "$": {"{": "{"}});
        let answer = swaig(&proxy, "nested", &json!({"o": nested})).await;
        assert_eq!(parsed(&answer)["o"], all_broken(&nested), "{value:?}");
        assert_eq!(answer["action"][0]["set_meta_data"]["o"], all_broken(&nested), "{value:?}");
        seen += 1;
    }
    assert!(seen >= 60);
    // An upstream may be hostile too, and so may every name in its response.
    let hostile = json!({"%{k}": "@{v}", "n": ["${x}", {"$": "{"}], "${k": "}"});
    let answer = parsed(&swaig(&proxy, "hostile", &json!({})).await);
    assert_eq!((&answer["a"], &answer["o"]), (&json!("$ {a}$"), &all_broken(&hostile)));
    swaig(&proxy, "told_text", &json!({})).await;
}

/// Platforms that expand nothing get values unchanged.
#[tokio::test]
async fn replies_to_other_platforms_hold_values_unchanged() {
    let upstream = upstream().await;
    let proxy = start(&upstream).await;
    for &value in HOSTILE {
        let args = json!({"v": value});
        let answer = proxy.post("/http/say", &args).await.json();
        assert_eq!(answer, json!({"text": format!("<${{own}}> {value} ${value}%{value}@{value}|")}));
        let answer = proxy.post("/http/give_file", &args).await.json();
        let list = json!([value, value, {"own": "${own}"}]);
        let data = json!({"v": value, "w": format!("a${value}"), "x": format!("${value}"), "l": list});
        assert_eq!(answer, json!({"data": data}));
        // Keys of another platform are not sent to this one.
        assert_eq!(proxy.post("/http/act", &args).await.json(), json!({"text": "Done."}));
    }
}
