//! Metrics for Prometheus. Each call is counted once, at its end, from its record.
//!
//! Callers cannot create series. Labels are the platforms, routes, events and upstreams of the tables that ran, and
//! fixed names of outcomes. A call of a function without a route counts as [`UNKNOWN`].

mod deliveries;
mod histogram;
pub mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::call::FailureKind;
use crate::flow::{CacheUse, CallError, FailureReason, OF_STEPS, Record, StepRecord};
use crate::plan::{Plan, Route};
use crate::platform::PLATFORMS;
use crate::upstream::delivery::{AttemptRecord, DeliveryError};

use deliveries::DeliverySeries;
use histogram::{Histogram, NETWORK_BOUNDS, OVERHEAD_BOUNDS};
use text::{Exposition, Family, MetricKind};

/// The `route` label of calls that no route answers. No route can have this name.
pub const UNKNOWN: &str = "(unknown)";

/// The kinds of failure, in the order of the counters.
const FAILURES: [FailureKind; 6] = [
    FailureKind::Timeout,
    FailureKind::Unreachable,
    FailureKind::BadResponse,
    FailureKind::Refused,
    FailureKind::InvalidArgs,
    FailureKind::UnknownFunction,
];

/// The classes of statuses, in the order of the counters.
const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The uses of the cache, in the order of the counters.
const CACHE_USES: [CacheUse; 4] = [CacheUse::Hit, CacheUse::Shared, CacheUse::Stale, CacheUse::Miss];

/// All counters since the start.
#[derive(Debug)]
pub struct Metrics {
    platforms: Vec<(&'static str, PlatformSeries)>,
    upstreams: SeriesByName<UpstreamSeries>,
    /// Calls that were rejected by the route's own limit.
    rejected_by_route: AtomicU64,
    deliveries: SeriesByName<DeliverySeries>,
}

/// The series of one platform.
#[derive(Debug)]
struct PlatformSeries {
    overhead: Histogram,
    routes: SeriesByName<RouteSeries>,
    events: SeriesByName<RouteSeries>,
    unknown: RouteSeries,
}

/// The series of one route on one platform.
#[derive(Debug)]
struct RouteSeries {
    answered: AtomicU64,
    deduplicated: AtomicU64,
    failures: [AtomicU64; FAILURES.len()],
    time: Histogram,
}

/// The series of one upstream.
#[derive(Debug)]
struct UpstreamSeries {
    attempts: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    /// By the class of the status.
    responses: [AtomicU64; STATUS_CLASSES.len()],
    failures: [AtomicU64; OF_STEPS.len()],
    rejected_by_breaker: AtomicU64,
    rejected_by_limit: AtomicU64,
    cache: [AtomicU64; CACHE_USES.len()],
    waited_nanos: AtomicU64,
    time: Histogram,
}

/// Series by a name from the table. They are kept across reloads.
#[derive(Debug)]
struct SeriesByName<T>(RwLock<BTreeMap<String, T>>);

impl Default for Metrics {
    fn default() -> Self {
        let platforms = PLATFORMS.iter().map(|platform| (platform.name(), PlatformSeries::default()));
        Self {
            platforms: platforms.collect(),
            upstreams: SeriesByName::default(),
            rejected_by_route: AtomicU64::new(0),
            deliveries: SeriesByName::default(),
        }
    }
}

impl Metrics {
    /// Counts a call that has ended.
    pub fn note(&self, record: &Record, route: Option<&Route>) {
        let context = &record.call.context;
        if let Some(platform) = self.platform(context.platform) {
            platform.overhead.note(record.overhead(route));
            platform.with(route, !context.event.is_null(), |calls| {
                // Count the reply that the caller got, not the later outcome.
                let failure = match &record.error {
                    _ if record.was_overdue() => Some(FailureKind::Timeout),
                    error => error.as_ref().map(|error| error.kind()),
                };
                match failure {
                    None => add(&calls.answered, 1),
                    Some(kind) => count(&calls.failures, &FAILURES, kind),
                }
                calls.time.note(record.time);
            });
        }
        self.note_steps(record, route);
    }

    /// Counts the requests of a call or delivery that has ended.
    pub fn note_steps(&self, record: &Record, route: Option<&Route>) {
        if let Some(CallError::Limit(_)) = record.error.as_deref() {
            add(&self.rejected_by_route, 1);
        }
        let steps = route.map(|route| route.steps.as_slice()).unwrap_or_default();
        for (step, step_record) in
            steps.iter().zip(&record.steps).filter(|(_, step_record)| !step_record.skipped)
        {
            let name = &step.request.upstream.delivery.target.name;
            self.upstreams.with(name, |upstream| upstream.note(step_record));
        }
        for error in record.errors() {
            match error {
                CallError::Delivery(DeliveryError::Breaker { upstream, .. }) => {
                    self.upstreams.with(upstream, |upstream| add(&upstream.rejected_by_breaker, 1));
                }
                CallError::Delivery(DeliveryError::Limit { upstream, .. }) => {
                    self.upstreams.with(upstream, |upstream| add(&upstream.rejected_by_limit, 1));
                }
                _ => {}
            }
        }
    }

