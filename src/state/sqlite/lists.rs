//! What operators do with jobs in SQLite. Each function is called in a transaction.

use std::str::FromStr as _;

use rusqlite::types::{Type, Value};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};

use crate::state::clock::timestamp;
use crate::state::filter::{
    Acted, Action, Backlog, Counts, Delivery, DeliveryFilter, DeliveryStatus, Page, Part, Selection,
};
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
        let delivered = || Value::Integer(DeliveryStatus::Delivered.code().into());
        condition.and("status <>", filter.is_undelivered.then(delivered));
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

/// Jobs by their number, each with its order.
type Numbers = Vec<(i64, Option<Vec<u8>>)>;

/// The selected jobs that are not running, the longest waiting first, and the next part.
fn idle(connection: &Connection, selection: &Selection, part: Part) -> Result<(Numbers, Option<Part>)> {
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    match selection {
        Selection::Ids(ids) => {
            let sql = "SELECT seq, order_key FROM jobs WHERE id = ?1 AND status <> 2";
            let mut statement = connection.prepare_cached(sql)?;
            let mut idle = Vec::with_capacity(ids.len());
            for id in ids {
                idle.extend(statement.query_row([id.to_string()], row).optional()?);
            }
            idle.sort_unstable();
            idle.dedup();
            Ok((idle, None))
        }
        Selection::Matching(filter) => {
            let Some((last, next)) = end_of(connection, part)? else { return Ok((Vec::new(), None)) };
            let mut condition = Condition::of(filter);
            condition.and("seq >", Some(Value::Integer(part.after)));
            condition.and("seq <=", Some(Value::Integer(last)));
            let Condition { sql, parameters } = condition;
            // Without `NOT INDEXED`, each part might search all jobs of the status.
            let sql = format!(
                "SELECT seq, order_key FROM jobs NOT INDEXED WHERE status <> 2 AND {sql} ORDER BY seq"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(parameters), row)?;
            Ok((rows.collect::<rusqlite::Result<_>>()?, next))
        }
    }
}

/// The last job of a part, and the next part. `None` if no job is left.
fn end_of(connection: &Connection, part: Part) -> Result<Option<(i64, Option<Part>)>> {
    let until = match part.until {
        Some(until) => Some(until),
        None => connection.query_row("SELECT max(seq) FROM jobs", [], |row| row.get(0))?,
    };
    let Some(until) = until else { return Ok(None) };
    let sql =
        "SELECT max(seq) FROM (SELECT seq FROM jobs WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)";
    let mut statement = connection.prepare_cached(sql)?;
    let last: Option<i64> = statement.query_row([part.after, until, Part::LENGTH], |row| row.get(0))?;
    Ok(last.map(|last| (last, (last < until).then_some(Part { after: last, until: Some(until) }))))
}

pub(super) fn act(
    connection: &Connection,
    action: Action,
    selection: &Selection,
    part: Part,
    now: i64,
) -> Result<Acted> {
    let (jobs, next) = idle(connection, selection, part)?;
    for (seq, order) in &jobs {
        match action {
            Action::Retry => retry(connection, *seq, now)?,
            Action::Drop => {
                connection.prepare_cached("DELETE FROM jobs WHERE seq = ?1")?.execute([seq])?;
            }
        }
        promote(connection, order.as_deref())?;
    }
    Ok(Acted { count: jobs.len() as u64, next })
}

fn retry(connection: &Connection, seq: i64, now: i64) -> Result<()> {
    // The time of acceptance is in the past for the clock of every process.
    let anew = "UPDATE jobs SET status = 0, attempts = 0, retry_until = ?2 + retry_for, finished_at = NULL, \
         due_at = CASE WHEN order_key IS NULL THEN accepted_at END WHERE seq = ?1 AND status >= 3";
    connection.prepare_cached(anew)?.execute([seq, now])?;
    let earlier = "UPDATE jobs SET due_at = accepted_at WHERE seq = ?1 AND due_at IS NOT NULL";
    connection.prepare_cached(earlier)?.execute([seq])?;
    Ok(())
}

/// Deletes a job unless it is running.
pub(super) fn drop_one(connection: &Connection, id: JobId) -> Result<()> {
    act(connection, Action::Drop, &Selection::Ids(vec![id]), Part::default(), 0).map(drop)
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
