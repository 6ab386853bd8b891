//! Turns a call into a test: its input, the responses of the upstreams, and the expected result.
//!
//! The expectations come from running the test itself, so that it passes. The test contains no secret of the table. A
//! sensitive argument is replaced by a made-up value of the same form.

mod canned;
mod input;
mod invented;
mod personal;

use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::call::{FailureKind, Reply};
use crate::dispatch::in_process::CompletedCall;
use crate::json::JsonText;
use crate::load::can_be_written;
use crate::plan::testing::{CallChanges, Canned, Test, TestInput, TestableRoute};
use crate::plan::{Plan, Route};
use crate::platform::Platform;
use crate::secret::{HIDDEN, Masks};
use crate::upstream::recorder::Exchange;
use crate::upstream::resources::Resources;

use super::compare::{body_of, read, secrets_of, url_of};
use super::{TestRun, call};
use canned::{canned_value, reply_headers};
use invented::Invented;

/// A call to save as a test.
#[derive(Debug, Clone, Copy)]
pub struct CapturedCall<'a> {
    /// The plan that it ran on.
    pub plan: &'a Plan,
    /// The call.
    pub call: &'a CompletedCall,
    /// The platform.
    pub platform: &'static dyn Platform,
    /// The input of the test.
    pub input: CapturedInput<'a>,
    /// The requests to upstreams and their results, including those of other calls of the same request.
    pub exchanges: &'a [Exchange],
    /// The time of the call.
    pub now: &'a str,
    /// Whether names, e-mail addresses and phone numbers are replaced by invented ones.
    pub anonymize: bool,
}

/// The input of a test.
#[derive(Debug, Clone, Copy)]
pub enum CapturedInput<'a> {
    /// The call's arguments.
    Args,
    /// A file with a platform's request.
    Request {
        /// The file.
        file: &'a Path,
        /// Its contents.
        body: &'a Bytes,
    },
}

/// A test to write.
#[derive(Debug, Default)]
pub struct Draft {
    /// Its keys as paths, with their values.
    pub entries: Vec<(Vec<String>, Value)>,
    /// Notes about what was changed or omitted, and why.
    pub notes: Vec<String>,
}

/// Why a call cannot be saved as a test.
#[derive(Debug, Error)]
pub enum DraftError {
    /// There is no such function.
    #[error("unknown function `{0}`")]
    NoRoute(String),
    /// The arguments are not an object.
    #[error("the arguments are not a JSON object")]
    Arguments,
    /// The result of an upstream request cannot be written as a canned response.
    #[error("{step}{problem}")]
    Upstream {
        /// The step, if it has a name.
        step: String,
        /// The problem.
        problem: String,
    },
    /// No made-up value of a sensitive argument is valid.
    #[error("`{0}` is sensitive, and no made-up value of the same form is valid: write this test by hand")]
    Sensitive(String),
    /// With invented names, addresses and numbers, the arguments are no longer valid.
    #[error("no invented value of `{0}` is valid: save the test without `--anonymize`, and edit it")]
    Invented(String),
    /// The test could not be run.
    #[error("{0}")]
    Run(String),
    /// The test has another result than the call.
    #[error("with the same responses the test results in {test}, but the call resulted in {call}")]
    Other {
        /// The result of the test.
        test: String,
        /// The result of the call.
        call: String,
    },
    /// No expectation is left.
    #[error("every expected value contains a secret or cannot be written in TOML")]
    Nothing,
}

/// Drafts a test called `name` from a call. The test runs on `plan` and `resources`; `route` is the tested part of the
/// plan.
///
/// # Errors
/// The call cannot be saved as a test.
pub async fn draft(
    plan: &Plan,
    resources: &Resources,
    route: &TestableRoute,
    name: &str,
    captured: CapturedCall<'_>,
) -> Result<Draft, DraftError> {
    let mut drafting = Drafting::begin(plan, captured)?;
    let mut test = drafting.test(name, route)?;
    let mut run = call(plan, resources, &test, captured.platform).await.map_err(DraftError::Run)?;
    if !drafting.has_same_result(&run) {
        // The route may use a response header.
        let with_headers = drafting.canned(reply_headers)?;
        if with_headers
            .iter()
            .any(|(_, canned)| matches!(canned, Canned::Reply { headers, .. } if headers.len() > 1))
        {
            test.canned = with_headers;
            run = call(plan, resources, &test, captured.platform).await.map_err(DraftError::Run)?;
        }
    }
    drafting.draft(&test, &run)
}

struct Drafting<'a> {
    plan: &'a Plan,
    captured: CapturedCall<'a>,
    route: &'a Route,
    /// Masks for everything that must not be written to the file.
    masks: Masks,
    /// The data that replaces personal data; empty without `anonymize`.
    invented: Invented,
    notes: Vec<String>,
}

