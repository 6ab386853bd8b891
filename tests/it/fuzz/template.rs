//! Rendering of any template, in each place where the table accepts one, with any values.
//!
//! An input is one letter for the place, then the template. The upstream's response body and the model's argument
//! follow, each after a line `---`.

use http::header;
use jackfield::plan::Plan;
use jackfield::upstream::Request;
use serde_json::{Value, json};
use url::Url;

use super::calling::{Called, call};
use super::loading::Tables;
use super::shape::assert_shape;

/// The table around the place. Step `s` provides the values, step `second` has the places of a request.
const TABLE: &str = r#"
[server]
listen = "127.0.0.1:0"
[platforms.swaig]
[upstreams.api]
base_url = "https://api.example.com/v1"
[vars]
company = "Fjord and Lark"
[defaults]
failure.timeout = "{{vars.company}}"
[routes.try]
upstream = "api"
args.text = { type = "string" }
args.number = { type = "number", default = 4.5 }
args.list = { type = "array", default = ["a", "${b}", 3, [true]] }
args.map = { type = "object", default = { a = { b = "<&>" }, "c d" = [] }, properties = { a = { type = "object" } } }
[[routes.try.steps]]
name = "s"
request.path = "/"
extract = { all = "$", v = "$.v", list = { path = "$.list[*]", all = true }, none = { path = "$.none", default = "none" } }
[[routes.try.steps]]
name = "second"
"#;

/// The places: a letter, the file for the template, and the TOML for the table, in which `TEMPLATE` stands for the
/// template unless it is in a file.
const PLACES: [(u8, &str, &str); 15] = [
    (b't', "", "request.path = '/'\n[routes.try.reply]\ntext = TEMPLATE"),
    (b'd', "", "request.path = '/'\n[routes.try.reply]\ndata = { a = TEMPLATE, b = [TEMPLATE] }"),
    (b'a', "", "request.path = '/'\n[routes.try.reply]\ntext = 'x'\nswaig.action = [{ say = TEMPLATE }]"),
    (b'l', "", "request.path = '/'\n[routes.try.reply]\ntext = TEMPLATE\nmax_chars = 20"),
    (b'e', "", "request.path = '/'\n[routes.try.failure]\nbad_response = TEMPLATE"),
    (b'p', "", "request.path = TEMPLATE"),
    (b's', "", "request.path = TEMPLATE"),
    (b'q', "", "request = { path = '/', query = { q = TEMPLATE, r = ['x', TEMPLATE] } }"),
    (b'h', "", "request = { path = '/', headers = { x-h = TEMPLATE } }"),
    (b'b', "", "request = { method = 'POST', path = '/', body = { a = TEMPLATE, b = [TEMPLATE] } }"),
    (b'f', "", "request = { method = 'POST', path = '/', form = { f = TEMPLATE } }"),
    (b'j', "file.json.hbs", "request = { method = 'POST', path = '/', body_file = 'file.json' }"),
    (b'x', "file.xml.hbs", "request = { method = 'POST', path = '/', body_file = 'file.xml' }"),
    (
        b'w',
        "file.txt.hbs",
        "request = { method = 'POST', path = '/', body_file = 'file.txt', content_type = 'text/plain' }",
    ),
    (
        b'y',
        "file.json.hbs",
        "request.path = '/'\n[routes.try.reply]\ntext_file = 'file.json'\ndata_file = 'file.json'",
    ),
];

const BODY: &str =
    r#"{"v": "a${b}/..\r\n\u0000<]]>\"\\é", "list": [1, "two", {"x": [true, null]}, -0.5e300]}"#;

