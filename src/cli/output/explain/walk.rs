//! A call as text, step by step: each request with its templates, and each response with its duration.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::call::GivenArguments;
use crate::dispatch::in_process::CompletedCall;
use crate::flow::{CacheUse, CallError, StepRecord};
use crate::json::Kind;
use crate::lang::template::{ParsedResponse, Scope, StepOutput, Written};
use crate::observe::masking::hide_named;
use crate::plan::Route;
use crate::plan::route::Step;
use crate::plan::when::KnownValues;
use crate::secret::{HIDDEN, Masks};
use crate::upstream::Request;
use crate::upstream::delivery::AttemptRecord;

use super::shown::Shown;

/// The most lines of a body, and the most characters of a value on one line.
const MAX_LINES: usize = 100;
const MAX_VALUE: usize = 300;

/// The response headers that are shown.
const SHOWN_HEADERS: [&str; 6] =
    ["content-type", "location", "retry-after", "www-authenticate", "x-request-id", "warning"];

/// A call as lines of text.
pub(super) struct Walk<'a> {
    pub(super) text: String,
    pub(super) shown: Shown<'a>,
    pub(super) call: &'a CompletedCall,
    pub(super) masks: Masks,
    pub(super) scope: Scope<'a>,
}

impl<'a> Walk<'a> {
    /// Walks through `call` up to its last step; `end` adds the result.
    pub(super) fn of(shown: Shown<'a>, call: &'a CompletedCall) -> Self {
        let masks = call.record.masks(&shown.plan.masks, call.route.as_deref());
        let mut walk = Self { text: String::new(), shown, call, masks, scope: call.record.scope(shown.now) };
        walk.begin();
        let Some(route) = call.route.as_deref() else {
            walk.line("no route for this function on this platform");
            return walk;
        };
        if shown.completed.event.is_none() {
            walk.arguments(route);
        }
        walk.recalled();
        if route.steps.is_empty() && call.record.validated.is_some() {
            walk.head("request", "none: the route replies without an upstream");
        }
        let ran = call.record.steps.iter().zip(&call.record.outputs);
        for (index, (step, (step_record, output))) in route.steps.iter().zip(ran).enumerate() {
            walk.step(route, index, step, step_record, output);
        }
        walk
    }

    /// A text of the call or the table, as it is shown: with secrets hidden.
    pub(super) fn show(&self, text: impl ToString) -> String {
        self.masks.show(&text.to_string())
    }

    /// Adds a line that starts a part. All foreign texts in it have been shown by [`Self::show`] or [`Self::value`].
    pub(super) fn head(&mut self, name: &str, what: &str) {
        // A part of the line may end in a secret that only the whole line has.
        let what = self.masks.hide(what);
        let _ = writeln!(self.text, "{}", format!("{name:<10} {what}").trim_end());
    }

    /// Adds a text below, like [`Self::head`].
    pub(super) fn line(&mut self, text: &str) {
        let text = self.masks.hide(text);
        for line in text.lines() {
            let _ = writeln!(self.text, "{}", format!("           {line}").trim_end());
        }
    }

    /// A body as JSON or text, shortened if it is long.
    fn body(&mut self, body: &Value) {
        let text = match self.masks.show_value(body) {
            Value::String(text) => text,
            Value::Null => return,
            body => format!("{body:#}"),
        };
        self.shown_body(&text);
    }

    fn shown_body(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        self.line(&lines[..lines.len().min(MAX_LINES)].join("\n"));
        if lines.len() > MAX_LINES {
            self.line(&format!("… {} more lines; `--format json` shows them", lines.len() - MAX_LINES));
        }
    }

    /// A value on one line, shortened if it is long.
    pub(super) fn value(&self, value: &Value) -> String {
        let value = self.masks.show_value(value).to_string();
        match value.char_indices().nth(MAX_VALUE) {
            Some((end, _)) => format!("{}…", &value[..end]),
            None => value,
        }
    }

