//! What operators do with jobs in PostgreSQL, and the order of jobs.

use std::collections::HashSet;
use std::str::FromStr as _;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use crate::state::clock::{millis, timestamp};
use crate::state::engine::Result;
use crate::state::filter::{
    Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, Page, Part, Selection,
};
use crate::state::job::JobId;

use super::jobs::work;
use super::pool::{Connection, Parameter};
use super::{Inner, NOW, text};

/// A job that is held is due for the instance that accepted it.
const COLUMNS: &str = "id, kind, name, platform, conversation, revision, order_key IS NOT NULL AS is_ordered, status, \
     attempts, accepted_at, CASE WHEN held_by IS NULL THEN due_at ELSE accepted_at END AS due_at, retry_until, \
     finished_at, reason";

/// A condition, and its parameters.
#[derive(Default)]
struct Condition {
    sql: String,
    parameters: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Condition {
    fn of(selection: &Selection) -> Self {
        let mut condition = Self { sql: "TRUE".to_owned(), parameters: Vec::new() };
        match selection {
            Selection::Ids(ids) => {
                let ids: Vec<String> = ids.iter().map(JobId::to_string).collect();
                condition.and("id = ANY(#)", Some(ids), Type::TEXT_ARRAY);
            }
            Selection::Matching(filter) => condition.and_matches(filter),
        }
        condition
    }

    fn and_matches(&mut self, filter: &DeliveryFilter) {
        self.and("name = #", filter.name.as_deref().map(|name| text(name).into_owned()), Type::TEXT);
        self.and("status = #", filter.status.map(DeliveryStatus::code), Type::INT2);
        self.and("accepted_at >= #", filter.since.map(|since| since.as_millisecond()), Type::INT8);
        let conversation = filter.conversation.as_deref().map(|id| text(id).into_owned());
        self.and("conversation = #", conversation, Type::TEXT);
        let delivered = filter.is_undelivered.then_some(DeliveryStatus::Delivered.code());
        self.and("status <> #", delivered, Type::INT2);
    }

    /// Adds a comparison in which `#` is the parameter.
    fn and<T: ToSql + Sync + Send + 'static>(&mut self, comparison: &str, parameter: Option<T>, kind: Type) {
        if let Some(parameter) = parameter {
            self.parameters.push((Box::new(parameter), kind));
            let number = format!("${}", self.parameters.len());
            self.sql += &format!(" AND {}", comparison.replace('#', &number));
        }
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        self.parameters
            .iter()
            .map(|(parameter, kind)| (&**parameter as &(dyn ToSql + Sync), kind.clone()))
            .collect()
    }
}

pub(super) fn id(row: &Row) -> std::result::Result<JobId, Error> {
    let text: &str = row.try_get("id")?;
    // An invalid id was inserted by hand. It is shown as zero.
    Ok(JobId::from_str(text).unwrap_or_default())
}

/// The ids of rows.
pub(super) fn ids(connection: &Connection<'_>, rows: &[Row]) -> Result<HashSet<JobId>> {
    let ids = rows.iter().map(id).collect::<std::result::Result<_, Error>>();
    ids.map_err(|error| connection.explain(&error))
}

fn delivery(row: &Row) -> std::result::Result<Delivery, Error> {
    let attempts: i32 = row.try_get("attempts")?;
    Ok(Delivery {
        id: id(row)?,
        work: work(row)?,
        platform: row.try_get("platform")?,
        conversation: row.try_get("conversation")?,
        revision: row.try_get("revision")?,
        is_ordered: row.try_get("is_ordered")?,
        status: DeliveryStatus::of_code(row.try_get("status")?),
        attempts: attempts.unsigned_abs(),
        accepted_at: timestamp(row.try_get("accepted_at")?),
        due_at: row.try_get::<_, Option<i64>>("due_at")?.map(timestamp),
        retry_until: timestamp(row.try_get("retry_until")?),
        finished_at: row.try_get::<_, Option<i64>>("finished_at")?.map(timestamp),
        reason: row.try_get("reason")?,
    })
}

pub(super) async fn list(inner: &Inner, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
    let mut condition = Condition::of(&Selection::Matching(filter.clone()));
    condition.and("id < #", page.after.map(|after| after.to_string()), Type::TEXT);
    let sql = format!(
        "SELECT {COLUMNS} FROM jackfield_jobs WHERE {} ORDER BY id DESC LIMIT {}",
        condition.sql, page.limit
    );
    let connection = inner.pool.get().await?;
    let rows = connection.rows(&sql, &condition.parameters()).await?;
    let list = rows.iter().map(delivery).collect::<std::result::Result<_, _>>();
    let list = list.map_err(|error| connection.explain(&error))?;
    connection.release();
    Ok(list)
}

