//! What operators do with jobs in SQLite. Each function is called in a transaction.

use std::str::FromStr as _;

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};

use crate::state::clock::timestamp;
use crate::state::filter::{Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, Page, Selection};
use crate::state::job::JobId;

use super::jobs::{promote, work};
use super::open::Failure;

type Result<T> = std::result::Result<T, Failure>;

const COLUMNS: &str = "id, kind, name, platform, conversation, revision, order_key IS NOT NULL AS is_ordered, status, \
     attempts, accepted_at, due_at, retry_until, finished_at, reason";

/// A condition, and its parameters.
struct Condition {
    sql: String,
    parameters: Vec<Value>,
}

impl Condition {
    fn of(filter: &DeliveryFilter) -> Self {
        let mut condition = Self { sql: "TRUE".to_owned(), parameters: Vec::new() };
        condition.and("name =", filter.name.clone().map(Value::Text));
        condition.and("status =", filter.status.map(|status| Value::Integer(status.code().into())));
        condition.and("accepted_at >=", filter.since.map(|since| Value::Integer(since.as_millisecond())));
        condition.and("conversation =", filter.conversation.clone().map(Value::Text));
        condition
    }

    fn and(&mut self, comparison: &str, parameter: Option<Value>) {
        if let Some(parameter) = parameter {
            self.parameters.push(parameter);
            self.sql += &format!(" AND {comparison} ?{}", self.parameters.len());
        }
    }
}

pub(super) fn id(row: &Row<'_>) -> rusqlite::Result<JobId> {
    let text: String = row.get("id")?;
    JobId::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: id(row)?,
        work: work(row)?,
        platform: row.get("platform")?,
        conversation: row.get("conversation")?,
        revision: row.get("revision")?,
        is_ordered: row.get("is_ordered")?,
        status: DeliveryStatus::of_code(row.get("status")?),
        attempts: row.get("attempts")?,
        accepted_at: timestamp(row.get("accepted_at")?),
        due_at: row.get::<_, Option<i64>>("due_at")?.map(timestamp),
        retry_until: timestamp(row.get("retry_until")?),
        finished_at: row.get::<_, Option<i64>>("finished_at")?.map(timestamp),
        reason: row.get("reason")?,
    })
}

pub(super) fn list(connection: &Connection, filter: &DeliveryFilter, page: Page) -> Result<Vec<Delivery>> {
    let mut condition = Condition::of(filter);
    condition.and("id <", page.after.map(|after| Value::Text(after.to_string())));
    let Condition { sql, parameters } = condition;
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE {sql} ORDER BY id DESC LIMIT {}", page.limit);
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map(params_from_iter(parameters), delivery)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn one(connection: &Connection, id: JobId) -> Result<Option<(Delivery, Vec<u8>)>> {
    let sql = format!("SELECT {COLUMNS}, payload FROM jobs WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let found =
        statement.query_row([id.to_string()], |row| Ok((delivery(row)?, row.get("payload")?))).optional()?;
    Ok(found)
}

/// The selected jobs that are not running, each with its order, the longest waiting first.
fn idle(connection: &Connection, selection: &Selection) -> Result<Vec<(i64, Option<Vec<u8>>)>> {
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut idle = Vec::new();
    match selection {
        Selection::Ids(ids) => {
            let mut statement =
                connection.prepare("SELECT seq, order_key FROM jobs WHERE id = ?1 AND status <> 2")?;
            for id in ids {
                idle.extend(statement.query_row([id.to_string()], row).optional()?);
            }
            idle.sort_unstable();
            idle.dedup();
        }
        Selection::Matching(filter) => {
            let Condition { sql, parameters } = Condition::of(filter);
            let sql = format!("SELECT seq, order_key FROM jobs WHERE status <> 2 AND {sql} ORDER BY seq");
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), row)?;
            idle.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
        }
    }
    Ok(idle)
}

pub(super) fn retry(connection: &Connection, selection: &Selection, now: i64) -> Result<u64> {
    let jobs = idle(connection, selection)?;
    for (seq, order) in &jobs {
        // The time of acceptance is in the past for the clock of every process.
        let anew = "UPDATE jobs SET status = 0, attempts = 0, retry_until = ?2 + retry_for, finished_at = NULL, \
             due_at = CASE WHEN order_key IS NULL THEN accepted_at END WHERE seq = ?1 AND status >= 3";
        connection.prepare_cached(anew)?.execute([*seq, now])?;
        let earlier = "UPDATE jobs SET due_at = accepted_at WHERE seq = ?1 AND due_at IS NOT NULL";
        connection.prepare_cached(earlier)?.execute([seq])?;
        promote(connection, order.as_deref())?;
    }
    Ok(jobs.len() as u64)
}

pub(super) fn drop_all(connection: &Connection, selection: &Selection) -> Result<u64> {
    let jobs = idle(connection, selection)?;
    for (seq, order) in &jobs {
        connection.prepare_cached("DELETE FROM jobs WHERE seq = ?1")?.execute([seq])?;
        promote(connection, order.as_deref())?;
    }
    Ok(jobs.len() as u64)
}

pub(super) fn counts(connection: &Connection) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut statement =
        connection.prepare_cached("SELECT status, count(*), min(accepted_at) FROM jobs GROUP BY status")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        counts.add(DeliveryStatus::of_code(row.get(0)?), count, timestamp(row.get(2)?));
    }
    Ok(counts)
}

pub(super) fn backlog(connection: &Connection) -> Result<Vec<Backlog>> {
    let sql =
        "SELECT kind, name, platform, count(*) FROM jobs WHERE status < 3 GROUP BY kind, name, platform";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let count = row.get::<_, i64>(3)?.unsigned_abs();
        Ok(Backlog { work: work(row)?, platform: row.get("platform")?, count })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many rows of each kind are deleted at once. Other commands wait in the meantime.
const PURGED_AT_ONCE: i64 = 1000;

pub(super) fn purge(connection: &Connection, delivered_before: i64, now: i64) -> Result<u64> {
    let mut purged = 0;
    for (statement, before) in [
        (
            "DELETE FROM jobs WHERE seq IN \
             (SELECT seq FROM jobs WHERE status = 3 AND finished_at <= ?1 LIMIT ?2)",
            delivered_before,
        ),
        (
            "DELETE FROM conversations WHERE key IN \
             (SELECT key FROM conversations WHERE expires_at <= ?1 LIMIT ?2)",
            now,
        ),
        ("DELETE FROM calls WHERE key IN (SELECT key FROM calls WHERE purge_at <= ?1 LIMIT ?2)", now),
    ] {
        let parameters: &[&dyn ToSql] = params![before, PURGED_AT_ONCE];
        purged += connection.prepare_cached(statement)?.execute(parameters)? as u64;
    }
    Ok(purged)
}