thread_local! {
    static TABLES: Tables = {
        let tables = Tables::new();
        tables.write("templates/closing.hbs", "{{args.text}}{{#each args.list}}{{this}}{{/each}}");
        tables
    };
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, "\n---\n");
    let first = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or(BODY);
    let argument = parts.next().unwrap_or("it's \"${x}\" & <more>");
    let Some(place) = PLACES.iter().find(|(letter, ..)| first.as_bytes().first() == Some(letter)) else {
        return;
    };
    let template = &first[1..];
    let plan = TABLES.with(|tables| plan(tables, place, template));
    let Ok(plan) = plan else { return };
    let Called { record, answer, requests } = call(&plan, "swaig", &json!({"text": argument}), body);
    assert_shape("swaig", &answer);
    assert!(requests.len() <= 2, "{requests:?}");
    requests.iter().for_each(check_request);
    // A pair that SWAIG would expand appears only if the template itself contains it.
    let pairs = ["${", "%{", "@{"];
    if b"tl".contains(&place.0) && record.error.is_none() && !template.contains('\\') {
        let text = record.outcome.reply.text.as_deref().unwrap_or_default();
        for pair in pairs.iter().filter(|pair| !template.contains(**pair)) {
            assert!(!text.contains(pair), "{text}");
        }
    }
}

/// The plan of a table with the template in this place, or the diagnostics if it is rejected.
fn plan(tables: &Tables, (letter, file, place): &(u8, &str, &str), template: &str) -> Result<Plan, String> {
    let path = format!("templates/{file}");
    if !file.is_empty() {
        tables.write(&path, template);
    }
    // A JSON string is also a valid TOML string, with one exception.
    let quoted = |text: &str| Value::from(text).to_string().replace('\u{7f}', "\\u007f");
    let place = match letter {
        b's' => place.replace("TEMPLATE", &quoted(&format!("/a/{template}/b"))),
        _ => place.replace("TEMPLATE", &quoted(template)),
    };
    let loaded = tables.load(&format!("{TABLE}{place}\n"));
    if !file.is_empty() {
        tables.remove(&path);
    }
    let report = jackfield::diagnostic::to_text(&loaded.diagnostics, &loaded.sources, false);
    assert!(loaded.diagnostics.iter().all(|diagnostic| diagnostic.code.slug() != "toml-syntax"), "{report}");
    assert!(loaded.plan.is_some() || !report.is_empty());
    loaded.plan.ok_or(report)
}

/// Checks that rendered text stays in its place.
fn check_request(request: &Request) {
    // A parser finds in it what was put together.
    let url = Url::parse(request.url.as_str()).unwrap();
    assert_eq!(url.as_str(), request.url.as_str());
    assert_eq!((url.path(), url.query()), (request.url.path(), request.url.query()));
    assert_eq!(url.origin().ascii_serialization(), "https://api.example.com", "{url}");
    assert!(url.path() == "/v1" || url.path().starts_with("/v1/"), "{url}");
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{url}");
    for (name, value) in &request.headers {
        assert!(["content-type", "x-h"].contains(&name.as_str()), "{name}");
        assert!(!value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)), "{value:?}");
    }
    let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert!(names.iter().all(|name| ["q", "r"].contains(&&**name)), "{url}");
    let body = request.body.as_deref().unwrap_or_default();
    match request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        Some("application/json") => drop(serde_json::from_slice::<Value>(body).unwrap()),
        Some("application/x-www-form-urlencoded") => {
            assert!(url::form_urlencoded::parse(body).all(|(name, _)| name == "f"));
        }
        _ => assert!(std::str::from_utf8(body).is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_accepts_a_template() {
        let tables = Tables::new();
        for place in &PLACES {
            let template = match place.0 {
                b'x' => "<a>{{s.v}}</a>",
                b'p' | b's' => "{{s.v}}",
                b'e' => "{{args.text}}",
                _ => "\"{{s.v}}\"",
            };
            let plan = plan(&tables, place, template).unwrap_or_else(|report| panic!("{report}"));
            let requests = call(&plan, "swaig", &json!({"text": "x"}), r#"{"v": "x"}"#).requests;
            assert_eq!(requests.len(), 2, "{}", place.2);
        }
    }
}
