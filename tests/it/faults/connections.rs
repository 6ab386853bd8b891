//! Connections that cannot be made, break or hang.

use super::responses::{CHUNKED, JSON, drip, good, hang_after, last, ok, say};
use super::row::ExpectedReply::{AfterWrite, Id};
use super::row::When::{After, AtDeadline, Early};
use super::row::{GET, KEYED, LATE, LOST, ONCE, POST, Row, SHORT, row, sees};
use crate::support::faulty_upstream::Action::{Close, Hang, Reset};
use crate::support::faulty_upstream::Script;

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let hangs = || Script::always([Hang]);
    let closes = || Script::always([Close]);
    let resets = || Script::always([Reset]);
    let head = format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 8\r\n\r\n");
    let half = format!("{head}{{\"id");
    let half_chunk = format!("{CHUNKED}8\r\n{{\"id");
    let mut rows = vec![
        // Nothing was sent: every method is retried once.
        row("refused_get",           GET,  Script::Refuse, LOST, Early, sees(0, 0, 0)),
        row("refused_post",          POST, Script::Refuse, LOST, Early, sees(0, 0, 0)),
        row("refused_once",          GET,  Script::Refuse, LOST, Early, sees(0, 0, 0)).keys(ONCE),
        row("handshake_get",         GET,  Script::on_connect(last("HTTP/1.1 400 Bad\r\n\r\n")), LOST, Early, sees(0, 2, 0)).tls(),
        row("handshake_post",        POST, Script::on_connect(last("HTTP/1.1 400 Bad\r\n\r\n")), LOST, Early, sees(0, 2, 0)).tls(),
        row("handshake_once",        POST, Script::on_connect(last("HTTP/1.1 400 Bad\r\n\r\n")), LOST, Early, sees(0, 1, 0)).tls().keys(ONCE),
        row("handshake_hangs_get",   GET,  Script::on_connect([Hang]), LATE, After(3000), sees(0, 2, 2)).tls().keys(SHORT),
        row("handshake_hangs_post",  POST, Script::on_connect([Hang]), LATE, After(3000), sees(0, 2, 2)).tls().keys(SHORT),
        row("handshake_hangs_long",  POST, Script::on_connect([Hang]), LATE, AtDeadline, sees(0, 1, 1)).tls(),

        // The upstream hangs.
        row("hangs_get",             GET,  hangs(), LATE, AtDeadline, sees(1, 1, 1)),
        row("hangs_post",            POST, hangs(), LATE, AtDeadline, sees(1, 1, 0)),
        row("hangs_short_get",       GET,  hangs(), LATE, After(3000), sees(2, 2, 2)).keys(SHORT),
        row("hangs_short_once",      GET,  hangs(), LATE, After(1500), sees(1, 1, 1)).keys(SHORT).keys(ONCE),
        row("hangs_short_post",      POST, hangs(), LATE, After(1500), sees(1, 1, 0)).keys(SHORT),
        row("hangs_short_keyed",     POST, hangs(), LATE, After(3000), sees(2, 2, 0)).or(sees(2, 2, 2)).keys(SHORT).route(KEYED),
        row("hangs_route_get",       GET,  hangs(), LATE, After(1500), sees(1, 1, 1)).route(SHORT),
        row("hangs_route_post",      POST, hangs(), LATE, After(1500), sees(1, 1, 0)).route(SHORT),
        row("hangs_then_good_get",   GET,  Script::first([Hang]).then(ok(7)), Id(7), After(1500), sees(2, 2, 1)).keys(SHORT),
        row("hangs_then_good_post",  POST, Script::first([Hang]).then(ok(7)), LATE, After(1500), sees(1, 1, 0)).keys(SHORT),
        row("hangs_in_head",         GET,  Script::always(hang_after("HTTP/1.1 200 OK\r\ncontent-")), LATE, AtDeadline, sees(1, 1, 1)),
        row("hangs_in_body_get",     GET,  Script::always(hang_after(half.clone())), LATE, AtDeadline, sees(1, 1, 1)),
        row("hangs_in_body_post",    POST, Script::always(hang_after(half.clone())), LATE, AtDeadline, sees(1, 1, 0)),
        row("hangs_in_chunk",        GET,  Script::always(hang_after(half_chunk.clone())), LATE, AtDeadline, sees(1, 1, 1)),

        // The upstream sends its response byte by byte.
        row("drips",                 GET,  Script::always([drip(good(7), 3)]), Id(7), Early, sees(1, 1, 0)),
        row("drips_head",            GET,  Script::always([drip(good(7), 1000)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("drips_body_get",        GET,  Script::always([say(head.clone()), drip("{\"id\":7}", 2000)]), LATE, AtDeadline, sees(1, 1, 1)),
        row("drips_body_post",       POST, Script::always([say(head.clone()), drip("{\"id\":7}", 2000)]), LATE, AtDeadline, sees(1, 1, 0)),
        row("drips_body_short",      GET,  Script::always([say(head), drip("{\"id\":7}", 2000)]), LATE, After(3000), sees(2, 2, 2)).keys(SHORT),

        // The connection breaks before a request was sent, or too early to know whether it was.
        row("closes_at_once_get",    GET,  Script::on_connect([Close]), LOST, Early, sees(0, 2, 0)),
        row("closes_at_once_post",   POST, Script::on_connect([Close]), LOST, Early, sees(0, 1, 0)).or(sees(0, 2, 0)),
        row("resets_at_once_get",    GET,  Script::on_connect([Reset]), LOST, Early, sees(0, 2, 0)),
        row("resets_at_once_post",   POST, Script::on_connect([Reset]), LOST, Early, sees(0, 1, 0)).or(sees(0, 2, 0)),
    ];

    // The connection breaks after the request was sent: reads are retried, writes only with an idempotency key.
    for (gets, gets_once, posts, keyed, recovers, stays, recovers_keyed, script, write) in [
        ("closes_get", "closes_once", "closes_post", "closes_keyed",
         "closes_then_good_get", "closes_then_good_post", "closes_then_good_keyed", closes(), LOST),
        ("resets_get", "resets_once", "resets_post", "resets_keyed",
         "resets_then_good_get", "resets_then_good_post", "resets_then_good_keyed", resets(), LOST),
        ("cut_head_get", "cut_head_once", "cut_head_post", "cut_head_keyed",
         "cut_head_then_good_get", "cut_head_then_good_post", "cut_head_then_good_keyed",
         Script::always(last("HTTP/1.1 200 OK\r\ncontent-")), LOST),
        // The head confirms the write.
        ("cut_body_get", "cut_body_once", "cut_body_post", "cut_body_keyed",
         "cut_body_then_good_get", "cut_body_then_good_post", "cut_body_then_good_keyed",
         Script::always(last(half)), AfterWrite),
        ("cut_chunk_get", "cut_chunk_once", "cut_chunk_post", "cut_chunk_keyed",
         "cut_chunk_then_good_get", "cut_chunk_then_good_post", "cut_chunk_then_good_keyed",
         Script::always(last(half_chunk)), AfterWrite),
    ] {
        let once = || script.clone().then(ok(7));
        rows.extend([
            row(gets,           GET,  script.clone(), LOST,  Early, sees(2, 2, 0)),
            row(gets_once,      GET,  script.clone(), LOST,  Early, sees(1, 1, 0)).keys(ONCE),
            row(posts,          POST, script.clone(), write, Early, sees(1, 1, 0)),
            row(keyed,          POST, script.clone(), write, Early, sees(2, 2, 0)).route(KEYED),
            row(recovers,       GET,  once(),         Id(7), Early, sees(2, 2, 0)),
            row(stays,          POST, once(),         write, Early, sees(1, 1, 0)),
            row(recovers_keyed, POST, once(),         Id(7), Early, sees(2, 2, 0)).route(KEYED),
        ]);
    }
    // On Linux, connections hang if the accept queue is full; other systems refuse them.
    if cfg!(target_os = "linux") {
        rows.extend([
            row("blackhole_get",  GET,  Script::Blackhole, LATE, After(3000), sees(0, 0, 0)).keys(SHORT),
            row("blackhole_post", POST, Script::Blackhole, LATE, After(3000), sees(0, 0, 0)).keys(SHORT),
            row("blackhole_once", POST, Script::Blackhole, LATE, After(1500), sees(0, 0, 0)).keys(SHORT).keys(ONCE),
            row("blackhole_long", GET,  Script::Blackhole, LATE, AtDeadline, sees(0, 0, 0)),
        ]);
    }
    rows
}
