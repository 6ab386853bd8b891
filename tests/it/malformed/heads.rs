//! Requests with an invalid head, or for something that does not exist.

use super::wire::{raw, request};
use super::{Case, Expect};

use Expect::{Called, ErrorReply, Refused};

pub(super) const GOOD: &str = "POST /http/get_weather HTTP/1.1";

/// A body that would be a valid call if it were accepted.
pub(super) const BODY: &[u8] = br#"{"city":"Oslo"}"#;

pub(super) const LENGTH: &str = "content-length: 15";

/// Rejected by HTTP itself.
pub(super) const BAD: Expect = Refused(400);

fn lines() -> Vec<(String, Expect)> {
    let mut lines: Vec<(String, Expect)> = [
        ("GARBAGE", BAD),
        ("POST", BAD),
        ("POST ", BAD),
        (" POST /http/get_weather HTTP/1.1", BAD),
        ("POST /http/get_weather", BAD),
        ("POST  /http/get_weather HTTP/1.1", BAD),
        ("POST /http/get_weather  HTTP/1.1", BAD),
        ("POST /http/get_weather HTTP/1.1 ", BAD),
        ("POST /http/get_weather HTTP/1.1 x", BAD),
        ("POST\t/http/get_weather\tHTTP/1.1", BAD),
        ("POST /http/get weather HTTP/1.1", BAD),
        ("POST HTTP/1.1", BAD),
        ("POST /http/get_weather HTTP/0.9", BAD),
        ("POST /http/get_weather HTTP/1.2", BAD),
        ("POST /http/get_weather HTTP/1", BAD),
        ("POST /http/get_weather HTTP/1.1.1", BAD),
        ("POST /http/get_weather HTTP/11", BAD),
        ("POST /http/get_weather HTTP/2.0", BAD),
        ("POST /http/get_weather http/1.1", BAD),
        ("POST /http/get_weather HTTPS/1.1", BAD),
        ("POST /http/get_weather SIP/2.0", BAD),
        ("POST /http/get_weather HTTP/1.\u{661}", BAD),
        ("PO(ST /http/get_weather HTTP/1.1", BAD),
        ("PO\0ST /http/get_weather HTTP/1.1", BAD),
        ("P\u{f6}ST /http/get_weather HTTP/1.1", BAD),
        ("POST /http/get\0weather HTTP/1.1", BAD),
        ("POST /http/get\u{1b}weather HTTP/1.1", BAD),
        ("POST /http/get\rweather HTTP/1.1", BAD),
        ("POST http/get_weather HTTP/1.1", BAD),
        ("POST ?x HTTP/1.1", BAD),
        ("POST http:// HTTP/1.1", BAD),
        ("POST http://[::1 HTTP/1.1", BAD),
        ("POST http://x:99999999/ HTTP/1.1", Refused(404)),
        ("POST * HTTP/1.1", Refused(404)),
        ("OPTIONS * HTTP/1.1", Refused(404)),
        ("CONNECT evil.example:443 HTTP/1.1", Refused(404)),
        ("POST / HTTP/1.1", Refused(404)),
        ("POST // HTTP/1.1", Refused(404)),
        ("POST /HTTP/get_weather HTTP/1.1", Refused(404)),
        ("POST /http%20/get_weather HTTP/1.1", Refused(404)),
        ("POST /http;x/get_weather HTTP/1.1", Refused(404)),
        ("POST /http%2fget_weather HTTP/1.1", Refused(404)),
        ("POST /%00/get_weather HTTP/1.1", Refused(404)),
        ("POST /%ff/get_weather HTTP/1.1", Refused(404)),
        ("POST /%/get_weather HTTP/1.1", Refused(404)),
        ("POST /../http/get_weather HTTP/1.1", Refused(404)),
        ("POST /http/../swaig HTTP/1.1", Refused(404)),
        ("POST //http/get_weather HTTP/1.1", Refused(404)),
        ("POST /http//get_weather HTTP/1.1", Refused(404)),
        ("POST /http/get_weather/ HTTP/1.1", Refused(404)),
        ("POST /http/get_weather/x HTTP/1.1", Refused(404)),
        ("POST /healthz HTTP/1.1", Refused(404)),
        ("POST /status HTTP/1.1", Refused(404)),
        ("POST /.env HTTP/1.1", Refused(404)),
        ("POST /cgi-bin/x.cgi HTTP/1.1", Refused(404)),
        ("POST /http/get_weather%00 HTTP/1.1", Refused(404)),
        ("POST /http/get_weather%20 HTTP/1.1", Refused(404)),
        ("POST /http/.. HTTP/1.1", Refused(404)),
        ("POST /http/get_weather?%zz&&=\u{80} HTTP/1.1", Called),
        ("POST /http/get_weather#x HTTP/1.1", Called),
        ("POST /%68ttp/%67et_weather HTTP/1.1", Called),
        ("POST http://evil.example/http/get_weather HTTP/1.1", Called),
        ("POST /http/get_weather HTTP/1.0", Called),
        ("post /http/get_weather HTTP/1.1", Called),
        ("BREW /http/get_weather HTTP/1.1", Called),
        ("GET /http/get_weather HTTP/1.1", Called),
        ("DELETE /http/get_weather HTTP/1.1", Called),
        ("TRACE /http/get_weather HTTP/1.1", Called),
    ]
    .map(|(line, expected)| (line.to_owned(), expected))
    .into();
    for path in ["/swaig", "/swaig/get_weather", "/voicedock"] {
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "BREW"] {
            lines.push((format!("{method} {path} HTTP/1.1"), Refused(405)));
        }
    }
    lines.push((format!("{} /http/get_weather HTTP/1.1", "X".repeat(5000)), Called));
    lines.push((format!("POST /{} HTTP/1.1", "x".repeat(60_000)), Refused(404)));
    lines.push((format!("POST /{} HTTP/1.1", "x".repeat(70_000)), Refused(431)));
    lines.push((format!("POST /http/get_weather?{} HTTP/1.1", "&".repeat(60_000)), Called));
    lines
}

