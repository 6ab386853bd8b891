//! The values behind the names of templates, during one call.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use crate::call::Context;
use crate::json::{SharedValue, ValueRef};
use crate::lang::body::{BodyUse, Declared};
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
    Call(CallField),
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

/// A field of a call's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallField {
    Platform,
    Function,
    Id,
    Conversation,
    Caller,
    Called,
    Metadata,
    Global,
    Headers,
    /// The whole body, which holds what the model wrote.
    Raw,
}

impl CallField {
    /// The value; `None` when the platform gave none.
    fn of(self, call: &Context) -> Option<ValueRef<'_>> {
        match self {
            Self::Platform => Some(ValueRef::Text(call.platform)),
            Self::Function => Some(ValueRef::Text(&call.function)),
            Self::Id => call.id.as_deref().map(ValueRef::Text),
            Self::Conversation => call.conversation.as_deref().map(ValueRef::Text),
            Self::Caller => call.caller.as_deref().map(ValueRef::Text),
            Self::Called => call.called.as_deref().map(ValueRef::Text),
            Self::Metadata => given(&call.metadata),
            Self::Global => given(&call.global),
            Self::Headers => given(&call.headers),
            Self::Raw => given(&call.raw),
        }
    }
}

/// A value unless it is null.
fn given(value: &SharedValue) -> Option<ValueRef<'_>> {
    Some(value.get()).filter(|value| !value.is_null())
}

/// What a block says of its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Local {
    Index,
    Key,
    First,
    Last,
}

/// The upstream's reply as templates and conditions see it: `status`, `headers` and `body`.
#[derive(Debug, Clone, Default)]
pub struct UpstreamReply {
    status: u16,
    headers: HeaderMap,
    /// The headers as an object by their names, when a template asks for all of them.
    all_headers: OnceLock<Value>,
    body: OnceLock<SharedValue>,
    /// The body as it came, when the route asks nothing of it: it is read when somebody looks all the same.
    unread: Option<(Bytes, Declared)>,
    /// Why the body is text although it should have been something else.
    problem: Option<String>,
}

impl UpstreamReply {
    /// A reply with its status, its headers and its body as JSON (text as a string).
    pub fn new(status: u16, headers: HeaderMap, body: SharedValue) -> Self {
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// A reply with its body read as it is used.
    pub(crate) fn read(status: u16, headers: HeaderMap, body: Bytes, used: BodyUse) -> Self {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !used.is_read() {
            let unread = Some((body, Declared::of(content_type)));
            return Self { status, headers, unread, ..Self::default() };
        }
        let (value, problem) = match used.read(&body, content_type) {
            Ok(value) => (value, None),
            Err(problem) => (Declared::of(content_type).text(&body), Some(problem)),
        };
        Self { problem, ..Self::new(status, headers, value) }
    }

    /// The body.
    pub fn body(&self) -> &SharedValue {
        self.body.get_or_init(|| match &self.unread {
            Some((body, declared)) => declared.read_leniently(body),
            None => SharedValue::default(),
        })
    }

    /// The body, if it has been read.
    pub fn body_if_read(&self) -> Option<&SharedValue> {
        self.body.get()
    }

    /// About what the body takes in memory, in bytes.
    pub fn body_bytes(&self) -> usize {
        let unread = self.unread.as_ref().map_or(0, |(body, _)| body.len());
        unread + self.body_if_read().map_or(0, SharedValue::bytes)
    }

    /// A header, by its name in lower case; of several with one name, the first.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    /// Drops the headers.
    pub fn forget_headers(&mut self) {
        self.headers = HeaderMap::new();
        self.all_headers.take();
    }

    /// The same without its body and headers.
    pub fn without_body(&self) -> Self {
        Self { status: self.status, ..Self::default() }
    }

    /// What is wrong with the body, if anything.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The status; 0 for the default value, which no upstream sends.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The part at a path of names that begins with `status`, `headers` or `body`.
    fn at(&self, path: &[String]) -> Option<ValueRef<'_>> {
        let (first, below) = path.split_first()?;
        let start = match first.as_str() {
            "status" => ValueRef::Count(self.status.into()),
            "headers" => self.all_headers.get_or_init(|| self.headers_as_object()).into(),
            _ => self.body().get(),
        };
        below.iter().try_fold(start, |value, name| child(value, name))
    }

