//! Claimed calls in SQLite. Each function is called in a transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::single_flight::FlightKey;
use crate::state::call::{CallClaim, CallLease, CallRow, CallTerms};
use crate::state::job::LeaseState;

use super::open::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// Claims a call. If it is led from now on, its lease has `token`.
pub(super) fn claim(
    connection: &Connection,
    key: &FlightKey,
    terms: CallTerms,
    token: i64,
    now: i64,
) -> Result<CallClaim> {
    if let Some(claim) = row(connection, key)?.and_then(|row| row.claim(*key, now)) {
        return Ok(claim);
    }
    write(connection, key, &CallRow::new(token, terms, now))?;
    Ok(CallClaim::Leader(CallLease { key: *key, token, terms }))
}

pub(super) fn row(connection: &Connection, key: &FlightKey) -> Result<Option<CallRow>> {
    let sql = "SELECT token, lease_until, unconfirmed_until, answer, kept_until FROM calls WHERE key = ?1";
    let row = connection
        .prepare_cached(sql)?
        .query_row([key], |row| {
            Ok(CallRow {
                token: row.get(0)?,
                lease_until: row.get(1)?,
                unconfirmed_until: row.get(2)?,
                answer: row.get(3)?,
                kept_until: row.get(4)?,
            })
        })
        .optional()?;
    Ok(row)
}

fn write(connection: &Connection, key: &FlightKey, row: &CallRow) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO calls \
         (key, token, lease_until, unconfirmed_until, answer, kept_until, purge_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        key,
        row.token,
        row.lease_until,
        row.unconfirmed_until,
        row.answer,
        row.kept_until,
        row.purge_at()
    ])?;
    Ok(())
}

/// Changes the row of a lease, if nobody else leads the call by now and it has no answer.
pub(super) fn change(
    connection: &Connection,
    lease: &CallLease,
    change: impl FnOnce(&mut CallRow),
) -> Result<LeaseState> {
    let row = row(connection, &lease.key)?;
    let Some(mut row) = row.filter(|row| row.token == lease.token && row.answer.is_none()) else {
        return Ok(LeaseState::Lost);
    };
    change(&mut row);
    write(connection, &lease.key, &row)?;
    Ok(LeaseState::Held)
}

pub(super) fn abandon(connection: &Connection, lease: &CallLease) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM calls WHERE key = ?1 AND token = ?2 AND answer IS NULL")?
        .execute(params![lease.key, lease.token])?;
    Ok(())
}
