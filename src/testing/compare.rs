//! Compares the result of a test's call with its expectations.

use serde_json::{Map, Value};
use url::form_urlencoded;

use http::{HeaderMap, header};

use crate::call::FailureKind;
use crate::diagnostic::Span;
use crate::flow::Record;
use crate::json::JsonText;
use crate::lang::value::equal;
use crate::plan::testing::{DeliveredPart, Expectation, Part};
use crate::plan::{Plan, Route};
use crate::platform::Platform;
use crate::secret::{HIDDEN, Masks};
use crate::upstream::Request;

use super::{Mismatch, TestResult, TestRun};

impl TestResult<'_> {
    /// Compares a call with everything that its test expects.
    pub(super) fn compare(&mut self, plan: &Plan, platform: &'static dyn Platform, run: &TestRun) {
        let test = self.test;
        let (record, reply) = (&run.record, &run.record.outcome.reply);
        let mut faults = self.unanswered(run);
        for expected in &test.expected {
            let (keys, lines, found) = match &expected.what {
                Expectation::Text(text) => {
                    let found = reply.text.as_deref();
                    (vec!["text".to_owned()], texts(text, found), found.map(Value::from))
                }
                Expectation::Data(data) => {
                    let found = reply.data.as_ref().map(JsonText::to_value);
                    (vec!["data".to_owned()], values(data, found.as_ref()), found)
                }
                Expectation::Failure(kind) => {
                    let found = record.outcome.failure.map(FailureKind::slug);
                    (vec!["failure".to_owned()], texts(kind.slug(), found), found.map(Value::from))
                }
                Expectation::Sent(step, part) => {
                    let mut sent = run.requests.iter();
                    let request = sent.rfind(|request| request.step.as_deref() == Some(step.as_str()));
                    let found = request.and_then(|request| part_of(test.subject(plan), part, request));
                    let mut keys = match step.as_str() {
                        "" => vec!["request".to_owned()],
                        step => vec!["requests".to_owned(), step.to_owned()],
                    };
                    keys.extend(part.keys());
                    let lines = match request {
                        None => vec!["no request was sent".to_owned()],
                        Some(_) => sent_values(&part.expected(), found.as_ref(), &secrets_of(plan, run)),
                    };
                    (keys, lines, found)
                }
                Expectation::Memory(name, value) => {
                    let found = run.memory.get(name).cloned().unwrap_or_default();
                    let keys = vec!["memory".to_owned(), name.clone()];
                    let lines = values(value, Some(&found));
                    // TOML has no null: an empty text stands for a name that is not remembered.
                    let found = if found.is_null() { Value::from("") } else { found };
                    (keys, lines, Some(found))
                }
                Expectation::Delivered(None) if run.record.is_accepted() => continue,
                Expectation::Delivered(None) => {
                    (vec!["delivered".to_owned()], vec!["no delivery was stored".to_owned()], None)
                }
                Expectation::Delivered(Some((part, value))) => {
                    let found = run.record.is_accepted().then(|| delivered(record, *part));
                    let keys = vec!["delivered".to_owned(), part.key().to_owned()];
                    let lines = found.as_ref().map_or_else(Vec::new, |found| values(value, Some(found)));
                    (keys, lines, found)
                }
                Expectation::Answer(..) => continue,
            };
            let is_hidden =
                matches!(&expected.what, Expectation::Sent(_, part) if has_hidden(&part.expected()));
            faults.extend(
                differs(expected.place, keys, lines, found).map(|fault| Mismatch { is_hidden, ..fault }),
            );
        }
        let is_about_answer = test.expected.iter().any(|expected| {
            matches!(expected.what, Expectation::Text(_) | Expectation::Data(_) | Expectation::Failure(_))
                || matches!(expected.what, Expectation::Answer(..))
        });
        let failed = record.error.as_ref().or(run.delivery.as_ref().and_then(|record| record.error.as_ref()));
        self.error = failed.map(|error| format!("{}: {error}", error.kind()));
        if !is_about_answer && self.error.is_some() && faults.is_empty() {
            faults.push(Mismatch::of(test, "the call", "the call failed unexpectedly"));
        }
        self.take(plan, run, faults);
        self.compare_answer(plan, platform, run);
    }

    /// Compares the answer on a platform with the expected one.
    pub(super) fn compare_answer(&mut self, plan: &Plan, platform: &'static dyn Platform, run: &TestRun) {
        let mut faults = Vec::new();
        if platform.name() != self.test.platform.name() {
            faults = self.unanswered(run);
        }
        for expected in &self.test.expected {
            let Expectation::Answer(wanted, answer) = &expected.what else { continue };
            if wanted.name() != platform.name() {
                continue;
            }
            let found = read(&run.answer, answer);
            let lines = values(answer, Some(&found));
            let keys = vec!["as".to_owned(), platform.name().to_owned()];
            faults.extend(differs(expected.place, keys, lines, Some(found)));
        }
        self.take(plan, run, faults);
    }

    /// The requests for which the test has no canned response.
    fn unanswered(&self, run: &TestRun) -> Vec<Mismatch> {
        let unanswered = run.requests.iter().filter_map(|request| {
            let step = request.step.as_deref()?;
            let known = self.test.canned.iter().any(|(name, _)| name == step);
            let key = if step.is_empty() { "upstream".to_owned() } else { format!("upstreams.{step}") };
            let problem = format!(
                "{} {} was sent, but the test has no response for it: add `{key} = {{ status = 200, body = … }}`",
                request.method, request.url
            );
            (!known).then(|| Mismatch::of(self.test, &key, problem))
        });
        unanswered.collect()
    }

    /// Adds the mismatches, with secrets hidden, and the routes reached.
    fn take(&mut self, plan: &Plan, run: &TestRun, faults: Vec<Mismatch>) {
        // Hide only secrets of the table. The test file shows the test's input anyway, including sensitive arguments.
        let secrets = run.record.masks(&plan.masks, None);
        self.error = self.error.take().map(|error| secrets.show(&error));
        self.faults.extend(faults.into_iter().map(|mut fault| {
            let hidden: Vec<String> = fault.lines.iter().map(|line| secrets.hide(line)).collect();
            let are_hidden = hidden != fault.lines;
            fault.lines = match fault.is_hidden {
                true => hidden,
                false => fault.lines.iter().map(|line| secrets.show(line)).collect(),
            };
            if are_hidden {
                // With secrets hidden, the expected and the found line may look the same.
                fault.lines.push(format!("`{HIDDEN}` stands for a secret"));
            }
            fault.instead = fault.instead.filter(|(_, value)| secrets.hide_value(value) == *value);
            fault
        }));
        self.reached.extend(run.reached.iter().cloned());
    }
}

