//! The end of the explanation: the failure, the reply case and why earlier ones did not match, the reply, and where the
//! time went.

use std::time::Duration;

use serde_json::Value;

use crate::call::Reply;
use crate::flow::{CallError, TextSource};
use crate::json::JsonText;
use crate::lang::template::Written;
use crate::plan::Route;
use crate::plan::when::KnownValues;
use crate::upstream::delivery::{AttemptRecord, DeliveryError};

use super::walk::{Walk, ms, template_text};

impl Walk<'_> {
    /// Adds the result.
    pub(super) fn end(&mut self, route: Option<&Route>) {
        let record = &self.call.record;
        if self.shown.dry_run
            && matches!(record.error.as_deref(), Some(CallError::Delivery(DeliveryError::Credential { .. })))
        {
            self.line("without its credential: a token would have to be fetched first");
        }
        if self.shown.dry_run && record.was_rendered() {
            self.text.truncate(self.text.trim_end().len());
            return;
        }
        if let Some(error) = &record.error {
            self.head("failed", &format!("{}: {}", error.kind(), self.show(error)));
        }
        if let Some(error) = &record.failure_error {
            self.line(&format!("could not render the case for this failure: {}", self.show(error)));
        }
        if let Some(route) = route {
            self.cases(route);
        }
        self.stored();
        for dropped in &record.dropped {
            self.line(&self.show(dropped));
        }
        self.time(route);
        self.text.truncate(self.text.trim_end().len());
    }

    /// What the call stored: its delivery, and what it remembers.
    fn stored(&mut self) {
        let record = &self.call.record;
        if record.is_accepted() {
            self.head("accepted", "the requests are sent after the reply");
        }
        for (index, (name, value)) in record.memory.remembered.iter().enumerate() {
            let line = match value {
                Value::Null => format!("{name} is forgotten"),
                value => format!("{name} = {}", self.value(value)),
            };
            if index == 0 { self.head("remembered", &line) } else { self.line(&line) }
        }
        if let Some(error) = &record.memory.error {
            self.line(&self.show(error));
        }
    }

    fn cases(&mut self, route: &Route) {
        let record = &self.call.record;
        let mut skipped: Vec<(usize, usize, String)> = Vec::new();
        for skipped_case in &record.skipped_cases {
            let index = skipped_case.case;
            let why = route.replies.why_skipped(*skipped_case, KnownValues::All(&self.scope));
            match skipped.last_mut() {
                Some((_, last, same)) if *same == why && *last + 1 == index => *last = index,
                _ => skipped.push((index, index, why)),
            }
        }
        for (first, last, why) in skipped {
            let name = match first == last {
                true => format!("case {}", first + 1),
                false => format!("cases {}-{}", first + 1, last + 1),
            };
            self.head(&name, &format!("skipped: {}", self.show(why)));
        }
        for case in record.matched_cases() {
            let left = match route.replies.count().saturating_sub(case + 1) {
                0 => "",
                1 => "; the later case is not evaluated",
                _ => "; later cases are not evaluated",
            };
            let declared = match record.error.as_deref() {
                Some(CallError::Declared { case: declared, kind }) if *declared == case => {
                    format!(", so the call fails with `{kind}`")
                }
                _ => String::new(),
            };
            self.head(&format!("case {}", case + 1), &format!("matched{declared}{left}"));
        }
        self.reply(route);
    }

    /// The source of the reply, and its parts.
    fn reply(&mut self, route: &Route) {
        let record = &self.call.record;
        let (source, written) = match (record.case, record.text_source) {
            (Some(case), _) => {
                let written = route.replies.written(case, self.shown.platform.name());
                return self.reply_parts(&written, &record.outcome.reply);
            }
            (None, None) => {
                return self.head("reply", "every extracted value, because no reply case is for success");
            }
            (None, Some(TextSource::Route(slot))) => {
                (format!("`failure.{}` of the route", slot.slug()), route.failure_texts.written(slot))
            }
            (None, Some(TextSource::Defaults(slot))) => (
                format!("`failure.{}` of `[defaults]`", slot.slug()),
                self.shown.plan.failure_texts.written(slot),
            ),
            (None, Some(TextSource::BuiltIn)) => {
                ("the built-in text: no case, route or default has a text for this failure".to_owned(), None)
            }
        };
        self.head("reply", &source);
        let written: Vec<_> =
            written.map(|text| ("text".to_owned(), Written::Text(text))).into_iter().collect();
        self.reply_parts(&written, &record.outcome.reply);
    }

    /// Each part of a reply: its template, and below it the rendered value.
    fn reply_parts(&mut self, written: &[(String, Written<'_>)], reply: &Reply) {
        let width = written.iter().map(|(part, _)| part.len()).max().unwrap_or(4);
        if written.is_empty() {
            let text = reply.text.clone().unwrap_or_default();
            self.line(&format!("text  {}", self.show(text)));
        }
        for (part, written) in written {
            let rendered = match part.as_str() {
                "text" => reply.text.clone().map(Value::from),
                "data" => reply.data.as_ref().map(JsonText::to_value),
                extension => extension
                    .split_once('.')
                    .and_then(|(_, key)| reply.extension(key))
                    .map(JsonText::to_value),
            };
            let rendered = match rendered.map(|rendered| self.masks.show_value(&rendered)) {
                None => "left out".to_owned(),
                Some(Value::String(text)) if text.is_empty() => "an empty string".to_owned(),
                Some(Value::String(text)) => text,
                Some(json) => json.to_string(),
            };
            self.labelled(&format!("{part:<width$}"), &self.show(template_text(written)));
            if written.has_expression() {
                self.labelled(&format!("{:>width$}", "="), &rendered);
            }
        }
    }

    /// A text next to its label, line by line.
    fn labelled(&mut self, label: &str, text: &str) {
        let mut label = label.to_owned();
        for line in text.lines() {
            self.line(&format!("{label}  {line}"));
            label = " ".repeat(label.len());
        }
    }

    /// Where the time went.
    fn time(&mut self, route: Option<&Route>) {
        let record = &self.call.record;
        self.head(
            "time",
            &format!(
                "{} of {}, proxy overhead {}",
                ms(record.time),
                ms(self.call.time),
                ms(record.overhead(route))
            ),
        );
        for (index, step_record) in record.steps.iter().enumerate() {
            let step = route.and_then(|route| route.steps.get(index)?.name.as_deref());
            let step = step.map(|step| format!("{step}: ")).unwrap_or_default();
            let delivery = &step_record.delivery;
            if !delivery.waited.is_zero() {
                self.line(&format!("{step}{} waiting for a permit", ms(delivery.waited)));
            }
            if delivery.credential > Duration::from_millis(1) {
                self.line(&format!("{step}{} for the credential", ms(delivery.credential)));
            }
            let mut attempts: Vec<&AttemptRecord> = step_record.finished_attempts().collect();
            attempts.sort_by_key(|attempt| attempt.began);
            let finished = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
            let upstream = step_record.upstream().unwrap_or_default();
            for attempt in attempts {
                let at = ms(attempt.began.saturating_duration_since(record.began));
                let result = match &attempt.result {
                    Some(Ok(status)) => format!("status {}", status.as_u16()),
                    Some(Err(error)) => self.show(error),
                    None => continue,
                };
                self.line(&format!(
                    "{step}at {at} request to `{upstream}`: {result}, after {}",
                    ms(attempt.time())
                ));
            }
            if !delivery.paused.is_zero() {
                self.line(&format!("{step}{} between attempts", ms(delivery.paused)));
            }
            if delivery.hedges > 0 && delivery.attempts > finished {
                self.line(&format!("{step}hedged: sent a second request, and the first response is used"));
            }
        }
    }
}
