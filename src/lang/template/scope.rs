//! The values behind the names of templates, during one call.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::call::Context;
use crate::lang::value::child;

/// A name in a template, resolved at load.
#[derive(Debug, Clone)]
pub(crate) struct PathExpr {
    /// As the template writes it, for messages.
    pub(super) name: String,
    pub(super) root: Root,
    pub(super) below: Vec<String>,
}

/// Where a name begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Root {
    Args,
    Call(&'static str),
    /// An extracted value: the step, and its place among the step's extracts.
    Extract(usize, usize),
    /// The reply of a step; `None`: of the last one that ran.
    Response(Option<usize>),
    Now,
    Event,
    /// A block's own value, so many blocks up.
    This(usize),
    Local(Local, usize),
    /// A block parameter, by its name.
    Param(String),
}

/// What a block says of its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Local {
    Index,
    Key,
    First,
    Last,
}

/// The upstream's reply as templates and conditions see it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamReply {
    /// `{ "status": …, "headers": { … }, "body": … }`
    value: Value,
    /// Why the body is text although it should have been something else.
    problem: Option<String>,
}

impl UpstreamReply {
    /// A reply with its status, its headers by lower-case name, its body as JSON (text as a string), and what
    /// was wrong with the body, if anything.
    pub fn new(status: u16, headers: Map<String, Value>, body: Value, problem: Option<String>) -> Self {
        let mut value = Map::new();
        value.insert("status".to_owned(), Value::from(status));
        value.insert("headers".to_owned(), Value::Object(headers));
        value.insert("body".to_owned(), body);
        Self { value: Value::Object(value), problem }
    }

    /// The body.
    pub fn body(&self) -> &Value {
        self.value.get("body").unwrap_or(&Value::Null)
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.value.get("headers")?.get(name)?.as_str()
    }

    /// The same without its body and headers.
    pub fn without_body(self) -> Self {
        Self::new(self.status(), Map::new(), Value::Null, None)
    }

    /// What is wrong with the body, if anything.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The status; 0 for the default value, which no upstream sends.
    pub fn status(&self) -> u16 {
        self.value
            .get("status")
            .and_then(Value::as_u64)
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(0)
    }
}

/// What one step of a route brought.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepOutput {
    /// The upstream's reply; `None` when the step did not run or nothing came back.
    pub reading: Option<UpstreamReply>,
    /// The extracted values, in the order of the step's extracts; a missing one is `None`.
    pub values: Vec<Option<Value>>,
}

impl<'a> Scope<'a> {
    /// The reply of the last step that got one.
    pub fn response(&self) -> Option<&'a UpstreamReply> {
        self.steps.iter().rev().find_map(|step| step.reading.as_ref())
    }
}

/// The values behind the names, during one call.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The validated arguments, an object.
    pub args: &'a Value,
    /// The platform's envelope.
    pub call: &'a Context,
    /// What the steps that came so far brought, in the order of the route's steps.
    pub steps: &'a [StepOutput],
    /// The time of the call, RFC 3339.
    pub now: &'a str,
}

/// One block during rendering, with those around it.
pub(super) struct Frame<'f> {
    pub(super) parent: Option<&'f Self>,
    pub(super) kind: FrameKind<'f>,
}

pub(super) enum FrameKind<'f> {
    /// A block with a value of its own.
    Block { this: Cow<'f, Value>, params: &'f [String], index: usize, key: Option<&'f str>, count: usize },
    /// A value that a partial was given by name; `None` when it is missing.
    Binding { name: &'f str, value: Option<Cow<'f, Value>> },
}

impl PathExpr {
    /// Whether the value comes from the platform or from the proxy itself, and from nobody else.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(&self.root, Root::Now | Root::Call(_)) && self.root != Root::Call("raw")
    }

    /// The value; `None` when there is none.
    pub(super) fn look_up<'f>(
        &'f self,
        scope: &Scope<'f>,
        frame: Option<&'f Frame<'f>>,
    ) -> Option<Cow<'f, Value>> {
        let start = match &self.root {
            Root::Args => Cow::Borrowed(scope.args),
            Root::Extract(step, place) => {
                Cow::Borrowed(scope.steps.get(*step)?.values.get(*place)?.as_ref()?)
            }
            Root::Response(None) => Cow::Borrowed(&scope.response()?.value),
            Root::Response(Some(step)) => Cow::Borrowed(&scope.steps.get(*step)?.reading.as_ref()?.value),
            Root::Now => Cow::Owned(Value::from(scope.now)),
            Root::Event => Cow::Borrowed(&scope.call.event),
            Root::Call(field) => call_field(scope.call, field)?,
            Root::This(up) => match &up_from(frame, *up)?.kind {
                FrameKind::Block { this, .. } => Cow::Borrowed(&**this),
                FrameKind::Binding { .. } => return None,
            },
            Root::Local(local, up) => match &up_from(frame, *up)?.kind {
                FrameKind::Block { index, key, count, .. } => Cow::Owned(match local {
                    Local::Index => Value::from(*index),
                    Local::Key => key.map_or_else(|| Value::from(*index), Value::from),
                    Local::First => Value::from(*index == 0),
                    Local::Last => Value::from(index + 1 == *count),
                }),
                FrameKind::Binding { .. } => return None,
            },
            Root::Param(name) => param(frame, name)?,
        };
        match start {
            Cow::Borrowed(value) => {
                self.below.iter().try_fold(value, |value, name| child(value, name)).map(Cow::Borrowed)
            }
            Cow::Owned(value) if self.below.is_empty() => Some(Cow::Owned(value)),
            Cow::Owned(_) => None,
        }
    }
}

/// The block that stands `up` blocks around the nearest one.
fn up_from<'f>(frame: Option<&'f Frame<'f>>, up: usize) -> Option<&'f Frame<'f>> {
    std::iter::successors(frame, |frame| frame.parent)
        .filter(|frame| matches!(frame.kind, FrameKind::Block { .. }))
        .nth(up)
}

/// The value that the nearest block or partial gave the name `name` to.
fn param<'f>(frame: Option<&'f Frame<'f>>, name: &str) -> Option<Cow<'f, Value>> {
    for frame in std::iter::successors(frame, |frame| frame.parent) {
        match &frame.kind {
            FrameKind::Binding { name: bound, value } if *bound == name => {
                return value.as_deref().map(Cow::Borrowed);
            }
            FrameKind::Block { this, params, index, key, .. } => {
                match (params.iter().position(|param| param == name), key) {
                    (None, _) => {}
                    (Some(0), _) => return Some(Cow::Borrowed(&**this)),
                    (Some(_), Some(key)) => return Some(Cow::Owned(Value::from(*key))),
                    (Some(_), None) => return Some(Cow::Owned(Value::from(*index))),
                }
            }
            FrameKind::Binding { .. } => {}
        }
    }
    None
}

fn call_field<'f>(call: &'f Context, field: &str) -> Option<Cow<'f, Value>> {
    let text = |text: &str| Some(Cow::Owned(Value::from(text)));
    let some = |value: &'f Value| if value.is_null() { None } else { Some(Cow::Borrowed(value)) };
    match field {
        "platform" => text(call.platform),
        "function" => text(&call.function),
        "id" => call.id.as_deref().and_then(text),
        "conversation" => call.conversation.as_deref().and_then(text),
        "caller" => call.caller.as_deref().and_then(text),
        "called" => call.called.as_deref().and_then(text),
        "metadata" => some(&call.metadata),
        "global" => some(&call.global),
        "headers" => some(&call.headers),
        _ => some(&call.raw),
    }
}
