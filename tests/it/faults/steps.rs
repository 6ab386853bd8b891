//! Routes with several steps: all steps share the deadline of the call, and a fallback still runs within it.

use std::time::Duration;

use super::responses::{good, ok, say, status};
use super::row::ExpectedReply::Text;
use super::row::When::{After, AtDeadline, Early};
use super::row::{LATE, LOST, ONCE, Row, SHORT, row, sees};
use crate::support::faulty_upstream::Action::{Close, Hang, Pause};
use crate::support::faulty_upstream::Script;

/// Two steps, one after the other.
const TWO: &str = "
[[routes.ROUTE.steps]]
name = \"one\"
request = { path = \"/one\" }
extract = { id = \"$.id\" }
[[routes.ROUTE.steps]]
name = \"two\"
request = { path = \"/two\" }
extract = { id = \"$.id\" }
[[routes.ROUTE.reply]]
text = \"{{one.id}}, {{two.id}}.\"
";
/// A write after a read.
const THEN_WRITE: &str = "
[[routes.ROUTE.steps]]
name = \"one\"
request = { path = \"/one\" }
[[routes.ROUTE.steps]]
name = \"two\"
request = { method = \"POST\", path = \"/two\" }
[[routes.ROUTE.reply]]
text = \"Never.\"
";
/// Two steps that run concurrently.
const TOGETHER: &str = "
[[routes.ROUTE.steps]]
name = \"one\"
group = \"both\"
request = { path = \"/one\" }
[[routes.ROUTE.steps]]
name = \"two\"
group = \"both\"
request = { path = \"/two\" }
[[routes.ROUTE.reply]]
text = \"Never.\"
";
/// A step that runs if another one fails.
const FALLBACK: &str = "
[[routes.ROUTE.steps]]
name = \"one\"
request = { path = \"/one\" }
extract = { id = \"$.id\" }
[[routes.ROUTE.steps]]
name = \"two\"
when.failed = \"one\"
request = { path = \"/two\" }
extract = { id = \"$.id\" }
[[routes.ROUTE.reply]]
text = \"Else {{two.id}}.\"
";
/// A write, and a step that runs if it fails.
const WRITE_FALLBACK: &str = "
[[routes.ROUTE.steps]]
name = \"one\"
request = { method = \"POST\", path = \"/one\" }
[[routes.ROUTE.steps]]
name = \"two\"
when.failed = \"one\"
request = { path = \"/two\" }
extract = { id = \"$.id\" }
[[routes.ROUTE.reply]]
text = \"Else {{two.id}}.\"
";

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Row> {
    const NONE: &str = "";
    let slow = |id: u32, ms: u64| [Pause(Duration::from_millis(ms)), say(good(id))];
    let else_8 = Text("Else 8.");
    // On a busy machine, one step of a group may have its response before the other one has a connection.
    let reused = sees(2, 1, 1);
    vec![
        row("steps_slow",            NONE, Script::first(slow(7, 1000)).then(slow(8, 1000)), Text("7, 8."), After(2000), sees(2, 1, 0)).route(TWO),
        row("steps_share_time",      NONE, Script::first(slow(7, 6000)).then(slow(8, 6000)), LATE, AtDeadline, sees(2, 1, 1)).route(TWO),
        row("steps_second_hangs",    NONE, Script::first(ok(7)).then([Hang]), LATE, AtDeadline, sees(2, 1, 1)).route(TWO),
        row("steps_first_hangs",     NONE, Script::always([Hang]), LATE, AtDeadline, sees(1, 1, 1)).route(TWO),
        row("steps_first_lost",      NONE, Script::always([Close]), LOST, Early, sees(1, 1, 0)).route(TWO).keys(ONCE),
        row("steps_second_again",    NONE, Script::first(ok(7)).then([Close]).then(ok(8)), Text("7, 8."), Early, sees(3, 2, 0)).route(TWO),
        row("steps_write_hangs",     NONE, Script::first(slow(7, 1000)).then([Hang]), LATE, AtDeadline, sees(2, 1, 0)).route(THEN_WRITE),
        row("steps_write_lost",      NONE, Script::first(ok(7)).then([Close]), LOST, Early, sees(2, 1, 0)).route(THEN_WRITE),
        row("group_hangs",           NONE, Script::always([Hang]), LATE, AtDeadline, sees(2, 2, 2)).route(TOGETHER),
        row("group_half_hangs",      NONE, Script::first(ok(7)).then([Hang]), LATE, AtDeadline, sees(2, 2, 1)).or(reused).route(TOGETHER),
        row("fallback_after_late",   NONE, Script::first([Hang]).then(ok(8)), else_8, After(1500), sees(2, 2, 1)).route(FALLBACK).keys(ONCE).keys(SHORT),
        row("fallback_after_lost",   NONE, Script::first([Close]).then(ok(8)), else_8, Early, sees(2, 2, 0)).route(FALLBACK).keys(ONCE),
        row("fallback_after_retry",  NONE, Script::first([Close]).then([Close]).then(ok(8)), else_8, Early, sees(3, 3, 0)).route(FALLBACK),
        row("fallback_after_status", NONE, Script::first(status("500 Oops", "")).then(ok(8)), else_8, Early, sees(2, 1, 0)).route(FALLBACK),
        row("fallback_late_too",     NONE, Script::first(status("500 Oops", "")).then([Hang]), LATE, AtDeadline, sees(2, 1, 1)).route(FALLBACK),
        row("fallback_of_a_write",   NONE, Script::first([Close]).then(ok(8)), else_8, Early, sees(2, 2, 0)).route(WRITE_FALLBACK),
        row("fallback_without_time", NONE, Script::always([Hang]), LATE, AtDeadline, sees(1, 1, 1)).route(FALLBACK),
    ]
}
