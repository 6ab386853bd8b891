//! The attempts of one request, recorded for its call's record and spans.

use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

use crate::traceparent::{Link, TraceParent};
use crate::upstream::{Request, Response, TransportError};

/// Records the attempts of one request: retries, hedged requests, and those repeated with a renewed credential.
#[derive(Debug)]
pub struct AttemptSpans<'a> {
    link: Option<&'a Link>,
    /// Whether the table sets the header that would carry the spans.
    is_hidden: bool,
    records: Mutex<Vec<AttemptRecord>>,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct AttemptRecord {
    /// The id of its span, as sent to the upstream, if the call is part of a trace.
    pub span: Option<u64>,
    /// When it began.
    pub began: Instant,
    /// When it ended or was cancelled.
    pub ended: Instant,
    /// Its result; `None` if it was cancelled because another attempt was faster or the call had ended.
    pub result: Option<Result<StatusCode, TransportError>>,
}

impl AttemptRecord {
    /// How long the upstream took.
    pub fn time(&self) -> Duration {
        self.ended - self.began
    }

    /// The status of its response, if it got one.
    pub fn status(&self) -> Option<StatusCode> {
        self.result.as_ref()?.as_ref().ok().copied()
    }
}

impl<'a> AttemptSpans<'a> {
    /// Starts without attempts. `link` connects the call to its trace. `request` is the request before any attempt.
    pub fn new(link: Option<&'a Link>, request: &Request) -> Self {
        let is_hidden = link.is_some() && TraceParent::is_in(&request.headers);
        Self { link, is_hidden, records: Mutex::default() }
    }

    /// The attempts, in the order in which they ended.
    pub fn into_records(self) -> Vec<AttemptRecord> {
        self.records.into_inner()
    }

    /// The span of the next attempt.
    pub(super) fn next(&self) -> Option<TraceParent> {
        self.link.map(Link::request)
    }

    /// Whether the upstream is told the spans. Headers that the table sets take precedence.
    pub(super) fn are_sent(&self) -> bool {
        !self.is_hidden
    }

    /// Begins an attempt at `began`. It is recorded when it ends.
    pub(super) fn begin(&self, span: Option<u64>, began: Instant) -> PendingAttempt<'_> {
        PendingAttempt { spans: self, span, began, is_recorded: false }
    }
}

/// An attempt in flight. It is recorded even if it is cancelled.
pub(super) struct PendingAttempt<'a> {
    spans: &'a AttemptSpans<'a>,
    span: Option<u64>,
    began: Instant,
    is_recorded: bool,
}

impl PendingAttempt<'_> {
    pub(super) fn end(mut self, at: Instant, result: &Result<Response, TransportError>) {
        self.record(at, Some(result.as_ref().map(|response| response.status).map_err(Clone::clone)));
    }

    fn record(&mut self, ended: Instant, result: Option<Result<StatusCode, TransportError>>) {
        self.is_recorded = true;
        let (span, began) = (self.span, self.began);
        self.spans.records.lock().push(AttemptRecord { span, began, ended, result });
    }
}

impl Drop for PendingAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.record(Instant::now(), None);
        }
    }
}