/// Encoded function names in a URL that no route has.
const FUNCTIONS: [&str; 16] = [
    "%00",
    "%0d%0ax-evil:%201",
    "%ff%fe",
    "%2e%2e",
    "%2f",
    "%5c..%5c",
    "%",
    "%zz",
    "get_weather%0a",
    "GET_WEATHER",
    "%7b%7bargs.city%7d%7d",
    "$%7bNAME%7d",
    "__proto__",
    "%F0%9F%8C%A7",
    "%1b%5b31m",
    "%e2%80%ae",
];

/// A name, extra lines in an otherwise valid head, and the expected result.
fn headers() -> Vec<(&'static str, String, Expect)> {
    let plain = |(name, line, expected): (&'static str, &str, Expect)| (name, line.to_owned(), expected);
    let mut headers: Vec<(&'static str, String, Expect)> = [
        ("no colon", "x-header", BAD),
        ("no name", ": x", BAD),
        ("a space in the name", "x header: x", BAD),
        ("a space before the colon", "x-header : x", BAD),
        ("a tab before the colon", "x-header\t: x", BAD),
        ("a bracket in the name", "x[0]: x", BAD),
        ("a NUL in the name", "x\0: x", BAD),
        ("a name that is not ASCII", "x-\u{f8}: x", BAD),
        ("a NUL in the value", "x-header: a\0b", BAD),
        ("an escape in the value", "x-header: \u{1b}[31m", BAD),
        ("a delete in the value", "x-header: \u{7f}", BAD),
        ("a bare CR in the value", "x-header: a\rb", BAD),
        ("a folded value", "x-header: a\r\n b", BAD),
        ("a value folded by a tab", "x-header: a\r\n\tb", BAD),
        ("a folded header at the start", " x-header: a", BAD),
        ("a bare LF", "x-header: a\nx-other: b", Called),
        ("a value that is not ASCII", "x-header: \u{f8}\u{2028}", Called),
        ("an empty value", "x-header:", Called),
        ("two hosts", "host: y", BAD),
        ("an upgrade to a socket", "upgrade: websocket\r\nconnection: upgrade", Called),
        (
            "an upgrade to HTTP/2",
            "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__",
            Called,
        ),
        ("a wait for 100 Continue", "expect: 100-continue", Called),
        ("an unknown expectation", "expect: 200-maybe", Called),
        ("a connection that names a header", "connection: x-case, content-length", Called),
        ("a credential that is not required", "authorization: Basic \u{1}", BAD),
        ("a login that cannot be read", "authorization: Basic %%%", Called),
        (
            "a client that lies",
            "x-forwarded-for: ::ffff:999.1.1.1, ,,\r\nforwarded: for=\"[::1\";;by",
            Called,
        ),
        ("a trace that is none", "traceparent: 00-zz", Called),
        ("a range", "range: bytes=0-1,-5", Called),
        ("a method beside the method", "x-http-method-override: DELETE", Called),
        ("a URL beside the URL", "x-original-url: /swaig\r\nx-rewrite-url: /swaig", Called),
        ("a conversation that is not ASCII", "x-conversation-id: \u{f8}", Called),
    ]
    .map(plain)
    .into();
    headers.push(("a long value", format!("x-header: {}", "x".repeat(50_000)), Called));
    headers.push(("a huge value", format!("x-header: {}", "x".repeat(600_000)), Refused(431)));
    headers.push(("a huge name", format!("{}: x", "x".repeat(600_000)), Refused(431)));
    headers.push(("a long name", format!("{}: x", "x".repeat(60_000)), Called));
    headers.push(("ninety headers", "x-header: x\r\n".repeat(90).trim_end().to_owned(), Called));
    headers.push(("two hundred headers", "x-header: x\r\n".repeat(200).trim_end().to_owned(), Refused(431)));
    headers.push((
        "a hundred thousand headers",
        "a:\r\n".repeat(100_000).trim_end().to_owned(),
        Refused(431),
    ));
    headers
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (line, expected) in lines() {
        let name =
            format!("line {}: {}", cases.len(), line.chars().take(60).collect::<String>().escape_debug());
        let case = format!("x-case: {name}");
        let bytes = request(&line, &[&case], BODY);
        cases.push(Case::new(name, bytes, &[expected]));
    }
    for platform in ["swaig", "dailybots", "millis", "http"] {
        for function in FUNCTIONS {
            let name = format!("function /{platform}/{function}");
            let line = format!("POST /{platform}/{function} HTTP/1.1");
            cases.push(Case::new(
                name.clone(),
                request(&line, &[&format!("x-case: {name}")], b"{}"),
                &[ErrorReply(platform)],
            ));
        }
    }
    for (name, line, expected) in headers() {
        let name = format!("header: {name}");
        let bytes = request(GOOD, &[&format!("x-case: {name}"), &line], BODY);
        cases.push(Case::new(name, bytes, &[expected]));
    }
    for (name, size, expected) in
        [("64 KiB", 64 * 1024, Called), ("one byte more", 64 * 1024 + 1, Refused(431))]
    {
        let name = format!("head: {name}");
        let sized = |rest: usize| {
            request(GOOD, &[&format!("x-case: {name}"), &format!("a: {}", "x".repeat(rest))], BODY)
        };
        let rest = size - (sized(0).len() - BODY.len());
        cases.push(Case::new(name.clone(), sized(rest), &[expected]));
    }
    cases.push(Case::new("header: no host", raw(GOOD, &[LENGTH, "x-case: header: no host"], BODY), &[BAD]));
    cases
}
