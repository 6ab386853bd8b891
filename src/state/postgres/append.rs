//! Appends jobs. All waiting jobs go to the server in one statement, so that one disk flush serves many calls.
//!
//! If the connection breaks during the commit, it is unknown whether the job was stored. The caller is told that it was
//! not, so the job must not run. Therefore a new job is held for the instance that accepted it. That instance leases the
//! job once the commit is confirmed, and deletes it otherwise. Other instances may lease it only after [`HOLD`]. So they
//! need no notification of new jobs: `NOTIFY` would make the commits of all instances wait for each other.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_postgres::types::Type;

use crate::state::clock::millis;
use crate::state::engine::{Result, SealedJob};
use crate::state::error::{StateError, StateFault};
use crate::state::fate::Fate;
use crate::state::job::JobId;

use super::batches::{BATCH_TIMEOUT, Batches};
use super::{Inner, NOW, lists, text};

/// How long a new job is held for the instance that accepted it.
const HOLD: Duration = Duration::from_secs(10);

/// How long this instance keeps a held job that it does not lease, before other instances may lease it.
const RELEASE_AFTER: Duration = Duration::from_millis(250);

/// A statement must not last until the hold of its jobs is over.
const _: () = assert!(BATCH_TIMEOUT.as_millis() < HOLD.as_millis());

/// How long refused jobs are deleted as they appear. A statement whose connection broke may be committed only after
/// others have looked for its jobs. This is well past [`HOLD`], when other instances could lease them.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The pause before jobs are deleted again.
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// Jobs between their acceptance and their lease.
#[derive(Debug, Default)]
pub(super) struct Appends {
    waiting: Batches<Pending>,
    /// The jobs that are held for this instance, oldest first.
    held: Mutex<Background<VecDeque<(Instant, JobId)>>>,
    /// The jobs that must be deleted if they were stored.
    refused: Mutex<Background<Vec<(Instant, JobId)>>>,
}

#[derive(Debug)]
struct Pending {
    job: SealedJob,
    fate: Arc<Fate>,
    sender: oneshot::Sender<Result<()>>,
}

/// The items of a background task. The task ends when there are none left.
#[derive(Debug, Default)]
struct Background<T> {
    items: T,
    is_running: bool,
}

pub(super) async fn append(inner: &Arc<Inner>, job: SealedJob, limit: Duration) -> Result<()> {
    let (sender, mut result) = oneshot::channel();
    let fate = Arc::new(Fate::default());
    let gone = || inner.pool.internal(&"the task that appends ended");
    let pending = Pending { job, fate: Arc::clone(&fate), sender };
    if inner.appends.waiting.add(pending).ok_or_else(|| inner.pool.full())? {
        tokio::spawn(work_off(Arc::clone(inner)));
    }
    match tokio::time::timeout(limit, &mut result).await {
        Ok(result) => result.unwrap_or_else(|_| Err(gone())),
        Err(_) if fate.give_up() => Err(StateError::timeout(inner.pool.place(), limit)),
        Err(_) => result.await.unwrap_or_else(|_| Err(gone())),
    }
}

/// Appends waiting jobs until the queue is empty.
async fn work_off(inner: Arc<Inner>) {
    while let Some(mut batch) = inner.appends.waiting.next() {
        batch.retain(|pending| !pending.fate.is_given_up());
        let mut result = insert_in_time(&inner, &batch).await;
        if batch.len() > 1 && result.0.as_ref().is_err_and(|error| error.fault == StateFault::Internal) {
            // One job is invalid. Each job gets its own statement, so that the others are stored.
            for pending in batch.drain(..) {
                let alone = [pending];
                let result = insert_in_time(&inner, &alone).await;
                conclude(&inner, alone, &result);
            }
            result = (Ok(()), false);
        }
        conclude(&inner, batch, &result);
    }
}

/// Whether jobs were stored, and whether they may be stored although this failed.
type Inserted = (Result<()>, bool);

