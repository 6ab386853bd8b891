//! Requests with an invalid length, requests that are cut off, and bytes that are no request.

use super::heads::{BAD, BODY, GOOD, LENGTH};
use super::wire::{raw, request};
use super::{Case, Expect, MAX_BODY};

use Expect::{Called, ErrorReply, Refused};

const CHUNKED: &str = "transfer-encoding: chunked";

/// A name, the lines with the length of the body, the bytes after the head, and the expected result.
fn framings() -> Vec<(String, String, Vec<u8>, Vec<Expect>)> {
    let mut framings = Vec::new();
    let mut add = |name: &str, lines: &str, body: &[u8], answers: &[Expect]| {
        framings.push((name.to_owned(), lines.to_owned(), body.to_vec(), answers.to_vec()));
    };
    for length in [
        "-1",
        "+15",
        "0x0f",
        "15, 16",
        "15 15",
        "15;",
        "1e1",
        "15.0",
        "",
        "x",
        "18446744073709551616",
        "\u{661}\u{665}",
        "15\u{b}",
    ] {
        add(
            &format!("length `{}`", length.escape_debug()),
            &format!("content-length: {length}"),
            BODY,
            &[BAD],
        );
    }
    add("length `18446744073709551615`", "content-length: 18446744073709551615", BODY, &[Refused(413)]);
    add("length `99999999999999`", "content-length: 99999999999999", BODY, &[Refused(413)]);
    add("length `15,15`", "content-length: 15,15", BODY, &[BAD]);
    add("length ` 015`", "content-length:  015", BODY, &[Called]);
    add("two lengths that differ", "content-length: 15\r\ncontent-length: 0", BODY, &[BAD]);
    add("two lengths that differ, zero first", "content-length: 0\r\ncontent-length: 15", BODY, &[BAD]);
    add("a length twice", "content-length: 15\r\ncontent-length: 15", BODY, &[Called]);
    add("no length", "x: y", b"", &[ErrorReply("http")]);
    // The remaining bytes are read as the next request, which is invalid.
    add("no length, but a body", "x: y", BODY, &[ErrorReply("http"), BAD]);
    add("a length that is too small", "content-length: 14", BODY, &[ErrorReply("http"), BAD]);
    let chunked = b"f\r\n{\"city\":\"Oslo\"}\r\n0\r\n\r\n";
    for encoding in [
        "identity",
        "gzip",
        "chunked, gzip",
        "chunked, identity",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;q=1",
        "",
        "chunked\u{b}",
    ] {
        let name = format!("encoding `{}`", encoding.escape_debug());
        add(&name, &format!("transfer-encoding: {encoding}"), chunked, &[BAD]);
        let both = format!("content-length: {}\r\ntransfer-encoding: {encoding}", chunked.len());
        add(&format!("{name} beside a length"), &both, chunked, &[BAD]);
    }
    add("chunks", CHUNKED, chunked, &[Called]);
    add("chunks in capitals", "Transfer-Encoding: CHUNKED", chunked, &[Called]);
    add("chunks twice", "transfer-encoding: chunked, chunked", chunked, &[BAD]);
    add("gzip in chunks", "transfer-encoding: gzip, chunked", chunked, &[BAD]);
    // With two lengths, a proxy in front may believe the other one.
    let next = [&chunked[..], &request(GOOD, &["x-case: hidden"], BODY)].concat();
    add("chunks beside a length", "content-length: 4\r\ntransfer-encoding: chunked", &next, &[BAD]);
    add("a length beside chunks", "transfer-encoding: chunked\r\ncontent-length: 4", &next, &[BAD]);
    for (name, body, answer) in [
        ("no size", &b"\r\n{}\r\n0\r\n\r\n"[..], BAD),
        ("a size that is none", b"g\r\n{}\r\n0\r\n\r\n", BAD),
        ("a size below zero", b"-2\r\n{}\r\n0\r\n\r\n", BAD),
        ("a size with a plus", b"+2\r\n{}\r\n0\r\n\r\n", BAD),
        ("a size with a prefix", b"0x2\r\n{}\r\n0\r\n\r\n", BAD),
        ("a size with a line break in it", b"1\n5\r\n{}\r\n0\r\n\r\n", BAD),
        ("a size beyond 64 bits", b"10000000000000002\r\n{}\r\n0\r\n\r\n", BAD),
        ("a chunk that is too short", b"3\r\n{}\r\n0\r\n\r\n", BAD),
        ("a chunk that is too long", b"1\r\n{}\r\n0\r\n\r\n", BAD),
        ("chunks without line breaks", b"2\r\n{}0\r\n\r\n", BAD),
        ("chunks with bare line breaks", b"2\n{}\n0\n\n", BAD),
        ("an extension with a bare line break", b"2;a=\"\n\"\r\n{}\r\n0\r\n\r\n", BAD),
        ("a trailer that is no header", b"2\r\n{}\r\n0\r\nx\r\n\r\n", BAD),
    ] {
        add(name, CHUNKED, body, &[answer]);
    }
    let of = |size: &str, trailers: &str| {
        format!("{size}\r\n{{\"city\":\"Oslo\"}}\r\n0\r\n{trailers}\r\n").into_bytes()
    };
    add("a size with zeros", CHUNKED, &of("000000000f", ""), &[Called]);
    add("a size with spaces", CHUNKED, &of("f  ", ""), &[Called]);
    add("an extension", CHUNKED, &of("f;a=b;c=\"d\"", ""), &[Called]);
    add("a long extension", CHUNKED, &of(&format!("f;{}", "x".repeat(20_000)), ""), &[BAD]);
    add("trailers", "transfer-encoding: chunked\r\ntrailer: x", &of("f", "x: y\r\n"), &[Called]);
    add(
        "a trailer that would be a head",
        CHUNKED,
        &of("f", "content-length: 4\r\nhost: evil\r\n"),
        &[Called],
    );
    add("a long trailer", CHUNKED, &of("f", &format!("x: {}\r\n", "x".repeat(20_000))), &[BAD]);
    add("many trailers", CHUNKED, &of("f", &"a: b\r\n".repeat(2000)), &[BAD]);
    // Chunks of one byte would take a debug build on a busy machine longer than a body may take.
    let small = [b"8\r\n        \r\n".repeat(MAX_BODY / 8 + 1), b"0\r\n\r\n".to_vec()].concat();
    add("too much in small chunks", CHUNKED, &small, &[Refused(413)]);
    let large =
        [format!("{:x}\r\n", 2 * MAX_BODY).into_bytes(), vec![b' '; 2 * MAX_BODY], b"\r\n0\r\n\r\n".to_vec()];
    add("too much in one chunk", CHUNKED, &large.concat(), &[Refused(413)]);
    framings
}

