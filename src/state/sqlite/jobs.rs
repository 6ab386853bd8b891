//! Jobs in SQLite. Each function is called in a transaction.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use crate::state::clock::{duration, millis, timestamp};
use crate::state::engine::SealedJob;
use crate::state::filter::DeliveryStatus;
use crate::state::job::{Job, JobLease, JobOutcome, LeaseState, Work, WorkKind};

use super::open::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// If a job's acceptance is further in the future than this, the clock was set back since.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

pub(super) fn append(connection: &Connection, job: &SealedJob, now: i64) -> Result<()> {
    let SealedJob { id, job, payload, order } = job;
    // A job behind another one of its order is not due.
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, kind, name, platform, conversation, order_key, revision, seed, status, \
                 accepted_at, due_at, retry_for, retry_until, payload) \
             VALUES (:id, :kind, :name, :platform, :conversation, :order, :revision, :seed, 0, :now, \
                 CASE WHEN :order IS NULL \
                     OR NOT EXISTS (SELECT 1 FROM jobs WHERE order_key = :order AND status < 3) THEN :now END, \
                 :retry_for, :retry_until, :payload)",
        )?
        .execute(named_params! {
            ":id": id.to_string(),
            ":kind": job.work.kind.as_str(),
            ":name": job.work.name,
            ":platform": job.platform,
            ":conversation": job.conversation,
            ":order": order,
            ":revision": job.revision,
            ":seed": job.seed,
            ":now": now,
            ":retry_for": millis(job.retry_for),
            ":retry_until": now.saturating_add(millis(job.retry_for)),
            ":payload": payload,
        })?;
    Ok(())
}

/// Makes the first job of an order due, if none is.
pub(super) fn promote(connection: &Connection, order: Option<&[u8]>) -> Result<()> {
    let Some(order) = order else { return Ok(()) };
    connection
        .prepare_cached(
            "UPDATE jobs SET due_at = accepted_at \
             WHERE seq = (SELECT seq FROM jobs WHERE order_key = ?1 AND status < 3 ORDER BY seq LIMIT 1) \
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE order_key = ?1 AND due_at IS NOT NULL)",
        )?
        .execute([order])?;
    Ok(())
}

/// Makes jobs due that were accepted in the future: the clock was set back since. The lease of a running job stays.
pub(super) fn correct_clock(connection: &Connection, now: i64) -> Result<()> {
    connection.execute(
        "UPDATE jobs SET due_at = ?1 WHERE due_at > ?1 AND accepted_at > ?2 AND status <> 2",
        [now, now.saturating_add(millis(CLOCK_TOLERANCE))],
    )?;
    Ok(())
}

/// The leased jobs, and when the next one is due.
pub(super) fn lease(
    connection: &Connection,
    limit: usize,
    now: i64,
    until: i64,
) -> Result<(Vec<Job>, Option<i64>)> {
    let mut due = connection.prepare_cached(
        "SELECT seq, id, leases, attempts, status, kind, name, platform, conversation, revision, order_key, \
             accepted_at, retry_until, seed, payload \
         FROM jobs WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2",
    )?;
    let rows = due.query_map(params![now, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok((row.get::<_, i64>(0)?, job(row, now)?))
    })?;
    let jobs: Vec<(i64, Job)> = rows.collect::<rusqlite::Result<_>>()?;
    let mut lease = connection.prepare_cached(
        "UPDATE jobs SET status = 2, attempts = attempts + 1, leases = leases + 1, due_at = ?2 WHERE seq = ?1",
    )?;
    for (seq, _) in &jobs {
        lease.execute([*seq, until])?;
    }
    let next = connection
        .prepare_cached("SELECT min(due_at) FROM jobs WHERE due_at IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    Ok((jobs.into_iter().map(|(_, job)| job).collect(), next))
}

fn job(row: &Row<'_>, now: i64) -> rusqlite::Result<Job> {
    let order: Option<[u8; 32]> = row.get("order_key")?;
    Ok(Job {
        lease: JobLease { id: super::lists::id(row)?, number: row.get::<_, u32>("leases")? + 1, order },
        work: work(row)?,
        platform: row.get("platform")?,
        conversation: row.get("conversation")?,
        revision: row.get("revision")?,
        is_ordered: order.is_some(),
        attempt: row.get::<_, u32>("attempts")? + 1,
        is_interrupted: row.get::<_, i16>("status")? == DeliveryStatus::Running.code(),
        accepted_at: timestamp(row.get("accepted_at")?),
        retry_left: duration(row.get::<_, i64>("retry_until")?.saturating_sub(now)),
        seed: row.get("seed")?,
        payload: Ok(row.get("payload")?),
    })
}

pub(super) fn work(row: &Row<'_>) -> rusqlite::Result<Work> {
    let kind: String = row.get("kind")?;
    Ok(Work { kind: WorkKind::parse(&kind), name: row.get("name")? })
}

/// Returns whether the lease is still held.
pub(super) fn renew(connection: &Connection, lease: &JobLease, until: i64) -> Result<bool> {
    let renewed = connection
        .prepare_cached("UPDATE jobs SET due_at = ?3 WHERE id = ?1 AND leases = ?2 AND status = 2")?
        .execute(params![lease.id.to_string(), lease.number, until])?;
    Ok(renewed > 0)
}

pub(super) fn finish(
    connection: &Connection,
    lease: &JobLease,
    outcome: &JobOutcome,
    now: i64,
) -> Result<LeaseState> {
    let (status, due_at, reason) = match outcome {
        JobOutcome::Delivered => (DeliveryStatus::Delivered, None, None),
        JobOutcome::Dead { reason } => (DeliveryStatus::Dead, None, Some(reason)),
        JobOutcome::RetryIn { delay, reason } | JobOutcome::Returned { delay, reason } => {
            (DeliveryStatus::Retrying, Some(now.saturating_add(millis(*delay))), Some(reason))
        }
    };
    let is_returned = matches!(outcome, JobOutcome::Returned { .. });
    let finished_at = status.is_finished().then_some(now);
    let order = connection
        .prepare_cached(
            "UPDATE jobs SET status = :status, due_at = :due_at, finished_at = :finished_at, reason = :reason, \
                 attempts = attempts - :returned \
             WHERE id = :id AND leases = :leases AND status = 2 RETURNING order_key",
        )?
        .query_row(
            named_params! {
                ":status": status.code(),
                ":due_at": due_at,
                ":finished_at": finished_at,
                ":reason": reason,
                ":returned": is_returned,
                ":id": lease.id.to_string(),
                ":leases": lease.number,
            },
            |row| row.get::<_, Option<Vec<u8>>>(0),
        )
        .optional()?;
    let Some(order) = order else { return Ok(LeaseState::Lost) };
    if finished_at.is_some() {
        promote(connection, order.as_deref())?;
    }
    Ok(LeaseState::Held)
}
