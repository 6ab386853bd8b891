//! The execution of calls: deadlines, deduplication, limits on calls in flight, and observation. It knows no HTTP; the
//! server uses it, as can any other source of calls.

mod claims;
pub mod dedup;
pub mod gate;
mod handle;
mod in_flight;
pub mod in_process;
mod shared_dedup;
pub mod state;
pub(crate) mod task;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::call::{Call, Outcome};
use crate::flow::{Cache, Traced};
use crate::in_place::boxed;
use crate::json::SharedValue;
use crate::live::{Live, Running};
use crate::observe::Observers;
use crate::observe::spans::Spans;
use crate::plan::{Plan, Served};
use crate::platform::EncodeStream;
use crate::traceparent::{Link, TraceParent};
use crate::upstream::Transport;

pub use handle::{Handled, Runner, Streamed, handle};
pub use in_flight::{Panicked, poll_caught};

use dedup::DedupLedger;
use gate::Gate;
use state::StateSlot;
use task::{AnnounceTo, Task};

/// How often a shutdown looks whether calls are still in flight. Calls themselves do nothing for it.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// The state that all calls share.
pub struct Dispatcher {
    /// The running plan and its resources.
    pub live: Arc<Live>,
    /// Sends requests to upstreams.
    pub transport: Arc<dyn Transport>,
    /// The response cache.
    pub cache: Arc<Cache>,
    /// Metrics, spans and history.
    pub observers: Observers,
    /// Counts the calls in flight.
    pub calls: Arc<Gate>,
    /// The store, if a table needs it.
    pub state: StateSlot,
    /// Counts the attempts to deliver accepted calls.
    pub deliveries: Arc<Gate>,
    /// Counts the detached calls.
    detached: Arc<Gate>,
    dedup: Arc<DedupLedger>,
}

/// Runs the calls of one request to a listener.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The state that all calls share.
    pub dispatcher: &'a Arc<Dispatcher>,
    /// The plan for all calls of the request, and its resources.
    pub running: &'a Arc<Running>,
    /// The platform that sent the request.
    pub served: &'a Served,
    /// The address of the client.
    pub client: IpAddr,
    /// The inbound headers that templates see.
    pub headers: SharedValue,
    /// The trace context of the request, if it has one.
    pub parent: Option<TraceParent>,
    /// When the request arrived.
    pub arrived: Instant,
}

impl Dispatcher {
    /// Creates a dispatcher without calls.
    pub fn new(live: Arc<Live>, transport: Arc<dyn Transport>, cache: Arc<Cache>, spans: Spans) -> Arc<Self> {
        Arc::new(Self {
            live,
            transport,
            cache,
            observers: Observers::new(spans),
            calls: Arc::default(),
            state: StateSlot::default(),
            deliveries: Arc::default(),
            detached: Arc::default(),
            dedup: Arc::new(DedupLedger::new(dedup::MAX_BYTES)),
        })
    }

    /// The number of calls that have not ended, detached calls and deliveries included.
    pub fn in_flight(&self) -> usize {
        self.calls.held() + self.detached.held() + self.deliveries.held()
    }

    /// Waits until no call is in flight.
    pub async fn drained(&self) {
        while self.in_flight() > 0 {
            sleep(DRAIN_POLL).await;
        }
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Batch<'_> {
    fn task(&self, mut call: Call, budget: Duration) -> Box<Task> {
        call.context.headers = self.headers.clone();
        let share = self.running.plan.traces.as_ref().map(|traces| traces.sample);
        let link = Link::of(self.parent.clone(), share);
        boxed(|| Task {
            dispatcher: Arc::clone(self.dispatcher),
            running: Arc::clone(self.running),
            platform: self.served.platform,
            client: self.client,
            call,
            validation: None,
            deadline: self.arrived + budget,
            traced: link.map(|link| Traced::decoded(link, self.arrived)),
        })
    }
}

impl Runner for Batch<'_> {
    fn plan(&self) -> &Plan {
        &self.running.plan
    }

    fn platform(&self) -> &'static dyn crate::platform::Platform {
        self.served.platform
    }

    fn budget(&self) -> Duration {
        self.served.budget
    }

    fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send {
        self.task(call, self.served.budget).answer(AnnounceTo::Nobody)
    }

    fn event(
        &self,
        call: Call,
        name: &'static str,
        budget: Duration,
    ) -> impl Future<Output = Option<Outcome>> + Send {
        self.task(call, budget).answer_event(name)
    }

    async fn stream(&self, call: Call, encoder: Box<dyn EncodeStream>) -> Streamed {
        Streamed::Pieces(task::stream(self.task(call, self.served.budget), encoder))
    }
}

#[cfg(test)]
impl Dispatcher {
    /// A dispatcher for `table`, whose plan `change` may modify.
    pub(crate) fn over(table: &str, change: impl FnOnce(&mut Plan)) -> Arc<Self> {
        use crate::flow;
        use crate::load::{load, process_environment};
        use crate::upstream::http::HttpTransport;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.toml");
        std::fs::write(&path, table).unwrap();
        let loaded = load(&path, &process_environment()).unwrap();
        let mut plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        change(&mut plan);
        let transport = Arc::new(HttpTransport::new().unwrap());
        let cache = Arc::new(Cache::new(flow::cache::MAX_BYTES));
        let (spans, _) = Spans::over(Arc::clone(&transport) as _);
        Self::new(Arc::new(Live::new(plan)), transport, cache, spans)
    }
}
