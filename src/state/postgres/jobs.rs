//! Jobs in PostgreSQL: leased and renewed.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use crate::state::clock::{duration, timestamp};
use crate::state::engine::Result;
use crate::state::job::{Job, JobId, JobLease, Work, WorkKind};

use super::{Inner, NOW, append, lists};

/// The leased jobs, and in how many milliseconds the next one is due.
pub(super) async fn lease(inner: &Arc<Inner>, limit: usize) -> Result<(Vec<Job>, Option<i64>)> {
    let _leasing = inner.leasing.lock().await;
    let held = inner.appends.take_held(limit);
    let result = lease_these(inner, limit, held.iter().map(|(_, id)| id.to_string()).collect()).await;
    let leased: HashSet<JobId> = match &result {
        Ok((jobs, _)) => jobs.iter().map(|job| job.lease.id).collect(),
        Err(_) => HashSet::new(),
    };
    if result.as_ref().is_ok_and(|(jobs, _)| jobs.len() < limit) {
        // Those that were not leased are gone.
        return result;
    }
    append::hold(inner, held.into_iter().filter(|(_, id)| !leased.contains(id)).collect());
    result
}

async fn lease_these(inner: &Inner, limit: usize, held: Vec<String>) -> Result<(Vec<Job>, Option<i64>)> {
    let sql = format!(
        "WITH due AS (SELECT seq, status, due_at FROM jackfield_jobs WHERE due_at <= {NOW} \
                 ORDER BY due_at, seq LIMIT $1 FOR UPDATE SKIP LOCKED), \
             held AS (SELECT seq, status, accepted_at FROM jackfield_jobs \
                 WHERE id = ANY($2) AND held_by = $3 AND due_at > {NOW} \
                 LIMIT $1 - (SELECT count(*) FROM due) FOR UPDATE SKIP LOCKED) \
         UPDATE jackfield_jobs j SET status = 2, attempts = attempts + 1, leases = leases + 1, \
             due_at = {NOW} + $4, held_by = NULL \
         FROM (SELECT * FROM due UNION ALL SELECT * FROM held) new (seq, status, due_at) WHERE j.seq = new.seq \
         RETURNING j.id, j.leases, j.attempts, new.status = 2 AS is_interrupted, j.kind, j.name, j.platform, \
             j.conversation, j.revision, j.order_key, j.accepted_at, j.retry_until - {NOW} AS retry_left, j.seed, \
             j.payload, new.due_at AS was_due_at, j.seq"
    );
    let connection = inner.pool.get().await?;
    let rows = connection
        .rows(
            &sql,
            &[
                (&i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8),
                (&held, Type::TEXT_ARRAY),
                (&inner.instance, Type::INT8),
                (&inner.job_lease_ms, Type::INT8),
            ],
        )
        .await?;
    let jobs = rows.iter().map(job).collect::<std::result::Result<Vec<_>, Error>>();
    let mut jobs = jobs.map_err(|error| connection.explain(&error))?;
    jobs.sort_by_key(|(due_at, seq, _)| (*due_at, *seq));
    if jobs.len() == limit {
        // More may be due now.
        connection.release();
        return Ok((jobs.into_iter().map(|(_, _, job)| job).collect(), Some(0)));
    }
    let sql = format!("SELECT min(due_at) - {NOW} FROM jackfield_jobs WHERE due_at IS NOT NULL");
    let next = connection.rows(&sql, &[]).await?;
    let next = next.first().map_or(Ok(None), |row| row.try_get(0));
    let next = next.map_err(|error| connection.explain(&error))?;
    connection.release();
    Ok((jobs.into_iter().map(|(_, _, job)| job).collect(), next))
}

fn job(row: &Row) -> std::result::Result<(i64, i64, Job), Error> {
    let order: Option<Vec<u8>> = row.try_get("order_key")?;
    let order: Option<[u8; 32]> = order.and_then(|order| order.try_into().ok());
    let number: i32 = row.try_get("leases")?;
    let attempt: i32 = row.try_get("attempts")?;
    let seed: Vec<u8> = row.try_get("seed")?;
    let job = Job {
        lease: JobLease { id: lists::id(row)?, number: number.unsigned_abs(), order },
        work: work(row)?,
        platform: row.try_get("platform")?,
        conversation: row.try_get("conversation")?,
        revision: row.try_get("revision")?,
        is_ordered: order.is_some(),
        attempt: attempt.unsigned_abs(),
        is_interrupted: row.try_get("is_interrupted")?,
        accepted_at: timestamp(row.try_get("accepted_at")?),
        retry_left: duration(row.try_get("retry_left")?),
        seed: seed.try_into().unwrap_or_default(),
        payload: Ok(row.try_get("payload")?),
    };
    Ok((row.try_get("was_due_at")?, row.try_get("seq")?, job))
}

pub(super) fn work(row: &Row) -> std::result::Result<Work, Error> {
    let kind: &str = row.try_get("kind")?;
    Ok(Work { kind: WorkKind::parse(kind), name: row.try_get("name")? })
}

pub(super) async fn renew(inner: &Inner, leases: &[JobLease]) -> Result<Vec<JobId>> {
    let ids: Vec<String> = leases.iter().map(|lease| lease.id.to_string()).collect();
    let numbers: Vec<i32> = leases.iter().map(|lease| lease.number.cast_signed()).collect();
    // All statements lock several jobs in the same sequence, which prevents deadlocks.
    let sql = format!(
        "WITH held AS (SELECT seq FROM jackfield_jobs j \
                 JOIN unnest($1, $2) AS lease (id, leases) ON j.id = lease.id \
                 WHERE j.leases = lease.leases AND j.status = 2 ORDER BY seq FOR UPDATE OF j) \
         UPDATE jackfield_jobs j SET due_at = {NOW} + $3 FROM held WHERE j.seq = held.seq RETURNING j.id"
    );
    let connection = inner.pool.get().await?;
    let rows = connection
        .rows(
            &sql,
            &[(&ids, Type::TEXT_ARRAY), (&numbers, Type::INT4_ARRAY), (&inner.job_lease_ms, Type::INT8)],
        )
        .await?;
    let renewed = lists::ids(&connection, &rows)?;
    connection.release();
    Ok(leases.iter().map(|lease| lease.id).filter(|id| !renewed.contains(id)).collect())
}
