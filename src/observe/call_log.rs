//! The log lines about calls: one when a call ends, and one for each problem that an operator should look into.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use tracing::field::{DisplayValue, display};

use crate::call::Context;
use crate::flow::{CacheUse, LateReply, Record};
use crate::plan::{Plan, Route};
use crate::printable::printable_line;
use crate::secret::Masks;

use super::client_text::ClientText;
use super::record_id::RecordId;

/// The most characters of an error, and of a name chosen by the caller.
const MAX_SHOWN: usize = 500;
const MAX_NAME_SHOWN: usize = 200;

/// Logs a call that has ended; `id` names its record, if that is kept.
pub fn ended(record: &Record, plan: &Plan, client: IpAddr, id: Option<RecordId>) {
    outcome(record, plan, client, id);
    step_errors(record, &plan.masks);
    reply_problems(record, &plan.masks);
}

/// Logs the whole record of a call.
pub fn whole(record: &Record, plan: &Plan, route: Option<&Route>, id: Option<RecordId>) {
    let (platform, function) = (record.call.context.platform, shown_name(&record.call.context.function));
    let conversation = shown_conversation(&record.call.context);
    let (record_id, shown) = (id.map(display), Value::Object(record.view(&plan.masks, route)));
    tracing::info!(%platform, %function, conversation, record_id, record = %shown, "{function}: the whole record");
}

/// The call's own line.
fn outcome(record: &Record, plan: &Plan, client: IpAddr, id: Option<RecordId>) {
    let platform = record.call.context.platform;
    let function = shown_name(&record.call.context.function);
    let conversation = shown_conversation(&record.call.context);
    let ms = record.time.as_millis();
    let late = if record.was_overdue() { ", after its late reply" } else { "" };
    let upstream_ms = record.upstream_time().map(|time| time.as_millis());
    let case = record.case.map(|case| case + 1);
    let client = ClientText(client);
    let attempts = record.attempts();
    let cache = record.cache_use().map(CacheUse::slug);
    let trace = record.trace();
    let record_id = id.map(display);
    // A call has one `outcome`. If it was overdue, the line of its late reply has it.
    let (outcome, late_outcome) = match display(record.final_outcome()) {
        outcome if record.was_overdue() => (None, Some(outcome)),
        outcome => (Some(outcome), None),
    };
    match &record.error {
        None => tracing::info!(
            %platform, %function, conversation, %client, case, ms, upstream_ms, attempts, cache, trace, record_id,
            outcome, late_outcome,
            "{function}: answered in {ms} ms{late}"
        ),
        Some(error) => {
            let (kind, reason, upstream) = (error.kind(), error.reason().slug(), record.upstreams());
            tracing::warn!(
                %platform, %function, conversation, %client, case, ms, upstream, upstream_ms, attempts, cache, trace,
                record_id, outcome, late_outcome, %reason,
                "{function}: {kind} after {ms} ms{late}: {}", shown(&error.to_string(), &plan.masks)
            );
        }
    }
}

/// Logs errors of steps if a fallback or a stale response replaced the result.
fn step_errors(record: &Record, masks: &Masks) {
    let platform = record.call.context.platform;
    for step in &record.steps {
        let failed = step.error.as_deref().filter(|_| record.error.is_none());
        let notes = [
            (failed, "a step failed, and its fallback answered"),
            (step.refresh_error.as_ref(), "an older response was used (`stale_if_error`)"),
        ];
        for (error, what) in notes {
            let Some(error) = error else { continue };
            let function = shown_name(&record.call.context.function);
            let (conversation, upstream) = (shown_conversation(&record.call.context), step.upstream());
            let (reason, error) = (error.reason().slug(), shown(&error.to_string(), masks));
            tracing::warn!(%platform, %function, conversation, upstream, %reason, "{function}: {what}: {error}");
        }
    }
}