/// A part of the delivery that an accepted call stored.
fn delivered(record: &Record, part: DeliveredPart) -> Value {
    let context = &record.call.context;
    match part {
        DeliveredPart::Route => context.function.as_str().into(),
        DeliveredPart::Args => {
            record.validated.as_ref().map(|validated| validated.args.clone()).unwrap_or_default()
        }
        DeliveredPart::Event => context.event.to_value(),
        DeliveredPart::Platform => context.platform.into(),
        DeliveredPart::Conversation => context.conversation.as_deref().into(),
        DeliveredPart::Memory => record.memory.recalled.as_deref().cloned().unwrap_or_default(),
        DeliveredPart::Ordered => record.delivery.as_ref().is_some_and(|delivery| delivery.is_ordered).into(),
    }
}

/// The secrets in the requests of a run: those of the table, and the credentials that were sent, with and without their
/// scheme.
pub(super) fn secrets_of(plan: &Plan, run: &TestRun) -> Masks {
    let mut masks = plan.masks.clone();
    let headers = run.requests.iter().flat_map(|request| request.headers.values());
    for value in headers.filter(|value| value.is_sensitive()) {
        let shown = String::from_utf8_lossy(value.as_bytes());
        masks.add(shown.split_once(' ').map_or(&*shown, |(_, credential)| credential));
    }
    masks
}

/// How a part of a request differs from the expected value. `***` in that value stands for a secret.
fn sent_values(expected: &Value, found: Option<&Value>, secrets: &Masks) -> Vec<String> {
    let lines = values(expected, found);
    let Some(found) = found.filter(|_| !lines.is_empty() && has_hidden(expected)) else {
        return lines;
    };
    let hidden = secrets.hide_value(found);
    // A credential with its scheme is a secret as a whole, too.
    let is_whole = expected == HIDDEN && hidden.as_str().is_some_and(|hidden| hidden.ends_with(" ***"));
    if is_whole { Vec::new() } else { values(expected, Some(&hidden)) }
}

