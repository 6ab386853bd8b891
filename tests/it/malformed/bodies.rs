//! Well-framed requests with a body that the platform would not send.

use super::wire::request;
use super::{Case, Expect, MAX_BODY};

use Expect::{Answered, Called, ErrorReply, Refused};

/// The endpoints that accept a body, each with its kind.
const ENDPOINTS: [(&str, &str); 6] = [
    ("swaig", "/swaig"),
    ("voicedock", "/voicedock"),
    ("dailybots", "/dailybots/get_weather"),
    ("dailybots", "/dailybots/change_language"),
    ("millis", "/millis/getUserInfo"),
    ("http", "/http/get_weather"),
];

/// Bodies that are no JSON object with a call, for any platform.
fn unreadable() -> Vec<(String, Vec<u8>)> {
    let utf_16 = |bytes: fn(u16) -> [u8; 2]| "{\"city\":\"Oslo\"}".encode_utf16().flat_map(bytes).collect();
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let objects = |depth: usize| format!("{}1{}", "{\"city\":".repeat(depth), "}".repeat(depth)).into_bytes();
    let mut bodies: Vec<(String, Vec<u8>)> = [
        ("half an object", &b"{"[..]),
        ("half a key", b"{\"city"),
        ("half a value", b"{\"city\":"),
        ("half a string", b"{\"city\":\"Os"),
        ("half an escape", b"{\"city\":\"\\u00"),
        ("half a list", b"["),
        ("a word", b"nul"),
        ("null", b"null"),
        ("true", b"true"),
        ("a number", b"7"),
        ("a string", b"\"city\""),
        ("an empty list", b"[]"),
        ("a list of objects", b"[{\"city\":\"Oslo\",\"function\":\"get_weather\"}]"),
        ("no number", b"{\"city\":NaN}"),
        ("an endless number", b"{\"city\":Infinity}"),
        ("a number out of range", b"{\"city\":1e400}"),
        ("a number with a zero before it", b"{\"city\":007}"),
        ("a number with a plus", b"{\"city\":+1}"),
        ("a comma too many", b"{\"city\":\"Oslo\",}"),
        ("a comma too few", b"{\"city\":\"Oslo\" \"days\":1}"),
        ("single quotes", b"{'city':'Oslo'}"),
        ("no quotes", b"{city:1}"),
        ("a comment", b"/* x */{\"city\":\"Oslo\"}"),
        ("a bracket too many", b"{\"city\":\"Oslo\"}}"),
        ("two objects", b"{\"city\":\"Oslo\"}{\"city\":\"Oslo\"}"),
        ("another bracket", b"{\"city\":[1}"),
        ("a lone surrogate", b"{\"city\":\"\\ud800\"}"),
        ("surrogates the wrong way round", b"{\"city\":\"\\udc00\\ud800\"}"),
        ("an unknown escape", b"{\"city\":\"\\x41\"}"),
        ("a raw line break", b"{\"city\":\"a\nb\"}"),
        ("a raw NUL", b"{\"city\":\"a\0b\"}"),
        ("a NUL at the end", b"{\"city\":\"Oslo\"}\0"),
        ("a NUL", b"\0"),
        ("a byte order mark", b"\xef\xbb\xbf{\"city\":\"Oslo\"}"),
        ("a byte order mark of UTF-16", b"\xff\xfe{\0}\0"),
        ("Latin-1", b"{\"city\":\"Troms\xf8\"}"),
        ("overlong UTF-8", b"{\"city\":\"\xc0\xaf\"}"),
        ("surrogates in UTF-8", b"{\"city\":\"\xed\xa0\x80\"}"),
        ("half a character", b"{\"city\":\"\xe2\x82\"}"),
        ("UTF-8 beyond Unicode", b"{\"city\":\"\xf5\x80\x80\x80\"}"),
        ("a line separator", "\u{2028}{\"city\":\"Oslo\"}".as_bytes()),
        ("a wide space", "\u{3000}{\"city\":\"Oslo\"}".as_bytes()),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJ\xce,\xa9T\xb2R\xf2/\xce\xc9W\xaa\x05\0"),
        ("XML", b"<call><city>Oslo</city></call>"),
        ("YAML", b"city: Oslo"),
        ("CBOR", b"\xa1\x64city\x64Oslo"),
    ]
    .map(|(name, body)| (name.to_owned(), body.to_vec()))
    .into();
    bodies.push(("UTF-16, little end first".to_owned(), utf_16(u16::to_le_bytes)));
    bodies.push(("UTF-16, big end first".to_owned(), utf_16(u16::to_be_bytes)));
    for depth in [127, 128, 129, 5000] {
        bodies.push((format!("lists, {depth} deep"), nested(depth)));
        bodies.push((format!("objects, {depth} deep"), objects(depth)));
    }
    bodies.push(("lists that never end".to_owned(), b"[".repeat(MAX_BODY)));
    bodies.push(("objects that never end".to_owned(), b"{\"a\":".repeat(MAX_BODY / 5)));
    bodies
}