pub(super) async fn one(inner: &Inner, id: JobId) -> Result<Option<(Delivery, Vec<u8>)>> {
    let sql = format!("SELECT {COLUMNS}, payload FROM jackfield_jobs WHERE id = $1");
    let connection = inner.pool.get().await?;
    let rows = connection.rows(&sql, &[(&id.to_string(), Type::TEXT)]).await?;
    let read = |row: &Row| Ok((delivery(row)?, row.try_get("payload")?));
    let found = rows.first().map(read).transpose().map_err(|error| connection.explain(&error))?;
    connection.release();
    Ok(found)
}

/// The key of the advisory lock of an order.
pub(super) fn lock_key(order: &[u8; 32]) -> i64 {
    let mut key = [0; 8];
    key.copy_from_slice(&order[..8]);
    i64::from_le_bytes(key)
}

/// Begins a transaction that locks these orders: no other one can append to them or take from them.
pub(super) async fn lock(connection: &Connection<'_>, keys: &mut [i64]) -> Result<()> {
    // All transactions take the locks in the same sequence, which prevents deadlocks.
    keys.sort_unstable();
    let keys = &*keys;
    connection.batch("BEGIN").await?;
    let sql = "SELECT pg_advisory_xact_lock(key) FROM unnest($1) AS key";
    connection.rows(sql, &[(&keys, Type::INT8_ARRAY)]).await?;
    Ok(())
}

/// Begins a transaction, and locks the orders of the selected jobs that are not running.
async fn lock_orders(connection: &Connection<'_>, condition: &Condition) -> Result<Vec<Vec<u8>>> {
    let sql = format!(
        "SELECT DISTINCT order_key FROM jackfield_jobs WHERE order_key IS NOT NULL AND status <> 2 AND {}",
        condition.sql
    );
    let rows = connection.rows(&sql, &condition.parameters()).await?;
    let orders = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<Vec<Vec<u8>>, _>>();
    let orders = orders.map_err(|error| connection.explain(&error))?;
    let keys = orders.iter().filter_map(|order| order.as_slice().try_into().ok());
    let mut keys: Vec<i64> = keys.map(|order: [u8; 32]| lock_key(&order)).collect();
    lock(connection, &mut keys).await?;
    Ok(orders)
}

/// Makes the first job of each of these orders due, if none of that order is.
pub(super) async fn promote(
    connection: &Connection<'_>,
    orders: impl IntoIterator<Item = &[u8]>,
) -> Result<()> {
    let orders: Vec<&[u8]> = orders.into_iter().collect();
    let sql = "UPDATE jackfield_jobs SET due_at = accepted_at \
         WHERE seq IN (SELECT first.seq FROM unnest($1) AS o (key), \
             LATERAL (SELECT seq FROM jackfield_jobs WHERE order_key = o.key AND status < 3 ORDER BY seq LIMIT 1) first \
             WHERE NOT EXISTS (SELECT FROM jackfield_jobs WHERE order_key = o.key AND due_at IS NOT NULL))";
    connection.execute(sql, &[(&orders, Type::BYTEA_ARRAY)]).await?;
    Ok(())
}

/// Ends the transaction, after the first job of each order is due.
async fn promote_and_commit(connection: &Connection<'_>, orders: &[Vec<u8>]) -> Result<()> {
    if !orders.is_empty() {
        promote(connection, orders.iter().map(|order| &order[..])).await?;
    }
    connection.batch("NOTIFY jackfield_jobs; COMMIT").await
}

pub(super) async fn act(inner: &Inner, action: Action, selection: &Selection, part: Part) -> Result<Acted> {
    let mut condition = Condition::of(selection);
    let connection = inner.pool.get().await?;
    let mut next = None;
    if let Selection::Matching(_) = selection {
        let Some(end) = end_of(&connection, part).await? else {
            connection.release();
            return Ok(Acted::default());
        };
        condition.and("seq > #", Some(part.after), Type::INT8);
        condition.and("seq <= #", Some(end.0), Type::INT8);
        next = end.1;
    }
    let orders = lock_orders(&connection, &condition).await?;
    let sql = match action {
        Action::Retry => retry(&condition),
        Action::Drop => format!("DELETE FROM jackfield_jobs WHERE status <> 2 AND {}", condition.sql),
    };
    let count = connection.execute(&sql, &condition.parameters()).await?;
    promote_and_commit(&connection, &orders).await?;
    connection.release();
    Ok(Acted { count, next })
}