/// Whether `***` in an expected part of a request stands for a secret.
fn has_hidden(expected: &Value) -> bool {
    expected.to_string().contains(HIDDEN)
}

/// A mismatch, if some lines show a difference.
fn differs(place: Span, keys: Vec<String>, lines: Vec<String>, found: Option<Value>) -> Option<Mismatch> {
    let what = format!("expect.{}", keys.join("."));
    (!lines.is_empty()).then(|| Mismatch {
        place,
        what,
        lines,
        is_hidden: false,
        instead: found.map(|found| (keys, found)),
    })
}

impl Part {
    /// Its keys under `request`.
    fn keys(&self) -> Vec<String> {
        match self {
            Self::Method(_) => vec!["method".to_owned()],
            Self::Url(_) => vec!["url".to_owned()],
            Self::Path(_) => vec!["path".to_owned()],
            Self::Query(name, _) => vec!["query".to_owned(), name.clone()],
            Self::Header(name, _) => vec!["headers".to_owned(), name.to_string()],
            Self::Body(_) => vec!["body".to_owned()],
        }
    }

    fn expected(&self) -> Value {
        match self {
            Self::Method(method) => method.as_str().into(),
            Self::Url(text) | Self::Path(text) | Self::Header(_, text) => text.as_str().into(),
            Self::Query(_, value) | Self::Body(value) => value.clone(),
        }
    }
}

/// A part of a request, in the form of the expected value.
fn part_of(route: Option<&Route>, part: &Part, request: &Request) -> Option<Value> {
    match part {
        Part::Method(_) => Some(request.method.as_str().into()),
        Part::Url(url) => Some(url_of(route, url, request).into()),
        Part::Path(_) => {
            let url = url_of(route, "/", request);
            Some(url.split('?').next().unwrap_or_default().into())
        }
        Part::Query(name, _) => {
            let pairs = request.url.query_pairs().filter(|(known, _)| known == name);
            let mut found: Vec<Value> = pairs.map(|(_, value)| value.into_owned().into()).collect();
            match found.len() {
                0 => None,
                1 => found.pop(),
                _ => Some(Value::Array(found)),
            }
        }
        Part::Header(name, _) => {
            request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into())
        }
        Part::Body(body) => body_of(request, body),
    }
}

/// The URL of a request, in the form of the expected value.
pub(super) fn url_of<'r>(route: Option<&Route>, expected: &str, request: &'r Request) -> &'r str {
    let steps = route.map(|route| route.steps.as_slice()).unwrap_or_default();
    let step = steps
        .iter()
        .find(|step| step.name.as_deref().unwrap_or_default() == request.step.as_deref().unwrap_or_default());
    match step {
        Some(step) if expected.starts_with('/') => step.request.below_base(&request.url),
        _ => request.url.as_str(),
    }
}

