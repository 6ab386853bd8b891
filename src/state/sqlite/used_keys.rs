//! The keys that encrypt stored values in SQLite. Each function is called in a transaction.

use rusqlite::Connection;

use crate::state::keys::{KeyId, sealed_by};

use super::open::Failure;

type Result<T> = std::result::Result<T, Failure>;

/// Notes that the first of the configured keys encrypts, and returns the noted keys that are not configured.
pub(super) fn note(connection: &Connection, configured: &[KeyId]) -> Result<Vec<KeyId>> {
    if let Some(first) = configured.first() {
        let sql = "INSERT OR IGNORE INTO encryption_keys (id) VALUES (?1)";
        connection.prepare_cached(sql)?.execute([first])?;
    }
    let mut statement = connection.prepare("SELECT id FROM encryption_keys")?;
    let noted: Vec<KeyId> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(noted.into_iter().filter(|id| !configured.contains(id)).collect())
}

/// Whether a value is encrypted with this key. Reads all of them if none is.
pub(super) fn is_used(connection: &Connection, key: KeyId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE substr(payload, 1, 5) = ?1) \
         OR EXISTS (SELECT 1 FROM memories WHERE substr(value, 1, 5) = ?1) \
         OR EXISTS (SELECT 1 FROM calls WHERE substr(answer, 1, 5) = ?1)";
    Ok(connection.query_row(sql, [sealed_by(key)], |row| row.get(0))?)
}

pub(super) fn forget(connection: &Connection, key: KeyId) -> Result<()> {
    connection.execute("DELETE FROM encryption_keys WHERE id = ?1", [key])?;
    Ok(())
}
