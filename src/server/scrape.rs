//! `GET /metrics` of the admin listener, in the Prometheus format.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use jiff::Timestamp;

use crate::live::Running;
use crate::observe::metrics::text::{CONTENT_TYPE, Exposition, MetricKind};
use crate::plan::Plan;
use crate::reload::restart_needed;
use crate::upstream::delivery::breaker::BreakerState;

use super::App;

pub(super) async fn metrics(app: State<App>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition(&app)).into_response()
}

fn exposition(app: &App) -> String {
    let state = app.dispatcher.live.state();
    let plan = &state.running.plan;
    let mut text = Exposition::default();
    app.dispatcher.observers.metrics.write(&mut text, plan);
    listener(app, plan, &mut text);
    upstreams(&state.running, &mut text);
    stored(app, &mut text);
    let mut gauge = |name, help, value| {
        text.family(name, MetricKind::Gauge, help).sample(&[], value);
    };
    gauge("jackfield_start_time_seconds", "When the program started.", seconds(app.started_at));
    gauge(
        "jackfield_plan_loaded_timestamp_seconds",
        "When the running table was loaded, in Unix seconds.",
        seconds(state.running.loaded_at),
    );
    gauge(
        "jackfield_plan_rejected",
        "Whether the current files were rejected, so that an older table is running.",
        f64::from(u8::from(state.rejected.is_some())),
    );
    gauge(
        "jackfield_restart_needed",
        "Whether changed keys of the running table take effect only after a restart.",
        f64::from(u8::from(!restart_needed(&app.opened, plan).is_empty())),
    );
    gauge(
        "jackfield_plan_last_good",
        "Whether the running table is the saved copy of an earlier one, because the files had errors at the start.",
        f64::from(u8::from(state.last_good.is_some())),
    );
    if let Some(at) = plan.server.tls.as_ref().and_then(|tls| tls.not_after) {
        gauge(
            "jackfield_tls_not_after_timestamp_seconds",
            "When the certificate of the listener for platforms expires.",
            seconds(at),
        );
    }
    if let Some(at) = state.reloads.last_rejected_at {
        let help = "When a reload was last rejected.";
        gauge("jackfield_plan_rejected_timestamp_seconds", help, seconds(at));
    }
    text.family("jackfield_plan_info", MetricKind::Gauge, "The running table, by its revision.")
        .sample(&[("revision", &plan.revision)], 1);
    text.family("jackfield_build_info", MetricKind::Gauge, "The program, by its version.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("jackfield_reloads_total", MetricKind::Counter, "Reloads of a changed table, by result.")
        .sample(&[("result", "applied")], state.reloads.applied)
        .sample(&[("result", "rejected")], state.reloads.rejected);
    text.into_text()
}

/// The metrics of the listener for platforms, the log and the spans.
fn listener(app: &App, plan: &Plan, text: &mut Exposition) {
    for (name, help, value) in [
        ("jackfield_calls_in_flight", "Calls and events in flight.", app.dispatcher.calls.held()),
        ("jackfield_calls_in_flight_limit", "The limit.", plan.server.max_calls),
        ("jackfield_connections", "Connections to the listener for platforms.", app.connections.held()),
        ("jackfield_connections_limit", "The limit.", app.most_connections()),
        (
            "jackfield_cache_bytes",
            "Approximate size of the response cache in bytes.",
            app.dispatcher.cache.bytes(),
        ),
    ] {
        text.family(name, MetricKind::Gauge, help).sample(&[], value);
    }
    let help = "Requests rejected before dispatch, by reason.";
    let mut rejected = text.family("jackfield_rejected_requests_total", MetricKind::Counter, help);
    for (reason, count) in app.rejected_requests() {
        rejected.sample(&[("reason", reason)], count);
    }
    let help = "Requests answered without running a call, by reason.";
    let mut unrouted = text.family("jackfield_requests_without_call_total", MetricKind::Counter, help);
    for (reason, count) in app.unrouted.by_reason() {
        unrouted.sample(&[("reason", reason)], count);
    }
    let help = "Log lines dropped because they could not be written.";
    text.family("jackfield_log_lines_dropped_total", MetricKind::Counter, help)
        .sample(&[], app.process.lost_lines.load(Ordering::Relaxed));
    let help = "Spans that the trace collector accepted.";
    text.family("jackfield_spans_exported_total", MetricKind::Counter, help)
        .sample(&[], app.dispatcher.observers.spans.exported());
    let help = "Spans dropped: the queue was full, or the collector did not accept them.";
    text.family("jackfield_spans_dropped_total", MetricKind::Counter, help)
        .sample(&[], app.dispatcher.observers.spans.dropped());
}

/// The metrics of the store, if a table needed it so far.
fn stored(app: &App, text: &mut Exposition) {
    let state = &app.dispatcher.state;
    if state.store().is_none() {
        return;
    }
    let counts = state.counts();
    let mut family =
        text.family("jackfield_deliveries", MetricKind::Gauge, "Deliveries in the store, by status.");
    for (status, count) in [
        ("waiting", counts.waiting),
        ("retrying", counts.retrying),
        ("running", counts.running),
        ("delivered", counts.delivered),
        ("dead", counts.dead),
    ] {
        family.sample(&[("status", status)], count);
    }
    let oldest = counts.oldest.map_or(0.0, |at| (seconds(Timestamp::now()) - seconds(at)).max(0.0));
    let help = "Age in seconds of the oldest delivery that is not delivered or dead; 0 if there is none.";
    text.family("jackfield_delivery_oldest_age_seconds", MetricKind::Gauge, help).sample(&[], oldest);
    let help = "Whether the state store is available (1) or not (0).";
    text.family("jackfield_state_up", MetricKind::Gauge, help).sample(&[], u8::from(state.away().is_none()));
    let help = "Operations of the state store that failed.";
    text.family("jackfield_state_errors_total", MetricKind::Counter, help).sample(&[], state.errors());
    let help = "Calls whose retries only this instance recognizes, because the state store was unavailable.";
    text.family("jackfield_local_deduplication_total", MetricKind::Counter, help)
        .sample(&[], state.local_claims());
}

/// The metrics of the running plan's upstreams.
fn upstreams(running: &Running, text: &mut Exposition) {
    let help = "Whether the upstream's circuit breaker is in this state.";
    let mut states = text.family("jackfield_upstream_breaker_state", MetricKind::Gauge, help);
    for delivery in &running.plan.deliveries {
        let Some(breaker) = running.resources.upstream(delivery).state.snapshot().breaker else { continue };
        for slug in BreakerState::SLUGS {
            let labels = [("upstream", delivery.target.name.as_str()), ("state", slug)];
            states.sample(&labels, u8::from(breaker.slug() == slug));
        }
    }
    let help = "Requests in flight, where a concurrency limit is set.";
    let mut in_flight = text.family("jackfield_upstream_requests_in_flight", MetricKind::Gauge, help);
    for delivery in &running.plan.deliveries {
        if let Some(count) = running.resources.upstream(delivery).state.snapshot().in_flight {
            in_flight.sample(&[("upstream", &delivery.target.name)], count);
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
