//! Connections to the server, their schema, and the explanation of their errors.
//!
//! Statements are sent unnamed, in one round trip each: nothing has to be prepared, also behind a pooler that gives each
//! transaction another connection.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, Row, Socket};

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};
use crate::state::url::PostgresUrl;

use super::batches::MAX_WAITING;
use super::tls::{Stream, Tls};

/// The statements that bring the schema from one version to the next. Never change one that was released.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// The key of the advisory lock for migrations: `JKFDSCHM` in ASCII.
const MIGRATION_LOCK: i64 = 0x4a4b_4644_5343_484d;

const OLDEST_VERSION: i32 = 130_000;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a closed connection may take to cancel its statement. Until then, it counts as one of the pool.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connections to a server.
#[derive(Debug)]
pub(super) struct Pool {
    url: PostgresUrl,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Link>>,
    has_schema: AtomicBool,
}

/// A connection that is in use. [`Self::release`] returns it to the pool. Dropping it closes it, because a cancelled
/// operation may still be running on it.
pub(super) struct Connection<'pool> {
    client: Arc<Client>,
    pool: &'pool Pool,
    /// The task of the connection, and its place in the pool, until it is released.
    in_use: Option<(JoinHandle<()>, OwnedSemaphorePermit)>,
}

/// A client, and the task that exchanges its messages with the server.
#[derive(Debug)]
struct Link {
    client: Arc<Client>,
    task: JoinHandle<()>,
}

/// A parameter of a statement.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl Pool {
    pub(super) fn new(url: &PostgresUrl, size: usize) -> Self {
        let mut url = url.clone();
        if url.config.get_connect_timeout().is_none() {
            url.config.connect_timeout(CONNECT_TIMEOUT);
        }
        url.config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
        let (permits, idle, has_schema) =
            (Arc::new(Semaphore::new(size.max(1))), Mutex::default(), AtomicBool::default());
        Self { url, permits, idle, has_schema }
    }

    pub(super) fn place(&self) -> &str {
        &self.url.place
    }

    /// A connection to a server with the newest schema.
    pub(super) async fn get(&self) -> Result<Connection<'_>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|error| self.internal(&error))?;
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|link| !link.client.is_closed());
            idle.pop()
        };
        let Link { client, task } = match idle {
            Some(link) => link,
            None => {
                let (client, connection) = self.connect().await?;
                // The task ends with the client, or when the connection breaks. The client's next operation then fails.
                let task = tokio::spawn(async move {
                    let _ = connection.await;
                });
                Link { client: Arc::new(client), task }
            }
        };
        let connection = Connection { client, pool: self, in_use: Some((task, permit)) };
        if !self.has_schema.load(Ordering::Acquire) {
            self.migrate(&connection.client).await?;
            self.has_schema.store(true, Ordering::Release);
        }
        Ok(connection)
    }

    /// A dedicated connection outside of the pool.
    pub(super) async fn connect(
        &self,
    ) -> Result<(Client, tokio_postgres::Connection<Socket, Stream<Socket>>)> {
        let config: &Config = &self.url.config;
        let tls = Tls::new(&self.url).await;
        let tls = tls.map_err(|detail| StateError::new(StateFault::Tls, self.place(), detail))?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, config.connect(tls)).await;
        let connected = connected.map_err(|_| StateError::timeout(self.place(), CONNECT_TIMEOUT))?;
        connected.map_err(|error| self.error(&error))
    }

    async fn migrate(&self, client: &Client) -> Result<()> {
        let newest = MIGRATIONS.len() as i32;
        let sql =
            "SELECT current_setting('server_version_num')::int, to_regclass('jackfield_schema') IS NOT NULL";
        let row = client.query_typed_one(sql, &[]).await.map_err(|error| self.error(&error))?;
        let (server, has_schema): (i32, bool) = (self.get_column(&row, 0)?, self.get_column(&row, 1)?);
        if server < OLDEST_VERSION {
            return Err(StateError::new(StateFault::OldServer, self.place(), format!("version {server}")));
        }
        if has_schema && self.version(client).await? == newest {
            return Ok(());
        }
        let begin = format!(
            "BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); \
             CREATE TABLE IF NOT EXISTS jackfield_schema (version integer NOT NULL)"
        );
        client.batch_execute(&begin).await.map_err(|error| self.error(&error))?;
        let version = self.version(client).await?;
        if version > newest {
            let detail = format!("schema {version}, this version knows {newest}");
            return Err(StateError::new(StateFault::NewerSchema, self.place(), detail));
        }
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or_default()) {
            client.batch_execute(migration).await.map_err(|error| self.error(&error))?;
        }
        let commit =
            format!("DELETE FROM jackfield_schema; INSERT INTO jackfield_schema VALUES ({newest}); COMMIT");
        client.batch_execute(&commit).await.map_err(|error| self.error(&error))
    }

    async fn version(&self, client: &Client) -> Result<i32> {
        let sql = "SELECT coalesce(max(version), 0) FROM jackfield_schema";
        let row = client.query_typed_one(sql, &[]).await.map_err(|error| self.error(&error))?;
        self.get_column(&row, 0)
    }

    fn get_column<'row, T: tokio_postgres::types::FromSql<'row>>(
        &self,
        row: &'row Row,
        at: usize,
    ) -> Result<T> {
        row.try_get(at).map_err(|error| self.error(&error))
    }

    /// The error of an operation for which there is no room.
    pub(super) fn full(&self) -> StateError {
        let detail = format!("{MAX_WAITING} operations are waiting for the server");
        StateError::new(StateFault::Timeout, self.place(), detail)
    }

    pub(super) fn internal(&self, detail: &dyn ToString) -> StateError {
        StateError::new(StateFault::Internal, self.place(), detail.to_string())
    }

    pub(super) fn error(&self, error: &Error) -> StateError {
        if error.code() == Some(&SqlState::UNDEFINED_TABLE) {
            // The database was recreated.
            self.has_schema.store(false, Ordering::Release);
        }
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail = format!("{detail}: {text}");
            }
            cause = inner.source();
        }
        StateError::new(fault(error, &detail), self.place(), detail)
    }
}

