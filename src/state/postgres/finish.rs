//! Ends the leases of jobs. Outcomes that wait go to the server in one statement, so that one disk flush serves many
//! attempts.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_postgres::types::Type;

use crate::state::clock::millis;
use crate::state::engine::Result;
use crate::state::error::StateError;
use crate::state::filter::DeliveryStatus;
use crate::state::job::{JobId, JobLease, JobOutcome, LeaseState};

use super::batches::{BATCH_TIMEOUT, Batches};
use super::{Inner, NOW, lists, text};

/// The outcomes that wait.
pub(super) type Finishes = Batches<Finish>;

/// The outcome of an attempt.
#[derive(Debug)]
pub(super) struct Finish {
    lease: JobLease,
    status: DeliveryStatus,
    due_in: Option<i64>,
    reason: Option<String>,
    sender: oneshot::Sender<Result<LeaseState>>,
}

pub(super) async fn finish(inner: &Arc<Inner>, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
    let (status, due_in, reason) = match outcome {
        JobOutcome::Delivered => (DeliveryStatus::Delivered, None, None),
        JobOutcome::Dead { reason } => (DeliveryStatus::Dead, None, Some(reason)),
        JobOutcome::RetryIn { delay, reason } => {
            (DeliveryStatus::Retrying, Some(millis(delay)), Some(reason))
        }
    };
    let (sender, result) = oneshot::channel();
    if inner.finishes.add(Finish { lease: lease.clone(), status, due_in, reason, sender }) {
        tokio::spawn(send(Arc::clone(inner)));
    }
    result.await.unwrap_or_else(|_| Err(inner.pool.internal(&"the task that stores outcomes ended")))
}

/// Stores outcomes until none wait.
async fn send(inner: Arc<Inner>) {
    while let Some(mut batch) = inner.finishes.next() {
        // The caller of such an outcome has been told that it was not stored, and tries again.
        batch.retain(|finish| !finish.sender.is_closed());
        if batch.is_empty() {
            continue;
        }
        let stored = tokio::time::timeout(BATCH_TIMEOUT, store(&inner, &batch)).await;
        let stored = stored.unwrap_or_else(|_| Err(StateError::timeout(inner.pool.place(), BATCH_TIMEOUT)));
        for Finish { lease, sender, .. } in batch {
            let _ = sender.send(stored.as_ref().map_err(Clone::clone).map(|held| match held {
                held if held.contains(&lease.id) => LeaseState::Held,
                _ => LeaseState::Lost,
            }));
        }
    }
}

/// Stores outcomes, and returns the jobs whose lease was still held.
async fn store(inner: &Inner, batch: &[Finish]) -> Result<HashSet<JobId>> {
    let ids: Vec<String> = batch.iter().map(|finish| finish.lease.id.to_string()).collect();
    let numbers: Vec<i32> = batch.iter().map(|finish| finish.lease.number.cast_signed()).collect();
    let statuses: Vec<i16> = batch.iter().map(|finish| finish.status.code()).collect();
    let due_in: Vec<Option<i64>> = batch.iter().map(|finish| finish.due_in).collect();
    let reasons: Vec<_> = batch.iter().map(|finish| finish.reason.as_deref().map(text)).collect();
    // All statements lock several jobs in the same sequence, which prevents deadlocks.
    let sql = format!(
        "WITH held AS (SELECT seq, new.* FROM jackfield_jobs j \
                 JOIN unnest($1, $2, $3, $4, $5) AS new (new_id, lease, new_status, due_in, new_reason) \
                     ON j.id = new_id \
                 WHERE j.leases = lease AND j.status = 2 ORDER BY seq FOR UPDATE OF j) \
         UPDATE jackfield_jobs j SET status = new_status, due_at = {NOW} + due_in, \
             finished_at = CASE WHEN new_status >= 3 THEN {NOW} END, reason = new_reason \
         FROM held WHERE j.seq = held.seq RETURNING j.id"
    );
    let finished = batch.iter().filter(|finish| finish.status.is_finished());
    let orders: Vec<[u8; 32]> = finished.filter_map(|finish| finish.lease.order).collect();
    let connection = inner.pool.get().await?;
    if !orders.is_empty() {
        let mut keys: Vec<i64> = orders.iter().map(lists::lock_key).collect();
        lists::lock(&connection, &mut keys).await?;
    }
    let rows = connection
        .rows(
            &sql,
            &[
                (&ids, Type::TEXT_ARRAY),
                (&numbers, Type::INT4_ARRAY),
                (&statuses, Type::INT2_ARRAY),
                (&due_in, Type::INT8_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    let held = lists::ids(&connection, &rows)?;
    if !orders.is_empty() {
        lists::promote(&connection, orders.iter().map(|order| &order[..])).await?;
        connection.batch("COMMIT").await?;
    }
    if batch.iter().any(|finish| finish.due_in == Some(0)) {
        // This instance shuts down, so notify the others.
        connection.batch("NOTIFY jackfield_jobs").await?;
    }
    connection.release();
    Ok(held)
}