    fn begin(&mut self) {
        let (call, platform) = (&self.call.record.call.context, self.shown.platform.name());
        let time = ms(self.call.time);
        let what = match self.shown.completed.event {
            Some(event) => format!("the event {event} of {platform}"),
            None => format!("{} as {platform}", self.show(&call.function)),
        };
        self.head("call", &format!("{what}, deadline in {time}"));
        let context = [
            ("id", &call.id),
            ("conversation", &call.conversation),
            ("caller", &call.caller),
            ("called", &call.called),
        ];
        for (key, text) in context {
            if let Some(text) = text {
                self.line(&format!("call.{key} = {}", self.value(&Value::from(text.as_str()))));
            }
        }
        for (key, value) in
            [("metadata", &call.metadata), ("global", &call.global), ("headers", &call.headers)]
        {
            if value.get().kind() == Kind::Object && !value.get().is_empty() {
                self.line(&format!("call.{key} = {}", self.value(&value.to_value())));
            }
        }
    }

    fn arguments(&mut self, route: &Route) {
        let record = &self.call.record;
        let given = match &record.call.args {
            GivenArguments::Json(given) => Some(given.get().to_value()),
            GivenArguments::Unreadable => None,
        };
        let Some(validated) = &record.validated else {
            self.head("arguments", "invalid");
            match given {
                Some(given) => {
                    let shown = hide_named((&self.masks.show_value(&given)).into(), route);
                    self.shown_body(&format!("{shown:#}"));
                }
                None => self.line("not valid JSON"),
            }
            return;
        };
        let entries = validated.args.as_object().map(Map::iter).into_iter().flatten();
        self.head(
            "arguments",
            if validated.args.as_object().is_some_and(Map::is_empty) { "none" } else { "valid" },
        );
        for (name, value) in entries {
            let given = given.as_ref().and_then(|given| given.get(name)).filter(|given| !given.is_null());
            let from = match given {
                None => " (its default)".to_owned(),
                Some(_) if route.arguments.is_sensitive(name) => String::new(),
                Some(given) if given != value => format!(" (from {})", self.value(given)),
                Some(_) => String::new(),
            };
            let value = match route.arguments.is_sensitive(name) {
                true => format!("\"{HIDDEN}\""),
                false => self.value(value),
            };
            self.line(&format!("{name} = {value}{from}"));
        }
        if !validated.dropped.is_empty() {
            let dropped = self.show(validated.dropped.join(", "));
            self.line(&format!("dropped (not declared): {dropped}"));
        }
    }

