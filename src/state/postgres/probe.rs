//! Looks at the database of a server without changing it.

use tokio_postgres::types::Type;

use crate::state::engine::Result;
use crate::state::error::StateError;
use crate::state::keys::KeyId;
use crate::state::probed::Probed;

use super::Inner;
use super::pool::Pool;
use super::used_keys::IS_USED;

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
        let sql = format!(
            "SELECT k.id FROM jackfield_encryption_keys k WHERE k.id <> ALL($1) AND ({IS_USED}) LIMIT 1"
        );
        let other = client.query_typed(&sql, &[(&configured, Type::BYTEA_ARRAY)]).await;
        if let Some(row) = other.map_err(|error| pool.error(&error))?.first() {
            let id: &[u8] = row.try_get(0).map_err(|error| pool.error(&error))?;
            return Err(StateError::other_key(pool.place(), id));
        }
    }
    Ok(Probed::Schema(version.into()))
}
