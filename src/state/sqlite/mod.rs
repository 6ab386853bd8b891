//! The engine for one machine: SQLite, in a file.
//!
//! The file may be open in several processes: `jackfield deliveries` works while `serve` runs, and a new process may
//! start before the old one has ended. Changes of another process are seen within [`POLL`].

mod calls;
mod jobs;
mod lists;
mod memories;
mod open;
mod thread;
mod used_keys;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::single_flight::FlightKey;

use super::call::{CallClaim, CallLease, CallTerms, Following};
use super::clock::{Clock, millis};
use super::conversation::{Conversation, Memory, is_prolonged};
use super::engine::{CallState, Engine, Result, SealedChange, SealedJob};
use super::error::StateError;
use super::filter::{Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, Page, Part, Selection};
use super::job::{Job, JobId, JobLease, JobOutcome, LeaseState};
use super::keys::{KeyId, random};
use super::signals::Signals;

use self::open::{Access, File};
use self::thread::{DatabaseThread, Undo};

/// How soon a change of another process is seen.
const POLL: Duration = Duration::from_secs(1);

/// A store in a file.
#[derive(Debug)]
pub(super) struct Sqlite {
    clock: Clock,
    job_lease_ms: i64,
    signals: Arc<Signals>,
    place: String,
    /// Whether jobs that were accepted in the future have been corrected.
    is_clock_corrected: AtomicBool,
    writer: DatabaseThread,
    /// For reads that a call waits for.
    reader: DatabaseThread,
    /// For reads that may take long.
    lister: DatabaseThread,
}

