//! What is noted of the sendings of a request, for the spans of its call.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::StatusCode;

use crate::traceparent::{Link, TraceParent};
use crate::upstream::{Response, TransportError};

/// The sendings of one request: its attempts, those beside it, and those with a credential that was had anew.
#[derive(Debug)]
pub struct Sendings<'a> {
    link: &'a Link,
    noted: Mutex<Vec<Sending>>,
}

/// One of them.
#[derive(Debug)]
pub struct Sending {
    /// The id of its span, which the upstream was told.
    pub span: u64,
    /// When it began.
    pub began: Instant,
    /// When it ended, or was given up.
    pub ended: Instant,
    /// What came of it; `None`: it was given up.
    pub came: Option<Result<StatusCode, TransportError>>,
}

impl<'a> Sendings<'a> {
    /// None yet.
    pub fn new(link: &'a Link) -> Self {
        Self { link, noted: Mutex::default() }
    }

    /// All of them, in the order in which they began.
    pub fn into_noted(self) -> Vec<Sending> {
        let mut noted = self.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        noted.sort_by_key(|sending| sending.began);
        noted
    }

    /// The span of the next one, to be told to the upstream.
    pub(super) fn next(&self) -> TraceParent {
        self.link.request()
    }

    /// Notes, when it ends, the one that begins now; nothing where no spans are made.
    pub(super) fn begin(&self, own: &TraceParent) -> Option<UnderWay<'_>> {
        let now = Instant::now();
        let sending = Sending { span: own.span, began: now, ended: now, came: None };
        self.link.is_recorded.then(|| UnderWay { sendings: self, sending: Some(sending) })
    }
}

/// A sending under way, which is noted also when it is given up.
pub(super) struct UnderWay<'a> {
    sendings: &'a Sendings<'a>,
    sending: Option<Sending>,
}

impl UnderWay<'_> {
    pub(super) fn end(mut self, ended: &Result<Response, TransportError>) {
        if let Some(sending) = &mut self.sending {
            sending.came = Some(ended.as_ref().map(|response| response.status).map_err(Clone::clone));
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        // Nothing panics while it is held.
        let mut noted = self.sendings.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.extend(self.sending.take().map(|sending| Sending { ended: Instant::now(), ..sending }));
    }
}