/// Logs parts of the reply that could not be rendered or were dropped, and memory that could not be read or written.
fn reply_problems(record: &Record, masks: &Masks) {
    let platform = record.call.context.platform;
    let failure = record.failure_error.as_ref();
    let failure =
        failure.map(|error| format!("the reply case for this failure could not be rendered: {error}"));
    let memory = record.memory.error.as_ref().map(ToString::to_string);
    for text in failure.iter().chain(&record.dropped).chain(&memory) {
        let function = shown_name(&record.call.context.function);
        tracing::warn!(%platform, %function, "{function}: {}", shown(text, masks));
    }
}

/// A call that got its reply while a request of it was still in flight.
#[derive(Debug)]
pub struct LateCall<'a> {
    /// The context of the call.
    pub context: &'a Context,
    /// The address of the client.
    pub client: IpAddr,
    /// When the reply was sent, from the start of the call.
    pub after: Duration,
    /// The id of the record that the call will have, if it is kept.
    pub id: Option<RecordId>,
}

/// Logs the late reply to a call whose request is still in flight.
pub fn late(call: &LateCall<'_>, late: &LateReply, masks: &Masks) {
    let LateCall { context, client, after, id } = call;
    let (platform, function) = (context.platform, shown_name(&context.function));
    let (conversation, record_id) = (shown_conversation(context), id.map(display));
    let (kind, ms, upstream) = (late.error.kind(), after.as_millis(), &late.upstream);
    let (reason, error) = (late.error.reason().slug(), shown(&late.error.to_string(), masks));
    tracing::warn!(
        %platform, %function, conversation, %client, ms, upstream, record_id, outcome = %kind, %reason,
        "{function}: {kind} after {ms} ms: {error}"
    );
}

/// Logs a retry that got the outcome of an earlier call; `how` describes the state of that call.
pub fn deduplicated(context: &Context, client: IpAddr, how: &str) {
    let (platform, function) = (context.platform, shown_name(&context.function));
    let conversation = shown_conversation(context);
    tracing::info!(
        %platform, %function, conversation, %client, outcome = %"deduplicated",
        "{function}: the same call {how}, and gets the same reply"
    );
}

/// A text that may contain foreign input, for the log: one line, masked and shortened.
fn shown(text: &str, masks: &Masks) -> String {
    one_line(&masks.show(text))
}

/// A text whose secrets are hidden, for the log: one line and shortened.
pub(super) fn one_line(text: &str) -> String {
    // A line break may stand between any two words of an error.
    let text = text.replace(['\n', '\r', '\t'], " ");
    printable_line(&text).chars().take(MAX_SHOWN).collect()
}

/// Which bytes of names are shown as they are.
static IS_PLAIN: [bool; 256] = {
    let (mut is_plain, mut byte) = ([false; 256], 0u8);
    while byte.is_ascii() {
        is_plain[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'+' | b'/');
        byte += 1;
    }
    is_plain
};

/// A name chosen by the caller, for the log: escaped and shortened.
pub fn shown_name(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_NAME_SHOWN && text.bytes().all(|byte| IS_PLAIN[usize::from(byte)]) {
        return text.into();
    }
    text.escape_debug().take(MAX_NAME_SHOWN).collect()
}

/// The conversation id for the log. Without one, the line does not have the field.
fn shown_conversation(context: &Context) -> Option<DisplayValue<Cow<'_, str>>> {
    context.conversation.as_deref().map(|conversation| display(shown_name(conversation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_before_a_text_is_shortened() {
        let mut masks = Masks::default();
        masks.add("s3cr3t-name.example");
        let long = format!("{}s3cr3t-name.example", "x".repeat(MAX_SHOWN - 7));
        for text in ["not valid for name \"s3cr3t-name.example\"", long.as_str()] {
            let shown = shown(text, &masks);
            assert!(!shown.contains("s3cr3t") && shown.contains("***"), "{shown}");
        }
        assert_eq!(shown("two\nlines", &masks), "two lines");
    }
}