/// The body of a request, in the form of the expected value.
pub(super) fn body_of(request: &Request, expected: &Value) -> Option<Value> {
    let body = request.body.as_ref()?;
    let text = || Value::from(String::from_utf8_lossy(body));
    if expected.is_string() {
        return Some(text());
    }
    if is_form(&request.headers) {
        let mut fields: Map<String, Value> = Map::new();
        for (name, value) in form_urlencoded::parse(body) {
            let value = Value::from(value.as_ref());
            match fields.get_mut(name.as_ref()) {
                None => {
                    fields.insert(name.into_owned(), value);
                }
                Some(Value::Array(values)) => values.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        return Some(Value::Object(fields));
    }
    Some(serde_json::from_slice(body).unwrap_or_else(|_| text()))
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

/// An answer, in the form of the expected value: a list stands for the events of a stream.
pub(super) fn read(answer: &[u8], expected: &Value) -> Value {
    if let Ok(json) = serde_json::from_slice(answer) {
        return json;
    }
    let text = String::from_utf8_lossy(answer);
    if !expected.is_array() {
        return Value::from(text);
    }
    let pieces = text.lines().filter_map(|line| line.strip_prefix("data: "));
    pieces.map(|piece| serde_json::from_str(piece).unwrap_or_else(|_| Value::from(piece))).collect()
}

/// How two texts differ; empty if they are equal. The final line break of a multi-line TOML string is ignored.
fn texts(expected: &str, found: Option<&str>) -> Vec<String> {
    if found.is_some_and(|found| found == expected || expected.strip_suffix('\n') == Some(found)) {
        return Vec::new();
    }
    // Text with invisible characters is written as JSON.
    let unseen = |text: &str| text.trim() != text || text.contains(|c: char| c.is_control() && c != '\n');
    let quoted = unseen(expected) || found.is_some_and(unseen);
    let mut lines = Vec::new();
    for (head, text) in [("expected", Some(expected)), ("found", found)] {
        match text {
            None => lines.push(format!("{head:<9} nothing")),
            Some("") => lines.push(format!("{head:<9} an empty string")),
            Some(text) if quoted => lines.push(format!("{head:<9} {}", Value::from(text))),
            Some(text) => {
                for (number, line) in text.lines().enumerate() {
                    let head = if number == 0 { head } else { "" };
                    lines.push(format!("{head:<9} {line}").trim_end().to_owned());
                }
            }
        }
    }
    lines
}

/// How two values differ, path by path; empty if they are equal.
fn values(expected: &Value, found: Option<&Value>) -> Vec<String> {
    let mut lines = Vec::new();
    match (expected, found) {
        (Value::String(expected), None) => return texts(expected, None),
        (Value::String(expected), Some(Value::String(found))) => return texts(expected, Some(found)),
        _ => differ(Some(expected), found, "", &mut lines),
    }
    lines
}

fn differ(expected: Option<&Value>, found: Option<&Value>, path: &str, lines: &mut Vec<String>) {
    match (expected, found) {
        (Some(expected), Some(found)) if equal(expected, found) => {}
        (Some(Value::Object(expected)), Some(Value::Object(found))) => {
            let more = found.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(more) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differ(expected.get(key), found.get(key), &path, lines);
            }
        }
        (Some(Value::Array(expected)), Some(Value::Array(found))) => {
            for index in 0..expected.len().max(found.len()) {
                differ(expected.get(index), found.get(index), &format!("{path}[{index}]"), lines);
            }
        }
        (expected, found) => {
            let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
            if !path.is_empty() {
                lines.push(format!("at {path}"));
            }
            lines.push(format!("expected  {}", shown(expected)));
            lines.push(format!("found     {}", shown(found)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_listed_by_path() {
        assert_eq!(values(&json!({"a": 1, "b": [1, 2]}), Some(&json!({"b": [1, 2.0], "a": 1.0}))), [""; 0]);
        assert_eq!(
            values(&json!({"a": {"b": 1}, "c": [1]}), Some(&json!({"a": {"b": "1"}, "c": [1, null]}))),
            ["at a.b", "expected  1", "found     \"1\"", "at c[1]", "expected  nothing", "found     null"]
        );
        assert_eq!(values(&json!([]), None), ["expected  []", "found     nothing"]);
    }

    #[test]
    fn texts_are_shown_so_that_differences_are_visible() {
        assert_eq!(texts("a\nb", Some("a")), ["expected  a", "          b", "found     a"]);
        assert_eq!(texts("a", Some("a ")), ["expected  \"a\"", "found     \"a \""]);
        assert_eq!(texts("a\n", Some("a")), [""; 0]);
        assert_eq!(texts("a", Some("a\n")), ["expected  \"a\"", "found     \"a\\n\""]);
        assert_eq!(texts("a", None), ["expected  a", "found     nothing"]);
        assert_eq!(texts("a", Some("a")), [""; 0]);
    }

    #[test]
    fn a_stream_is_read_as_a_list_if_a_list_is_expected() {
        let stream = b"event: action\ndata: {\"a\":1}\n\nevent: close\ndata: {}\n\n";
        assert_eq!(read(stream, &json!([])), json!([{"a": 1}, {}]));
        assert!(read(stream, &json!("")).is_string());
        assert_eq!(read(b"{\"a\":1}", &json!([])), json!({"a": 1}));
    }
}
