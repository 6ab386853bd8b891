//! The keys that encrypt stored values in PostgreSQL.

use tokio_postgres::types::Type;

use crate::state::engine::Result;
use crate::state::keys::KeyId;

use super::Inner;

/// Whether a value is encrypted with the key `k`. The value then begins with 1 and the id of the key.
pub(super) const IS_USED: &str = "EXISTS (SELECT FROM jackfield_jobs WHERE substr(payload, 1, 5) = '\\x01'::bytea || k.id) \
     OR EXISTS (SELECT FROM jackfield_memories WHERE substr(value, 1, 5) = '\\x01'::bytea || k.id) \
     OR EXISTS (SELECT FROM jackfield_calls WHERE substr(answer, 1, 5) = '\\x01'::bytea || k.id)";

/// Notes that the first of the configured keys encrypts. Returns the other noted keys with which a value is encrypted,
/// and forgets those with which none is.
pub(super) async fn unconfigured(inner: &Inner, configured: &[KeyId]) -> Result<Vec<KeyId>> {
    let connection = inner.pool.get().await?;
    let configured: Vec<&[u8]> = configured.iter().map(|id| &id[..]).collect();
    if let Some(first) = configured.first() {
        let sql = "INSERT INTO jackfield_encryption_keys VALUES ($1) ON CONFLICT DO NOTHING";
        connection.execute(sql, &[(first, Type::BYTEA)]).await?;
    }
    let sql = "SELECT id FROM jackfield_encryption_keys WHERE id <> ALL($1)";
    let rows = connection.rows(sql, &[(&configured, Type::BYTEA_ARRAY)]).await?;
    let noted = rows.iter().map(|row| row.try_get::<_, Vec<u8>>(0));
    let noted = noted.collect::<std::result::Result<Vec<_>, _>>();
    let noted = noted.map_err(|error| connection.explain(&error))?;
    let mut used = Vec::new();
    for id in noted.into_iter().filter_map(|id| KeyId::try_from(id).ok()) {
        let sql = format!("SELECT FROM (VALUES ($1)) k (id) WHERE {IS_USED}");
        if connection.rows(&sql, &[(&&id[..], Type::BYTEA)]).await?.is_empty() {
            let sql = "DELETE FROM jackfield_encryption_keys WHERE id = $1";
            connection.execute(sql, &[(&&id[..], Type::BYTEA)]).await?;
        } else {
            used.push(id);
        }
    }
    connection.release();
    Ok(used)
}
