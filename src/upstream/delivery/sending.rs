//! What is noted of the sendings of a request, for the record of its call and its spans.

use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

use crate::traceparent::{Link, TraceParent};
use crate::upstream::{Response, TransportError};

/// The sendings of one request: its attempts, those beside it, and those with a credential that was had anew.
#[derive(Debug)]
pub struct AttemptSpans<'a> {
    link: Option<&'a Link>,
    noted: Mutex<Vec<AttemptRecord>>,
}

/// What is noted of one of them.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The id of its span, which the upstream was told, if its call is part of a trace.
    pub span: Option<u64>,
    /// When it began.
    pub began: Instant,
    /// When it ended, or was given up.
    pub ended: Instant,
    /// What came of it; `None`: it was given up, since another was quicker or the call was over.
    pub came: Option<Result<StatusCode, TransportError>>,
}

impl AttemptRecord {
    /// How long the upstream took.
    pub fn time(&self) -> Duration {
        self.ended - self.began
    }
}

impl<'a> AttemptSpans<'a> {
    /// None yet. `link` is how the call is linked into a trace, if it is.
    pub fn new(link: Option<&'a Link>) -> Self {
        Self { link, noted: Mutex::default() }
    }

    /// All of them, in the order in which they ended.
    pub fn into_noted(self) -> Vec<AttemptRecord> {
        self.noted.into_inner()
    }

    /// The span of the next one, to be told to the upstream.
    pub(super) fn next(&self) -> Option<TraceParent> {
        self.link.map(Link::request)
    }

    /// Notes, when it ends, the one that begins now.
    pub(super) fn begin(&self, span: Option<u64>) -> InFlight<'_> {
        InFlight { sendings: self, span, began: Instant::now(), came: None }
    }
}

/// A sending under way, which is noted also when it is given up.
pub(super) struct InFlight<'a> {
    sendings: &'a AttemptSpans<'a>,
    span: Option<u64>,
    began: Instant,
    came: Option<Result<StatusCode, TransportError>>,
}

impl InFlight<'_> {
    pub(super) fn end(mut self, ended: &Result<Response, TransportError>) {
        self.came = Some(ended.as_ref().map(|response| response.status).map_err(Clone::clone));
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let (span, began, came) = (self.span, self.began, self.came.take());
        let mut noted = self.sendings.noted.lock();
        noted.push(AttemptRecord { span, began, ended: Instant::now(), came });
    }
}
