//! `delivery`: whether the platform waits for the requests of a route.

use std::time::Duration;

use crate::diagnostic::{Code, Diagnostic};
use crate::plan::LogLevel;
use crate::plan::state::{AsyncDelivery, ON_DEAD};
use crate::table::raw::RawRoute;
use crate::table::reader::{Key, missing_key};

use crate::compile::cx::Cx;
use crate::compile::values;

/// The modes of `delivery`, and whether each is asynchronous.
pub(in crate::compile) const MODES: [(&str, bool); 2] = [("async", true), ("sync", false)];

/// How long deliveries are retried if the table does not say.
const RETRY_FOR: Duration = Duration::from_secs(24 * 3600);

/// Whether a route replies before its requests are sent. Errors are reported by [`compile`].
pub(in crate::compile) fn is_async(raw: &RawRoute) -> bool {
    let mode = raw.delivery.get().and_then(|delivery| delivery.value.mode.get());
    mode.is_some_and(|mode| mode.value == MODES[0].0)
}

/// `delivery` of a route or event; `None` if the platform waits, and after errors. `needs_reply` says whether the
/// platform uses the reply.
pub(in crate::compile) fn compile(
    cx: &mut Cx<'_>,
    raw: &RawRoute,
    needs_reply: bool,
) -> Option<AsyncDelivery> {
    let delivery = raw.delivery.get()?;
    let (span, delivery) = (delivery.span, &delivery.value);
    if delivery.mode.is_absent() {
        cx.report(missing_key(span, "this `delivery` has no `mode`", "add `mode = \"async\"`"));
    }
    let is_async = delivery.mode.get().and_then(|mode| {
        let help = "write \"async\" to send the requests after the reply, or remove the key";
        values::one_of(&MODES, "delivery", mode, help, cx.diagnostics)
    });
    let retry_for =
        delivery.retry_for.get().map(|text| values::month_duration(text, cx.diagnostics).unwrap_or_default());
    let on_dead = delivery.on_dead.get().and_then(|level| {
        values::one_of(&ON_DEAD, "on_dead", level, "write \"error\", \"warn\" or \"info\"", cx.diagnostics)
    });
    if is_async == Some(false) {
        report_unused(cx, delivery.retry_for.span(), "retry_for");
        report_unused(cx, delivery.ordered.span(), "ordered");
        report_unused(cx, delivery.on_dead.span(), "on_dead");
    }
    is_async.filter(|is_async| *is_async)?;
    if raw.request.is_absent() && raw.steps.is_absent() {
        cx.report(
            Diagnostic::new(
                Code::NeedsRequest,
                span,
                "`delivery` needs a request, but this route sends none",
            )
            .help("add a `request`, or remove `delivery`"),
        );
    }
    if needs_reply && matches!(raw.reply, Key::Absent) {
        cx.report(
            Diagnostic::new(Code::AsyncReply, span, "an `async` route without a `reply` has nothing to say")
                .label("the extracted values come after the reply")
                .help("add what the model hears at once: `reply = { text = \"I have noted that.\" }`"),
        );
    }
    Some(AsyncDelivery {
        retry_for: retry_for.unwrap_or(RETRY_FOR),
        ordered: delivery.ordered.get().is_some_and(|ordered| ordered.value),
        on_dead: on_dead.unwrap_or(LogLevel::Warn),
    })
}

fn report_unused(cx: &mut Cx<'_>, span: Option<crate::diagnostic::Span>, key: &str) {
    if let Some(span) = span {
        cx.report(
            Diagnostic::new(Code::NoEffect, span, format!("`{key}` has no effect with `mode = \"sync\"`"))
                .label("has no effect")
                .help("remove it, or set `mode = \"async\"`"),
        );
    }
}