/// Bytes that are no request, or are cut off.
fn fragments() -> Vec<Case> {
    let good = request(GOOD, &["x-case: good"], BODY);
    let mut cases: Vec<Case> = [
        ("nothing", &b""[..], &[][..]),
        ("half a method", b"PO", &[]),
        ("half a target", b"POST /ht", &[]),
        ("half a version", b"POST /http/get_weather HTTP/1", &[]),
        ("no headers", b"POST /http/get_weather HTTP/1.1\r\n", &[]),
        ("half a header", b"POST /http/get_weather HTTP/1.1\r\nhos", &[]),
        ("a head without an end", b"POST /http/get_weather HTTP/1.1\r\nhost: localhost\r\n", &[]),
        ("empty lines", b"\r\n\r\n\r\n", &[]),
    ]
    .map(|(name, bytes, answers)| Case::new(format!("cut off: {name}"), bytes, answers).cut_off())
    .into();
    let whole = [
        ("TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], BAD),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", BAD),
        ("SOCKS", b"\x05\x01\x00\r\n\r\n", BAD),
        ("PROXY", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nPOST /http/get_weather HTTP/1.1\r\n\r\n", BAD),
        ("a mail", b"EHLO x\r\nMAIL FROM:<a@b>\r\n\r\n", BAD),
        ("an answer", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", BAD),
        ("JSON", b"{\"city\":\"Oslo\"}\r\n\r\n", BAD),
        ("zeros", &[0; 1000], BAD),
        ("all bytes", &[0xff; 1000], BAD),
    ];
    // An HTTP/2 client could not read an HTTP/1.1 response.
    cases.push(Case::new("no HTTP: HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[]));
    cases.extend(whole.map(|(name, bytes, answer)| Case::new(format!("no HTTP: {name}"), bytes, &[answer])));
    for (name, framing, body) in [
        ("the body", LENGTH, &b""[..]),
        ("half of the body", LENGTH, b"{\"city\":"),
        ("the first chunk", CHUNKED, b""),
        ("the size of a chunk", CHUNKED, b"f"),
        ("half of a chunk of 64 bits", CHUNKED, b"ffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("half of a chunk", CHUNKED, b"f\r\n{\"city\""),
        ("the line break after a chunk", CHUNKED, b"f\r\n{\"city\":\"Oslo\"}"),
        ("the last chunk", CHUNKED, b"f\r\n{\"city\":\"Oslo\"}\r\n"),
        ("the end of the trailers", CHUNKED, b"f\r\n{\"city\":\"Oslo\"}\r\n0\r\nx: y\r\n"),
    ] {
        for path in
            ["/http/get_weather", "/swaig/get_weather", "/voicedock", "/dailybots/get_weather", "/millis/x"]
        {
            let name = format!("cut off {path} before {name}");
            let case = format!("x-case: {name}");
            let bytes = raw(&format!("POST {path} HTTP/1.1"), &["host: localhost", framing, &case], body);
            cases.push(Case::new(name, bytes, &[BAD]).cut_off());
        }
    }
    let with = |after: &[u8]| {
        let name = String::from_utf8_lossy(&after[..after.len().min(20)]).escape_debug().to_string();
        let name = format!("good, then {name}");
        let first = request(GOOD, &[&format!("x-case: {name}")], BODY);
        (name, [&first, after].concat())
    };
    for after in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GARBAGE\r\n\r\n",
        b"{\"city\":\"Oslo\"}\r\n\r\n",
        b"POST /http/get_weather HTTP/3\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"\xff\xff\r\n\r\n",
    ] {
        let (name, bytes) = with(after);
        cases.push(Case::new(name, bytes, &[Called, BAD]));
    }
    for after in [&b"POST /http/get_we"[..], b"\r\n\r\n\r\n"] {
        let (name, bytes) = with(after);
        cases.push(Case::new(name, bytes, &[Called]).cut_off());
    }
    for before in [
        &b"GARBAGE\r\n\r\n"[..],
        b"POST / HTTP/9\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: x\r\n\r\n",
    ] {
        let name = format!("a good one after {}", String::from_utf8_lossy(before).escape_debug());
        cases.push(Case::new(name, [before, &good].concat(), &[BAD]));
    }
    let name = "thirty at once, and then none";
    let bytes =
        [request(GOOD, &[&format!("x-case: {name}")], BODY).repeat(30), b"x\r\n\r\n".to_vec()].concat();
    cases.push(Case::new(name, bytes, &[[Called; 30].as_slice(), &[BAD]].concat()));
    cases
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = fragments();
    for (name, lines, body, answers) in framings() {
        let name = format!("framing: {name}");
        let bytes = raw(GOOD, &["host: localhost", &format!("x-case: {name}"), &lines], &body);
        cases.push(Case::new(name, bytes, &answers));
    }
    cases
}