async fn insert_in_time(inner: &Inner, batch: &[Pending]) -> Inserted {
    if batch.is_empty() {
        return (Ok(()), false);
    }
    let mut is_sent = false;
    let inserted = tokio::time::timeout(BATCH_TIMEOUT, insert(inner, batch, &mut is_sent)).await;
    let inserted = inserted.unwrap_or_else(|_| Err(StateError::timeout(inner.pool.place(), BATCH_TIMEOUT)));
    (inserted, is_sent)
}

/// Returns the result to the callers, and holds or deletes the jobs so that it stays true.
fn conclude(inner: &Arc<Inner>, batch: impl IntoIterator<Item = Pending>, (inserted, is_sent): &Inserted) {
    let (mut held, mut refused) = (Vec::new(), Vec::new());
    for Pending { job, fate, sender } in batch {
        let is_kept = fate.is_done() && inserted.is_ok();
        if is_kept {
            held.push((Instant::now(), job.id));
        } else if *is_sent {
            refused.push(job.id);
        }
        let _ = sender.send(inserted.clone());
    }
    hold(inner, held);
    refuse(inner, refused);
}

/// Inserts jobs. Sets `is_sent` as soon as they may be stored even if this fails.
async fn insert(inner: &Inner, batch: &[Pending], is_sent: &mut bool) -> Result<()> {
    let jobs: Vec<&SealedJob> = batch.iter().map(|pending| &pending.job).collect();
    let ids: Vec<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| job.job.work.kind.as_str()).collect();
    let names: Vec<Cow<'_, str>> = jobs.iter().map(|job| text(&job.job.work.name)).collect();
    let platforms: Vec<Cow<'_, str>> = jobs.iter().map(|job| text(&job.job.platform)).collect();
    let conversations: Vec<Option<Cow<'_, str>>> =
        jobs.iter().map(|job| job.job.conversation.as_deref().map(text)).collect();
    let orders: Vec<Option<&[u8]>> =
        jobs.iter().map(|job| job.order.as_ref().map(|order| &order[..])).collect();
    let revisions: Vec<&str> = jobs.iter().map(|job| &*job.job.revision).collect();
    let seeds: Vec<&[u8]> = jobs.iter().map(|job| &job.job.seed[..]).collect();
    let retries: Vec<i64> = jobs.iter().map(|job| millis(job.job.retry_for)).collect();
    let payloads: Vec<&[u8]> = jobs.iter().map(|job| &*job.payload).collect();
    // A job behind another one of its order is not due.
    let sql = format!(
        "INSERT INTO jackfield_jobs (id, kind, name, platform, conversation, order_key, revision, seed, status, \
             accepted_at, due_at, held_by, retry_for, retry_until, payload) \
         SELECT id, kind, name, platform, conversation, order_key, revision, seed, 0, {NOW}, \
             CASE WHEN is_free THEN {NOW} + $11 END, CASE WHEN is_free THEN $12 END, \
             retry_for, {NOW} + retry_for, payload \
         FROM (SELECT *, order_key IS NULL OR row_number() OVER (PARTITION BY order_key ORDER BY at) = 1 AND \
                 NOT EXISTS (SELECT FROM jackfield_jobs j WHERE j.order_key = new.order_key AND j.status < 3) \
                 AS is_free \
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) WITH ORDINALITY AS new \
                 (id, kind, name, platform, conversation, order_key, revision, seed, retry_for, payload, at)) new \
         ORDER BY at"
    );
    let connection = inner.pool.get().await?;
    let mut keys: Vec<i64> = jobs.iter().filter_map(|job| job.order.as_ref()).map(lists::lock_key).collect();
    if !keys.is_empty() {
        lists::lock(&connection, &mut keys).await?;
    }
    *is_sent = true;
    connection
        .execute(
            &sql,
            &[
                (&ids, Type::TEXT_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&platforms, Type::TEXT_ARRAY),
                (&conversations, Type::TEXT_ARRAY),
                (&orders, Type::BYTEA_ARRAY),
                (&revisions, Type::TEXT_ARRAY),
                (&seeds, Type::BYTEA_ARRAY),
                (&retries, Type::INT8_ARRAY),
                (&payloads, Type::BYTEA_ARRAY),
                (&millis(HOLD), Type::INT8),
                (&inner.instance, Type::INT8),
            ],
        )
        .await?;
    if !keys.is_empty() {
        connection.batch("COMMIT").await?;
    }
    connection.release();
    Ok(())
}

