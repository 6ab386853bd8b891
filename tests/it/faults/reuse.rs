//! Reused connections: closed while the next request is sent, or with leftover bytes that belong to no response.

use std::time::Duration;

use super::responses::{JSON, answer, good, last, ok, say};
use super::row::ExpectedReply::{Id, IdOrUnreachable, Text};
use super::row::When::Early;
use super::row::{BAD, GET, KEYED, LOST, POST, Row, row, sees};
use crate::support::faulty_upstream::Action::{Close, Pause, Reset};
use crate::support::faulty_upstream::Script;

const HEAD: &str = "method = \"HEAD\", path = \"/\"";

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    // A valid response with extra bytes after it, then another valid response.
    let followed = |by: &[u8]| Script::first([say([&good(7)[..], by].concat())]).then(ok(8));
    let closing = || Script::always(last(good(7)));
    let both = || vec![Id(7), Id(8)];
    let kept = |status: &str, body: &str| {
        Script::first([say(format!("HTTP/1.1 {status}\r\n{JSON}\r\n{body}"))]).then(ok(8))
    };
    vec![
        row("kept_get",              GET,  Script::first(ok(7)).then(ok(8)), both(), Early, sees(2, 1, 0)),
        row("kept_post",             POST, Script::first(ok(7)).then(ok(8)), both(), Early, sees(2, 1, 0)),

        // The connection is closed just as it is reused: before the next request arrives, or after.
        row("race_get",              GET,  closing(), vec![Id(7); 8], Early, sees(8, 8, 0)),
        row("race_post",             POST, closing(), vec![IdOrUnreachable(7); 8], Early, sees(1, 1, 0)).or(sees(8, 8, 0)),
        row("race_keyed",            POST, closing(), vec![Id(7); 8], Early, sees(8, 8, 0)).route(KEYED),
        row("race_reset_get",        GET,  Script::always([say(good(7)), Pause(Duration::from_millis(1)), Reset]), vec![Id(7); 8], Early, sees(8, 8, 0)).or(sees(16, 16, 0)),
        row("reused_closes_get",     GET,  Script::first(ok(7)).then([Close]).then(ok(8)), both(), Early, sees(3, 2, 0)),
        row("reused_closes_post",    POST, Script::first(ok(7)).then([Close]).then(ok(8)), vec![Id(7), LOST, Id(8)], Early, sees(3, 2, 0)),
        row("reused_closes_keyed",   POST, Script::first(ok(7)).then([Close]).then(ok(8)), both(), Early, sees(3, 2, 0)).route(KEYED),
        row("reused_resets_get",     GET,  Script::first(ok(7)).then([Reset]).then(ok(8)), both(), Early, sees(3, 2, 0)),
        row("reused_resets_post",    POST, Script::first(ok(7)).then([Reset]).then(ok(8)), vec![Id(7), LOST, Id(8)], Early, sees(3, 2, 0)),
        row("says_close",            GET,  Script::always([say(answer("200 OK", &format!("{JSON}connection: close\r\n"), "{\"id\":7}"))]), vec![Id(7); 3], Early, sees(3, 3, 0)),

        // Extra bytes after a response are never read as another response.
        row("two_answers",           GET,  followed(&good(13)), both(), Early, sees(2, 2, 0)),
        row("two_answers_post",      POST, followed(&good(13)), both(), Early, sees(2, 2, 0)),
        row("half_an_answer",        GET,  followed(&good(13)[..40]), both(), Early, sees(2, 2, 0)),
        row("garbage_after",         GET,  followed(b"\x00\xff garbage"), both(), Early, sees(2, 2, 0)),
        row("line_ends_after",       GET,  followed(b"\r\n\r\n"), both(), Early, sees(2, 1, 0)).or(sees(2, 2, 0)),
        row("timeout_after",         GET,  followed(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), both(), Early, sees(2, 2, 0)),
        row("late_information",      GET,  followed(b"HTTP/1.1 103 Early Hints\r\n\r\n"), both(), Early, sees(2, 2, 0)),
        row("head_with_body",        HEAD, Script::first(ok(7)).then(ok(8)), vec![Text("Found."); 2], Early, sees(2, 2, 0)).route("reply.text = \"Found.\""),
        row("no_content_with_body",  GET,  kept("204 No Content", "{\"id\":13}"), vec![BAD, Id(8)], Early, sees(2, 2, 0)),
        row("not_modified_with_body", GET, kept("304 Not Modified", "{\"id\":13}"), vec![BAD, Id(8)], Early, sees(2, 2, 0)),
        row("too_short_length",      GET,  Script::first([say(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 3\r\n\r\n{{\"id\":13}}"))]).then(ok(8)), vec![BAD, Id(8)], Early, sees(2, 2, 0)),
        row("length_and_chunks",     GET,  Script::first([say(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{{\"id\":7}}\r\n0\r\n\r\n"))]).then(ok(8)), both(), Early, sees(2, 1, 0)).or(sees(2, 2, 0)),
    ]
}