    /// Counts a retry that got the outcome of an earlier call.
    pub fn note_deduplicated(&self, platform: &str, route: Option<&Route>, is_event: bool) {
        if let Some(platform) = self.platform(platform) {
            platform.with(route, is_event, |calls| add(&calls.deduplicated, 1));
        }
    }

    fn platform(&self, name: &str) -> Option<&PlatformSeries> {
        self.platforms.iter().find(|(known, _)| *known == name).map(|(_, counts)| counts)
    }

    /// Writes all series. The upstreams of `plan` are included from the start, at 0.
    pub fn write(&self, text: &mut Exposition, plan: &Plan) {
        for target in plan.targets() {
            self.upstreams.with(&target.name, |_| {});
        }
        self.write_calls(text);
        self.write_deliveries(text, plan);
        self.write_upstreams(text);
    }

    fn write_calls(&self, text: &mut Exposition) {
        let mut family =
            text.family("jackfield_calls_total", MetricKind::Counter, "Calls and events that ended.");
        self.each_route(|platform, route, calls| {
            let mut write = |outcome, counter| {
                family
                    .sample(&[("platform", platform), ("route", route), ("outcome", outcome)], get(counter));
            };
            write("answered", &calls.answered);
            write("deduplicated", &calls.deduplicated);
            FAILURES.iter().zip(&calls.failures).for_each(|(kind, counter)| write(kind.slug(), counter));
        });
        let help = "Duration of calls, upstreams included; deduplicated calls are not counted.";
        let mut family = text.family("jackfield_call_seconds", MetricKind::Histogram, help);
        self.each_route(|platform, route, calls| {
            family.histogram(&[("platform", platform), ("route", route)], &calls.time);
        });
        let help = "Time spent in the proxy itself: without upstreams, limits and pauses between attempts.";
        let mut family = text.family("jackfield_proxy_overhead_seconds", MetricKind::Histogram, help);
        for (name, platform) in self.platforms.iter().filter(|(_, platform)| platform.overhead.count() > 0) {
            family.histogram(&[("platform", name)], &platform.overhead);
        }
        let help = "Calls rejected by the route's own limit.";
        text.family("jackfield_route_limit_rejected_total", MetricKind::Counter, help)
            .sample(&[], get(&self.rejected_by_route));
    }

    fn each_route(&self, mut write: impl FnMut(&str, &str, &RouteSeries)) {
        for (platform, counts) in &self.platforms {
            counts.routes.each(|route, calls| write(platform, route, calls));
            counts.events.each(|event, calls| write(platform, &format!("event:{event}"), calls));
            if counts.unknown.time.count() > 0 {
                write(platform, UNKNOWN, &counts.unknown);
            }
        }
    }