/// Lets this instance lease jobs that were committed, or that it took but did not lease.
pub(super) fn hold(inner: &Arc<Inner>, ids: Vec<(Instant, JobId)>) {
    if ids.is_empty() {
        return;
    }
    let mut held = inner.appends.held.lock();
    held.items.extend(ids);
    if !held.is_running {
        held.is_running = true;
        tokio::spawn(release(Arc::downgrade(inner)));
    }
    drop(held);
    inner.signals.jobs_changed();
}

impl Appends {
    /// Takes at most `limit` jobs that are held for this instance, oldest first.
    pub(super) fn take_held(&self, limit: usize) -> Vec<(Instant, JobId)> {
        let mut held = self.held.lock();
        let count = held.items.len().min(limit);
        held.items.drain(..count).collect()
    }
}

/// Releases held jobs that this instance did not lease, so that other instances can.
async fn release(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(RELEASE_AFTER).await;
        let Some(inner) = inner.upgrade() else { return };
        // A lease between the next two steps would find a job neither held nor due.
        let leasing = inner.leasing.lock().await;
        let ids: Vec<(Instant, JobId)> = {
            let mut held = inner.appends.held.lock();
            held.items.make_contiguous().sort_unstable();
            let count = held.items.iter().take_while(|(since, _)| since.elapsed() >= RELEASE_AFTER).count();
            held.items.drain(..count).collect()
        };
        if !ids.is_empty() {
            let released = tokio::time::timeout(BATCH_TIMEOUT, release_all(&inner, &ids)).await;
            if !matches!(released, Ok(Ok(()))) {
                inner.appends.held.lock().items.extend(ids);
            }
        }
        drop(leasing);
        let mut held = inner.appends.held.lock();
        if held.items.is_empty() {
            held.is_running = false;
            return;
        }
    }
}

async fn release_all(inner: &Inner, ids: &[(Instant, JobId)]) -> Result<()> {
    let ids: Vec<String> = ids.iter().map(|(_, id)| id.to_string()).collect();
    let sql = "WITH released AS (UPDATE jackfield_jobs SET due_at = accepted_at, held_by = NULL \
             WHERE id = ANY($1) AND held_by = $2 RETURNING 1), \
         released_some AS (SELECT count(*) AS count FROM released) \
         SELECT CASE WHEN count > 0 THEN pg_notify('jackfield_jobs', '') END FROM released_some";
    let connection = inner.pool.get().await?;
    connection.execute(sql, &[(&ids, Type::TEXT_ARRAY), (&inner.instance, Type::INT8)]).await?;
    connection.release();
    inner.signals.jobs_changed();
    Ok(())
}

/// Deletes jobs whose callers were told that they were not stored.
fn refuse(inner: &Arc<Inner>, ids: Vec<JobId>) {
    if ids.is_empty() {
        return;
    }
    let mut refused = inner.appends.refused.lock();
    let now = Instant::now();
    refused.items.extend(ids.into_iter().map(|id| (now, id)));
    if !refused.is_running {
        refused.is_running = true;
        tokio::spawn(delete_refused(Arc::downgrade(inner)));
    }
}

async fn delete_refused(inner: Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let refused = inner.appends.refused.lock().items.clone();
        let ids: Vec<JobId> = refused.iter().map(|(_, id)| *id).collect();
        let count = ids.len() as u64;
        let deleted = tokio::time::timeout(BATCH_TIMEOUT, lists::drop_these(&inner, ids)).await;
        if let Ok(Ok(deleted)) = deleted {
            let are_gone = |since: &Instant| deleted == count || since.elapsed() > REFUSED_FOR;
            let mut left = inner.appends.refused.lock();
            let newer = left.items.split_off(refused.len());
            left.items.retain(|(since, _)| !are_gone(since));
            left.items.extend(newer);
            if left.items.is_empty() {
                left.is_running = false;
                return;
            }
        }
        drop(inner);
        tokio::time::sleep(REPEAT_AFTER).await;
    }
}
