//! Ends the leases of jobs.

use std::sync::Arc;

use tokio_postgres::types::Type;

use crate::state::clock::millis;
use crate::state::engine::Result;
use crate::state::filter::DeliveryStatus;
use crate::state::job::{JobLease, JobOutcome, LeaseState};

use super::batches::{self, Batched, Batches, Waiting};
use super::{Inner, NOW, lists, text};

/// The outcome of an attempt.
#[derive(Debug)]
pub(super) struct Finish {
    lease: JobLease,
    status: DeliveryStatus,
    due_in: Option<i64>,
    reason: Option<String>,
    /// How many attempts do not count.
    returned: i32,
}

pub(super) async fn finish(inner: &Arc<Inner>, lease: &JobLease, outcome: JobOutcome) -> Result<LeaseState> {
    let returned = i32::from(matches!(outcome, JobOutcome::Returned { .. }));
    let (status, due_in, reason) = match outcome {
        JobOutcome::Delivered => (DeliveryStatus::Delivered, None, None),
        JobOutcome::Dead { reason } => (DeliveryStatus::Dead, None, Some(reason)),
        JobOutcome::RetryIn { delay, reason } | JobOutcome::Returned { delay, reason } => {
            (DeliveryStatus::Retrying, Some(millis(delay)), Some(reason))
        }
    };
    let finish = Finish { lease: lease.clone(), status, due_in, reason, returned };
    batches::run(inner, finish).await.map(LeaseState::of)
}

impl Batched for Finish {
    fn waiting(inner: &Inner) -> &Batches<Waiting<Self>> {
        &inner.finishes
    }

    async fn run(inner: &Inner, batch: &[Self]) -> Result<Vec<bool>> {
        store(inner, batch).await
    }
}

async fn store(inner: &Inner, batch: &[Finish]) -> Result<Vec<bool>> {
    let ids: Vec<String> = batch.iter().map(|finish| finish.lease.id.to_string()).collect();
    let numbers: Vec<i32> = batch.iter().map(|finish| finish.lease.number.cast_signed()).collect();
    let statuses: Vec<i16> = batch.iter().map(|finish| finish.status.code()).collect();
    let due_in: Vec<Option<i64>> = batch.iter().map(|finish| finish.due_in).collect();
    let reasons: Vec<_> = batch.iter().map(|finish| finish.reason.as_deref().map(text)).collect();
    let returned: Vec<i32> = batch.iter().map(|finish| finish.returned).collect();
    let sql = format!(
        "WITH held AS (SELECT seq, new.* FROM jackfield_jobs j \
                 JOIN unnest($1, $2, $3, $4, $5, $6) AS new (new_id, lease, new_status, due_in, new_reason, returned) \
                     ON j.id = new_id \
                 WHERE j.leases = lease AND j.status = 2 ORDER BY seq FOR UPDATE OF j) \
         UPDATE jackfield_jobs j SET status = new_status, due_at = {NOW} + due_in, \
             finished_at = CASE WHEN new_status >= 3 THEN {NOW} END, reason = new_reason, \
             attempts = attempts - returned \
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
                (&returned, Type::INT4_ARRAY),
            ],
        )
        .await?;
    let held = lists::ids(&connection, &rows)?;
    if !orders.is_empty() {
        lists::promote(&connection, orders.iter().map(|order| &order[..])).await?;
        connection.batch("COMMIT").await?;
    }
    if batch.iter().any(|finish| finish.due_in == Some(0)) {
        // Another instance may run it at once.
        connection.batch("NOTIFY jackfield_jobs").await?;
    }
    connection.release();
    Ok(batch.iter().map(|finish| held.contains(&finish.lease.id)).collect())
}
