//! The engine in memory: for tests and dry runs, and the shortest description of what an engine does.

mod calls;
mod jobs;
mod memories;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::single_flight::FlightKey;

use super::call::{CallClaim, CallLease, CallTerms, Following};
use super::clock::{Clock, millis};
use super::conversation::{Conversation, Memory};
use super::engine::{CallState, Engine, Result, SealedChange, SealedJob};
use super::filter::{Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, Page, Part, Selection};
use super::job::{Job, JobId, JobLease, JobOutcome, LeaseState};
use super::keys::KeyId;
use super::signals::Signals;

use self::calls::Calls;
use self::jobs::Jobs;
use self::memories::Memories;

/// Nothing outside of this process changes the store, so no signal is missed.
const POLL: Duration = Duration::from_secs(3600);

/// A store in memory.
#[derive(Debug)]
pub(super) struct InMemory {
    clock: Clock,
    job_lease_ms: i64,
    signals: Arc<Signals>,
    jobs: Mutex<Jobs>,
    memories: Mutex<Memories>,
    calls: Mutex<Calls>,
}

impl InMemory {
    pub(super) fn new(job_lease: Duration) -> Self {
        Self {
            clock: Clock::new(),
            job_lease_ms: millis(job_lease),
            signals: Signals::new(POLL),
            jobs: Mutex::default(),
            memories: Mutex::default(),
            calls: Mutex::default(),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    fn change_call<T>(&self, key: &FlightKey, change: impl FnOnce(&mut Calls, i64) -> T) -> T {
        let changed = change(&mut self.calls.lock(), self.now());
        self.signals.call_changed(key);
        changed
    }

    fn change_jobs<T>(&self, change: impl FnOnce(&mut Jobs, i64) -> T) -> T {
        let changed = change(&mut self.jobs.lock(), self.now());
        self.signals.jobs_changed();
        changed
    }
}

impl Engine for InMemory {
    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn unconfigured_keys(&self, _: &[KeyId]) -> Result<Vec<KeyId>> {
        Ok(Vec::new())
    }

    async fn append(&self, job: SealedJob, _: Duration) -> Result<()> {
        self.change_jobs(|jobs, now| jobs.append(job, now));
        Ok(())
    }

    async fn lease(&self, limit: usize) -> Result<Vec<Job>> {
        let now = self.now();
        let mut jobs = self.jobs.lock();
        let leased = jobs.lease(limit, now, now + self.job_lease_ms);
        self.signals.set_next_due(jobs.next_due().map(|due| due - now));
        Ok(leased)
    }

    async fn renew(&self, leases: &[JobLease]) -> Result<Vec<JobId>> {
        let until = self.now() + self.job_lease_ms;
        let mut jobs = self.jobs.lock();
        Ok(leases.iter().filter(|lease| !jobs.renew(lease, until)).map(|lease| lease.id).collect())
    }

    async fn finish(&self, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
        Ok(self.change_jobs(|jobs, now| jobs.finish(lease, outcome, now)))
    }

    async fn deliveries(&self, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
        Ok(self.jobs.lock().list(filter, page))
    }

    async fn delivery(&self, id: JobId) -> Result<Option<(Delivery, Vec<u8>)>> {
        Ok(self.jobs.lock().one(id))
    }

    async fn act(&self, action: Action, selection: &Selection, _: Part) -> Result<Acted> {
        let count = self.change_jobs(|jobs, now| jobs.act(action, selection, now));
        Ok(Acted { count, next: None })
    }

    async fn counts(&self) -> Result<Counts> {
        Ok(self.jobs.lock().counts())
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        Ok(self.jobs.lock().backlog())
    }

    async fn purge(&self, keep: Duration) -> Result<u64> {
        let now = self.now();
        let jobs = self.jobs.lock().purge(now.saturating_sub(millis(keep)));
        Ok(jobs + self.memories.lock().purge(now) + self.calls.lock().purge(now))
    }

    async fn recall(&self, conversation: &Conversation, ttl: Duration) -> Result<Memory> {
        Ok(self.memories.lock().recall(conversation, self.now(), millis(ttl)))
    }

    async fn remember(
        &self,
        conversation: &Conversation,
        changes: Vec<SealedChange>,
        ttl: Duration,
    ) -> Result<()> {
        self.memories.lock().remember(conversation, changes, self.now(), millis(ttl))
    }

    async fn forget(&self, platform: Option<&str>, id: &str) -> Result<u64> {
        Ok(self.memories.lock().forget(platform, id))
    }

    async fn claim(&self, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
        Ok(self.calls.lock().claim(key, terms, self.now()))
    }

    async fn mark_sent(&self, lease: &CallLease) -> Result<LeaseState> {
        Ok(self.change_call(&lease.key, |calls, now| calls.renew(lease, true, now)))
    }

    async fn renew_call(&self, lease: &CallLease) -> Result<LeaseState> {
        Ok(self.change_call(&lease.key, |calls, now| calls.renew(lease, false, now)))
    }

    async fn settle(&self, lease: &CallLease, answer: Vec<u8>, kept_for: Duration) -> Result<LeaseState> {
        Ok(self.change_call(&lease.key, |calls, now| calls.settle(lease, answer, kept_for, now)))
    }

    async fn abandon(&self, lease: &CallLease) -> Result<()> {
        self.change_call(&lease.key, |calls, _| calls.abandon(lease));
        Ok(())
    }

    async fn look(&self, following: &Following) -> Result<CallState> {
        Ok(self.calls.lock().look(following, self.now()))
    }
}
