//! Observability of calls: metrics, spans, the history of records, and the log, with everything masked that must stay
//! hidden.

pub mod call_log;
pub mod history;
mod lines;
pub mod log;
pub mod masking;
pub mod metrics;
pub mod record_id;
mod ring;
pub mod spans;
mod view;

pub use view::{ANSWERED, OMITTED_BYTES};

use std::net::IpAddr;
use std::sync::Arc;

use crate::call::Outcome;
use crate::flow::Record;
use crate::plan::{Plan, Route};

use history::{History, HistoryEntry};
use metrics::Metrics;
use record_id::RecordId;
use spans::Spans;

/// The observers of calls.
#[derive(Debug)]
pub struct Observers {
    /// The metrics, for Prometheus.
    pub metrics: Metrics,
    /// The spans, for a trace collector.
    pub spans: Spans,
    /// The last records.
    pub history: History,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The record of the call.
    pub record: Record,
    /// The plan that it ran with.
    pub plan: &'a Arc<Plan>,
    /// The route or event entry that answered it.
    pub route: Option<&'a Arc<Route>>,
    /// The address of the client.
    pub client: IpAddr,
    /// The id of its record, if the log has already named it.
    pub id: Option<RecordId>,
}

impl Observers {
    /// Observers that have observed nothing yet.
    pub fn new(spans: Spans) -> Self {
        Self { metrics: Metrics::default(), spans, history: History::default() }
    }

    /// Passes a call that has ended to all observers, and returns its outcome.
    pub fn note(&self, ended: Ended<'_>) -> Outcome {
        let Ended { record, plan, route, client, id } = ended;
        self.metrics.note(&record, route.map(AsRef::as_ref));
        self.spans.take(&record, plan, route.map(AsRef::as_ref), client);
        let most = plan.server.records;
        let id = (most > 0).then(|| id.unwrap_or_else(|| self.history.next_id()));
        call_log::ended(&record, plan, route.map(AsRef::as_ref), client, id);
        let Some(id) = id else { return record.outcome };
        let outcome = record.outcome.clone();
        let entry = HistoryEntry::new(id, record, route.cloned(), plan.masks.clone(), client);
        self.history.keep(entry, most);
        outcome
    }
}