impl<'a> Drafting<'a> {
    fn begin(plan: &'a Plan, captured: CapturedCall<'a>) -> Result<Self, DraftError> {
        let (record, real) = (&captured.call.record, captured.call.route.as_deref());
        let function = &record.call.context.function;
        let route = plan.route(function, captured.platform.name());
        let route = route.ok_or_else(|| DraftError::NoRoute(function.clone()))?;
        let mut masks = record.masks(&captured.plan.masks, real);
        masks.extend(&plan.masks);
        Ok(Self { plan, captured, route, masks, invented: Invented::default(), notes: Vec::new() })
    }

    fn test(&mut self, name: &str, route: &TestableRoute) -> Result<Test, DraftError> {
        let mut canned = self.canned(|_| HeaderMap::new())?;
        let memory = self.memory();
        let (input, call) = match self.captured.input {
            // The file has only the body, so the headers come from the call.
            CapturedInput::Request { body, .. } => {
                let headers = self.captured.call.record.call.context.headers.clone();
                let headers = self.clean("call.headers", headers.to_value()).as_object().cloned();
                (TestInput::Body(body.clone()), CallChanges { headers, ..CallChanges::default() })
            }
            CapturedInput::Args => {
                let args = self.args_without_sensitive_values()?;
                let changes = self.changes(&args);
                if self.captured.anonymize {
                    self.learn([&args, &memory], &changes, &canned);
                    canned = self.canned(|_| HeaderMap::new())?;
                }
                (TestInput::Args(self.invented_args(args)?), self.invented.call(changes))
            }
        };
        Ok(Test {
            name: name.to_owned(),
            route: self.route.name.clone(),
            event: None,
            place: route.place,
            in_route: false,
            index: 0,
            platform: self.captured.platform,
            input,
            call,
            memory: self.invented.value(&memory).as_object().cloned().unwrap_or_default(),
            now: self.captured.now.to_owned(),
            canned,
            expected: Vec::new(),
        })
    }

    /// What the call recalled, without secrets.
    fn memory(&mut self) -> Value {
        let recalled = self.captured.call.record.memory.recalled.as_deref().cloned().unwrap_or_default();
        self.clean("memory", recalled)
    }

    /// An input value of the test, without secrets.
    fn clean(&mut self, what: &str, value: Value) -> Value {
        let clean = self.masks.hide_value(&value);
        if clean != value {
            self.notes.push(format!("{what} contains a secret: the test has `{HIDDEN}` instead"));
        }
        clean
    }

    /// Whether the test and the call have the same result.
    fn has_same_result(&self, run: &TestRun) -> bool {
        let (record, test) = (&self.captured.call.record, &run.record);
        let data = |reply: &Reply| {
            let data = reply.data.as_ref().map(JsonText::to_value)?;
            Some(self.invented.value(&self.masks.hide_value(&data)))
        };
        let hidden = |reply: &Reply| {
            let text = reply.text.as_deref().map(|text| self.invented.text(&self.masks.hide(text)));
            (text, data(reply))
        };
        record.case == test.case
            && record.outcome.failure == test.outcome.failure
            && hidden(&record.outcome.reply) == hidden(&test.outcome.reply)
    }

    fn draft(mut self, test: &Test, run: &TestRun) -> Result<Draft, DraftError> {
        let record = &self.captured.call.record;
        if (record.case, record.outcome.failure) != (run.record.case, run.record.outcome.failure) {
            let result = |case: Option<usize>, failure: Option<FailureKind>| match (case, failure) {
                (Some(case), _) => format!("case {}", case + 1),
                (None, Some(kind)) => format!("the failure `{kind}`"),
                (None, None) => "no case".to_owned(),
            };
            return Err(DraftError::Other {
                test: result(run.record.case, run.record.outcome.failure),
                call: result(record.case, record.outcome.failure),
            });
        }
        if !self.has_same_result(run) && self.notes.is_empty() {
            self.notes.push(
                "the reply of the test differs from the reply of the call: review the expected values"
                    .to_owned(),
            );
        }
        let mut draft = Draft::default();
        self.add_input(test, &mut draft);
        let before = draft.entries.len();
        self.add_expectations(run, &mut draft);
        if draft.entries.len() == before {
            return Err(DraftError::Nothing);
        }
        draft.notes.splice(0..0, self.notes);
        Ok(draft)
    }