    /// What the call recalls.
    fn recalled(&mut self) {
        let recalled = self.call.record.memory.recalled.as_deref().and_then(Value::as_object);
        let shown: Vec<String> = recalled
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name} = {}", self.value(value)))
            .collect();
        match shown.split_first() {
            Some((first, rest)) => {
                self.head("recalled", first);
                rest.iter().for_each(|line| self.line(line));
            }
            None if recalled.is_some() => self.head("recalled", "nothing"),
            None => {}
        }
    }

    fn step(
        &mut self,
        route: &Route,
        index: usize,
        step: &Step,
        step_record: &StepRecord,
        output: &StepOutput,
    ) {
        if let Some(name) = &step.name {
            let earlier = route.steps[..index]
                .iter()
                .rfind(|earlier| step.group.is_some() && earlier.group == step.group);
            // The conditions of a step see the earlier steps only.
            let scope = Scope { steps: &self.scope.steps[..index], ..self.scope };
            let how = match (step_record.skipped, earlier.and_then(|earlier| earlier.name.as_ref())) {
                (true, _) => {
                    let why = route.why_skipped(index, step_record.unmet, KnownValues::All(&scope));
                    format!(": skipped, because {}", self.show(why))
                }
                (false, Some(earlier)) => format!(", concurrently with `{earlier}`"),
                (false, None) => String::new(),
            };
            self.head("step", &format!("{name}{how}"));
        }
        if let Some(request) = &step_record.request {
            let sent = if self.shown.dry_run
                || step_record.finished_attempts().next().is_none() && step_record.cache.is_none()
            {
                " (not sent)"
            } else {
                ""
            };
            let url = self.show(&request.url);
            self.head("request", &format!("{} {url}{sent}", request.method));
            self.templates(step, request);
            self.headers(request);
            if let Some(body) = &request.body {
                let text = || Value::from(String::from_utf8_lossy(body));
                self.body(&serde_json::from_slice(body).unwrap_or_else(|_| text()));
            }
        }
        if !self.shown.dry_run {
            self.response(step_record, output);
        }
        self.extracted(step, output);
        // The error of the call itself comes at the end.
        let call_error = self.call.record.error.as_ref();
        let is_of_call =
            |error: &&Arc<CallError>| call_error.is_some_and(|of_call| Arc::ptr_eq(of_call, error));
        if let Some(error) =
            step_record.error.as_ref().filter(|error| !self.shown.dry_run && !is_of_call(error))
        {
            self.line(&format!("failed: {}: {}", error.kind(), self.show(error)));
        }
    }

    /// Each template of a request beside its rendered value.
    fn templates(&mut self, step: &Step, request: &Request) {
        let parts = step.request.written();
        let width = parts.iter().map(|(part, _)| part.len()).max().unwrap_or_default();
        let form = request.body.as_deref().unwrap_or_default();
        for (part, written) in &parts {
            let rendered = match part.split_once('.') {
                None if part == "path" => {
                    step.request.below_base(&request.url).split('?').next().map(ToOwned::to_owned)
                }
                Some(("query", name)) => all(request.url.query_pairs(), name),
                Some(("form", name)) => all(form_urlencoded::parse(form), name),
                Some(("headers", name)) => request
                    .headers
                    .get(name)
                    .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
                // The whole body is shown below.
                _ => Some(String::new()),
            };
            let written = self.show(template_text(written));
            let header = part.strip_prefix("headers.").and_then(|name| request.headers.get(name));
            let rendered = match rendered.as_deref() {
                None => " -> left out".to_owned(),
                Some("") => String::new(),
                Some(_) if header.is_some_and(HeaderValue::is_sensitive) => format!(" -> {HIDDEN}"),
                Some(rendered) => format!(" -> {}", self.show(rendered)),
            };
            self.line(&format!("{part:<width$}  {written}{rendered}"));
        }
    }

    fn headers(&mut self, request: &Request) {
        for (name, value) in &request.headers {
            let shown = match value.is_sensitive() {
                true => HIDDEN.to_owned(),
                false => self.show(String::from_utf8_lossy(value.as_bytes())),
            };
            self.line(&format!("{name}: {shown}"));
        }
    }

    fn response(&mut self, step_record: &StepRecord, output: &StepOutput) {
        let took = step_record.delivery.time.map(ms).unwrap_or_default();
        match (&output.response, step_record.finished_attempts().next_back()) {
            (Some(response), last) => {
                let from = match step_record.cache {
                    Some(used @ (CacheUse::Hit | CacheUse::Shared | CacheUse::Stale)) => {
                        format!("from the cache ({})", used.slug())
                    }
                    _ => format!("after {}", last.map_or(took, |last| ms(last.time()))),
                };
                self.head("response", &format!("status {}, {from}", response.status()));
                self.response_parts(response);
            }
            (None, Some(last @ AttemptRecord { result: Some(Err(error)), .. })) => {
                let error = self.show(error);
                self.head("response", &format!("none, after {}: {error}", ms(last.time())));
            }
            _ => {}
        }
        if let Some(error) = &step_record.refresh_error {
            let shown = self.show(error);
            self.line(&format!("stale response from the cache, because {}: {shown}", error.kind()));
        }
    }

    fn response_parts(&mut self, response: &ParsedResponse) {
        for name in SHOWN_HEADERS {
            if let Some(value) = response.header(name) {
                self.line(&format!("{name}: {}", self.show(value)));
            }
        }
        if let Some(problem) = response.problem() {
            self.line(&format!("read as text, because {}", self.show(problem)));
        }
        self.body(&response.body().to_value());
    }

    fn extracted(&mut self, step: &Step, output: &StepOutput) {
        let mut head = "extracted";
        for ((name, path), value) in step.extraction.names().zip(step.extraction.paths()).zip(&output.values)
        {
            let shown = match value {
                Some(_) if step.extraction.is_sensitive(name) => format!("{name} = {HIDDEN}"),
                Some(value) => format!("{name} = {}", self.value(&value.to_value())),
                None => format!("{name} is missing"),
            };
            self.head(head, &format!("{shown}  ({path})"));
            head = "";
        }
    }
}

/// The source of a template, on one line or several.
pub(super) fn template_text(written: &Written<'_>) -> String {
    match written {
        Written::Text(text) => (*text).to_owned(),
        Written::Tree(tree) => tree.to_string(),
        Written::File(name) => format!("the file {name}"),
    }
}

/// All values of a parameter; `None` if it is absent.
fn all<'p>(pairs: form_urlencoded::Parse<'p>, name: &str) -> Option<String> {
    let values: Vec<String> =
        pairs.filter(|(known, _)| known == name).map(|(_, value)| value.into_owned()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

pub(super) fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
