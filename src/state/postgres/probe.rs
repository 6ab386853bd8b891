//! Looks at the database of a server without changing it.

use tokio_postgres::types::Type;

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};
use crate::state::keys::KeyId;
use crate::state::probed::Probed;

use super::Inner;
use super::pool::Pool;

/// The version of the schema that notes the keys.
const WITH_KEYS: i32 = 2;

pub(super) async fn probe(inner: &Inner, configured: &[KeyId]) -> Result<Probed> {
    let pool: &Pool = &inner.pool;
    let (client, connection) = pool.connect().await?;
    // It ends with the client.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let Some(version) = pool.schema(&client).await? else { return Ok(Probed::New) };
    if version >= WITH_KEYS {
        let configured: Vec<&[u8]> = configured.iter().map(|id| &id[..]).collect();
        let sql = "SELECT k.id FROM jackfield_encryption_keys k WHERE k.id <> ALL($1) AND ( \
                 EXISTS (SELECT FROM jackfield_jobs WHERE substr(payload, 1, 5) = '\\x01'::bytea || k.id) \
                 OR EXISTS (SELECT FROM jackfield_memories WHERE substr(value, 1, 5) = '\\x01'::bytea || k.id) \
                 OR EXISTS (SELECT FROM jackfield_calls WHERE substr(answer, 1, 5) = '\\x01'::bytea || k.id)) LIMIT 1";
        let other = client.query_typed(sql, &[(&configured, Type::BYTEA_ARRAY)]).await;
        if let Some(row) = other.map_err(|error| pool.error(&error))?.first() {
            let id: &[u8] = row.try_get(0).map_err(|error| pool.error(&error))?;
            let detail = format!("the id of that key is {}", hex::encode(id));
            return Err(StateError::new(StateFault::OtherKey, pool.place(), detail));
        }
    }
    Ok(Probed::Schema(version.into()))
}
