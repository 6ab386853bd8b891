//! Redirects: to other origins, which must not be contacted, and in loops.

use std::time::Duration;

use super::responses::{ok, say};
use super::row::ExpectedReply::{Id, Text};
use super::row::When::{AtDeadline, Early};
use super::row::{BAD, GET, LATE, POST, Row, row, sees};
use crate::support::faulty_upstream::Action::Pause;
use crate::support::faulty_upstream::{Action, Script};

const FOLLOW: &str = "redirects = \"same_origin\"";

fn to(status: &str, place: &str) -> Vec<Action> {
    vec![say(format!("HTTP/1.1 {status}\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"))]
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    let once = |place: &str| Script::first(to("302 Found", place)).then(ok(7));
    let elsewhere = "http://ELSEWHERE/";
    vec![
        row("moved_elsewhere",       GET,  once(elsewhere), BAD, Early, sees(1, 1, 0)),
        row("moved_elsewhere_post",  POST, Script::always(to("307 Temporary Redirect", elsewhere)), BAD, Early, sees(1, 1, 0)),
        row("moved_elsewhere_same",  GET,  once(elsewhere), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_elsewhere_308",   POST, Script::always(to("308 Permanent Redirect", elsewhere)), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_without_scheme",  GET,  once("//ELSEWHERE/"), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_then_elsewhere",  GET,  Script::first(to("302 Found", "/there")).then(to("302 Found", elsewhere)), BAD, Early, sees(2, 1, 0)).keys(FOLLOW),
        row("moved_to_metadata",     GET,  once("http://169.254.169.254/latest/meta-data/"), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_to_a_file",       GET,  once("file:///etc/passwd"), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_nowhere",         GET,  once("http://["), BAD, Early, sees(1, 1, 0)).keys(FOLLOW),
        row("moved_here",            GET,  once("/there"), BAD, Early, sees(1, 1, 0)),
        row("moved_here_same",       GET,  once("/there"), Id(7), Early, sees(2, 1, 0)).keys(FOLLOW),
        row("moved_in_circles",      GET,  Script::always(to("302 Found", "/")), BAD, Early, sees(6, 1, 0)).keys(FOLLOW),
        row("moved_slowly",          GET,  Script::always([vec![Pause(Duration::from_millis(2500))], to("302 Found", "/")].concat()), LATE, AtDeadline, sees(4, 1, 1)).keys(FOLLOW),
        row("moved_and_named",       GET,  once(elsewhere), Text("It has moved."), Early, sees(1, 1, 0))
            .route("reply = [{ when.status = \"3xx\", text = \"It has moved.\" }, { text = \"It is {{id}}.\" }]"),
    ]
}
