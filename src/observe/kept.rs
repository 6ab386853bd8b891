//! What is kept of a record after its call.

use serde_json::Value;

use crate::call::{Context, GivenArguments, Outcome};
use crate::flow::{PhaseTimes, Record, RecordedMemory};
use crate::json::{SharedValue, bytes_of};
use crate::lang::template::{ParsedResponse, StepOutput};

use super::view::{MAX_SHOWN, MAX_TEXT};

/// The approximate size of a request without its body, in bytes.
const REQUEST_OVERHEAD: usize = 1024;

impl Record {
    /// The approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let given = match &self.call.args {
            GivenArguments::Json(given) => given.bytes(),
            GivenArguments::Unreadable => 0,
        };
        let context = &self.call.context;
        let names = context.function.len() + context.conversation.as_ref().map_or(0, String::len);
        let validated = self.validated.as_ref().map_or(0, |validated| bytes_of(&validated.args));
        let output = self.outputs.iter().map(|output| {
            let body = output.response.as_ref().and_then(ParsedResponse::body_if_read);
            let is_counted = |value: &&SharedValue| body.is_some_and(|body| body.shares_document(value));
            let values = output.values.iter().flatten().filter(|value| !is_counted(value));
            let response = |response: &ParsedResponse| response.body_bytes() + response.header_bytes();
            output.response.as_ref().map_or(0, response) + values.map(SharedValue::bytes).sum::<usize>()
        });
        let sent = self.steps.iter().filter_map(|step| step.request.as_ref());
        let sent = sent.map(|request| REQUEST_OVERHEAD + request.body.as_ref().map_or(0, bytes::Bytes::len));
        let memory = self.memory.recalled.as_deref().map_or(0, bytes_of)
            + self.memory.remembered.iter().map(|(name, value)| name.len() + bytes_of(value)).sum::<usize>();
        let content = memory + output.sum::<usize>() + sent.sum::<usize>() + self.outcome.bytes();
        size_of::<Self>() + names + given + validated + content
    }

    /// Drops what is not shown of the call: its body, most of its context, and the times of its phases. The trace id is
    /// kept.
    pub fn forget_envelope(&mut self) {
        let context = std::mem::take(&mut *self.call.context);
        *self.call.context = Context {
            platform: context.platform,
            function: short(context.function),
            conversation: context.conversation.map(short),
            ..Context::default()
        };
        if let Some(traced) = &mut self.traced {
            traced.phase_times = PhaseTimes::default();
            traced.link.own.state = None;
        }
        for step_record in &mut self.steps {
            step_record.phase_times = PhaseTimes::default();
        }
        // The given arguments are a part of the request body and keep all of it in memory. They are shown only if
        // validation failed.
        if let GivenArguments::Json(given) = &mut self.call.args {
            let taken = std::mem::take(given);
            if self.validated.is_none() {
                *given = taken.detached();
            }
        }
        // Large bodies are not shown.
        for (step_record, output) in self.steps.iter().zip(&mut self.outputs) {
            if let Some(response) = &mut output.response {
                response.shorten_headers();
            }
            if step_record.response_bytes > MAX_SHOWN {
                output.response = output.response.take().map(ParsedResponse::without_body);
                for value in output.values.iter_mut().flatten() {
                    *value = std::mem::take(value).detached();
                }
            }
            let body = output.response.as_mut().and_then(ParsedResponse::body_mut);
            SharedValue::give_up_indexes(body.into_iter().chain(output.values.iter_mut().flatten()));
        }
    }

    /// Drops the arguments, requests, responses and the reply. Outcomes and times are kept.
    pub fn forget_content(&mut self) {
        self.call.args = Value::Null.into();
        self.validated = None;
        self.outputs.iter_mut().for_each(|output| *output = StepOutput::default());
        self.steps.iter_mut().for_each(|step| step.request = None);
        self.outcome.reply = Outcome::pending().reply;
        self.memory = RecordedMemory::default();
        self.dropped.clear();
    }
}

/// A name, shortened to the most that is kept.
fn short(name: String) -> String {
    if name.len() <= MAX_TEXT {
        return name;
    }
    match name.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => name[..end].to_owned(),
        None => name,
    }
}
