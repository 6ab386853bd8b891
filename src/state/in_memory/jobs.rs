//! Jobs in memory.

use std::collections::BTreeMap;

use crate::state::clock::{duration, millis, timestamp};
use crate::state::engine::SealedJob;
use crate::state::filter::{
    Action, Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, Page, Selection,
};
use crate::state::job::{Job, JobId, JobLease, JobOutcome, LeaseState};

/// The jobs, by the order of their acceptance.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    rows: BTreeMap<u64, Row>,
    last_number: u64,
}

#[derive(Debug)]
struct Row {
    job: SealedJob,
    status: DeliveryStatus,
    attempts: u32,
    leases: u32,
    accepted_at: i64,
    /// When it may be leased: for a running job when its lease ends; never for a finished job, and for an ordered one
    /// behind another.
    due_at: Option<i64>,
    retry_until: i64,
    finished_at: Option<i64>,
    reason: Option<String>,
}

impl Jobs {
    pub(super) fn append(&mut self, job: SealedJob, now: i64) {
        let retry_until = now.saturating_add(millis(job.job.retry_for));
        self.last_number += 1;
        let order = job.order;
        self.rows.insert(
            self.last_number,
            Row {
                job,
                status: DeliveryStatus::Waiting,
                attempts: 0,
                leases: 0,
                accepted_at: now,
                due_at: order.is_none().then_some(now),
                retry_until,
                finished_at: None,
                reason: None,
            },
        );
        self.promote(order, now);
    }

    /// Makes the first job of an order due, if none is.
    fn promote(&mut self, order: Option<[u8; 32]>, now: i64) {
        if order.is_none() {
            return;
        }
        let in_order = |row: &&mut Row| row.job.order == order && !row.status.is_finished();
        if self.rows.values_mut().filter(in_order).any(|row| row.due_at.is_some()) {
            return;
        }
        if let Some(first) = self.rows.values_mut().find(in_order) {
            first.due_at = Some(now);
        }
    }

    pub(super) fn next_due(&self) -> Option<i64> {
        self.rows.values().filter_map(|row| row.due_at).min()
    }

    pub(super) fn lease(&mut self, limit: usize, now: i64, until: i64) -> Vec<Job> {
        let mut due: Vec<_> =
            self.rows.values_mut().filter(|row| row.due_at.is_some_and(|due| due <= now)).collect();
        due.sort_by_key(|row| row.due_at);
        due.into_iter().take(limit).map(|row| row.lease(now, until)).collect()
    }

    fn held(&mut self, lease: &JobLease) -> Option<&mut Row> {
        self.rows.values_mut().find(|row| {
            row.job.id == lease.id && row.leases == lease.number && row.status == DeliveryStatus::Running
        })
    }

    pub(super) fn renew(&mut self, lease: &JobLease, until: i64) -> bool {
        self.held(lease).map(|row| row.due_at = Some(until)).is_some()
    }

    pub(super) fn finish(&mut self, lease: &JobLease, outcome: JobOutcome, now: i64) -> LeaseState {
        let Some(row) = self.held(lease) else { return LeaseState::Lost };
        match outcome {
            JobOutcome::Delivered => row.end(DeliveryStatus::Delivered, None, now),
            JobOutcome::Dead { reason } => row.end(DeliveryStatus::Dead, Some(reason), now),
            JobOutcome::RetryIn { delay, reason } => {
                row.status = DeliveryStatus::Retrying;
                row.reason = Some(reason);
                row.due_at = Some(now.saturating_add(millis(delay)));
            }
            JobOutcome::Returned { delay, reason } => {
                row.status = DeliveryStatus::Retrying;
                row.attempts = row.attempts.saturating_sub(1);
                row.reason = Some(reason);
                row.due_at = Some(now.saturating_add(millis(delay)));
            }
        }
        let order = row.job.order;
        self.promote(order, now);
        LeaseState::Held
    }

    pub(super) fn list(&self, filter: &DeliveryFilter, page: Page) -> Vec<Delivery> {
        let rows = self.rows.values().map(Row::delivery);
        let is_meant = |delivery: &Delivery| {
            matches(filter, delivery) && page.after.is_none_or(|after| delivery.id < after)
        };
        let mut list: Vec<_> = rows.filter(is_meant).collect();
        list.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
        list.truncate(page.limit as usize);
        list
    }

    pub(super) fn one(&self, id: JobId) -> Option<(Delivery, Vec<u8>)> {
        let row = self.rows.values().find(|row| row.job.id == id)?;
        Some((row.delivery(), row.job.payload.clone()))
    }

