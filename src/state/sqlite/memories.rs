//! The memory of conversations in SQLite. Each function is called in a transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::state::conversation::{Conversation, Memory, Remembered};
use crate::state::engine::SealedChange;

use super::open::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// What a conversation remembers, and when that expires.
pub(super) fn recall(
    connection: &Connection,
    conversation: &Conversation,
    now: i64,
) -> Result<Option<(Memory, i64)>> {
    let key = conversation.key();
    let expires_at: Option<i64> = connection
        .prepare_cached("SELECT expires_at FROM conversations WHERE key = ?1 AND expires_at > ?2")?
        .query_row(params![key, now], |row| row.get(0))
        .optional()?;
    let Some(expires_at) = expires_at else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "SELECT name, value, is_trusted, is_sensitive FROM memories WHERE key = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map([key], |row| {
        let (value, is_trusted, is_sensitive) = (row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((row.get(0)?, Remembered { value, is_trusted, is_sensitive }))
    })?;
    Ok(Some((rows.collect::<rusqlite::Result<_>>()?, expires_at)))
}

pub(super) fn prolong(connection: &Connection, key: &[u8; 32], expires_at: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE conversations SET expires_at = max(expires_at, ?2) WHERE key = ?1")?
        .execute(params![key, expires_at])?;
    Ok(())
}

pub(super) fn remember(
    connection: &Connection,
    conversation: &Conversation,
    changes: &[SealedChange],
    now: i64,
    expires_at: i64,
) -> Result<()> {
    let key = conversation.key();
    check_limits(connection, &key, changes, now)?;
    connection
        .prepare_cached("DELETE FROM conversations WHERE key = ?1 AND expires_at <= ?2")?
        .execute(params![key, now])?;
    connection
        .prepare_cached(
            "INSERT INTO conversations (key, platform, conversation, expires_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (key) DO UPDATE SET expires_at = max(expires_at, excluded.expires_at)",
        )?
        .execute(params![key, conversation.platform, conversation.id, expires_at])?;
    for SealedChange { name, value, bytes } in changes {
        let Some(Remembered { value, is_trusted, is_sensitive }) = value else {
            connection
                .prepare_cached("DELETE FROM memories WHERE key = ?1 AND name = ?2")?
                .execute(params![key, name])?;
            continue;
        };
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO memories (key, name, value, bytes, is_trusted, is_sensitive) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![key, name, value, *bytes as i64, is_trusted, is_sensitive])?;
    }
    Ok(())
}

/// Rejects changes that would exceed a limit, before anything is changed.
fn check_limits(connection: &Connection, key: &[u8; 32], changes: &[SealedChange], now: i64) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT name, bytes FROM memories JOIN conversations USING (key) WHERE key = ?1 AND expires_at > ?2",
    )?;
    let rows = statement.query_map(params![key, now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sizes: Vec<(String, usize)> = rows
        .map(|row| row.map(|(name, bytes): (String, i64)| (name, bytes.max(0) as usize)))
        .collect::<rusqlite::Result<_>>()?;
    SealedChange::check_limits(sizes, changes).map_err(Failure::Refused)
}

pub(super) fn forget(connection: &Connection, platform: Option<&str>, id: &str) -> Result<u64> {
    let are_meant = "SELECT key FROM conversations WHERE conversation = ?1 AND (?2 IS NULL OR platform = ?2)";
    let values: i64 = connection.query_row(
        &format!("SELECT count(*) FROM memories WHERE key IN ({are_meant})"),
        params![id, platform],
        |row| row.get(0),
    )?;
    connection
        .execute(&format!("DELETE FROM conversations WHERE key IN ({are_meant})"), params![id, platform])?;
    Ok(values.unsigned_abs())
}
