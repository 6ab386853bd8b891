//! Claimed calls in PostgreSQL.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use crate::single_flight::FlightKey;
use crate::state::call::{CallClaim, CallLease, CallRow, CallTerms, Following};
use crate::state::clock::millis;
use crate::state::engine::{CallState, Result};
use crate::state::error::StateError;
use crate::state::job::LeaseState;
use crate::state::keys::random;

use super::{Inner, NOW};

/// How often a claim is attempted while the call keeps changing its leader.
const MAX_CLAIMS: usize = 5;

pub(super) async fn claim(inner: &Inner, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
    let random = random().map_err(|fault| StateError::new(fault, inner.pool.place(), ""))?;
    let token = i64::from_le_bytes(random);
    let sql = format!(
        "INSERT INTO jackfield_calls AS c (key, token, lease_until, purge_at) \
         VALUES ($1, $2, {NOW} + $3, {NOW} + $3) \
         ON CONFLICT (key) DO UPDATE SET token = excluded.token, lease_until = excluded.lease_until, \
             unconfirmed_until = NULL, answer = NULL, kept_until = 0, is_followed = false, \
             purge_at = excluded.purge_at \
         WHERE CASE WHEN c.answer IS NOT NULL THEN c.kept_until <= {NOW} \
             ELSE c.lease_until <= {NOW} AND coalesce(c.unconfirmed_until, 0) <= {NOW} END \
         RETURNING token"
    );
    let connection = inner.pool.get().await?;
    for _ in 0..MAX_CLAIMS {
        let parameters = [
            (&&key[..] as _, Type::BYTEA),
            (&token as _, Type::INT8),
            (&millis(terms.lease) as _, Type::INT8),
        ];
        if !connection.rows(&sql, &parameters).await?.is_empty() {
            connection.release();
            return Ok(CallClaim::Leader(CallLease { key, token, terms }));
        }
        let found = row(&connection, &key).await?;
        if let Some(claim) = found.and_then(|(row, now)| row.claim(key, now)) {
            if matches!(claim, CallClaim::InFlight(_)) {
                // The leader sends a notification only if the call has followers.
                let sql = "UPDATE jackfield_calls SET is_followed = true \
                     WHERE key = $1 AND answer IS NULL AND NOT is_followed";
                connection.execute(sql, &[(&&key[..], Type::BYTEA)]).await?;
            }
            connection.release();
            return Ok(claim);
        }
    }
    Err(inner.pool.internal(&"the call changed hands too often"))
}

/// The row of a call, and the time of the server.
async fn row(connection: &super::pool::Connection<'_>, key: &FlightKey) -> Result<Option<(CallRow, i64)>> {
    let sql = format!(
        "SELECT token, lease_until, unconfirmed_until, answer, kept_until, {NOW} FROM jackfield_calls WHERE key = $1"
    );
    let rows = connection.rows(&sql, &[(&&key[..], Type::BYTEA)]).await?;
    let read = |row: &Row| {
        let call = CallRow {
            token: row.try_get(0)?,
            lease_until: row.try_get(1)?,
            unconfirmed_until: row.try_get(2)?,
            answer: row.try_get(3)?,
            kept_until: row.try_get(4)?,
        };
        Ok::<_, Error>((call, row.try_get(5)?))
    };
    rows.first().map(read).transpose().map_err(|error| connection.explain(&error))
}

pub(super) async fn renew(inner: &Inner, lease: &CallLease, is_sent: bool) -> Result<LeaseState> {
    let sql = format!(
        "UPDATE jackfield_calls SET lease_until = {NOW} + $3, \
             unconfirmed_until = CASE WHEN $5 OR unconfirmed_until IS NOT NULL THEN {NOW} + $3 + $4 END, \
             purge_at = {NOW} + $3 + CASE WHEN $5 OR unconfirmed_until IS NOT NULL THEN $4 ELSE 0 END \
         WHERE key = $1 AND token = $2 AND answer IS NULL"
    );
    let connection = inner.pool.get().await?;
    let renewed = connection
        .execute(
            &sql,
            &[
                (&&lease.key[..], Type::BYTEA),
                (&lease.token, Type::INT8),
                (&millis(lease.terms.lease), Type::INT8),
                (&millis(lease.terms.unconfirmed_for), Type::INT8),
                (&is_sent, Type::BOOL),
            ],
        )
        .await?;
    connection.release();
    Ok(if renewed > 0 { LeaseState::Held } else { LeaseState::Lost })
}

pub(super) async fn settle(
    inner: &Inner,
    lease: &CallLease,
    answer: Vec<u8>,
    kept_for: Duration,
) -> Result<LeaseState> {
    let sql = format!(
        "WITH settled AS (UPDATE jackfield_calls SET answer = $3, lease_until = {NOW}, kept_until = {NOW} + $4, \
             purge_at = {NOW} + greatest($4, $5) WHERE key = $1 AND token = $2 AND answer IS NULL \
             RETURNING is_followed) \
         SELECT CASE WHEN is_followed THEN pg_notify('jackfield_calls', $6) END FROM settled"
    );
    let connection = inner.pool.get().await?;
    let settled = connection
        .rows(
            &sql,
            &[
                (&&lease.key[..], Type::BYTEA),
                (&lease.token, Type::INT8),
                (&answer, Type::BYTEA),
                (&millis(kept_for), Type::INT8),
                (&CallRow::HANDED_OUT_MS, Type::INT8),
                (&hex::encode(lease.key), Type::TEXT),
            ],
        )
        .await?;
    connection.release();
    Ok(if settled.is_empty() { LeaseState::Lost } else { LeaseState::Held })
}

pub(super) async fn abandon(inner: &Inner, lease: &CallLease) -> Result<()> {
    let sql = "WITH abandoned AS (DELETE FROM jackfield_calls \
             WHERE key = $1 AND token = $2 AND answer IS NULL RETURNING is_followed) \
         SELECT CASE WHEN is_followed THEN pg_notify('jackfield_calls', $3) END FROM abandoned";
    let connection = inner.pool.get().await?;
    let parameters: [super::pool::Parameter<'_>; 3] =
        [(&&lease.key[..], Type::BYTEA), (&lease.token, Type::INT8), (&hex::encode(lease.key), Type::TEXT)];
    connection.rows(sql, &parameters).await?;
    connection.release();
    Ok(())
}

pub(super) async fn look(inner: &Inner, following: &Following) -> Result<CallState> {
    let connection = inner.pool.get().await?;
    let found = row(&connection, &following.key).await?;
    connection.release();
    Ok(found.map_or(CallState::Free, |(row, now)| row.look(following, now)))
}
