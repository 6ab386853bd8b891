//! The values that names in templates refer to during a call.

use std::borrow::Cow;
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use serde_json::{Map, Value};

use crate::call::Context;
use crate::http1::response_headers::ResponseHeaders;
use crate::json::{SharedValue, ValueRef};
use crate::lang::body::{BodyUse, Declared};
use crate::lang::value::child;

/// The most bytes of headers that are kept after a call.
const MAX_KEPT_HEADERS: usize = 4 * 1024;

/// A name in a template, resolved at load.
#[derive(Debug, Clone)]
pub(crate) struct PathExpr {
    /// As written in the template, for messages.
    pub(super) name: String,
    pub(super) root: Root,
    pub(super) below: Vec<String>,
}

/// What a name starts from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Root {
    Args,
    Call(CallField),
    /// An extracted value: the index of the step, and the index of the extract.
    Extract(usize, usize),
    /// The response of a step; `None` for the last step that got one.
    Response(Option<usize>),
    Now,
    Event,
    /// What the conversation's memory holds; `trusted` says whether it may decide what is allowed.
    Memory {
        trusted: bool,
    },
    /// The value of the block this many levels up.
    This(usize),
    Local(Local, usize),
    /// A block parameter, by name.
    Param(String),
}

/// A field of the call's context.
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
    /// The whole body, which includes what the model wrote.
    Raw,
}

impl CallField {
    /// The value; `None` if the platform sent none.
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

/// A loop variable of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Local {
    Index,
    Key,
    First,
    Last,
}

/// An upstream's response as templates and conditions see it: `status`, `headers` and `body`.
#[derive(Debug, Clone, Default)]
pub struct ParsedResponse {
    status: u16,
    headers: ResponseHeaders,
    /// The headers as an object, built when a template uses all of them.
    all_headers: OnceLock<Value>,
    body: OnceLock<SharedValue>,
    /// The body as received, if the route does not use it. It is parsed on demand.
    unread: Option<(Bytes, Declared)>,
    /// Why the body could not be parsed and is text instead.
    problem: Option<String>,
}

impl ParsedResponse {
    /// A response with its status, headers and body as JSON (text as a string).
    pub fn new(status: u16, headers: ResponseHeaders, body: SharedValue) -> Self {
        Self { status, headers, body: body.into(), ..Self::default() }
    }

    /// A response whose body is parsed as the route uses it.
    pub(crate) fn read(status: u16, headers: ResponseHeaders, body: Bytes, used: BodyUse) -> Self {
        let content_type = headers.ascii(CONTENT_TYPE.as_str());
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

    /// The body, if it has been read, to change how it is kept.
    pub fn body_mut(&mut self) -> Option<&mut SharedValue> {
        self.body.get_mut()
    }

    /// About what the body takes in memory, in bytes.
    pub fn body_bytes(&self) -> usize {
        let unread = self.unread.as_ref().map_or(0, |(body, _)| body.len());
        unread + self.body_if_read().map_or(0, SharedValue::bytes)
    }

    /// A header by name; the first of several with the same name.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.text(name)
    }

    /// Prepares the headers to be kept after the call: if they are large, the first ones are kept.
    pub fn shorten_headers(&mut self) {
        self.all_headers.take();
        if self.header_bytes() > MAX_KEPT_HEADERS {
            self.headers = self.headers.first(MAX_KEPT_HEADERS);
        }
    }

    /// Takes the headers out of the response.
    pub fn take_headers(&mut self) -> ResponseHeaders {
        std::mem::take(&mut self.headers)
    }

    /// Puts headers into the response that were taken out of it.
    pub fn set_headers(&mut self, headers: ResponseHeaders) {
        self.headers = headers;
    }

    /// The headers, for people. Cookies are credentials and are left out.
    pub fn shown_headers(&self) -> Vec<(String, String)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), String::from_utf8_lossy(value).into_owned()))
            .filter(|(name, _)| name != SET_COOKIE.as_str())
            .collect()
    }

    /// The memory that the headers use, in bytes.
    pub fn header_bytes(&self) -> usize {
        self.headers.lines().len()
    }

    /// The same response without its body.
    pub fn without_body(self) -> Self {
        Self { body: OnceLock::new(), unread: None, ..self }
    }

    /// Why the body could not be parsed, if so.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The status; 0 for the default value.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value at a path that begins with `status`, `headers` or `body`.
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
        for (name, value) in self.headers.iter() {
            let value = || Value::from(String::from_utf8_lossy(value));
            object.entry(name.to_ascii_lowercase()).or_insert_with(value);
        }
        Value::Object(object)
    }
}

