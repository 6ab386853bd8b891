//! The memory of conversations in PostgreSQL.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Row};

use crate::state::clock::millis;
use crate::state::conversation::{Conversation, Memory, Remembered, is_prolonged};
use crate::state::engine::{Result, SealedChange};
use crate::state::error::StateError;

use super::{Inner, NOW, text};

pub(super) async fn recall(inner: &Inner, conversation: &Conversation, ttl: Duration) -> Result<Memory> {
    let key = &conversation.key()[..];
    let sql = format!(
        "SELECT name, value, is_trusted, is_sensitive, expires_at - {NOW} AS left_ms \
         FROM jackfield_conversations JOIN jackfield_memories USING (key) \
         WHERE key = $1 AND expires_at > {NOW} ORDER BY name"
    );
    let connection = inner.pool.get().await?;
    let rows = connection.rows(&sql, &[(&key, Type::BYTEA)]).await?;
    let memory = rows.iter().map(remembered).collect::<std::result::Result<Vec<_>, Error>>();
    let memory = memory.map_err(|error| connection.explain(&error))?;
    let left = rows.first().map(|row| row.try_get::<_, i64>("left_ms")).transpose();
    let left = left.map_err(|error| connection.explain(&error))?;
    if left.is_some_and(|left| is_prolonged(ttl, left)) {
        let sql = format!(
            "UPDATE jackfield_conversations SET expires_at = greatest(expires_at, {NOW} + $2) WHERE key = $1"
        );
        connection.execute(&sql, &[(&key, Type::BYTEA), (&millis(ttl), Type::INT8)]).await?;
    }
    connection.release();
    Ok(memory)
}

fn remembered(row: &Row) -> std::result::Result<(String, Remembered), Error> {
    let (is_trusted, is_sensitive) = (row.try_get("is_trusted")?, row.try_get("is_sensitive")?);
    Ok((row.try_get("name")?, Remembered { value: row.try_get("value")?, is_trusted, is_sensitive }))
}

pub(super) async fn remember(
    inner: &Inner,
    conversation: &Conversation,
    changes: Vec<SealedChange>,
    ttl: Duration,
) -> Result<()> {
    let key = &conversation.key()[..];
    let connection = inner.pool.get().await?;
    connection.batch("BEGIN").await?;
    // The row of the conversation is the lock of its memory. What expired is not brought back.
    let sql = format!(
        "WITH old AS (DELETE FROM jackfield_memories m USING jackfield_conversations c \
             WHERE m.key = $1 AND c.key = $1 AND c.expires_at <= {NOW}) \
         INSERT INTO jackfield_conversations AS c (key, platform, conversation, expires_at) \
         VALUES ($1, $2, $3, {NOW} + $4) \
         ON CONFLICT (key) DO UPDATE SET expires_at = greatest(c.expires_at, excluded.expires_at)"
    );
    connection
        .execute(
            &sql,
            &[
                (&key, Type::BYTEA),
                (&text(&conversation.platform), Type::TEXT),
                (&text(&conversation.id), Type::TEXT),
                (&millis(ttl), Type::INT8),
            ],
        )
        .await?;
    let rows = connection
        .rows("SELECT name, bytes FROM jackfield_memories WHERE key = $1", &[(&key, Type::BYTEA)])
        .await?;
    let size = |row: &Row| Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?.unsigned_abs() as usize));
    let sizes = rows.iter().map(size).collect::<std::result::Result<Vec<_>, Error>>();
    let sizes = sizes.map_err(|error| connection.explain(&error))?;
    if let Err(fault) = SealedChange::check_limits(sizes, &changes) {
        connection.batch("ROLLBACK").await?;
        connection.release();
        return Err(StateError::new(fault, inner.pool.place(), ""));
    }
    for SealedChange { name, value, bytes } in &changes {
        let Some(Remembered { value, is_trusted, is_sensitive }) = value else {
            let sql = "DELETE FROM jackfield_memories WHERE key = $1 AND name = $2";
            connection.execute(sql, &[(&key, Type::BYTEA), (name, Type::TEXT)]).await?;
            continue;
        };
        let sql = "INSERT INTO jackfield_memories (key, name, value, bytes, is_trusted, is_sensitive) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key, name) DO UPDATE SET value = excluded.value, \
             bytes = excluded.bytes, is_trusted = excluded.is_trusted, is_sensitive = excluded.is_sensitive";
        connection
            .execute(
                sql,
                &[
                    (&key, Type::BYTEA),
                    (name, Type::TEXT),
                    (value, Type::BYTEA),
                    (&i64::try_from(*bytes).unwrap_or(i64::MAX), Type::INT8),
                    (is_trusted, Type::BOOL),
                    (is_sensitive, Type::BOOL),
                ],
            )
            .await?;
    }
    connection.batch("COMMIT").await?;
    connection.release();
    Ok(())
}

pub(super) async fn forget(inner: &Inner, platform: Option<&str>, id: &str) -> Result<u64> {
    let sql = "WITH meant AS (SELECT key FROM jackfield_conversations \
             WHERE conversation = $1 AND ($2 IS NULL OR platform = $2)), \
         forgotten AS (DELETE FROM jackfield_conversations WHERE key IN (SELECT key FROM meant)) \
         SELECT count(*) FROM jackfield_memories WHERE key IN (SELECT key FROM meant)";
    let connection = inner.pool.get().await?;
    let rows = connection.rows(sql, &[(&text(id), Type::TEXT), (&platform.map(text), Type::TEXT)]).await?;
    let count = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0));
    let count = count.map_err(|error| connection.explain(&error))?;
    connection.release();
    Ok(count.unsigned_abs())
}