    /// Adds the input of the test.
    fn add_input(&self, test: &Test, draft: &mut Draft) {
        let mut put = |keys: &[&str], value: Value| {
            draft.entries.push((keys.iter().map(|key| (*key).to_owned()).collect(), value));
        };
        put(&["name"], test.name.as_str().into());
        if let CapturedInput::Request { file, .. } = self.captured.input {
            put(&["request_file"], file.display().to_string().into());
        }
        if self.captured.platform.name() != "http" {
            put(&["platform"], self.captured.platform.name().into());
        }
        if let TestInput::Args(Value::Object(args)) = &test.input
            && !args.is_empty()
        {
            put(&["args"], Value::Object(without_nulls(args)));
        }
        if !test.memory.is_empty() {
            put(&["memory"], Value::Object(without_nulls(&test.memory)));
        }
        let CallChanges { id, conversation, caller, called, metadata, global, headers } = &test.call;
        for (key, text) in
            [("id", id), ("conversation", conversation), ("caller", caller), ("called", called)]
        {
            if let Some(text) = text {
                put(&["call", key], text.as_str().into());
            }
        }
        let headers = headers.clone().map(Value::Object);
        for (key, value) in [("metadata", metadata), ("global", global), ("headers", &headers)] {
            if let Some(Value::Object(entries)) = value {
                put(&["call", key], Value::Object(without_nulls(entries)));
            }
        }
        put(&["now"], test.now.as_str().into());
        for (step, canned) in &test.canned {
            let home: &[&str] = if step.is_empty() { &["upstream"] } else { &["upstreams", step] };
            let canned = canned_value(canned);
            // A single key needs no inline table.
            match canned.iter().next() {
                Some((key, value)) if canned.len() == 1 => {
                    put(&[home, &[key.as_str()]].concat(), value.clone())
                }
                _ => put(home, Value::Object(canned)),
            }
        }
        let hidden = test.canned.iter().any(|(_, canned)| {
            matches!(canned, Canned::Reply { body, .. } if String::from_utf8_lossy(body).contains(HIDDEN))
        });
        if hidden {
            draft.notes.push(format!(
                "a response contains a secret or a sensitive value: the test has `{HIDDEN}` instead"
            ));
        }
    }

    /// Adds the expectations: the whole result, without secrets.
    fn add_expectations(&self, run: &TestRun, draft: &mut Draft) {
        let secrets = secrets_of(self.plan, run);
        for (step, step_record) in self.route.steps.iter().zip(&run.record.steps) {
            let name = step.name.as_deref().unwrap_or_default();
            let sent = run.requests.iter().rfind(|request| request.step.as_deref() == Some(name));
            let Some(request) = sent.filter(|_| step_record.request.is_some()) else { continue };
            let mut keys = match name {
                "" => vec!["request"],
                name => vec!["requests", name],
            };
            let url = url_of(Some(self.route), "/", request);
            let body = body_of(request, &Value::Null);
            let parts = [
                ("method", Some(Value::from(request.method.as_str()))),
                ("url", Some(Value::from(url))),
                ("body", body),
            ];
            for (key, value) in parts {
                let Some(value) = value else { continue };
                let hidden = self.masks.hide_value(&value);
                // In a request, `***` stands for a secret.
                let value = if secrets.hide_value(&value) == hidden { hidden } else { value };
                keys.push(key);
                self.expect(&keys, value, draft);
                keys.pop();
            }
        }
        let outcome = &run.record.outcome;
        if let Some(kind) = outcome.failure {
            self.expect(&["failure"], kind.slug().into(), draft);
        }
        if let Some(text) = &outcome.reply.text {
            self.expect(&["text"], text.as_str().into(), draft);
        }
        if let Some(data) = &outcome.reply.data {
            self.expect(&["data"], data.to_value(), draft);
        }
        let platform = self.captured.platform.name();
        if platform != "http" {
            self.expect(&["as", platform], read(&run.answer, &json!([])), draft);
        }
    }

    fn expect(&self, keys: &[&str], value: Value, draft: &mut Draft) {
        let path = || format!("expect.{}", keys.join("."));
        let reason = if self.masks.hide_value(&value) != value {
            Some("it contains a secret")
        } else if !can_be_written(&value) {
            Some("TOML has no null and no integer this large")
        } else {
            None
        };
        match reason {
            Some(reason) => draft.notes.push(format!("`{}` was omitted: {reason}", path())),
            None => {
                let keys = std::iter::once("expect").chain(keys.iter().copied());
                draft.entries.push((keys.map(str::to_owned).collect(), value));
            }
        }
    }
}

/// Null counts as absent in arguments and envelopes, and TOML has no null.
fn without_nulls(entries: &Map<String, Value>) -> Map<String, Value> {
    entries
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let value = match value {
                Value::Object(entries) => Value::Object(without_nulls(entries)),
                value => value.clone(),
            };
            (key.clone(), value)
        })
        .collect()
}