impl Sqlite {
    pub(super) fn new(path: PathBuf, place: String, job_lease: Duration) -> Self {
        let file = File { path, place: place.clone() };
        Self {
            clock: Clock::new(),
            job_lease_ms: millis(job_lease),
            signals: Signals::new(POLL),
            place,
            is_clock_corrected: AtomicBool::new(false),
            writer: DatabaseThread::new(file.clone(), Access::Write),
            reader: DatabaseThread::new(file.clone(), Access::Read),
            lister: DatabaseThread::new(file, Access::Read),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    async fn change_call(
        &self,
        lease: &CallLease,
        change: impl Fn(&mut super::call::CallRow) + Send + 'static,
    ) -> Result<LeaseState> {
        let key = lease.key;
        let lease = lease.clone();
        let state = self.writer.run(move |connection| calls::change(connection, &lease, &change)).await;
        self.signals.call_changed(&key);
        state
    }
}

impl Engine for Sqlite {
    fn signals(&self) -> &Arc<Signals> {
        &self.signals
    }

    async fn check(&self) -> Result<()> {
        self.writer.run(|_| Ok(())).await
    }

    async fn unconfigured_keys(&self, configured: &[KeyId]) -> Result<Vec<KeyId>> {
        let configured = configured.to_vec();
        let noted = self.writer.run(move |connection| used_keys::note(connection, &configured)).await?;
        let mut used = Vec::new();
        for id in noted {
            if self.lister.run(move |connection| used_keys::is_used(connection, id)).await? {
                used.push(id);
            } else {
                self.writer.run(move |connection| used_keys::forget(connection, id)).await?;
            }
        }
        Ok(used)
    }

    async fn append(&self, job: SealedJob, limit: Duration) -> Result<()> {
        let (clock, id) = (self.clock, job.id);
        let undo: Undo = Box::new(move |connection| lists::drop_one(connection, id));
        let run = move |connection: &_| jobs::append(connection, &job, clock.now_ms());
        self.writer.run_or_undo(run, undo, limit).await?;
        self.signals.jobs_changed();
        Ok(())
    }

    async fn lease(&self, limit: usize) -> Result<Vec<Job>> {
        let (clock, lease_ms) = (self.clock, self.job_lease_ms);
        let is_first = !self.is_clock_corrected.load(Ordering::Relaxed);
        let run = move |connection: &_| {
            let now = clock.now_ms();
            if is_first {
                jobs::correct_clock(connection, now)?;
            }
            let (jobs, next_due) = jobs::lease(connection, limit, now, now + lease_ms)?;
            Ok((jobs, next_due.map(|due| due - now)))
        };
        let (jobs, next_due) = self.writer.run(run).await?;
        self.is_clock_corrected.store(true, Ordering::Relaxed);
        self.signals.set_next_due(next_due);
        Ok(jobs)
    }

    async fn renew(&self, leases: &[JobLease]) -> Result<Vec<JobId>> {
        let (leases, clock, lease_ms) = (leases.to_vec(), self.clock, self.job_lease_ms);
        let run = move |connection: &_| {
            let until = clock.now_ms() + lease_ms;
            let mut lost = Vec::new();
            for lease in &leases {
                if !jobs::renew(connection, lease, until)? {
                    lost.push(lease.id);
                }
            }
            Ok(lost)
        };
        self.writer.run(run).await
    }

    async fn finish(&self, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
        let (lease, clock) = (lease.clone(), self.clock);
        let run = move |connection: &_| jobs::finish(connection, &lease, &outcome, clock.now_ms());
        let state = self.writer.run(run).await?;
        self.signals.jobs_changed();
        Ok(state)
    }

    async fn deliveries(&self, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
        let filter = filter.clone();
        self.lister.run(move |connection| lists::list(connection, &filter, page)).await
    }

    async fn delivery(&self, id: JobId) -> Result<Option<(Delivery, Vec<u8>)>> {
        self.lister.run(move |connection| lists::one(connection, id)).await
    }

    async fn act(&self, action: Action, selection: &Selection, part: Part) -> Result<Acted> {
        let (selection, now) = (selection.clone(), self.now());
        let run = move |connection: &_| lists::act(connection, action, &selection, part, now);
        let acted = self.writer.run(run).await?;
        self.signals.jobs_changed();
        Ok(acted)
    }

    async fn counts(&self) -> Result<Counts> {
        self.lister.run(lists::counts).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        self.lister.run(lists::backlog).await
    }

    async fn purge(&self, keep: Duration) -> Result<u64> {
        let now = self.now();
        let before = now.saturating_sub(millis(keep));
        self.writer.run(move |connection| lists::purge(connection, before, now)).await
    }

    async fn recall(&self, conversation: &Conversation, ttl: Duration) -> Result<Memory> {
        let (now, key) = (self.now(), conversation.key());
        let conversation = conversation.clone();
        let found =
            self.reader.run(move |connection| memories::recall(connection, &conversation, now)).await?;
        let Some((memory, expires_at)) = found else { return Ok(Vec::new()) };
        let prolonged = now.saturating_add(millis(ttl));
        if is_prolonged(ttl, expires_at - now) {
            self.writer.run_detached(move |connection| memories::prolong(connection, &key, prolonged));
        }
        Ok(memory)
    }

    async fn remember(
        &self,
        conversation: &Conversation,
        changes: Vec<SealedChange>,
        ttl: Duration,
    ) -> Result<()> {
        let (now, conversation) = (self.now(), conversation.clone());
        let expires_at = now.saturating_add(millis(ttl));
        let run =
            move |connection: &_| memories::remember(connection, &conversation, &changes, now, expires_at);
        self.writer.run(run).await
    }

    async fn forget(&self, platform: Option<&str>, id: &str) -> Result<u64> {
        let (platform, id) = (platform.map(str::to_owned), id.to_owned());
        self.writer.run(move |connection| memories::forget(connection, platform.as_deref(), &id)).await
    }

    async fn claim(&self, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
        let random = random().map_err(|fault| StateError::new(fault, &self.place, ""))?;
        let (token, clock) = (i64::from_le_bytes(random), self.clock);
        let run = move |connection: &_| calls::claim(connection, &key, terms, token, clock.now_ms());
        self.writer.run(run).await
    }

    async fn mark_sent(&self, lease: &CallLease) -> Result<LeaseState> {
        let (terms, clock) = (lease.terms, self.clock);
        self.change_call(lease, move |row| row.renew(terms, true, clock.now_ms())).await
    }

    async fn renew_call(&self, lease: &CallLease) -> Result<LeaseState> {
        let (terms, clock) = (lease.terms, self.clock);
        self.change_call(lease, move |row| row.renew(terms, false, clock.now_ms())).await
    }

    async fn settle(&self, lease: &CallLease, answer: Vec<u8>, kept_for: Duration) -> Result<LeaseState> {
        let clock = self.clock;
        self.change_call(lease, move |row| row.settle(answer.clone(), kept_for, clock.now_ms())).await
    }

    async fn abandon(&self, lease: &CallLease) -> Result<()> {
        let (key, lease) = (lease.key, lease.clone());
        self.writer.run(move |connection| calls::abandon(connection, &lease)).await?;
        self.signals.call_changed(&key);
        Ok(())
    }

    async fn look(&self, following: &Following) -> Result<CallState> {
        let (key, now) = (following.key, self.now());
        let row = self.reader.run(move |connection| calls::row(connection, &key)).await?;
        Ok(row.map_or(CallState::Free, |row| row.look(following, now)))
    }
}
