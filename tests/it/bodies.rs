//! Parsing an upstream's body: it must fit what the route reads from it, whatever its content type.

use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const PAGE: &str = "<!DOCTYPE html><html><body>Back at six.</body></html>";

/// The reply of `f` if the upstream sends this response.
async fn answer(route: &str, reply: fn() -> Reply) -> Value {
    let upstream = Upstream::new(move |_| reply()).await;
    let table = format!(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://UPSTREAM\"\n[routes.f]\nupstream = \"api\"\n{route}"
    );
    let answer = Proxy::over(&upstream, &table).await.post("/http/f", &json!({})).await.json();
    match &answer["error"]["kind"] {
        Value::Null => answer,
        kind => kind.clone(),
    }
}

fn page() -> Reply {
    Reply::raw(200, "text/html; charset=utf-8", PAGE)
}

#[tokio::test]
async fn an_html_page_is_a_bad_response_for_a_route_that_reads_the_body() {
    for route in [
        // From a page, each of these replies would claim something that it does not know.
        r#"
request = { path = "/" }
extract = { items = { path = "$.items[*].start", all = true, default = [] } }
reply = { text = "{{#if items}}Booked.{{else}}You have no appointments.{{/if}}" }"#,
        r#"
request = { path = "/" }
[[routes.f.reply]]
when.missing = "$.results[0]"
text = "There is no such customer."
[[routes.f.reply]]
text = "The customer is known.""#,
        r#"
request = { path = "/" }
reply = { text = "{{#if response.body.items}}Some.{{else}}None.{{/if}}" }"#,
        r#"
request = { path = "/" }
reply = { text = "{{#each response.body}}{{name}}{{else}}None.{{/each}}" }"#,
        r#"
request = { path = "/" }
reply = { text = "{{#with response.body}}{{name}}{{else}}None.{{/with}}" }"#,
        r#"
request = { path = "/" }
reply = { text = "{{default (lookup response.body \"name\") \"nobody\"}}" }"#,
        r#"
request = { path = "/" }
[[routes.f.reply]]
when.equals = { "response.body.state" = "open" }
text = "Open."
[[routes.f.reply]]
text = "Closed.""#,
        r#"
request = { path = "/" }
response.format = "json"
reply = { text = "Done." }"#,
        // A case that names the status does not read the body.
        r#"
request = { path = "/" }
[[routes.f.reply]]
when = { status = 200, missing = "$.results[0]" }
text = "There is none.""#,
        // The last step uses a value of an earlier one.
        r#"
steps = [
    { name = "one", request.path = "/", extract = { x = { path = "$.x", default = "none" } } },
    { name = "two", request.path = "/", response.format = "text" },
]
reply = { text = "{{one.x}}" }"#,
        r#"
steps = [
    { name = "one", request.path = "/" },
    { name = "two", when.missing = "$.x", request.path = "/", response.format = "text" },
]
reply = { text = "Done." }"#,
        r#"
steps = [
    { name = "one", request.path = "/" },
    { name = "two", when.status = 201, request.path = "/" },
]
reply = { text = "{{default response.body.x \"none\"}}" }"#,
    ] {
        assert_eq!(answer(route, page).await, json!("bad_response"), "{route}");
    }
}

#[tokio::test]
async fn bodies_that_nothing_reads_may_be_anything() {
    let ok = || Reply::raw(201, "application/json", "OK");
    for (route, expected) in [
        (
            "request = { method = \"POST\", path = \"/\" }\nreply.text = \"You are booked.\"",
            "You are booked.",
        ),
        ("request.path = \"/\"\nreply.text = \"{{response.status}}\"", "201"),
        // Read only after a failure.
        (
            r#"
request.path = "/"
[[routes.f.reply]]
when.failure = "bad_response"
text = "{{response.body.message}}"
[[routes.f.reply]]
text = "Done.""#,
            "Done.",
        ),
        // Only one of the steps is read.
        (
            r#"
steps = [
    { name = "one", request.path = "/" },
    { name = "two", request.path = "/", response.format = "text" },
]
reply.text = "{{response.body}}""#,
            "OK",
        ),
    ] {
        assert_eq!(answer(route, ok).await, json!({"text": expected}), "{route}");
    }
    // A template that prints the whole body accepts any text.
    let all = "request.path = \"/\"\nreply.text = \"{{response.body}}\"";
    assert_eq!(answer(all, || Reply::raw(200, "text/html", "<p>")).await, json!({"text": "<p>"}));
    // The first bytes look like a zlib header.
    assert_eq!(answer(all, || Reply::raw(200, "text/plain", "x^2")).await, json!({"text": "x^2"}));
}

#[tokio::test]
async fn json_is_parsed_whatever_its_content_type() {
    const ROUTE: &str = "request.path = \"/\"\nextract = { city = \"$.city\" }\nreply.text = \"{{city}}\"";
    const TEXT: &str = "{\"city\":\"Malmö\"}";
    let utf_16 = || {
        let units = TEXT.encode_utf16().flat_map(u16::to_le_bytes);
        Reply::raw(200, "application/json", [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>())
    };
    for reply in [
        (|| Reply::raw(200, "text/html; charset=UTF-8", TEXT)) as fn() -> Reply,
        || Reply::raw(200, "text/plain", TEXT),
        || Reply::raw(200, "application/json; charset=iso-8859-1", b"{\"city\":\"Malm\xf6\"}".to_vec()),
        || Reply::raw(200, "application/json", format!(")]}}'\n{TEXT}")),
        || Reply::raw(200, "application/json", format!("\u{feff}{TEXT}")),
        utf_16,
    ] {
        assert_eq!(answer(ROUTE, reply).await, json!({"text": "Malmö"}));
    }
    let text = "request.path = \"/\"\nreply.text = \"{{response.body}}\"";
    let latin = || Reply::raw(200, "text/plain; charset=iso-8859-1", b"Malm\xf6".to_vec());
    assert_eq!(answer(text, latin).await, json!({"text": "Malmö"}));
}

#[tokio::test]
async fn a_status_named_by_a_case_may_have_an_html_body() {
    let route = r#"
request.path = "/"
[[routes.f.reply]]
when.missing = "$.customer"
text = "There is no such customer."
[[routes.f.reply]]
when = { status = 404, missing = "$.hint" }
text = "Not found."
[[routes.f.reply]]
text = "Found.""#;
    // A page does not show whether there is a customer.
    assert_eq!(answer(route, || Reply::raw(404, "text/html", PAGE)).await, json!({"text": "Not found."}));
    let none = || Reply::raw(404, "application/json", "{}");
    assert_eq!(answer(route, none).await, json!({"text": "There is no such customer."}));
    // White space counts as an empty body.
    let blank = || Reply::raw(200, "text/html", "\r\n");
    assert_eq!(answer(route, blank).await, json!({"text": "There is no such customer."}));
}