    fn idle(&self, selection: &Selection) -> Vec<u64> {
        let is_meant = |row: &Row| {
            row.status != DeliveryStatus::Running
                && match selection {
                    Selection::Ids(ids) => ids.contains(&row.job.id),
                    Selection::Matching(filter) => matches(filter, &row.delivery()),
                }
        };
        self.rows.iter().filter(|(_, row)| is_meant(row)).map(|(number, _)| *number).collect()
    }

    pub(super) fn act(&mut self, action: Action, selection: &Selection, now: i64) -> u64 {
        let numbers = self.idle(selection);
        for number in &numbers {
            let order = match action {
                Action::Retry => self.rows.get_mut(number).and_then(|row| row.retry(now)),
                Action::Drop => self.rows.remove(number).and_then(|row| row.job.order),
            };
            self.promote(order, now);
        }
        numbers.len() as u64
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.rows.values() {
            counts.add(row.status, 1, timestamp(row.accepted_at));
        }
        counts
    }

    pub(super) fn backlog(&self) -> Vec<Backlog> {
        let mut backlog: Vec<Backlog> = Vec::new();
        for row in self.rows.values().filter(|row| !row.status.is_finished()) {
            let (work, platform) = (&row.job.job.work, &row.job.job.platform);
            match backlog.iter_mut().find(|known| known.work == *work && known.platform == *platform) {
                Some(known) => known.count += 1,
                None => backlog.push(Backlog { work: work.clone(), platform: platform.clone(), count: 1 }),
            }
        }
        backlog
    }

    pub(super) fn purge(&mut self, before: i64) -> u64 {
        let rows = self.rows.len();
        let is_kept = |row: &Row| {
            row.status != DeliveryStatus::Delivered || row.finished_at.is_none_or(|at| at > before)
        };
        self.rows.retain(|_, row| is_kept(row));
        (rows - self.rows.len()) as u64
    }
}

impl Row {
    fn lease(&mut self, now: i64, until: i64) -> Job {
        let is_interrupted = self.status == DeliveryStatus::Running;
        self.status = DeliveryStatus::Running;
        self.attempts += 1;
        self.leases += 1;
        self.due_at = Some(until);
        let job = &self.job.job;
        Job {
            lease: JobLease { id: self.job.id, number: self.leases, order: self.job.order },
            work: job.work.clone(),
            platform: job.platform.clone(),
            conversation: job.conversation.clone(),
            revision: job.revision.clone(),
            is_ordered: self.job.order.is_some(),
            attempt: self.attempts,
            is_interrupted,
            accepted_at: timestamp(self.accepted_at),
            retry_left: duration(self.retry_until.saturating_sub(now)),
            seed: job.seed,
            payload: Ok(self.job.payload.clone()),
        }
    }

    /// Makes it due, unless it is behind another of its order, which is returned.
    fn retry(&mut self, now: i64) -> Option<[u8; 32]> {
        let order = self.job.order;
        if self.status.is_finished() {
            self.status = DeliveryStatus::Waiting;
            self.attempts = 0;
            self.retry_until = now.saturating_add(millis(self.job.job.retry_for));
            self.finished_at = None;
            self.due_at = order.is_none().then_some(now);
        } else if self.due_at.is_some() {
            self.due_at = Some(now);
        }
        order
    }

    fn end(&mut self, status: DeliveryStatus, reason: Option<String>, now: i64) {
        self.status = status;
        self.reason = reason;
        self.due_at = None;
        self.finished_at = Some(now);
    }

    fn delivery(&self) -> Delivery {
        let job = &self.job.job;
        Delivery {
            id: self.job.id,
            work: job.work.clone(),
            platform: job.platform.clone(),
            conversation: job.conversation.clone(),
            revision: job.revision.clone(),
            is_ordered: self.job.order.is_some(),
            status: self.status,
            attempts: self.attempts,
            accepted_at: timestamp(self.accepted_at),
            due_at: self.due_at.map(timestamp),
            retry_until: timestamp(self.retry_until),
            finished_at: self.finished_at.map(timestamp),
            reason: self.reason.clone(),
        }
    }
}

fn matches(filter: &DeliveryFilter, delivery: &Delivery) -> bool {
    filter.name.as_ref().is_none_or(|name| *name == delivery.work.name)
        && filter.status.is_none_or(|status| status == delivery.status)
        && filter.since.is_none_or(|since| since <= delivery.accepted_at)
        && !(filter.is_undelivered && delivery.status == DeliveryStatus::Delivered)
        && (filter.conversation.is_none() || filter.conversation == delivery.conversation)
}
