//! Claimed calls in PostgreSQL.

use std::collections::HashSet;
use std::sync::Arc;
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

use super::batches::{self, Batched, Batches, Waiting};
use super::pool::{Connection, Parameter};
use super::{Inner, NOW};

/// How often a claim is attempted while the call keeps changing its leader.
const MAX_CLAIMS: usize = 5;

/// A claim of a call.
#[derive(Debug)]
pub(super) struct Claim {
    key: FlightKey,
    token: i64,
    lease_ms: i64,
}

/// A renewal of a lease.
#[derive(Debug)]
pub(super) struct Renewal {
    lease: CallLease,
    is_sent: bool,
}

/// The answer of a call.
#[derive(Debug)]
pub(super) struct Settlement {
    lease: CallLease,
    answer: Vec<u8>,
    kept_ms: i64,
}

pub(super) async fn claim(inner: &Arc<Inner>, key: FlightKey, terms: CallTerms) -> Result<CallClaim> {
    let random = random().map_err(|fault| StateError::new(fault, inner.pool.place(), ""))?;
    let token = i64::from_le_bytes(random);
    for _ in 0..MAX_CLAIMS {
        if batches::run(inner, Claim { key, token, lease_ms: millis(terms.lease) }).await? {
            return Ok(CallClaim::Leader(CallLease { key, token, terms }));
        }
        let connection = inner.pool.get().await?;
        let found = row(&connection, &key).await?;
        let claim = found.and_then(|(row, now)| row.claim(key, now));
        if let Some(CallClaim::InFlight(_)) = claim {
            // The leader sends a notification only if the call has followers.
            let sql = "UPDATE jackfield_calls SET is_followed = true \
                 WHERE key = $1 AND answer IS NULL AND NOT is_followed";
            connection.execute(sql, &[(&&key[..], Type::BYTEA)]).await?;
        }
        connection.release();
        if let Some(claim) = claim {
            return Ok(claim);
        }
    }
    Err(inner.pool.internal(&"the call changed hands too often"))
}

impl Batched for Claim {
    fn waiting(inner: &Inner) -> &Batches<Waiting<Self>> {
        &inner.claims
    }