/// The output of one step.
#[derive(Debug, Clone, Default)]
pub struct StepOutput {
    /// The upstream's response; `None` if the step did not run or there was none.
    pub response: Option<ParsedResponse>,
    /// The extracted values, in the order of the step's extracts; a missing one is `None`.
    pub values: Vec<Option<SharedValue>>,
}

impl<'a> Scope<'a> {
    /// The response of the last step that got one.
    pub fn response(&self) -> Option<&'a ParsedResponse> {
        self.steps.iter().rev().find_map(|step| step.response.as_ref())
    }
}

/// The values that names refer to during a call.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The validated arguments, an object.
    pub args: &'a Value,
    /// The context of the call.
    pub call: &'a Context,
    /// The outputs of the steps that ran so far, in the order of the route's steps.
    pub steps: &'a [StepOutput],
    /// The time of the call, in RFC 3339.
    pub now: &'a str,
    /// What earlier calls of the conversation remembered, an object; null if nothing was recalled.
    pub memory: &'a Value,
}

/// A block that is being rendered, and the blocks around it.
pub(super) struct Frame<'f> {
    pub(super) parent: Option<&'f Self>,
    pub(super) kind: FrameKind<'f>,
}

pub(super) enum FrameKind<'f> {
    /// A block with its own value.
    Block { this: ValueRef<'f>, params: &'f [String], index: usize, key: Option<&'f str>, count: usize },
    /// A named value passed to a partial; `None` if it is missing.
    Binding { name: &'f str, value: Option<ValueRef<'f>> },
}

impl PathExpr {
    /// Takes a final `.length` off, if it may be the length of a list or text. A name of the arguments themselves, a
    /// header or a field of the event is never one.
    pub(super) fn take_length(&mut self) -> bool {
        let parent = match self.below.as_slice() {
            [parent @ .., last] if last == "length" => parent,
            _ => return false,
        };
        let named = match &self.root {
            Root::Args | Root::Event | Root::Memory { .. } | Root::Call(CallField::Headers) => {
                parent.is_empty()
            }
            Root::Response(_) => parent.is_empty() || parent[0] == "headers" && parent.len() == 1,
            _ => false,
        };
        if !named {
            self.below.pop();
        }
        !named
    }

    /// Whether the value comes only from the platform or from Jackfield itself.
    pub(super) fn is_trusted(&self) -> bool {
        matches!(&self.root, Root::Now | Root::Call(_) | Root::Memory { trusted: true })
            && self.root != Root::Call(CallField::Raw)
    }

    /// Whether the record of a call keeps the value; `bodies` says whether it keeps the bodies of responses.
    pub(super) fn outlives_call(&self, bodies: bool) -> bool {
        match &self.root {
            Root::Args | Root::Extract(..) | Root::Memory { .. } => true,
            Root::Call(field) => {
                matches!(field, CallField::Platform | CallField::Function | CallField::Conversation)
            }
            Root::Response(_) => match self.below.first().map(String::as_str) {
                Some("status") => true,
                Some("body") => bodies,
                _ => false,
            },
            Root::Now | Root::Event | Root::This(_) | Root::Local(..) | Root::Param(_) => false,
        }
    }

    /// The value; `None` if there is none.
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
                return scope.steps.get(*step)?.response.as_ref()?.at(&self.below);
            }
            Root::Now => ValueRef::Text(scope.now),
            Root::Event => scope.call.event.get(),
            Root::Memory { .. } => scope.memory.into(),
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

/// The block `up` levels above the innermost one.
fn up_from<'f>(frame: Option<&'f Frame<'f>>, up: usize) -> Option<&'f Frame<'f>> {
    std::iter::successors(frame, |frame| frame.parent)
        .filter(|frame| matches!(frame.kind, FrameKind::Block { .. }))
        .nth(up)
}

/// The value that the innermost block or partial with a parameter `name` assigns to it.
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