/// An endpoint, a name, the body, and the expected result.
type Odd = (&'static str, &'static str, String, fn(&'static str) -> Expect);

/// Valid JSON for the platform, but odd.
fn odd() -> Vec<Odd> {
    let swaig = |args: &str| format!("{{\"function\":\"get_weather\",\"argument\":{{\"parsed\":[{args}]}}}}");
    let voicedock =
        |list: &str| format!("{{\"message\":{{\"type\":\"tool-calls\",\"tool_call_list\":{list}}}}}");
    let entry = |args: &str| {
        format!("[{{\"id\":\"t\",\"function\":{{\"name\":\"get_weather\",\"arguments\":{args}}}}}]")
    };
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let city = r#"{"city":"Oslo"}"#;
    let mut odd: Vec<Odd> = vec![
        ("/swaig", "no function", "{}".to_owned(), ErrorReply),
        ("/swaig", "an empty function", r#"{"function":""}"#.to_owned(), ErrorReply),
        ("/swaig", "an unknown function", r#"{"function":"nope"}"#.to_owned(), ErrorReply),
        ("/swaig", "a function in other letters", r#"{"function":"GET_WEATHER"}"#.to_owned(), ErrorReply),
        (
            "/swaig",
            "a function of control characters",
            r#"{"function":"\u0000\r\n\u001b[31m"}"#.to_owned(),
            ErrorReply,
        ),
        ("/swaig", "a long function", format!("{{\"function\":\"{}\"}}", "x".repeat(60_000)), ErrorReply),
        ("/swaig", "the function twice", r#"{"function":"nope","function":"nope"}"#.to_owned(), ErrorReply),
        (
            "/swaig/get_weather",
            "another function in the URL",
            r#"{"function":"nope"}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/swaig",
            "arguments that cannot be read",
            r#"{"function":"get_weather","argument":{"raw":"{"}}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/swaig",
            "arguments of a text in a text",
            r#"{"function":"get_weather","argument":{"raw":"\"{}\""}}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/swaig",
            "arguments of a text that is too deep",
            format!("{{\"function\":\"get_weather\",\"argument\":{{\"raw\":\"{}\"}}}}", "[".repeat(60_000)),
            ErrorReply,
        ),
        ("/swaig", "no arguments", r#"{"function":"get_weather"}"#.to_owned(), ErrorReply),
        ("/swaig", "an argument twice", swaig(r#"{"city":"Oslo","city":1e300}"#), Answered),
        (
            "/swaig",
            "an argument of 20 digits",
            swaig(r#"{"city":"Oslo","days":12345678901234567890}"#),
            ErrorReply,
        ),
        ("/swaig", "an argument of minus zero", swaig(r#"{"city":"Oslo","days":-0}"#), ErrorReply),
        ("/swaig", "an argument with an exponent", swaig(r#"{"city":"Oslo","days":2e0}"#), Answered),
        (
            "/swaig",
            "an argument that is too deep for its type",
            swaig(&format!(r#"{{"city":"Oslo","list":{}}}"#, deep(100))),
            ErrorReply,
        ),
        (
            "/swaig",
            "an argument that is too deep to be read",
            swaig(&format!(r#"{{"city":"Oslo","list":{}}}"#, deep(130))),
            ErrorReply,
        ),
        ("/swaig", "an argument with dots", swaig(r#"{"city":".."}"#), ErrorReply),
        (
            "/swaig",
            "an argument that is not declared",
            swaig(r#"{"city":"Oslo","__proto__":{"x":1},"constructor":1}"#),
            Answered,
        ),
        (
            "/swaig",
            "thousands of arguments",
            {
                let many: String = (0..4000).map(|number| format!(",\"a{number}\":{number}")).collect();
                swaig(&format!("{{\"city\":\"Oslo\"{many}}}"))
            },
            Answered,
        ),
        (
            "/swaig",
            "a handshake of the wrong type",
            r#"{"action":"get_signature","functions":{"x":[null]}}"#.to_owned(),
            Answered,
        ),
        ("/swaig", "an action of the wrong type", r#"{"action":["get_signature"]}"#.to_owned(), ErrorReply),
        ("/voicedock", "no message", "{}".to_owned(), ErrorReply),
        ("/voicedock", "a message that is a list", r#"{"message":[]}"#.to_owned(), ErrorReply),
        ("/voicedock", "a message without a type", r#"{"message":{}}"#.to_owned(), ErrorReply),
        ("/voicedock", "an unknown type", r#"{"message":{"type":"\u0000"}}"#.to_owned(), Answered),
        ("/voicedock", "no list", r#"{"message":{"type":"tool-calls"}}"#.to_owned(), ErrorReply),
        ("/voicedock", "a list that is an object", voicedock("{}"), ErrorReply),
        ("/voicedock", "a list without calls", voicedock("[]"), Answered),
        ("/voicedock", "a list of nothing", voicedock("[null,1,\"x\",[],{}]"), ErrorReply),
        ("/voicedock", "too many calls", voicedock(&format!("[{}1]", "1,".repeat(64))), ErrorReply),
        ("/voicedock", "arguments that cannot be read", voicedock(&entry("\"{\"")), ErrorReply),
        ("/voicedock", "arguments that are a list", voicedock(&entry("[]")), ErrorReply),
        ("/voicedock", "arguments that are too deep", voicedock(&entry(&deep(123))), ErrorReply),
        (
            "/voicedock",
            "a message twice",
            r#"{"message":{"type":"tool-calls"},"message":7}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/voicedock",
            "both generations",
            format!("{{\"tasksInitiated\":{{}},{}", &voicedock(&entry(city))[1..]),
            ErrorReply,
        ),
        ("/voicedock/get_weather", "a function in the URL", voicedock(&entry(city)), ErrorReply),
        ("/dailybots", "no function", city.to_owned(), ErrorReply),
        ("/dailybots", "a function that is a list", r#"{"function_name":[]}"#.to_owned(), ErrorReply),
        (
            "/dailybots/get_weather",
            "another function in the URL",
            r#"{"function_name":"nope"}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/dailybots",
            "arguments that cannot be read",
            r#"{"function_name":"get_weather","arguments":"{"}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/dailybots",
            "an id that is an object",
            format!(r#"{{"function_name":"get_weather","tool_call_id":{{}},"arguments":{city}}}"#),
            Answered,
        ),
        ("/millis", "no function", "{}".to_owned(), ErrorReply),
        ("/millis/getUserInfo", "a form that is none", "email=%&email=%ff&=&&&".to_owned(), ErrorReply),
        (
            "/millis/getUserInfo",
            "a session that is a list",
            r#"{"session_id":[],"email":"a"}"#.to_owned(),
            Answered,
        ),
        ("/millis/prefetch", "an event that is a list", "[]".to_owned(), ErrorReply),
        (
            "/millis/end",
            "an event of the wrong types",
            r#"{"session_id":1,"metadata":"x"}"#.to_owned(),
            Answered,
        ),
        ("/http", "no function", city.to_owned(), ErrorReply),
        ("/http/", "no function, but a slash", city.to_owned(), ErrorReply),
        ("/http/nope", "an unknown function", city.to_owned(), ErrorReply),
        (
            "/http/get_weather",
            "an argument that cannot stand in a path",
            r#"{"city":""}"#.to_owned(),
            ErrorReply,
        ),
        (
            "/http/get_weather",
            "an argument too long for a URL",
            format!(r#"{{"city":"{}"}}"#, "é".repeat(20_000)),
            ErrorReply,
        ),
        ("/http/get_weather", "an empty body", String::new(), ErrorReply),
        ("/http/get_weather", "a body of spaces", " \r\n\t ".to_owned(), ErrorReply),
        ("/http/get_weather?city", "a parameter without a value", String::new(), ErrorReply),
        ("/http/get_weather?city=%ff%fe", "a parameter that is not UTF-8", String::new(), Answered),
        ("/http/get_weather?city=a&city=b", "a parameter twice", String::new(), ErrorReply),
        ("/http/get_weather?=&&&%&city=%", "a query that is none", String::new(), Answered),
        ("/http/get_weather?city=%00", "a NUL in a parameter", String::new(), Answered),
    ];
    let just = format!("{city}{}", " ".repeat(MAX_BODY - city.len()));
    odd.push(("/http/get_weather", "a body of just the size", just, Answered));
    odd
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, path: &str, headers: &[&str], body: &[u8], answer: Expect| {
        let case = format!("x-case: {name}");
        let headers = [headers, &[&*case]].concat();
        let bytes = request(&format!("POST {path} HTTP/1.1"), &headers, body);
        cases.push(Case::new(name, bytes, &[answer]));
    };
    for (platform, path) in ENDPOINTS {
        for (name, body) in unreadable() {
            add(format!("{path}: {name}"), path, &[], &body, ErrorReply(platform));
        }
        let large = vec![b' '; MAX_BODY + 1];
        add(format!("{path}: one byte too many"), path, &[], &large, Refused(413));
        add(format!("{path}: much too large"), path, &[], &[b'['; 300_000], Refused(413));
    }
    for (path, name, body, answer) in odd() {
        let platform =
            ENDPOINTS.iter().map(|(platform, _)| *platform).find(|platform| path[1..].starts_with(platform));
        add(format!("{path}: {name}"), path, &[], body.as_bytes(), answer(platform.unwrap()));
    }
    // The content type is ignored: bodies are recognized by their content unless they are compressed.
    let body = br#"{"city":"Oslo"}"#;
    for kind in [
        "",
        "x",
        "/",
        "text/html",
        "application/xml",
        "image/png",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "application/json, text/plain",
    ] {
        let name = format!("content type `{kind}`");
        add(name, "/http/get_weather", &[&format!("content-type: {kind}")], body, Called);
    }
    for encoding in ["gzip", "br", "deflate", "identity", "zstd", "gzip, gzip", "x"] {
        let header = format!("content-encoding: {encoding}");
        let zipped = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJ\xce,\xa9T\xb2R\xf2/\xce\xc9W\xaa\x05\0";
        let name = format!("encoding `{encoding}`");
        add(format!("{name}, zipped"), "/http/get_weather", &[&header], zipped, ErrorReply("http"));
        add(format!("{name}, plain"), "/http/get_weather", &[&header], body, Called);
    }
    cases
}
