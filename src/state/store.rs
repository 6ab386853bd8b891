//! The store as the rest of Jackfield sees it.

mod guarded;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::single_flight::FlightKey;

use super::call::{CallClaim, CallLease, CallTerms, Followed, Following};
use super::clock::Clock;
use super::conversation::{Changes, Conversation, Memory, Remembered};
use super::engine::{AnyEngine, CallState, Engine as _, Result, SealedChange, SealedJob};
use super::error::{StateError, StateFault};
use super::filter::{Action, Backlog, Counts, Delivery, DeliveryFilter, Page, Part, Selection};
use super::hang::Hang;
use super::in_memory::InMemory;
use super::job::{Job, JobId, JobLease, JobOutcome, LeaseState, NewJob, Payload};
use super::keys::{EncryptionKeys, SealedAt, random};
use super::postgres::Postgres;
use super::probed::Probed;
use super::signals::JobWatch;
use super::sqlite::Sqlite;
use super::url::StateUrl;

/// How long an operation may take, unless the caller limits it otherwise.
const DEFAULT_LIMIT: Duration = Duration::from_secs(5);

/// How long the store may hang until calls are no longer stored, but refused at once: a short stall of the disk refuses
/// none.
const APPEND_PATIENCE: Duration = Duration::from_secs(5);

/// How a store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Engine and place.
    pub url: StateUrl,
    /// Encrypt and decrypt what is sensitive.
    pub keys: EncryptionKeys,
    /// The maximum number of connections to a server.
    pub pool: usize,
    /// How long an instance holds a job without renewing its lease.
    pub job_lease: Duration,
}

impl Settings {
    /// The usual settings: no keys, 8 connections, leases of 5 seconds.
    pub fn new(url: StateUrl) -> Self {
        Self { url, keys: EncryptionKeys::default(), pool: 8, job_lease: Duration::from_secs(5) }
    }
}

/// Jobs, memory and calls. Cloning is cheap, and all clones are one store.
///
/// Each operation ends within the time limit of the store with an error if the engine does not answer. An operation
/// that failed can be called again: nothing has to be reopened.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
    limit: Duration,
}

#[derive(Debug)]
struct Inner {
    engine: AnyEngine,
    keys: EncryptionKeys,
    place: String,
    clock: Clock,
    /// Reads and writes may hang independently: SQLite reads while its disk cannot write.
    reads: Hang,
    writes: Hang,
}

impl Store {
    /// A store in memory, for tests and dry runs: it is lost with the last clone.
    pub fn in_memory(keys: EncryptionKeys, job_lease: Duration) -> Self {
        Self::over(AnyEngine::InMemory(InMemory::new(job_lease)), keys, "memory".to_owned())
    }

    /// The store of these settings. Does not wait for it: each operation opens it if it is not open.
    pub fn open(settings: &Settings) -> Self {
        let place = settings.url.place();
        let engine = match &settings.url {
            StateUrl::Sqlite(path) => {
                AnyEngine::Sqlite(Sqlite::new(path.clone(), place.clone(), settings.job_lease))
            }
            StateUrl::Postgres(url) => {
                AnyEngine::Postgres(Postgres::new(url, settings.pool, settings.job_lease))
            }
        };
        Self::over(engine, settings.keys.clone(), place)
    }

    fn over(engine: AnyEngine, keys: EncryptionKeys, place: String) -> Self {
        let inner = Arc::new(Inner {
            engine,
            keys,
            place,
            clock: Clock::new(),
            reads: Hang::default(),
            writes: Hang::default(),
        });
        Self { inner, limit: DEFAULT_LIMIT }
    }

