//! Upstreams that are slow or keep failing, and what limits the damage: hedging and the circuit breaker.

use super::responses::{ok, say, status};
use super::row::ExpectedReply::{Failure, Id};
use super::row::When::{After, AtDeadline, Early};
use super::row::{BAD, GET, LATE, LOST, POST, Row, row, sees};
use crate::support::faulty_upstream::Action::{Close, Hang};
use crate::support::faulty_upstream::Script;

const HEDGED: &str = "hedge_after = \"1500ms\"";
const BROKEN: &str = "retry = { attempts = 1 }\nbreaker = { min_calls = 2, open_for = \"60s\" }";

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let refused = Failure("refused");
    vec![
        row("hedged_get",            GET,  Script::first([Hang]).then(ok(7)), Id(7), After(1500), sees(2, 2, 1)).keys(HEDGED),
        row("hedged_in_body",        GET,  Script::first([say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n"), Hang]).then(ok(7)), Id(7), After(1500), sees(2, 2, 1)).keys(HEDGED),
        row("hedged_in_vain",        GET,  Script::always([Hang]), LATE, AtDeadline, sees(2, 2, 2)).keys(HEDGED),
        row("hedged_post",           POST, Script::always([Hang]), LATE, AtDeadline, sees(1, 1, 0)).keys(HEDGED),
        row("hedged_in_time",        GET,  Script::always(ok(7)), Id(7), Early, sees(1, 1, 0)).keys(HEDGED),
        row("broken_by_status",      GET,  Script::always(status("500 Oops", "")), vec![BAD, BAD, refused, refused], Early, sees(2, 1, 0)).keys(BROKEN),
        row("broken_by_loss",        POST, Script::always([Close]), vec![LOST, LOST, refused], Early, sees(2, 2, 0)).keys(BROKEN),
        row("broken_by_no_http",     GET,  Script::always([say("220 mail ready\r\n\r\n"), Close]), vec![BAD, BAD, refused], Early, sees(2, 2, 0)).keys(BROKEN),
        row("broken_by_refusal",     GET,  Script::Refuse, vec![LOST, LOST, refused], Early, sees(0, 0, 0)).keys(BROKEN),
        row("not_broken_by_404",     GET,  Script::always(status("404 Not Found", "")), vec![BAD; 4], Early, sees(4, 1, 0)).keys(BROKEN),
        row("not_broken_by_body",    GET,  Script::always(status("200 OK", "")), vec![BAD; 4], Early, sees(4, 1, 0)).keys(BROKEN),
    ]
}
