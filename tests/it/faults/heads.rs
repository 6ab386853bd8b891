//! Response heads that are not valid HTTP, or far too large.

use super::responses::{JSON, drip, flood, good, hang_after, last, say, trickle};
use super::row::ExpectedReply::Id;
use super::row::When::{AtDeadline, Early};
use super::row::{BAD, GET, LATE, POST, Row, SHORT, row, sees};
use crate::support::faulty_upstream::Script;

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let ends = |text: &str| Script::always(last(text));
    let headed = |headers: &str| ends(&format!("HTTP/1.1 200 OK\r\n{JSON}{headers}\r\n{{\"id\":7}}"));
    let long = "x".repeat(60_000);
    let many = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let informed = [&b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(50)[..], &good(7)].concat();
    vec![
        // Interim responses before the final one, or instead of it. More than 100 are an error.
        row("information",           GET,  Script::always([say(informed)]), Id(7), Early, sees(1, 1, 0)),
        row("information_only",      GET,  Script::always(hang_after("HTTP/1.1 100 Continue\r\n\r\n")), LATE, AtDeadline, sees(1, 1, 1)),
        row("information_trickles",  GET,  Script::always([trickle("HTTP/1.1 103 Early Hints\r\n\r\n", 100)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("information_flood",     GET,  Script::always([trickle("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50), 5)]), BAD, Early, sees(1, 1, 1)).route(SHORT),
        row("information_flood_post", POST, Script::always([trickle("HTTP/1.1 100 Continue\r\n\r\n".repeat(20), 20)]), BAD, Early, sees(1, 1, 1)).route(SHORT),
        row("switches_protocols",    GET,  ends("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{\"id\":13}"), BAD, Early, sees(1, 1, 0)),

        // Response heads that are too large or never end.
        row("long_header",           GET,  headed(&format!("x-long: {long}\r\n")), Id(7), Early, sees(1, 1, 0)),
        row("many_headers",          GET,  headed(&many), BAD, Early, sees(1, 1, 0)),
        row("endless_header",        GET,  Script::always([say("HTTP/1.1 200 OK\r\nx-long: "), flood(long.clone())]), BAD, Early, sees(1, 1, 1)),
        row("endless_headers",       GET,  Script::always([say("HTTP/1.1 200 OK\r\n"), flood("x-more: 1\r\n".repeat(1000))]), BAD, Early, sees(1, 1, 1)),
        row("endless_headers_post",  POST, Script::always([say("HTTP/1.1 200 OK\r\n"), flood("x-more: 1\r\n".repeat(1000))]), BAD, Early, sees(1, 1, 1)),
        row("endless_first_line",    GET,  Script::always([say("HTTP/1.1 200 "), flood(long)]), BAD, Early, sees(1, 1, 1)),
        row("headers_trickle",       GET,  Script::always([say("HTTP/1.1 200 OK\r\n"), trickle("x-more: 1\r\n", 100)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("header_without_end",    GET,  Script::always([say("HTTP/1.1 200 OK\r\n"), drip("x-long: 123456789", 1000)]), LATE, AtDeadline, sees(1, 1, 1)),

        // Not HTTP, or barely.
        row("no_head",               GET,  ends("{\"id\":13}"), BAD, Early, sees(1, 1, 0)),
        row("no_head_post",          POST, ends("{\"id\":13}"), BAD, Early, sees(1, 1, 0)),
        row("mail_server",           GET,  ends("220 mail ready\r\n\r\n"), BAD, Early, sees(1, 1, 0)),
        row("radio",                 GET,  ends("ICY 200 OK\r\n\r\n"), BAD, Early, sees(1, 1, 0)),
        row("http_2",                GET,  ends("HTTP/2.0 200 OK\r\n\r\n{\"id\":13}"), BAD, Early, sees(1, 1, 0)),
        row("http_2_frames",         GET,  ends("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x10\0\0\0\x06\0\0\x40\0"), BAD, Early, sees(1, 1, 0)),
        row("http_1_0",              GET,  ends(&format!("HTTP/1.0 200 OK\r\n{JSON}\r\n{{\"id\":7}}")), Id(7), Early, sees(1, 1, 0)),
        row("without_reason",        GET,  ends(&format!("HTTP/1.1 200\r\n{JSON}\r\n{{\"id\":7}}")), Id(7), Early, sees(1, 1, 0)),
        row("bare_line_feeds",       GET,  ends(&format!("HTTP/1.1 200 OK\n{}\n{{\"id\":7}}", JSON.replace('\r', ""))), Id(7), Early, sees(1, 1, 0)),
        row("short_status",          GET,  ends("HTTP/1.1 20 OK\r\n\r\n"), BAD, Early, sees(1, 1, 0)),
        row("small_status",          GET,  ends("HTTP/1.1 099 OK\r\n\r\n"), BAD, Early, sees(1, 1, 0)),
        row("long_status",           GET,  ends("HTTP/1.1 2000 OK\r\n\r\n"), BAD, Early, sees(1, 1, 0)),
        row("great_status",          GET,  ends("HTTP/1.1 999 OK\r\n\r\n{\"id\":13}"), BAD, Early, sees(1, 1, 0)),
        row("header_without_colon",  GET,  headed("no colon\r\n"), Id(7), Early, sees(1, 1, 0)),
        row("header_with_space",     GET,  headed("x-a : 1\r\n"), Id(7), Early, sees(1, 1, 0)),
        row("header_with_nul",       GET,  headed("x-a: a\0b\r\n"), BAD, Early, sees(1, 1, 0)),
        row("header_with_return",    GET,  headed("x-a: a\rb\r\n"), BAD, Early, sees(1, 1, 0)),
        row("folded_header",         GET,  headed("x-a: a\r\n b\r\n"), Id(7), Early, sees(1, 1, 0)),
        row("header_no_text",        GET,  Script::always(last([&b"HTTP/1.1 200 OK\r\nx-a: \xff\xfe\r\n"[..], JSON.as_bytes(), b"\r\n{\"id\":7}"].concat())), Id(7), Early, sees(1, 1, 0)),

        // Invalid lengths.
        row("length_negative",       GET,  headed("content-length: -8\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_with_plus",      GET,  headed("content-length: +8\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_no_number",      GET,  headed("content-length: 0x8\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_beyond_numbers", GET,  headed("content-length: 99999999999999999999\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_beyond_cap",     GET,  headed("content-length: 9999999999\r\n"), BAD, Early, sees(1, 1, 0)),
        row("lengths_differ",        GET,  headed("content-length: 8\r\ncontent-length: 9\r\n"), BAD, Early, sees(1, 1, 0)),
        row("lengths_differ_post",   POST, headed("content-length: 8\r\ncontent-length: 9\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_folded",         GET,  headed("content-length: 8\r\n 9\r\n"), BAD, Early, sees(1, 1, 0)),
        row("length_after_space",    GET,  headed("content-length : 8\r\n"), Id(7), Early, sees(1, 1, 0)),
        row("length_beside_nonsense", GET, headed("a b: c\r\ncontent-length: 8\r\n"), Id(7), Early, sees(1, 1, 0)),
        row("lengths_agree",         GET,  headed("content-length: 8\r\ncontent-length: 8\r\n"), Id(7), Early, sees(1, 1, 0)),
    ]
}
