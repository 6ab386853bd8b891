//! The metrics of deliveries.

use std::sync::atomic::AtomicU64;

use crate::plan::Plan;
use crate::state::JobOutcome;

use super::text::{Exposition, MetricKind};
use super::{Metrics, add, get};

/// The series of the deliveries of one route or event.
#[derive(Debug, Default)]
pub(super) struct DeliverySeries {
    delivered: AtomicU64,
    retrying: AtomicU64,
    returned: AtomicU64,
    dead: AtomicU64,
}

impl Metrics {
    /// Counts an attempt to deliver an accepted call.
    pub fn note_delivery(&self, name: &str, outcome: &JobOutcome) {
        self.deliveries.with(name, |counts| match outcome {
            JobOutcome::Delivered => add(&counts.delivered, 1),
            JobOutcome::RetryIn { .. } => add(&counts.retrying, 1),
            JobOutcome::Returned { .. } => add(&counts.returned, 1),
            JobOutcome::Dead { .. } => add(&counts.dead, 1),
        });
    }

    pub(super) fn write_deliveries(&self, text: &mut Exposition, plan: &Plan) {
        let delivered = plan.entries().filter(|entry| entry.state.delivery.is_some());
        delivered.for_each(|entry| self.deliveries.with(&entry.name, |_| {}));
        let help = "Attempts to deliver accepted calls, by result.";
        let mut family = text.family("jackfield_delivery_attempts_total", MetricKind::Counter, help);
        self.deliveries.each(|route, counts| {
            for (outcome, counter) in [
                ("delivered", &counts.delivered),
                ("retrying", &counts.retrying),
                ("returned", &counts.returned),
                ("dead", &counts.dead),
            ] {
                family.sample(&[("route", route), ("outcome", outcome)], get(counter));
            }
        });
    }
}
