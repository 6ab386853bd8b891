//! Replies: cases and their conditions, extraction, template files, and how an upstream's response is parsed.

use http::Method;
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

/// `{"temp":7}`, compressed.
const SMALL: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 42, 73, 205, 45, 80, 178, 50, 175, 5, 0, 25, 22, 124, 96, 10,
    0, 0, 0,
];

/// A JSON string of 20,000 letters, compressed to a few bytes.
const BOMB: &[u8] = &[
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 237, 193, 177, 0, 0, 0, 0, 2, 48, 151, 204, 242, 151, 72, 163, 99, 91,
    10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 192, 133, 12, 157, 37, 222, 107, 34, 78, 0, 0,
];

/// An upstream that responds as the query says: `status`, `body`, `type`.
async fn scripted() -> Upstream {
    Upstream::new(|seen| {
        let query = seen.query();
        let find =
            |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let status = find("status").map_or(200, |status| status.parse().unwrap());
        let kind = find("type").unwrap_or("application/json");
        Reply::raw(status, kind, find("body").unwrap_or("{}"))
    })
    .await
}

/// A number with exactly this text.
fn exact(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A reply that returns the body.
const BODY: &str = "reply.data = { b = \"{{response.body}}\" }";

/// A table with one route `f`, for which the test chooses the upstream's response.
fn table(route: &str) -> String {
    r#"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
max_body = "2KiB"
[routes.f]
upstream = "api"
args = { status = { type = "integer" }, body = { type = "string" }, type = { type = "string" }, unit = { type = "string" }, n = { type = "number" } }
request = { path = "/", query = { status = "{{args.status}}", body = "{{args.body}}", type = "{{args.type}}" } }
ROUTE
"#.replace("ROUTE", route)
}

/// Calls `f` with an upstream that responds with `status` and `body`.
async fn answer(proxy: &Proxy, status: u16, body: &str, more: &Value) -> Value {
    let mut args = json!({"status": status, "body": body});
    args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = proxy.post("/http/f", &args).await.json();
    match &answer["error"]["kind"] {
        Value::Null => answer,
        kind => kind.clone(),
    }
}

#[tokio::test]
async fn the_first_matching_case_is_used() {
    let upstream = scripted().await;
    let table = table(
        r#"
extract = { state = "$.state", temp = "$.temp" }
[[routes.f.reply]]
when = { status = 404, found = "$.hint" }
text = "404 with hint"
[[routes.f.reply]]
when.status = 404
text = "404"
[[routes.f.reply]]
when.status = [409, 410, "5xx"]
text = "one of a list"
[[routes.f.reply]]
when.status = "4xx"
text = "4xx {{response.status}}"
[[routes.f.reply]]
when.found = "$.error"
text = "found"
[[routes.f.reply]]
when.missing = "$.state"
text = "missing"
[[routes.f.reply]]
when = { status = 201, equals = { "args.unit" = "f" } }
text = "both"
[[routes.f.reply]]
when.equals = { state = ["on", true, 1], "args.unit" = "f" }
text = "equals"
[[routes.f.reply]]
when.equals.args.unit = "k"
text = "the nested spelling"
[[routes.f.reply]]
when.equals = { "response.body.deep.0.x" = 2 }
text = "deep"
[[routes.f.reply]]
when.matches = { state = "^o[fn]+$", "args.unit" = "[a-c]" }
text = "matches"
[[routes.f.reply]]
when.equals = { state = "last" }
text = "last"
"#,
    );
    let proxy = Proxy::over(&upstream, &table).await;
    let text = |text: &str| json!({"text": text});
    let bad = || json!("bad_response");
    for (status, body, more, expected) in [
        (404, r#"{"hint": 1}"#, json!({}), text("404 with hint")),
        (404, "{}", json!({}), text("404")),
        // A case names the status, so a body that cannot be parsed is kept as text and is no failure.
        (404, "<html>", json!({}), text("404")),
        (410, "", json!({}), text("one of a list")),
        (503, "{}", json!({}), text("one of a list")),
        (418, "nonsense", json!({}), text("4xx 418")),
        (301, "{}", json!({}), bad()),
        (200, r#"{"error": false}"#, json!({}), text("found")),
        (200, r#"{"error": null}"#, json!({}), text("missing")),
        (200, r#"{"error": null, "state": null}"#, json!({}), text("missing")),
        (200, "{}", json!({}), text("missing")),
        (200, "", json!({}), text("missing")),
        (200, "<html>", json!({}), bad()),
        (201, r#"{"state": 0}"#, json!({"unit": "f"}), text("both")),
        (200, r#"{"state": "on"}"#, json!({"unit": "f"}), text("equals")),
        (200, r#"{"state": true}"#, json!({"unit": "f"}), text("equals")),
        (200, r#"{"state": 1.0}"#, json!({"unit": "f"}), text("equals")),
        (200, r#"{"state": "1"}"#, json!({"unit": "f"}), bad()),
        (200, r#"{"state": "on"}"#, json!({"unit": "k"}), text("the nested spelling")),
        (200, r#"{"state": "x", "deep": [{"x": 2}]}"#, json!({}), text("deep")),
        (200, r#"{"state": "off"}"#, json!({"unit": "xbx"}), text("matches")),
        (200, r#"{"state": "offer"}"#, json!({"unit": "xbx"}), bad()),
        // A missing value equals nothing and matches nothing.
        (200, r#"{"state": "off"}"#, json!({}), bad()),
        (200, r#"{"state": "last"}"#, json!({}), text("last")),
        // There are cases, but none matches.
        (200, r#"{"state": "other"}"#, json!({}), bad()),
    ] {
        assert_eq!(answer(&proxy, status, body, &more).await, expected, "{status} {body} {more}");
    }
}

#[tokio::test]
async fn values_are_extracted_from_responses() {
    let upstream = scripted().await;
    let extract = r#"
extract = { one = "$.a", all = { path = "$.l[*].x", all = true }, first = "$.l[*].x", none = { path = "$.no", default = "d" }, empty = { path = "$.no[*]", all = true, default = ["d"] }, last = "$.l[-1].x", some = { path = "$.l[?@.x > 1].x", all = true } }
"#;
    // Without cases, the data of the reply holds every extracted value.
    let proxy = Proxy::over(&upstream, &table(extract)).await;
    for (body, expected) in [
        (
            r#"{"a": {"b": [1.50]}, "l": [{"x": 1}, {"y": 0}, {"x": 3}]}"#,
            json!({"one": {"b": [exact("1.50")]}, "all": [1, 3], "first": 1, "none": "d", "empty": ["d"], "last": 3, "some": [3]}),
        ),
        ("{}", json!({"all": [], "none": "d", "empty": ["d"], "some": []})),
        (
            r#"{"a": null, "no": null}"#,
            json!({"one": null, "all": [], "none": "d", "empty": ["d"], "some": []}),
        ),
        ("[]", json!({"all": [], "none": "d", "empty": ["d"], "some": []})),
        (r#""text""#, json!({"all": [], "none": "d", "empty": ["d"], "some": []})),
    ] {
        assert_eq!(answer(&proxy, 200, body, &json!({})).await, json!({"data": expected}), "{body}");
    }

    let required = r#"
extract = { id = { path = "$.id", required = true }, name = "$.name" }
reply = [{ when.status = 404, text = "no {{default id 'id'}}" }, { text = "{{id}}{{#if name}} {{name}}{{/if}}" }]
"#;
    let proxy = Proxy::over(&upstream, &table(required)).await;
    for (status, body, expected) in [
        (200, r#"{"id": 0}"#, json!({"text": "0"})),
        (200, r#"{"id": "a", "name": "N"}"#, json!({"text": "a N"})),
        (200, r#"{"id": ""}"#, json!({"text": ""})),
        (200, r#"{"id": null}"#, json!("bad_response")),
        (200, "{}", json!("bad_response")),
        (404, "{}", json!({"text": "no id"})),
    ] {
        assert_eq!(answer(&proxy, status, body, &json!({})).await, expected, "{status} {body}");
    }

    // A missing value is an error only where it is used.
    let used = r#"
extract = { a = "$.a", b = "$.b" }
reply = [{ when.equals = { a = 1 }, text = "{{a}}" }, { text = "{{b}}", data = { a = "{{a}}", b = "{{b}}", l = ["{{b}}"] } }]
"#;
    let proxy = Proxy::over(&upstream, &table(used)).await;
    for (body, expected) in [
        (r#"{"a": 1}"#, json!({"text": "1"})),
        (r#"{"b": 2}"#, json!({"text": "2", "data": {"b": 2, "l": [2]}})),
        (r#"{"b": null}"#, json!({"text": "", "data": {"l": [null]}})),
        (r#"{"a": 2}"#, json!("bad_response")),
    ] {
        assert_eq!(answer(&proxy, 200, body, &json!({})).await, expected, "{body}");
    }
}

#[tokio::test]
async fn bodies_are_parsed_by_content_type_unless_the_route_overrides_it() {
    let upstream = scripted().await;
    for (format, kind, body, expected) in [
        ("", "application/json; charset=utf-8", "{\"a\": 1}", json!({"data": {"b": {"a": 1}}})),
        ("", "application/problem+json", "[1]", json!({"data": {"b": [1]}})),
        ("", "text/plain", "{\"a\": 1}", json!({"data": {"b": "{\"a\": 1}"}})),
        ("", "text/html", "<p>", json!({"data": {"b": "<p>"}})),
        ("", "application/json", "", json!({"data": {}})),
        ("", "application/json", "{\"a\"", json!("bad_response")),
        ("json", "text/plain", "{\"a\": 1}", json!({"data": {"b": {"a": 1}}})),
        ("json", "text/plain", "hello", json!("bad_response")),
        ("text", "application/json", "{\"a\"", json!({"data": {"b": "{\"a\""}})),
    ] {
        let key = if format.is_empty() { String::new() } else { format!("response.format = \"{format}\"\n") };
        let proxy = Proxy::over(&upstream, &table(&(key + BODY))).await;
        assert_eq!(
            answer(&proxy, 200, body, &json!({"type": kind})).await,
            expected,
            "{format} {kind} {body}"
        );
    }
}

#[tokio::test]
async fn replies_are_built_from_texts_files_and_objects() {
    let upstream = scripted().await;
    let table = table(
        r#"
extract = { temp = "$.temp", days = "$.days" }
[[routes.f.reply]]
when.equals = { "args.unit" = "file" }
text_file = "said.hbs"
data_file = "given.json.hbs"
[[routes.f.reply]]
when.equals = { "args.unit" = "cut" }
text = "{{days}}"
max_chars = 11
data = "{{temp}}"
[[routes.f.reply]]
text = "{{round temp}} degrees{{#each days}}{{#if @first}}:{{/if}} {{this.name}}{{/each}}"
data = { exact = "{{temp}}", rounded = "{{round temp 1}}", text = "{{temp}} C", days = "{{days}}", none = "{{args.n}}", fixed = { on = true } }
"#,
    )
    .replace("UPSTREAM", &upstream.address.to_string());
    let table = format!("[server]\nlisten = \"127.0.0.1:0\"\n{table}");
    let files = [
        ("routes.toml", table.as_str()),
        ("templates/said.hbs", "It is {{temp}}.{{> sign}}"),
        ("templates/sign.hbs", " Yours, {{call.platform}}"),
        ("templates/given.json.hbs", "{\"t\": {{temp}}, \"s\": \"{{temp}} \\\"C\\\"\", \"d\": {{days}}}"),
    ];
    let proxy = Proxy::with(&files, &[]).await;
    let days = json!([{"name": "Mon"}, {"name": "T\"ue"}]);
    let body = json!({"temp": 7.55, "days": days}).to_string();
    for (unit, body, expected) in [
        (
            "file",
            &body,
            json!({
                "text": "It is 7.55. Yours, http",
                "data": {"t": 7.55, "s": "7.55 \"C\"", "d": days}
            }),
        ),
        (
            "",
            &body,
            json!({
                "text": "8 degrees: Mon T\"ue",
                "data": {"exact": 7.55, "rounded": 7.6, "text": "7.55 C", "days": days, "fixed": {"on": true}}
            }),
        ),
        (
            "cut",
            &json!({"temp": null, "days": "fair and mild"}).to_string(),
            json!({"text": "fair and", "data": null}),
        ),
        (
            "cut",
            &json!({"temp": [1], "days": "éééééé éééé"}).to_string(),
            json!({"text": "éééééé éééé", "data": [1]}),
        ),
        (
            "cut",
            &json!({"temp": {}, "days": "unbreakable-word"}).to_string(),
            json!({"text": "unbreakable", "data": {}}),
        ),
    ] {
        assert_eq!(answer(&proxy, 200, body, &json!({"unit": unit})).await, expected, "{unit} {body}");
    }
}

#[tokio::test]
async fn a_route_without_a_request_returns_its_reply() {
    let table = r#"
[platforms.http]
[platforms.swaig]
[server]
listen = "127.0.0.1:0"
[vars]
phone = "+15550100"
[routes.route]
args.department = { type = "string", enum = ["sales", "support"], default = "support" }
args.hold = { type = "integer" }
[[routes.route.reply]]
when.equals.args.department = "sales"
text = "Sales: {{vars.phone}}"
[[routes.route.reply]]
when.matches = { "call.conversation" = "^vip-" }
text = "You first."
[[routes.route.reply]]
when.failure = "invalid_args"
text = "Sales or support?"
[[routes.route.reply]]
text = "Support."
data = { at = "{{call.platform}}" }
swaig.action = [{ say = "Hold on." }, { hold = "{{args.hold}}" }]
"#;
    let mut proxy = Proxy::start(table).await;
    let http = |department: &str| json!({"department": department});
    assert_eq!(proxy.post("/http/route", &http("sales")).await.json(), json!({"text": "Sales: +15550100"}));
    let support = json!({"text": "Support.", "data": {"at": "http"}});
    assert_eq!(proxy.post("/http/route", &json!({})).await.json(), support);
    let vip = [("x-conversation-id", "vip-7")];
    let answer = proxy.send(Method::POST, "/http/route", &vip, "{}").await.json();
    assert_eq!(answer, json!({"text": "You first."}));
    let failed = json!({"error": {"kind": "invalid_args", "text": "Sales or support?"}});
    assert_eq!(proxy.post("/http/route", &http("garden")).await.json(), failed);

    // An action whose value depends on the call is checked during the call. An invalid action is dropped, and the rest
    // of the reply is sent.
    for (hold, action) in [
        (json!(60), json!([{"say": "Hold on."}, {"hold": 60}])),
        (json!(901), json!([{"say": "Hold on."}])),
        (json!(-1), json!([{"say": "Hold on."}])),
    ] {
        let body = json!({"function": "route", "argument": {"parsed": [{"hold": hold}]}});
        let answer = proxy.post("/swaig", &body).await.json();
        assert_eq!(answer, json!({"response": "Support.", "action": action}), "{hold}");
    }
    let dropped = proxy.logged("hold").await;
    assert!(dropped.contains("WARN") && !dropped.contains("901"), "{dropped}");
}

#[tokio::test]
async fn compressed_bodies_are_decoded_up_to_the_size_limit() {
    for (body, encoding, expected) in [
        (SMALL.to_vec(), "gzip", json!({"data": {"b": {"temp": 7}}})),
        (BOMB.to_vec(), "gzip", json!("bad_response")),
        (b"not gzip at all".to_vec(), "gzip", json!("bad_response")),
        (vec![b' '; 2048], "identity", json!({"data": {}})),
        (vec![b' '; 2049], "identity", json!("bad_response")),
    ] {
        let length = body.len();
        let upstream = Upstream::new(move |seen| {
            assert!(seen.header("accept-encoding").concat().contains("gzip"), "{seen:?}");
            Reply::raw(200, "text/plain", body.clone()).header("content-encoding", encoding)
        })
        .await;
        let format = if expected["data"]["b"].is_object() { "json" } else { "text" };
        let route = format!("response.format = \"{format}\"\n{BODY}");
        let route = if length == 2048 { "reply.data = {}".to_owned() } else { route };
        let proxy = Proxy::over(&upstream, &table(&route)).await;
        assert_eq!(answer(&proxy, 200, "", &json!({})).await, expected, "{encoding} {length}");
    }
}

#[tokio::test]
async fn redirects_are_followed_only_to_the_same_origin_and_only_if_enabled() {
    let other = Upstream::new(|_| Reply::json(&json!({"from": "another"}))).await;
    let elsewhere = format!("http://{}/end", other.address);
    let upstream = Upstream::new(move |seen| {
        let away = |status: u16, to: &str| Reply::raw(status, "text/plain", "").header("location", to);
        match seen.path() {
            "/v1/near" => away(302, "/v1/end"),
            "/v1/post" => away(307, "/v1/end"),
            "/v1/far" => away(302, &elsewhere),
            "/v1/loop" => away(302, "/v1/loop"),
            "/v1/local" => away(302, "file:///etc/passwd"),
            _ => Reply::json(&json!({"from": "here"})),
        }
    })
    .await;
    let mut table = r#"
[platforms.http]
[upstreams.never]
base_url = "http://UPSTREAM/v1"
auth.bearer = { token = "tok" }
[upstreams.same]
base_url = "http://UPSTREAM/v1"
redirects = "same_origin"
auth.bearer = { token = "tok" }
"#
    .to_owned();
    for upstream in ["never", "same"] {
        for path in ["near", "far", "loop", "local"] {
            table.push_str(
                &r#"
[routes.NAME_PATH]
upstream = "NAME"
request = { path = "/PATH" }
reply = [{ when.status = 302, text = "302" }, { text = "{{response.body.from}}" }]
"#
                .replace("NAME", upstream)
                .replace("PATH", path),
            );
        }
        table.push_str(
            &r#"
[routes.NAME_post]
upstream = "NAME"
request = { method = "POST", path = "/post", body = { a = 1 } }
reply.text = "{{response.body.from}}"
"#
            .replace("NAME", upstream),
        );
    }
    let proxy = Proxy::over(&upstream, &table).await;
    for (function, expected, requests) in [
        ("never_near", json!({"text": "302"}), 1),
        ("never_far", json!({"text": "302"}), 1),
        ("same_near", json!({"text": "here"}), 2),
        ("same_far", json!({"text": "302"}), 1),
        ("same_loop", json!({"text": "302"}), 6),
        ("same_local", json!({"text": "302"}), 1),
        ("same_post", json!({"text": "here"}), 2),
    ] {
        let answer = proxy.post(&format!("/http/{function}"), &json!({})).await.json();
        assert_eq!(answer, expected, "{function}");
        let seen = upstream.take();
        assert_eq!(seen.len(), requests, "{function}");
        assert!(seen.iter().all(|seen| seen.header("authorization") == ["Bearer tok"]), "{function}");
        assert!(seen.iter().all(|seen| seen.header("referer").is_empty()), "{function}");
        if function == "same_post" {
            assert!(seen.iter().all(|seen| seen.method == "POST" && seen.json() == json!({"a": 1})));
        }
    }
    let answer = proxy.post("/http/never_post", &json!({})).await.json();
    assert_eq!(answer["error"]["kind"], "bad_response");
    assert!(other.take().is_empty());
}

#[tokio::test]
async fn numbers_keep_their_digits_in_replies() {
    let route = r#"
extract = { price = "$.price", id = "$.id" }
[[routes.f.reply]]
when.equals = { price = 19.1 }
text = "{{price}} {{id}} {{round price 1}} {{#if (gt id 36893488147419103232)}}more{{/if}}"
data = { price = "{{price}}", id = "{{id}}", body = "{{response.body}}" }
"#;
    let upstream = scripted().await;
    let proxy = Proxy::over(&upstream, &table(route)).await;
    let body = "{\"price\":19.10,\"id\":36893488147419103233}";
    let answer = proxy.post("/http/f", &json!({"status": 200, "body": body})).await;
    assert_eq!(
        answer.text(),
        format!(
            "{{\"text\":\"19.10 36893488147419103233 19.1 more\",\
             \"data\":{{\"price\":19.10,\"id\":36893488147419103233,\"body\":{body}}}}}"
        )
    );
}
