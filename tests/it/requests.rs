//! The requests that are sent: headers and their precedence, credentials, optional parts, types, and the parts of a
//! call that are never forwarded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

async fn echo() -> Upstream {
    Upstream::new(|_| Reply::json(&json!({}))).await
}

#[tokio::test]
async fn credentials_override_headers_and_routes_override_upstreams() {
    let upstream = echo().await;
    let table = r#"
[platforms.http]
auth.bearer = { token = "inbound" }
[defaults]
headers = { x-a = "defaults", x-b = "defaults", x-c = "defaults", authorization = "defaults", accept = "text/plain" }
[upstreams.plain]
base_url = "http://UPSTREAM"
[upstreams.basic]
base_url = "http://UPSTREAM"
auth.basic = { username = "us", password = "p:w ø" }
headers = { X-B = "upstream", x-c = "upstream", authorization = "upstream" }
[upstreams.bearer]
base_url = "http://UPSTREAM"
auth.bearer = { token = "tok" }
[upstreams.header]
base_url = "http://UPSTREAM"
auth.header = { name = "X-Api-Key", value = "key" }
headers = { x-api-key = "upstream" }
[routes.plain]
upstream = "plain"
request = { path = "/" }
[routes.basic]
upstream = "basic"
request = { path = "/", headers = { X-C = "route {{call.platform}}", authorization = "route" } }
[routes.bearer]
upstream = "bearer"
request = { path = "/" }
[routes.header]
upstream = "header"
request = { path = "/", headers = { x-api-key = "route" } }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let basic = format!("Basic {}", STANDARD.encode("us:p:w ø"));
    for (function, expected) in [
        (
            "plain",
            [("x-a", "defaults"), ("x-b", "defaults"), ("authorization", "defaults"), ("x-api-key", "")],
        ),
        (
            "basic",
            [("x-a", "defaults"), ("x-b", "upstream"), ("x-c", "route http"), ("authorization", &basic)],
        ),
        (
            "bearer",
            [
                ("x-a", "defaults"),
                ("accept", "text/plain"),
                ("authorization", "Bearer tok"),
                ("x-b", "defaults"),
            ],
        ),
        (
            "header",
            [("x-a", "defaults"), ("x-api-key", "key"), ("authorization", "defaults"), ("x-c", "defaults")],
        ),
    ] {
        // Inbound headers are for the proxy and are never forwarded.
        let inbound = [
            ("authorization", "Bearer inbound"),
            ("cookie", "session=1"),
            ("x-b", "caller"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-other", "caller"),
            ("connection", "x-other"),
        ];
        let answer = proxy.send(Method::POST, &format!("/http/{function}"), &inbound, "").await;
        assert_eq!(answer.json(), json!({"data": {}}), "{function}");
        let seen = upstream.one();
        for (name, value) in expected {
            let value: Vec<_> =
                Some(value.to_owned()).into_iter().filter(|value| !value.is_empty()).collect();
            assert_eq!(seen.header(name), value, "{function} {name}");
        }
        for name in ["cookie", "x-forwarded-for", "x-other", "forwarded", "via"] {
            assert!(seen.header(name).is_empty(), "{function} {name}");
        }
        assert!(!format!("{seen:?}").contains("inbound"));
        assert_eq!(seen.header("host"), [upstream.address.to_string()]);
        assert!(seen.header("user-agent")[0].starts_with("jackfield/"), "{seen:?}");
    }
}

#[tokio::test]
async fn missing_values_are_omitted_and_lists_repeat_their_key() {
    let upstream = echo().await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM/v1"
[routes.get]
upstream = "api"
args.a = { type = "string" }
args.n = { type = "number" }
args.l = { type = "array" }
args.o = { type = "object" }
request.path = "/"
request.query = { a = "{{args.a}}", n = "{{args.n}}", l = "{{args.l}}", m = ["fix", "{{args.a}}"], name = "{{args.o.name}}", d = '{{default args.a "none"}}', lang = "{{call.metadata.lang}}", t = "{{#if args.a}}yes{{/if}}" }
request.headers = { x-a = "{{args.a}}", x-name = "{{args.o.name}}" }
[routes.post]
upstream = "api"
args.a = { type = "string" }
args.n = { type = "number" }
args.l = { type = "array" }
args.o = { type = "object" }
args.t = { type = "boolean" }
args.i = { type = "integer", default = 3 }
request.method = "PATCH"
request.path = "/"
request.body = { a = "{{args.a}}", n = "{{args.n}}", l = "{{args.l}}", o = "{{args.o}}", t = "{{args.t}}", i = "{{args.i}}", deep = { list = ["{{args.i}}", { n = "{{args.n}}" }] }, text = "i={{args.i}} l={{json args.i}}", rounded = "{{round args.n 1}}", upper = "{{upper args.a}}", fixed = [1, 2.5, true, "x"] }
[routes.form]
upstream = "api"
args.a = { type = "string" }
args.l = { type = "array" }
request = { method = "POST", path = "/", form = { a = "{{args.a}}", l = "{{args.l}}", n = 7 } }
[routes.object]
upstream = "api"
args.o = { type = "object" }
request = { path = "/", query = { o = "{{args.o}}" } }
[routes.object_form]
upstream = "api"
args.o = { type = "object" }
request = { method = "POST", path = "/", form = { o = "{{args.o}}" } }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    for (args, query, headers) in [
        (json!({}), &[("m", "fix"), ("d", "none"), ("t", "")][..], (vec![], vec![])),
        (
            json!({"a": null, "l": null, "o": {"name": null}}),
            &[("m", "fix"), ("d", "none"), ("t", "")],
            (vec![], vec![]),
        ),
        (
            json!({"a": "", "l": [], "n": 0}),
            &[("a", ""), ("n", "0"), ("m", "fix"), ("m", ""), ("d", "none"), ("t", "")],
            (vec![""], vec![]),
        ),
        (
            json!({"a": "x", "n": 1.5, "l": ["p&q", 2, true, null], "o": {"name": "N"}}),
            &[
                ("a", "x"),
                ("n", "1.5"),
                ("l", "p&q"),
                ("l", "2"),
                ("l", "true"),
                ("l", ""),
                ("m", "fix"),
                ("m", "x"),
                ("name", "N"),
                ("d", "x"),
                ("t", "yes"),
            ],
            (vec!["x"], vec!["N"]),
        ),
    ] {
        let answer = proxy.post("/http/get", &args).await;
        assert_eq!(answer.json(), json!({"data": {}}), "{args}");
        let seen = upstream.one();
        assert_eq!(seen.query(), pairs(query), "{args}");
        assert_eq!(
            (seen.header("x-a"), seen.header("x-name")),
            (strings(&headers.0), strings(&headers.1)),
            "{args}"
        );
    }

    for (args, expected) in [
        (
            json!({}),
            json!({"i": 3, "deep": {"list": [3, {}]}, "text": "i=3 l=3", "fixed": [1, 2.5, true, "x"]}),
        ),
        (
            json!({"a": "é\"", "n": 2.75, "l": [1, [null]], "o": {"x": {"y": []}}, "t": false, "i": 0}),
            json!({
                "a": "é\"", "n": 2.75, "l": [1, [null]], "o": {"x": {"y": []}}, "t": false, "i": 0,
                "deep": {"list": [0, {"n": 2.75}]}, "text": "i=0 l=0", "rounded": 2.8, "upper": "É\"",
                "fixed": [1, 2.5, true, "x"]
            }),
        ),
    ] {
        proxy.post("/http/post", &args).await;
        let seen = upstream.one();
        assert_eq!((seen.method.as_str(), seen.json()), ("PATCH", expected), "{args}");
        assert_eq!(seen.header("content-type"), ["application/json"]);
    }

    proxy.post("/http/form", &json!({"a": "x y", "l": [1, "=&"]})).await;
    let seen = upstream.one();
    assert_eq!(seen.header("content-type"), ["application/x-www-form-urlencoded"]);
    assert_eq!(String::from_utf8(seen.body).unwrap(), "a=x+y&l=1&l=%3D%26&n=7");

    let cases = [
        (json!({}), ""),
        (json!({"eq": "8827364"}), "o%5Beq%5D=8827364"),
        (
            json!({"a": 1, "b": null, "c": [1, "&="], "d": {"e f": true}}),
            "o%5Ba%5D=1&o%5Bc%5D=1&o%5Bc%5D=%26%3D&o%5Bd%5D%5Be%20f%5D=true",
        ),
        (json!({"a&b=c#d": "x"}), "o%5Ba%26b%3Dc%23d%5D=x"),
    ];
    for (o, query) in cases {
        proxy.post("/http/object", &json!({"o": o})).await;
        let target = if query.is_empty() { "/v1/".to_owned() } else { format!("/v1/?{query}") };
        assert_eq!(upstream.one().target, target, "{o}");
        proxy.post("/http/object_form", &json!({"o": o})).await;
        assert_eq!(String::from_utf8(upstream.one().body).unwrap(), query.replace("%20", "+"), "{o}");
    }
    // A key cannot change where a value belongs.
    for o in [
        json!({"a][b": 1}),
        json!({"": 1}),
        json!({"a": {"[]": 1}}),
        json!({"a": [[1]]}),
        json!({"a": [{"b": 1}]}),
    ] {
        let answer = proxy.post("/http/object", &json!({"o": o})).await.json();
        assert_eq!(answer["error"]["kind"], "refused", "{o}");
    }
    for l in [json!([[1]]), json!([{"a": 1}])] {
        let answer = proxy.post("/http/get", &json!({"l": l})).await.json();
        assert_eq!(answer["error"]["kind"], "refused", "{l}");
    }
    assert!(upstream.take().is_empty());
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn arguments_are_coerced_when_nothing_is_lost() {
    let upstream = echo().await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[routes.f]
upstream = "api"
args.i = { type = "integer", max = 100 }
args.n = { type = "number" }
args.b = { type = "boolean" }
args.s = { type = "string" }
args.l = { type = "array", items = { type = "integer" } }
args.e = { type = "number", enum = [1.5, 2] }
args.o = { type = "object", properties = { i = { type = "integer" } } }
request = { method = "POST", path = "/", body = { i = "{{args.i}}", n = "{{args.n}}", b = "{{args.b}}", s = "{{args.s}}", l = "{{args.l}}", o = "{{args.o}}" } }
"#;
    let proxy = Proxy::over(&upstream, table).await;
    for (given, sent) in [
        (json!({"i": "5"}), json!({"i": 5})),
        (json!({"i": 5.0}), json!({"i": 5})),
        (json!({"i": "-5.00"}), json!({"i": -5})),
        (json!({"n": "5.25"}), json!({"n": 5.25})),
        (json!({"b": "true"}), json!({"b": true})),
        (json!({"b": "False"}), json!({"b": false})),
        (json!({"b": "Yes"}), json!({"b": true})),
        (json!({"s": 7}), json!({"s": "7"})),
        (json!({"s": 7.5}), json!({"s": "7.5"})),
        (json!({"s": "007"}), json!({"s": "007"})),
        (json!({"l": ["1", 2.0]}), json!({"l": [1, 2]})),
        (json!({"l": "[1, \"2\"]"}), json!({"l": [1, 2]})),
        (json!({"o": "{\"i\": \"3\"}"}), json!({"o": {"i": 3}})),
        (json!({"o": {"i": "3", "more": 1}}), json!({"o": {"i": 3}})),
        (json!({"s": null, "i": null}), json!({})),
        (json!({"unknown": {"deep": []}}), json!({})),
    ] {
        let answer = proxy.post("/http/f", &given).await;
        assert_eq!(answer.json(), json!({"data": {}}), "{given}");
        assert_eq!(upstream.one().json(), sent, "{given}");
    }
    for (given, name, what) in [
        (json!({"i": "007"}), "i", "a whole number"),
        (json!({"i": "5.5"}), "i", "a whole number"),
        (json!({"i": 5.5}), "i", "a whole number"),
        (json!({"i": ""}), "i", "a whole number"),
        (json!({"i": true}), "i", "a whole number"),
        (json!({"i": "101"}), "i", "at most 100"),
        (json!({"b": "maybe"}), "b", "true or false"),
        (json!({"b": 1}), "b", "true or false"),
        (json!({"n": "1,5"}), "n", "a number"),
        (json!({"s": true}), "s", "a string"),
        (json!({"s": ["a"]}), "s", "a string"),
        (json!({"l": "1"}), "l", "a list"),
        (json!({"o": []}), "o", "an object"),
    ] {
        let answer = proxy.post("/http/f", &given).await.json();
        assert_eq!(answer["error"]["kind"], "invalid_args", "{given}");
        let text = answer["error"]["text"].as_str().unwrap();
        assert!(text.contains(&format!("argument `{name}` must be {what}")), "{given}: {text}");
    }
    // A large number with an exponent is not converted: it may have been an account number, for example.
    let answer = proxy.send(Method::POST, "/http/f", &[], "{\"s\": 1e23}").await.json();
    assert_eq!(answer["error"]["kind"], "invalid_args", "{answer}");
    assert!(upstream.take().is_empty());
    for (given, sent) in [("1.50", true), ("15e-1", true), ("2.0", true), ("1.51", false)] {
        proxy.send(Method::POST, "/http/f", &[], format!("{{\"e\": {given}}}")).await;
        assert_eq!(!upstream.take().is_empty(), sent, "{given}");
    }
    // Numbers keep the digits that JSON parsers would lose.
    for digits in ["123456789012345678901", "9007199254740993.0", "19.10", "0.1234567890123456789012345"] {
        for (given, sent) in [
            (format!("{{\"s\": {digits}}}"), format!("{{\"s\":\"{digits}\"}}")),
            (format!("{{\"n\": {digits}}}"), format!("{{\"n\":{digits}}}")),
            (format!("{{\"n\": \"{digits}\"}}"), format!("{{\"n\":{digits}}}")),
        ] {
            proxy.send(Method::POST, "/http/f", &[], given.clone()).await;
            assert_eq!(String::from_utf8(upstream.one().body).unwrap(), sent, "{given}");
        }
    }
}

#[tokio::test]
async fn numbers_of_the_table_keep_their_digits() {
    let upstream = echo().await;
    let table = r#"
[platforms.http]
[upstreams.api]
base_url = "http://UPSTREAM"
[vars]
fee = 0.1234567890123456789012345
[routes.f]
upstream = "api"
args.n = { type = "number", default = 2.50, min = 0.10, enum = [2.50, 0.10] }
[routes.f.request]
method = "POST"
path = "/"
query = { v = 7.00 }
body = { price = 19.10, list = [+1_000.500], fee = "{{vars.fee}}", n = "{{args.n}}" }
[[routes.f.reply]]
when.equals = { "args.n" = 2.5 }
data = { total = 20.0 }
[[routes.f.reply]]
text = "{{vars.fee}} {{args.n}}"
"#;
    let proxy = Proxy::over(&upstream, table).await;
    let answer = proxy.send(Method::POST, "/http/f", &[], "{}").await;
    assert_eq!(answer.text(), "{\"data\":{\"total\":20.0}}");
    let seen = upstream.one();
    assert_eq!(seen.target, "/?v=7.00");
    let body = "{\"price\":19.10,\"list\":[1000.500],\"fee\":0.1234567890123456789012345,\"n\":2.50}";
    assert_eq!(String::from_utf8(seen.body).unwrap(), body);
    let answer = proxy.send(Method::POST, "/http/f", &[], "{\"n\": 0.1}").await;
    assert_eq!(answer.text(), "{\"text\":\"0.1234567890123456789012345 0.1\"}");
}

#[tokio::test]
async fn urls_are_joined_with_one_slash_and_bodies_have_a_content_length() {
    let upstream = echo().await;
    let mut table = "[platforms.http]\n".to_owned();
    let mut expected: Vec<(String, &str)> = Vec::new();
    for (index, (base, path, target)) in [
        ("", "", "/"),
        ("", "/", "/"),
        ("/", "x", "/x"),
        ("/v1", "", "/v1"),
        ("/v1", "/", "/v1/"),
        ("/v1", "x", "/v1/x"),
        ("/v1/", "/x/", "/v1/x/"),
        ("/v1/", "x y/ø", "/v1/x%20y/%C3%B8"),
        ("/v%201", "/a%2Fb", "/v%201/a%2Fb"),
        ("/v1", "//evil.example/x", "/v1/evil.example/x"),
        ("/v1", "/a:b@c;d=e,f", "/v1/a:b@c;d=e,f"),
        ("/v1", "/it's(1)!*~", "/v1/it's(1)!*~"),
    ]
    .into_iter()
    .enumerate()
    {
        table.push_str(&format!(
            "[upstreams.u{index}]\nbase_url = \"http://UPSTREAM{base}\"\n\
             [routes.r{index}]\nupstream = \"u{index}\"\nrequest.path = \"{path}\"\n"
        ));
        expected.push((format!("/http/r{index}"), target));
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let route = "[routes.METHOD]\nupstream = \"u0\"\nrequest = { method = \"METHOD\", path = \"/m\" }\n";
        table.push_str(&route.replace("METHOD", method));
    }
    let proxy = Proxy::over(&upstream, &table).await;
    for (function, target) in expected {
        let answer = proxy.post(&function, &json!({})).await;
        assert_eq!(answer.json(), json!({"data": {}}), "{function} {target}");
        assert_eq!(upstream.one().target, target);
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let answer = proxy.post(&format!("/http/{method}"), &json!({})).await;
        assert_eq!(answer.json(), json!({"data": {}}), "{method}");
        let seen = upstream.one();
        let length: Vec<String> =
            if ["POST", "PUT", "PATCH"].contains(&method) { strings(&["0"]) } else { Vec::new() };
        assert_eq!((seen.method.as_str(), seen.header("content-length")), (method, length));
        assert!(seen.header("content-type").is_empty() && seen.header("transfer-encoding").is_empty());
    }
    let _: Value = proxy.post("/http/r0", &json!({})).await.json();
}

#[tokio::test]
async fn local_times_are_taken_in_the_zone_of_the_table_or_of_the_call() {
    let upstream = echo().await;
    let table = r#"
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM"
[defaults]
tz = ZONE
[routes.f]
upstream = "api"
args.start = { type = "string", format = "date-time", required = true }
args.time = { type = "string", format = "time" }
request = { method = "POST", path = "/", body = { start = "{{args.start}}", time = "{{args.time}}", utc = '{{date args.start "%FT%TZ" tz="UTC"}}', told = '{{date args.start "%H:%M"}}', z = '{{date "2026-07-04T13:00:00Z" "%H:%M"}}' } }
reply.text = "Booked."
"#;
    let args = json!({"start": "2026-07-04T15:00:00", "time": "15:00"});
    let body = json!({"function": "f", "argument": {"parsed": [args]}, "meta_data": {"tz": "Asia/Tokyo"}});
    for (zone, start, utc, z) in [
        ("\"Europe/Oslo\"", "2026-07-04T15:00:00+02:00", "2026-07-04T13:00:00Z", "15:00"),
        ("\"UTC\"", "2026-07-04T15:00:00Z", "2026-07-04T15:00:00Z", "13:00"),
        ("\"{{call.metadata.tz}}\"", "2026-07-04T15:00:00+09:00", "2026-07-04T06:00:00Z", "22:00"),
    ] {
        let proxy = Proxy::over(&upstream, &table.replace("ZONE", zone)).await;
        assert_eq!(proxy.post("/swaig", &body).await.json()["response"], "Booked.", "{zone}");
        let sent = upstream.one().json();
        let expected = json!({"start": start, "time": "15:00", "utc": utc, "told": "15:00", "z": z});
        assert_eq!(sent, expected, "{zone}");
    }
    // Without a zone nobody knows which time is meant.
    let proxy = Proxy::over(&upstream, &table.replace("ZONE", "\"{{call.metadata.zone}}\"")).await;
    let answer = proxy.post("/swaig", &body).await.json();
    let text = answer["response"].as_str().unwrap();
    assert!(text.contains("argument `start` must be a date and time such as 2026-09-21T14:30:00Z"), "{text}");
    assert!(upstream.take().is_empty());
}