    async fn run(inner: &Inner, batch: &[Self]) -> Result<Vec<bool>> {
        // One statement cannot change a row twice. Of several claims of one call, the first leads it.
        let mut seen = HashSet::new();
        let claims: Vec<&Self> = batch.iter().filter(|claim| seen.insert(claim.key)).collect();
        let keys: Vec<&[u8]> = claims.iter().map(|claim| &claim.key[..]).collect();
        let tokens: Vec<i64> = claims.iter().map(|claim| claim.token).collect();
        let leases: Vec<i64> = claims.iter().map(|claim| claim.lease_ms).collect();
        let sql = format!(
            "INSERT INTO jackfield_calls AS c (key, token, lease_until, purge_at) \
             SELECT key, token, {NOW} + lease, {NOW} + lease \
             FROM unnest($1, $2, $3) AS new (key, token, lease) ORDER BY key \
             ON CONFLICT (key) DO UPDATE SET token = excluded.token, lease_until = excluded.lease_until, \
                 unconfirmed_until = NULL, answer = NULL, kept_until = 0, is_followed = false, \
                 purge_at = excluded.purge_at \
             WHERE CASE WHEN c.answer IS NOT NULL THEN c.kept_until <= {NOW} \
                 ELSE c.lease_until <= {NOW} AND coalesce(c.unconfirmed_until, 0) <= {NOW} END \
             RETURNING token"
        );
        let connection = inner.pool.get().await?;
        let parameters: [Parameter<'_>; 3] =
            [(&keys, Type::BYTEA_ARRAY), (&tokens, Type::INT8_ARRAY), (&leases, Type::INT8_ARRAY)];
        let led = tokens_of(&connection, &connection.rows(&sql, &parameters).await?)?;
        connection.release();
        Ok(batch.iter().map(|claim| led.contains(&claim.token)).collect())
    }
}

/// The tokens of calls, each of which belongs to one lease.
fn tokens_of(connection: &Connection<'_>, rows: &[Row]) -> Result<HashSet<i64>> {
    let tokens = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, Error>>();
    tokens.map_err(|error| connection.explain(&error))
}

/// The row of a call, and the time of the server.
async fn row(connection: &Connection<'_>, key: &FlightKey) -> Result<Option<(CallRow, i64)>> {
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

pub(super) async fn renew(inner: &Arc<Inner>, lease: &CallLease, is_sent: bool) -> Result<LeaseState> {
    batches::run(inner, Renewal { lease: lease.clone(), is_sent }).await.map(LeaseState::of)
}

impl Batched for Renewal {
    fn waiting(inner: &Inner) -> &Batches<Waiting<Self>> {
        &inner.renewals
    }

    async fn run(inner: &Inner, batch: &[Self]) -> Result<Vec<bool>> {
        // A lease may be renewed and marked as sent at the same time. One statement changes a row only once.
        let sent = batch.iter().filter(|renewal| renewal.is_sent).map(|renewal| renewal.lease.token);
        let (sent, mut seen): (HashSet<i64>, _) = (sent.collect(), HashSet::new());
        let leases: Vec<&CallLease> =
            batch.iter().map(|renewal| &renewal.lease).filter(|lease| seen.insert(lease.token)).collect();
        let keys: Vec<&[u8]> = leases.iter().map(|lease| &lease.key[..]).collect();
        let tokens: Vec<i64> = leases.iter().map(|lease| lease.token).collect();
        let are_sent: Vec<bool> = tokens.iter().map(|token| sent.contains(token)).collect();
        let unconfirmed: Vec<i64> = leases.iter().map(|lease| millis(lease.terms.unconfirmed_for)).collect();
        let leases: Vec<i64> = leases.iter().map(|lease| millis(lease.terms.lease)).collect();
        let sql = format!(
            "WITH held AS (SELECT c.key, lease, unconfirmed, is_sent OR c.unconfirmed_until IS NOT NULL AS is_sent \
                 FROM unnest($1, $2, $3, $4, $5) AS new (key, token, lease, unconfirmed, is_sent) \
                 JOIN jackfield_calls c ON c.key = new.key AND c.token = new.token \
                 WHERE c.answer IS NULL ORDER BY c.key FOR UPDATE OF c) \
             UPDATE jackfield_calls c SET lease_until = {NOW} + lease, \
                 unconfirmed_until = CASE WHEN is_sent THEN {NOW} + lease + unconfirmed END, \
                 purge_at = {NOW} + lease + CASE WHEN is_sent THEN unconfirmed ELSE 0 END \
             FROM held WHERE c.key = held.key RETURNING c.token"
        );
        let connection = inner.pool.get().await?;
        let parameters: [Parameter<'_>; 5] = [
            (&keys, Type::BYTEA_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&leases, Type::INT8_ARRAY),
            (&unconfirmed, Type::INT8_ARRAY),
            (&are_sent, Type::BOOL_ARRAY),
        ];
        let held = tokens_of(&connection, &connection.rows(&sql, &parameters).await?)?;
        connection.release();
        Ok(batch.iter().map(|renewal| held.contains(&renewal.lease.token)).collect())
    }
}

pub(super) async fn settle(
    inner: &Arc<Inner>,
    lease: &CallLease,
    answer: Vec<u8>,
    kept_for: Duration,
) -> Result<LeaseState> {
    let settlement = Settlement { lease: lease.clone(), answer, kept_ms: millis(kept_for) };
    batches::run(inner, settlement).await.map(LeaseState::of)
}

impl Batched for Settlement {
    fn waiting(inner: &Inner) -> &Batches<Waiting<Self>> {
        &inner.settlements
    }

    async fn run(inner: &Inner, batch: &[Self]) -> Result<Vec<bool>> {
        let keys: Vec<&[u8]> = batch.iter().map(|settlement| &settlement.lease.key[..]).collect();
        let tokens: Vec<i64> = batch.iter().map(|settlement| settlement.lease.token).collect();
        let answers: Vec<&[u8]> = batch.iter().map(|settlement| &settlement.answer[..]).collect();
        let kept: Vec<i64> = batch.iter().map(|settlement| settlement.kept_ms).collect();
        let sql = format!(
            "WITH held AS (SELECT c.key, new.answer, kept \
                 FROM unnest($1, $2, $3, $4) AS new (key, token, answer, kept) \
                 JOIN jackfield_calls c ON c.key = new.key AND c.token = new.token \
                 WHERE c.answer IS NULL ORDER BY c.key FOR UPDATE OF c), \
             settled AS (UPDATE jackfield_calls c SET answer = held.answer, lease_until = {NOW}, \
                     kept_until = {NOW} + kept, purge_at = {NOW} + greatest(kept, $5) \
                 FROM held WHERE c.key = held.key RETURNING c.token, c.key, c.is_followed) \
             SELECT token, CASE WHEN is_followed THEN pg_notify('jackfield_calls', encode(key, 'hex')) END \
             FROM settled"
        );
        let connection = inner.pool.get().await?;
        let parameters: [Parameter<'_>; 5] = [
            (&keys, Type::BYTEA_ARRAY),
            (&tokens, Type::INT8_ARRAY),
            (&answers, Type::BYTEA_ARRAY),
            (&kept, Type::INT8_ARRAY),
            (&CallRow::HANDED_OUT_MS, Type::INT8),
        ];
        let held = tokens_of(&connection, &connection.rows(&sql, &parameters).await?)?;
        connection.release();
        Ok(batch.iter().map(|settlement| held.contains(&settlement.lease.token)).collect())
    }
}

pub(super) async fn abandon(inner: &Inner, lease: &CallLease) -> Result<()> {
    let sql = "WITH abandoned AS (DELETE FROM jackfield_calls \
             WHERE key = $1 AND token = $2 AND answer IS NULL RETURNING is_followed) \
         SELECT CASE WHEN is_followed THEN pg_notify('jackfield_calls', $3) END FROM abandoned";
    let connection = inner.pool.get().await?;
    let parameters: [Parameter<'_>; 3] =
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
