//! The engine for several instances: PostgreSQL 13 or newer.
//!
//! The clock is the server's. Two instances never lease one job, because the rows are locked while they are leased
//! (`FOR UPDATE SKIP LOCKED`).

mod append;
mod batches;
mod calls;
mod finish;
mod jobs;
mod listen;
mod lists;
mod memories;
mod pool;
mod tls;
mod used_keys;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::single_flight::FlightKey;

use super::call::{CallClaim, CallLease, CallTerms, Following};
use super::clock::millis;
use super::conversation::{Conversation, Memory};
use super::engine::{CallState, Engine, Result, SealedChange, SealedJob};
use super::filter::{Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, Page, Part, Selection};
use super::job::{Job, JobId, JobLease, JobOutcome, LeaseState};
use super::keys::{KeyId, random};
use super::signals::Signals;
use super::url::PostgresUrl;

use self::append::Appends;
use self::batches::{Batches, Waiting};
use self::calls::{Claim, Renewal, Settlement};
use self::finish::Finish;
use self::pool::Pool;

/// The time of the server in milliseconds since 1970, when it received the statement.
const NOW: &str = "(extract(epoch FROM statement_timestamp()) * 1000)::bigint";

/// A text as the server can store it: without the character U+0000.
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A store on a server.
#[derive(Debug)]
pub(super) struct Postgres {
    inner: Arc<Inner>,
    /// The task that listens for other instances. It starts with the first wait.
    listener: OnceLock<AbortHandle>,
}

/// What the tasks of the engine share with it.
#[derive(Debug)]
struct Inner {
    pool: Pool,
    signals: Arc<Signals>,
    appends: Appends,
    finishes: Batches<Waiting<Finish>>,
    claims: Batches<Waiting<Claim>>,
    renewals: Batches<Waiting<Renewal>>,
    settlements: Batches<Waiting<Settlement>>,
    /// Held while jobs are leased, and while held jobs are released.
    leasing: tokio::sync::Mutex<()>,
    /// Identifies this store among all that use the database.
    instance: i64,
    job_lease_ms: i64,
}

impl Postgres {
    pub(super) fn new(url: &PostgresUrl, pool: usize, job_lease: Duration) -> Self {
        // A collision has a probability of 2^-63 per pair of instances. They would lease each other's new jobs.
        let instance = random().map(|bytes| i64::from_le_bytes(bytes) & i64::MAX).unwrap_or_default();
        let inner = Inner {
            pool: Pool::new(url, pool),
            signals: Signals::new(listen::POLL_UNHEARD),
            appends: Appends::default(),
            finishes: Batches::default(),
            claims: Batches::default(),
            renewals: Batches::default(),
            settlements: Batches::default(),
            leasing: tokio::sync::Mutex::default(),
            instance,
            job_lease_ms: millis(job_lease),
        };
        Self { inner: Arc::new(inner), listener: OnceLock::new() }
    }

    fn listen(&self) {
        self.listener
            .get_or_init(|| tokio::spawn(listen::listen(Arc::downgrade(&self.inner))).abort_handle());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

impl Engine for Postgres {
    fn signals(&self) -> &Arc<Signals> {
        &self.inner.signals
    }

    async fn check(&self) -> Result<()> {
        let connection = self.inner.pool.get().await?;
        connection.rows("SELECT 1", &[]).await?;
        connection.release();
        Ok(())
    }

    async fn unconfigured_keys(&self, configured: &[KeyId]) -> Result<Vec<KeyId>> {
        used_keys::unconfigured(&self.inner, configured).await
    }

    async fn append(&self, job: SealedJob, limit: Duration) -> Result<()> {
        append::append(&self.inner, job, limit).await
    }

    async fn lease(&self, limit: usize) -> Result<Vec<Job>> {
        self.listen();
        let (jobs, next_due) = jobs::lease(&self.inner, limit).await?;
        self.inner.signals.set_next_due(next_due);
        Ok(jobs)
    }

    async fn renew(&self, leases: &[JobLease]) -> Result<Vec<JobId>> {
        jobs::renew(&self.inner, leases).await
    }

    async fn finish(&self, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
        let state = finish::finish(&self.inner, lease, outcome).await?;
        self.inner.signals.jobs_changed();
        Ok(state)
    }

    async fn deliveries(&self, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
        lists::list(&self.inner, filter, page).await
    }

    async fn delivery(&self, id: JobId) -> Result<Option<(Delivery, Vec<u8>)>> {
        lists::one(&self.inner, id).await
    }

    async fn act(&self, action: Action, selection: &Selection, part: Part) -> Result<Acted> {
        let acted = lists::act(&self.inner, action, selection, part).await?;
        self.inner.signals.jobs_changed();
        Ok(acted)
    }

    async fn counts(&self) -> Result<Counts> {
        lists::counts(&self.inner).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        lists::backlog(&self.inner).await
    }

    async fn purge(&self, keep: Duration) -> Result<u64> {
        lists::purge(&self.inner, keep).await
    }

    async fn recall(&self, conversation: &Conversation, ttl: Duration) -> Result<Memory> {
        memories::recall(&self.inner, conversation, ttl).await
    }

    async fn remember(
        &self,
        conversation: &Conversation,
        changes: Vec<SealedChange>,
        ttl: Duration,
    ) -> Result<()> {
        memories::remember(&self.inner, conversation, changes, ttl).await
    }

    async fn forget(&self, platform: Option<&str>, id: &str) -> Result<u64> {
        memories::forget(&self.inner, platform, id).await
    }

    async fn claim(&self, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
        calls::claim(&self.inner, key, terms).await
    }

    async fn mark_sent(&self, lease: &CallLease) -> Result<LeaseState> {
        calls::renew(&self.inner, lease, true).await
    }

    async fn renew_call(&self, lease: &CallLease) -> Result<LeaseState> {
        calls::renew(&self.inner, lease, false).await
    }

    async fn settle(&self, lease: &CallLease, answer: Vec<u8>, kept_for: Duration) -> Result<LeaseState> {
        let state = calls::settle(&self.inner, lease, answer, kept_for).await?;
        self.inner.signals.call_changed(&lease.key);
        Ok(state)
    }

    async fn abandon(&self, lease: &CallLease) -> Result<()> {
        calls::abandon(&self.inner, lease).await?;
        self.inner.signals.call_changed(&lease.key);
        Ok(())
    }

    async fn look(&self, following: &Following) -> Result<CallState> {
        self.listen();
        calls::look(&self.inner, following).await
    }
}
