//! URL assembly: whatever the values are, the URL keeps its base and its segments, or nothing is sent.
//!
//! An input is one line for the model's argument, then the upstream's value, parsed as JSON if possible.

use http::Uri;
use jackfield::plan::Plan;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

use super::calling::{Called, call};
use super::loading::Tables;

/// The longest URL that the HTTP client accepts, in bytes.
const MAX_URI: usize = 65_534;

const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
[platforms.http]
[upstreams.api]
base_url = "https://api.example.com:8443/v1/x%20y"
[routes.try]
upstream = "api"
args.a = { type = "string", required = true }
[[routes.try.steps]]
name = "first"
request.path = "/"
extract = { v = "$.v" }
[[routes.try.steps]]
name = "second"
[routes.try.steps.request]
path = "/one/{{args.a}}/x{{first.v}}y/{{upper args.a}}{{first.v}}"
query = { "a&=" = "{{args.a}}", b = "-{{first.v}}-" }
"#;

thread_local! {
    static PLAN: Plan = Tables::new().plan(TABLE);
}

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (a, v) = text.split_once('\n').unwrap_or((&text, ""));
    let v = serde_json::from_str(v).unwrap_or_else(|_| Value::from(v));
    PLAN.with(|plan| assemble(plan, a, &v));
}

fn assemble(plan: &Plan, a: &str, v: &Value) {
    let Called { record, requests, .. } = call(plan, "http", &json!({"a": a}), &json!({"v": v}).to_string());
    let v = match v {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
        // A response with a number outside the range of a double is not valid.
        Value::Number(number) if number.as_f64().is_none_or(f64::is_infinite) => None,
        other => Some(other.to_string()),
    };
    let fits = |v: &String| !v.is_empty() && !["", ".", ".."].contains(&a);
    let Some(v) = v.filter(fits) else {
        assert_eq!(requests.len(), 1, "{:?}", requests.last());
        assert!(record.outcome.failure.is_some());
        return;
    };
    let [_, request] = &requests[..] else { panic!("{:?}", record.error) };
    // A parser finds in it what was put together.
    let url = Url::parse(request.url.as_str()).unwrap();
    assert_eq!(url.as_str(), request.url.as_str());
    assert_eq!((url.path(), url.query()), (request.url.path(), request.url.query()));
    assert_eq!(url.origin().ascii_serialization(), "https://api.example.com:8443", "{url}");
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{url}");
    let segments: Vec<Vec<u8>> =
        url.path().split('/').skip(1).map(|part| percent_decode_str(part).collect()).collect();
    let last = format!("{}{v}", a.to_uppercase());
    let expected = ["v1", "x y", "one", a, &format!("x{v}y"), &last].map(|part| part.as_bytes().to_vec());
    assert_eq!(segments, expected, "{url}");
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    assert_eq!(query, [("a&=".to_owned(), a.to_owned()), ("b".to_owned(), format!("-{v}-"))], "{url}");
    // The HTTP client parses it to the same URL, and rejects one that is too long.
    if url.as_str().len() <= MAX_URI {
        let uri: Uri = url.as_str().parse().unwrap();
        assert_eq!((uri.path(), uri.query()), (url.path(), url.query()));
    }
}