    fn write_upstreams(&self, text: &mut Exposition) {
        for (name, help, counter) in [
            (
                "jackfield_upstream_attempts_total",
                "Attempts to send a request.",
                (|upstream| &upstream.attempts) as fn(&UpstreamSeries) -> &AtomicU64,
            ),
            ("jackfield_upstream_retries_total", "Attempts that were retries.", |upstream| &upstream.retries),
            ("jackfield_upstream_hedges_total", "Attempts that were hedged requests.", |upstream| {
                &upstream.hedges
            }),
        ] {
            let mut family = text.family(name, MetricKind::Counter, help);
            self.upstreams.each(|upstream, counts| {
                family.sample(&[("upstream", upstream)], get(counter(counts)));
            });
        }
        let help = "Responses to attempts, by class of status.";
        let mut family = text.family("jackfield_upstream_responses_total", MetricKind::Counter, help);
        self.upstreams.each(|upstream, counts| {
            for (class, counter) in STATUS_CLASSES.iter().zip(&counts.responses) {
                sample_by(&mut family, upstream, "status", class, counter);
            }
        });
        let help = "Steps that failed after all their attempts, by kind of failure and reason.";
        let mut family = text.family("jackfield_upstream_failures_total", MetricKind::Counter, help);
        self.upstreams.each(|upstream, counts| {
            for ((kind, reason), counter) in OF_STEPS.iter().zip(&counts.failures) {
                let labels = [("upstream", upstream), ("kind", kind.slug()), ("reason", reason.slug())];
                family.sample(&labels, get(counter));
            }
        });
        let help = "Steps that were not sent: the circuit breaker was open, or the limit gave no permit.";
        let mut family = text.family("jackfield_upstream_rejected_total", MetricKind::Counter, help);
        self.upstreams.each(|upstream, counts| {
            let mut write = |reason, counter| sample_by(&mut family, upstream, "reason", reason, counter);
            write("breaker", &counts.rejected_by_breaker);
            write("limit", &counts.rejected_by_limit);
        });
        let help = "Steps of routes with a cache, by result.";
        let mut family = text.family("jackfield_cache_requests_total", MetricKind::Counter, help);
        self.upstreams.each(|upstream, counts| {
            for (used, counter) in CACHE_USES.iter().zip(&counts.cache) {
                sample_by(&mut family, upstream, "result", used.slug(), counter);
            }
        });
        let help = "Time that requests waited for a permit of the upstream's limit.";
        let mut family =
            text.family("jackfield_upstream_limit_wait_seconds_total", MetricKind::Counter, help);
        self.upstreams.each(|upstream, counts| {
            let waited = Duration::from_nanos(get(&counts.waited_nanos)).as_secs_f64();
            family.sample(&[("upstream", upstream)], waited);
        });
        let help = "Duration of each step's requests, attempts added up.";
        let mut family = text.family("jackfield_upstream_seconds", MetricKind::Histogram, help);
        self.upstreams.each(|upstream, counts| family.histogram(&[("upstream", upstream)], &counts.time));
    }
}

fn sample_by(family: &mut Family<'_>, upstream: &str, label: &str, text: &str, counter: &AtomicU64) {
    family.sample(&[("upstream", upstream), (label, text)], get(counter));
}

impl Default for PlatformSeries {
    fn default() -> Self {
        Self {
            overhead: Histogram::new(&OVERHEAD_BOUNDS),
            routes: SeriesByName::default(),
            events: SeriesByName::default(),
            unknown: RouteSeries::default(),
        }
    }
}

impl PlatformSeries {
    fn with(&self, route: Option<&Route>, is_event: bool, note: impl FnOnce(&RouteSeries)) {
        match route {
            None => note(&self.unknown),
            Some(entry) if is_event => self.events.with(&entry.name, note),
            Some(route) => self.routes.with(&route.name, note),
        }
    }
}

impl Default for RouteSeries {
    fn default() -> Self {
        Self {
            answered: AtomicU64::new(0),
            deduplicated: AtomicU64::new(0),
            failures: Default::default(),
            time: Histogram::new(&NETWORK_BOUNDS),
        }
    }
}

impl Default for UpstreamSeries {
    fn default() -> Self {
        Self {
            attempts: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            responses: Default::default(),
            failures: Default::default(),
            rejected_by_breaker: AtomicU64::new(0),
            rejected_by_limit: AtomicU64::new(0),
            cache: Default::default(),
            waited_nanos: AtomicU64::new(0),
            time: Histogram::new(&NETWORK_BOUNDS),
        }
    }
}

impl UpstreamSeries {
    fn note(&self, step_record: &StepRecord) {
        let (attempts, hedges) =
            (u64::from(step_record.delivery.attempts), u64::from(step_record.delivery.hedges));
        add(&self.attempts, attempts);
        add(&self.hedges, hedges);
        add(&self.retries, attempts.saturating_sub(1 + hedges));
        for status in step_record.finished_attempts().filter_map(AttemptRecord::status) {
            if let Some(counter) = self.responses.get(usize::from(status.as_u16() / 100).wrapping_sub(2)) {
                add(counter, 1);
            }
        }
        // The caller was told of a timeout, even if there was a response later.
        let timeout = step_record.overdue.then_some((FailureKind::Timeout, FailureReason::Timeout));
        let error = step_record.error.as_ref();
        if let Some(failure) = timeout.or_else(|| error.map(|error| (error.kind(), error.reason()))) {
            count(&self.failures, &OF_STEPS, failure);
        }
        if let Some(used) = step_record.cache {
            count(&self.cache, &CACHE_USES, used);
        }
        add(&self.waited_nanos, u64::try_from(step_record.delivery.waited.as_nanos()).unwrap_or(u64::MAX));
        if let Some(time) = step_record.delivery.time {
            self.time.note(time);
        }
    }
}

impl<T> Default for SeriesByName<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> SeriesByName<T> {
    fn with(&self, name: &str, note: impl FnOnce(&T)) {
        if let Some(counts) = self.0.read().get(name) {
            return note(counts);
        }
        let mut all = self.0.write();
        note(all.entry(name.to_owned()).or_default());
    }

    fn each(&self, mut write: impl FnMut(&str, &T)) {
        let all = self.0.read();
        all.iter().for_each(|(name, counts)| write(name, counts));
    }
}

fn add(counter: &AtomicU64, more: u64) {
    if more > 0 {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn count<T: PartialEq>(counters: &[AtomicU64], of: &[T], what: T) {
    if let Some(at) = of.iter().position(|known| *known == what) {
        add(&counters[at], 1);
    }
}