fn fault(error: &Error, text: &str) -> StateFault {
    let Some(code) = error.code() else {
        // The library distinguishes the kinds of its own errors only by their text.
        return match () {
            () if text.contains("TLS") => StateFault::Tls,
            () if text.contains("timeout") => StateFault::Timeout,
            () if text.contains("password") || text.contains("authentication") => StateFault::Denied,
            () if text.contains("serializing") || text.contains("column") => StateFault::Internal,
            () => StateFault::Unreachable,
        };
    };
    match code.code() {
        "28P01" | "28000" | "42501" => StateFault::Denied,
        "3D000" => StateFault::NoDatabase,
        "53100" => StateFault::DiskFull,
        "58030" => StateFault::DiskIo,
        "25006" => StateFault::ReadOnly,
        "57014" => StateFault::Timeout,
        // The server is starting, stopping, or out of connections.
        code if code.starts_with("57P") || code.starts_with("53") || code.starts_with("08") => {
            StateFault::Unreachable
        }
        "XX001" | "XX002" => StateFault::Corrupt,
        _ => StateFault::Internal,
    }
}

impl Connection<'_> {
    /// Gives the connection back.
    pub(super) fn release(mut self) {
        if let Some((task, _permit)) = self.in_use.take() {
            self.pool.idle.lock().push(Link { client: Arc::clone(&self.client), task });
        }
    }

    pub(super) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>> {
        self.client.query_typed(sql, parameters).await.map_err(|error| self.pool.error(&error))
    }

    pub(super) async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64> {
        self.client.execute_typed(sql, parameters).await.map_err(|error| self.pool.error(&error))
    }

    /// Runs statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|error| self.pool.error(&error))
    }

    /// Explains an error of reading a column.
    pub(super) fn explain(&self, error: &Error) -> StateError {
        self.pool.error(error)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        let Some((task, permit)) = self.in_use.take() else { return };
        let (Ok(runtime), false) = (Handle::try_current(), task.is_finished()) else {
            task.abort();
            return;
        };
        let (token, url) = (self.client.cancel_token(), self.pool.url.clone());
        // The server notices that a connection is closed only when it has finished the statement.
        runtime.spawn(async move {
            let mut task = task;
            let cancelled = async {
                if let Ok(tls) = Tls::new(&url).await {
                    let _ = token.cancel_query(tls).await;
                }
                let _ = (&mut task).await;
            };
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, cancelled).await;
            task.abort();
            drop(permit);
        });
    }
}
