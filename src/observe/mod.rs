//! Observability of calls: metrics, spans, the history of records, and the log, with everything masked that must stay
//! hidden.

pub mod call_log;
mod client_text;
mod deliveries;
pub mod history;
mod human_line;
mod json_line;
mod kept;
mod lines;
pub mod log;
pub mod masking;
pub mod metrics;
mod packed;
pub mod record_id;
mod ring;
pub mod spans;
mod view;

pub use deliveries::DeliveryEnded;
pub use view::{ANSWERED, OMITTED_BYTES};

use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::call::Outcome;
use crate::flow::Record;
use crate::plan::{Plan, Route};

use history::{History, HistoryEntry};
use metrics::Metrics;
use record_id::RecordId;
use spans::Spans;

/// The record of a call up to this size is rendered for the log at once. Rendering a larger one takes longer, because all
/// texts to hide are searched in all of it.
const SMALL_RECORD: usize = 64 * 1024;

/// The observers of calls.
#[derive(Debug)]
pub struct Observers {
    /// The metrics, for Prometheus.
    pub metrics: Metrics,
    /// The spans, for a trace collector.
    pub spans: Spans,
    /// The last records.
    pub history: Arc<History>,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The record of the call.
    pub record: Box<Record>,
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
        Self { metrics: Metrics::default(), spans, history: Arc::default() }
    }

    /// Passes a call that has ended to all observers, and returns its outcome.
    pub fn note(&self, ended: Ended<'_>) -> Outcome {
        let Ended { record, plan, route, client, id } = ended;
        self.metrics.note(&record, route.map(AsRef::as_ref));
        self.spans.take(&record, plan, route.map(AsRef::as_ref), client);
        let most = plan.server.records;
        let id = (most > 0).then(|| id.unwrap_or_else(|| self.history.next_id()));
        call_log::ended(&record, plan, client, id);
        let outcome = record.outcome.clone();
        self.keep(record, (plan, route), client, id);
        outcome
    }

    /// Logs and keeps the whole record, as far as the plan says so.
    fn keep(
        &self,
        record: Box<Record>,
        (plan, route): (&Arc<Plan>, Option<&Arc<Route>>),
        client: IpAddr,
        id: Option<RecordId>,
    ) {
        if id.is_none() && !plan.log.bodies {
            return;
        }
        let kept = Kept { record, route: route.cloned(), client, id };
        let is_slow = plan.log.bodies && kept.record.bytes() > SMALL_RECORD;
        match is_slow.then(Handle::try_current) {
            // The caller does not wait for the log.
            Some(Ok(runtime)) => {
                let (plan, history) = (Arc::clone(plan), Arc::clone(&self.history));
                runtime.spawn_blocking(move || kept.keep(&plan, &history));
            }
            _ => kept.keep(plan, &self.history),
        }
    }
}

/// A call that has ended, as far as its whole record is logged and kept.
struct Kept {
    record: Box<Record>,
    route: Option<Arc<Route>>,
    client: IpAddr,
    id: Option<RecordId>,
}

impl Kept {
    fn keep(self, plan: &Plan, history: &History) {
        let Self { record, route, client, id } = self;
        if plan.log.bodies {
            call_log::whole(&record, plan, route.as_deref(), id);
        }
        if let Some(id) = id {
            history
                .keep(HistoryEntry::new(id, record, route, plan.masks.clone(), client), plan.server.records);
        }
    }
}
