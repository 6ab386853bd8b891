//! Upstreams that ask to be retried later: which requests are retried, and when.

use jiff::{Timestamp, ToSpan};

use super::responses::{JSON, answer, ok, status};
use super::row::ExpectedReply::Id;
use super::row::When::{After, Early};
use super::row::{BAD, GET, KEYED, LOST, ONCE, POST, Row, row, sees};
use crate::support::faulty_upstream::{Action, Script};

/// A 429 with a `retry-after` date that is one to two seconds away.
fn until_soon() -> Vec<u8> {
    let date = (Timestamp::now() + 2.seconds()).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    answer("429 Too Many Requests", &format!("{JSON}retry-after: {date}\r\n"), "{}")
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let busy = |line: &str, after: &str| Script::first(status(line, &format!("retry-after: {after}\r\n"))).then(ok(7));
    let too_many = |after: &str| busy("429 Too Many Requests", after);
    let always = |line: &str| Script::always(status(line, ""));
    let once = |line: &str| Script::first(status(line, "")).then(ok(7));
    let mut rows = vec![
        row("status_500_get",        GET,  once("500 Oops"), BAD, Early, sees(1, 1, 0)),
        row("status_500_on",         GET,  once("500 Oops"), Id(7), Early, sees(2, 1, 0)).keys("retry = { on = [\"5xx\"] }"),
        row("status_500_keyed",      POST, once("500 Oops"), BAD, Early, sees(1, 1, 0)).route(KEYED),
        row("status_503_off",        GET,  once("503 Busy"), BAD, Early, sees(1, 1, 0)).keys("retry = { on = [\"timeout\"] }"),
        row("status_503_once",       GET,  once("503 Busy"), BAD, Early, sees(1, 1, 0)).keys(ONCE),
        row("status_503_twice",      GET,  Script::first(status("503 Busy", "")).then(status("502 Bad", "")).then(ok(7)), BAD, Early, sees(2, 1, 0)),
        row("status_503_thrice",     GET,  Script::first(status("503 Busy", "")).then(status("502 Bad", "")).then(ok(7)), Id(7), Early, sees(3, 1, 0)).keys("retry = { attempts = 3 }"),
        row("closed_off",            GET,  Script::first([Action::Close]).then(ok(7)), LOST, Early, sees(1, 1, 0)).keys("retry = { on = [503] }"),
        row("backoff",               GET,  once("503 Busy"), Id(7), Early, sees(2, 1, 0)).keys("retry = { backoff = \"1ms\" }"),

        // `retry-after` is honoured if there is enough time.
        row("after_a_second_get",    GET,  too_many("1"), Id(7), After(1000), sees(2, 1, 0)),
        row("after_a_second_post",   POST, too_many("1"), BAD, Early, sees(1, 1, 0)),
        row("after_a_second_keyed",  POST, too_many("1"), Id(7), After(1000), sees(2, 1, 0)).route(KEYED),
        row("after_a_second_once",   GET,  too_many("1"), BAD, Early, sees(1, 1, 0)).keys(ONCE),
        row("after_a_second_503",    GET,  busy("503 Busy", "1"), Id(7), After(1000), sees(2, 1, 0)),
        row("after_a_second_500",    GET,  busy("500 Oops", "1"), BAD, Early, sees(1, 1, 0)),
        row("after_a_minute",        GET,  too_many("60"), BAD, Early, sees(1, 1, 0)),
        row("after_a_minute_keyed",  POST, too_many("60"), BAD, Early, sees(1, 1, 0)).route(KEYED),
        row("after_ages",            GET,  too_many("18446744073709551615"), BAD, Early, sees(1, 1, 0)),
        row("after_all_time",        GET,  too_many("99999999999999999999"), BAD, Early, sees(1, 1, 0)),
        row("after_nothing",         GET,  too_many("0"), Id(7), Early, sees(2, 1, 0)),
        row("after_a_date",          GET,  Script::first([Action::WriteFrom(until_soon)]).then(ok(7)), Id(7), After(1000), sees(2, 1, 0)),
        row("after_a_far_date",      GET,  too_many("Thu, 31 Dec 2099 23:59:59 GMT"), BAD, Early, sees(1, 1, 0)),
        row("after_the_last_date",   GET,  too_many("Fri, 31 Dec 9999 23:59:59 GMT"), BAD, Early, sees(1, 1, 0)),
        row("after_a_past_date",     GET,  too_many("Sun, 06 Nov 1994 08:49:37 GMT"), Id(7), Early, sees(2, 1, 0)),
        row("after_no_date",         GET,  too_many("soon"), Id(7), Early, sees(2, 1, 0)),
        row("after_less_than_none",  GET,  too_many("-1"), Id(7), Early, sees(2, 1, 0)),
    ];
    for (gets, stays, posts, keyed, line) in [
        ("status_429_get", "status_429_stays", "status_429_post", "status_429_keyed", "429 Too Many Requests"),
        ("status_502_get", "status_502_stays", "status_502_post", "status_502_keyed", "502 Bad Gateway"),
        ("status_503_get", "status_503_stays", "status_503_post", "status_503_keyed", "503 Service Unavailable"),
        ("status_504_get", "status_504_stays", "status_504_post", "status_504_keyed", "504 Gateway Timeout"),
    ] {
        rows.extend([
            row(gets,  GET,  once(line),   Id(7), Early, sees(2, 1, 0)),
            row(stays, GET,  always(line), BAD,   Early, sees(2, 1, 0)),
            row(posts, POST, once(line),   BAD,   Early, sees(1, 1, 0)),
            row(keyed, POST, once(line),   Id(7), Early, sees(2, 1, 0)).route(KEYED),
        ]);
    }
    rows
}