    /// The same store with another time limit for each operation.
    pub fn within(&self, limit: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), limit }
    }

    /// The URL of the store without its password, for messages.
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Opens the store, and makes or updates its schema. The other operations do the same when they need it.
    pub async fn check(&self) -> Result<()> {
        self.write(self.inner.engine.check()).await
    }

    /// Looks at the store without changing it. For a process that has not opened it: in SQLite, it does not see the
    /// write-ahead log.
    pub async fn probe(&self) -> Result<Probed> {
        self.read(self.inner.engine.probe(&self.inner.keys.ids())).await
    }

    /// Checks that the configured keys decrypt every stored value. Reads all values if an earlier key was replaced, so the
    /// time limit should be long.
    ///
    /// # Errors
    /// [`StateFault::OtherKey`] if values were encrypted with a key that is not configured.
    pub async fn check_keys(&self) -> Result<()> {
        let used = self.write(self.inner.engine.unconfigured_keys(&self.inner.keys.ids())).await?;
        match used.first() {
            None => Ok(()),
            Some(id) => Err(StateError::other_key(&self.inner.place, id)),
        }
    }

    /// Stores a job. When this returns its id, the job is on disk and will run. After an error it does not run.
    pub async fn append_job(&self, mut job: NewJob) -> Result<JobId> {
        let id = JobId::new(self.inner.clock.now_ms(), self.random()?);
        let payload = std::mem::replace(&mut job.payload, Payload { bytes: Vec::new(), is_sensitive: false });
        let payload =
            self.inner.keys.seal(&payload, at_job(&id.to_string())).map_err(|fault| self.error(fault))?;
        let platform = &job.platform;
        let conversation = job.conversation.as_ref().filter(|_| job.ordered);
        let order = conversation
            .map(|conversation| Conversation { platform: platform.clone(), id: conversation.clone() }.key());
        self.admit(&self.inner.writes, APPEND_PATIENCE)?;
        let appended = self.inner.engine.append(SealedJob { id, job, payload, order }, self.limit).await;
        self.inner.writes.note(&appended, self.limit, Instant::now());
        appended.map(|()| id)
    }

    /// Leases at most `limit` jobs for this instance, those that have been due the longest first. Ordered jobs of one
    /// conversation are leased one after the other.
    pub async fn lease_jobs(&self, limit: usize) -> Result<Vec<Job>> {
        let mut jobs = self.write(self.inner.engine.lease(limit)).await?;
        for job in &mut jobs {
            let id = job.lease.id.to_string();
            if let Ok(payload) = &mut job.payload {
                let opened = self.inner.keys.open(std::mem::take(payload), at_job(&id));
                job.payload = opened.map_err(|fault| self.error(fault));
            }
        }
        Ok(jobs)
    }

    /// Renews leases to their full length, and returns the jobs whose lease is lost. Call it several times per lease.
    pub async fn renew_jobs(&self, leases: &[JobLease]) -> Result<Vec<JobId>> {
        self.write(self.inner.engine.renew(leases)).await
    }

    /// Stores the outcome of an attempt, and ends its lease.
    pub async fn finish(&self, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
        self.write(self.inner.engine.finish(lease, outcome)).await
    }

    /// Waits for jobs to lease.
    pub fn watch_jobs(&self) -> JobWatch {
        self.inner.engine.signals().watch_jobs()
    }

    /// Lists jobs, newest first.
    pub async fn deliveries(&self, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
        self.read(self.inner.engine.deliveries(filter, page)).await
    }

    /// One job and its payload. The payload is an error if none of the configured keys can decrypt it.
    pub async fn delivery(&self, id: JobId) -> Result<Option<(Delivery, Result<Vec<u8>>)>> {
        let found = self.read(self.inner.engine.delivery(id)).await?;
        Ok(found.map(|(delivery, payload)| {
            let opened = self.inner.keys.open(payload, at_job(&id.to_string()));
            (delivery, opened.map_err(|fault| self.error(fault)))
        }))
    }

    /// Makes jobs that are not running due at once, and returns their number. Delivered and dead ones start over, with
    /// the full time for retries. A large selection is worked off in parts, so other operations go on.
    pub async fn retry(&self, selection: &Selection) -> Result<u64> {
        self.act(Action::Retry, selection).await
    }

    /// Deletes jobs that are not running, and returns how many. A large selection is worked off in parts.
    pub async fn drop_jobs(&self, selection: &Selection) -> Result<u64> {
        self.act(Action::Drop, selection).await
    }

    /// The time limit is that of each part. After an error, some parts may be done.
    async fn act(&self, action: Action, selection: &Selection) -> Result<u64> {
        let mut count = 0;
        if let Selection::Ids(ids) = selection {
            for ids in ids.chunks(Part::LENGTH as usize) {
                let selection = Selection::Ids(ids.to_vec());
                let part = Part::default();
                count += self.write(self.inner.engine.act(action, &selection, part)).await?.count;
            }
            return Ok(count);
        }
        let mut next = Some(Part::default());
        while let Some(part) = next {
            let acted = self.write(self.inner.engine.act(action, selection, part)).await?;
            count += acted.count;
            next = acted.next;
        }
        Ok(count)
    }

    /// Counts the jobs.
    pub async fn counts(&self) -> Result<Counts> {
        self.read(self.inner.engine.counts()).await
    }

    /// Counts the jobs that are neither delivered nor dead, by route or event.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        self.read(self.inner.engine.backlog()).await
    }

    /// Deletes jobs that were delivered longer than `keep` ago, and memory and calls that have expired. Dead jobs are
    /// kept. Returns how many rows it deleted; call it again at once if there are many.
    pub async fn purge(&self, keep: Duration) -> Result<u64> {
        self.write(self.inner.engine.purge(keep)).await
    }

    /// Returns what a conversation remembers, sorted by name, and extends its life to `ttl` from now.
    pub async fn recall(&self, conversation: &Conversation, ttl: Duration) -> Result<Memory> {
        let mut memory = self.quick_read(self.inner.engine.recall(conversation, ttl)).await?;
        let row = conversation.key();
        for (name, remembered) in &mut memory {
            let value = std::mem::take(&mut remembered.value);
            let opened = self.inner.keys.open(value, SealedAt { kind: "memory", row: &row, name });
            remembered.value = opened.map_err(|fault| self.error(fault))?;
        }
        Ok(memory)
    }

    /// Changes what a conversation remembers, all or nothing, and extends its life to `ttl` from now.
    pub async fn remember(&self, conversation: &Conversation, changes: Changes, ttl: Duration) -> Result<()> {
        let row = conversation.key();
        let mut sealed = Vec::with_capacity(changes.len());
        for (name, change) in changes {
            let mut bytes = 0;
            let value = match change {
                None => None,
                Some(Remembered { value, is_trusted, is_sensitive }) => {
                    bytes = name.len() + value.bytes.len();
                    let at = SealedAt { kind: "memory", row: &row, name: &name };
                    let value = self.inner.keys.seal(&value, at).map_err(|fault| self.error(fault))?;
                    Some(Remembered { value, is_trusted, is_sensitive })
                }
            };
            sealed.push(SealedChange { name, value, bytes });
        }
        self.quick_write(self.inner.engine.remember(conversation, sealed, ttl)).await
    }

    /// Deletes what a conversation remembers, for one platform or for all, and returns how many values it had.
    pub async fn forget(&self, platform: Option<&str>, conversation: &str) -> Result<u64> {
        self.write(self.inner.engine.forget(platform, conversation)).await
    }

    /// Claims a call. Only one leads it at a time.
    pub async fn claim_call(&self, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
        match self.quick_write(self.inner.engine.claim(key, terms)).await? {
            CallClaim::Kept(answer) => {
                Ok(self.open_answer(&key, answer).map_or(CallClaim::Unconfirmed, CallClaim::Kept))
            }
            claim => Ok(claim),
        }
    }

    /// Notes that a request of the call may be sent from now on, and renews the lease. If the leader dies after this,
    /// the call is answered as unconfirmed and does not run again. If the lease is lost, do not send.
    pub async fn mark_sent(&self, lease: &CallLease) -> Result<LeaseState> {
        self.quick_write(self.inner.engine.mark_sent(lease)).await
    }

    /// Renews the lease of a call to its full length. Call it several times per lease.
    pub async fn renew_call(&self, lease: &CallLease) -> Result<LeaseState> {
        self.write(self.inner.engine.renew_call(lease)).await
    }

    /// Ends a call with its answer: gives the answer to the followers, and keeps it for retries. If `kept_for` is zero,
    /// the next claim leads the call again. A leader may settle after its lease has ended, unless another one leads by
    /// then.
    pub async fn settle(&self, lease: &CallLease, answer: Payload, kept_for: Duration) -> Result<LeaseState> {
        let answer = self.inner.keys.seal(&answer, at_call(&lease.key)).map_err(|fault| self.error(fault))?;
        self.write(self.inner.engine.settle(lease, answer, kept_for)).await
    }

    /// Ends a call that has sent nothing: the next claim leads it.
    pub async fn abandon(&self, lease: &CallLease) -> Result<()> {
        self.write(self.inner.engine.abandon(lease)).await
    }

    /// Waits for the answer of a call that another instance is running, for at most `within`.
    pub async fn follow(&self, following: &Following, within: Duration) -> Result<Followed> {
        let ends = Instant::now() + within;
        let mut watch = self.inner.engine.signals().watch_call(following.key);
        loop {
            let lease_left = match self.quick_read(self.inner.engine.look(following)).await? {
                CallState::InFlight { lease_left } => lease_left,
                CallState::Answer(answer) => {
                    let opened = self.open_answer(&following.key, answer);
                    return Ok(opened.map_or(Followed::Unconfirmed, Followed::Answer));
                }
                CallState::Unconfirmed => return Ok(Followed::Unconfirmed),
                CallState::Free => return Ok(Followed::Free),
            };
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Followed::Late);
            }
            // A lease that ends does not change the row, so look again just after its end.
            watch.changed(left.min(lease_left + Duration::from_millis(1))).await;
        }
    }

    /// The answer of a call; `None` if no configured key decrypts it. The call has run all the same.
    fn open_answer(&self, key: &FlightKey, answer: Vec<u8>) -> Option<Vec<u8>> {
        let opened = self.inner.keys.open(answer, at_call(key)).map_err(|fault| self.error(fault));
        opened.inspect_err(|error| tracing::warn!("{error}: the kept reply to a call cannot be read")).ok()
    }

    fn random<const N: usize>(&self) -> Result<[u8; N]> {
        random().map_err(|fault| self.error(fault))
    }

    fn error(&self, fault: StateFault) -> StateError {
        StateError::new(fault, &self.inner.place, "")
    }
}

fn at_job(id: &str) -> SealedAt<'_> {
    SealedAt { kind: "job", row: id.as_bytes(), name: "" }
}

fn at_call(key: &FlightKey) -> SealedAt<'_> {
    SealedAt { kind: "call", row: key, name: "" }
}