/// The last job of a part, and the next part. `None` if no job is left.
async fn end_of(connection: &Connection<'_>, part: Part) -> Result<Option<(i64, Option<Part>)>> {
    let sql = "SELECT max(seq), until FROM ( \
             SELECT seq, until \
             FROM jackfield_jobs, (SELECT coalesce($2, max(seq)) AS until FROM jackfield_jobs) AS bound \
             WHERE seq > $1 AND seq <= until ORDER BY seq LIMIT $3) AS part \
         GROUP BY until";
    let parameters =
        [(&part.after as _, Type::INT8), (&part.until as _, Type::INT8), (&Part::LENGTH as _, Type::INT8)];
    let rows = connection.rows(sql, &parameters).await?;
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let end: Option<(i64, i64)> =
        rows.first().map(read).transpose().map_err(|error| connection.explain(&error))?;
    Ok(end.map(|(last, until)| (last, (last < until).then_some(Part { after: last, until: Some(until) }))))
}

fn retry(condition: &Condition) -> String {
    format!(
        "UPDATE jackfield_jobs SET held_by = NULL, \
             due_at = CASE WHEN status < 3 AND due_at IS NULL OR status >= 3 AND order_key IS NOT NULL THEN NULL \
                 ELSE accepted_at END, \
             attempts = CASE WHEN status < 3 THEN attempts ELSE 0 END, \
             retry_until = CASE WHEN status < 3 THEN retry_until ELSE {NOW} + retry_for END, \
             finished_at = NULL, status = CASE WHEN status < 3 THEN status ELSE 0 END \
         WHERE status <> 2 AND {}",
        condition.sql
    )
}

/// Deletes jobs that are not running, and returns how many.
pub(super) async fn drop_these(inner: &Inner, ids: Vec<JobId>) -> Result<u64> {
    let acted = act(inner, Action::Drop, &Selection::Ids(ids), Part::default()).await?;
    Ok(acted.count)
}

pub(super) async fn counts(inner: &Inner) -> Result<Counts> {
    let connection = inner.pool.get().await?;
    let sql = "SELECT status, count(*), min(accepted_at) FROM jackfield_jobs GROUP BY status";
    let rows = connection.rows(sql, &[]).await?;
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let rows = rows.iter().map(read).collect::<std::result::Result<Vec<(i16, i64, i64)>, Error>>();
    let rows = rows.map_err(|error| connection.explain(&error))?;
    connection.release();
    let mut counts = Counts::default();
    for (status, count, first) in rows {
        counts.add(DeliveryStatus::of_code(status), count.unsigned_abs(), timestamp(first));
    }
    Ok(counts)
}

pub(super) async fn backlog(inner: &Inner) -> Result<Vec<Backlog>> {
    let sql = "SELECT kind, name, platform, count(*) AS count FROM jackfield_jobs WHERE status < 3 \
         GROUP BY kind, name, platform";
    let connection = inner.pool.get().await?;
    let rows = connection.rows(sql, &[]).await?;
    let read = |row: &Row| {
        let count: i64 = row.try_get("count")?;
        Ok(Backlog { work: work(row)?, platform: row.try_get("platform")?, count: count.unsigned_abs() })
    };
    let backlog = rows.iter().map(read).collect::<std::result::Result<Vec<_>, Error>>();
    let backlog = backlog.map_err(|error| connection.explain(&error))?;
    connection.release();
    Ok(backlog)
}

/// How many rows of each kind are deleted at once.
const PURGED_AT_ONCE: i64 = 10_000;

pub(super) async fn purge(inner: &Inner, keep: std::time::Duration) -> Result<u64> {
    let connection = inner.pool.get().await?;
    let mut purged = 0;
    // Rows that others change are left for the next time, so nothing waits here while it holds locks.
    for (sql, keep) in [
        (
            format!(
                "DELETE FROM jackfield_jobs WHERE seq IN (SELECT seq FROM jackfield_jobs \
                 WHERE status = 3 AND finished_at <= {NOW} - $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
            millis(keep),
        ),
        (
            format!(
                "DELETE FROM jackfield_conversations WHERE key IN (SELECT key FROM jackfield_conversations \
                 WHERE expires_at <= {NOW} - $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
            0,
        ),
        (
            format!(
                "DELETE FROM jackfield_calls WHERE key IN (SELECT key FROM jackfield_calls \
                 WHERE purge_at <= {NOW} - $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
            ),
            0,
        ),
    ] {
        purged += connection.execute(&sql, &[(&keep, Type::INT8), (&PURGED_AT_ONCE, Type::INT8)]).await?;
    }
    connection.release();
    Ok(purged)
}