    fn headers_as_object(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.headers {
            let value = || Value::from(String::from_utf8_lossy(value.as_bytes()));
            object.entry(name.as_str()).or_insert_with(value);
        }
        Value::Object(object)
    }
}

/// What one step of a route brought.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// The upstream's reply; `None` when the step did not run or nothing came back.
    pub reading: Option<UpstreamReply>,
    /// The extracted values, in the order of the step's extracts; a missing one is `None`.
    pub values: Vec<Option<SharedValue>>,
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
    Block { this: ValueRef<'f>, params: &'f [String], index: usize, key: Option<&'f str>, count: usize },
    /// A value that a partial was given by name; `None` when it is missing.
    Binding { name: &'f str, value: Option<ValueRef<'f>> },
}

impl PathExpr {
    /// Whether the value comes from the platform or from the proxy itself, and from nobody else.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(&self.root, Root::Now | Root::Call(_)) && self.root != Root::Call(CallField::Raw)
    }

    /// The value; `None` when there is none.
    pub(super) fn look_up<'f>(
        &'f self,
        scope: &'f Scope<'_>,
        frame: Option<&'f Frame<'f>>,
    ) -> Option<ValueRef<'f>> {
        let start = match &self.root {
            Root::Args => scope.args.into(),
            Root::Extract(step, place) => scope.steps.get(*step)?.values.get(*place)?.as_ref()?.get(),
            Root::Response(None) => return scope.response()?.at(&self.below),
            Root::Response(Some(step)) => {
                return scope.steps.get(*step)?.reading.as_ref()?.at(&self.below);
            }
            Root::Now => ValueRef::Text(scope.now),
            Root::Event => scope.call.event.get(),
            Root::Call(field) => field.of(scope.call)?,
            Root::This(up) => match up_from(frame, *up)?.kind {
                FrameKind::Block { this, .. } => this,
                FrameKind::Binding { .. } => return None,
            },
            Root::Local(local, up) => match up_from(frame, *up)?.kind {
                FrameKind::Block { index, key, count, .. } => match local {
                    Local::Index => ValueRef::Count(index),
                    Local::Key => key.map_or(ValueRef::Count(index), ValueRef::Text),
                    Local::First => ValueRef::Bool(index == 0),
                    Local::Last => ValueRef::Bool(index + 1 == count),
                },
                FrameKind::Binding { .. } => return None,
            },
            Root::Param(name) => param(frame, name)?,
        };
        self.below.iter().try_fold(start, |value, name| child(value, name))
    }
}

/// The block that stands `up` blocks around the nearest one.
fn up_from<'f>(frame: Option<&'f Frame<'f>>, up: usize) -> Option<&'f Frame<'f>> {
    std::iter::successors(frame, |frame| frame.parent)
        .filter(|frame| matches!(frame.kind, FrameKind::Block { .. }))
        .nth(up)
}

/// The value that the nearest block or partial gave the name `name` to.
fn param<'f>(frame: Option<&'f Frame<'f>>, name: &str) -> Option<ValueRef<'f>> {
    for frame in std::iter::successors(frame, |frame| frame.parent) {
        match &frame.kind {
            FrameKind::Binding { name: bound, value } if *bound == name => return *value,
            FrameKind::Block { this, params, index, key, .. } => {
                match (params.iter().position(|param| param == name), key) {
                    (None, _) => {}
                    (Some(0), _) => return Some(*this),
                    (Some(_), Some(key)) => return Some(ValueRef::Text(key)),
                    (Some(_), None) => return Some(ValueRef::Count(*index)),
                }
            }
            FrameKind::Binding { .. } => {}
        }
    }
    None
}
