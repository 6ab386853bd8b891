//! Opens the database file, makes its schema, and explains SQLite's errors.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};

/// The statements that bring the schema from one version to the next. Never change one that was released.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Marks the file as a Jackfield database: `JKFD` in ASCII.
const APPLICATION_ID: i64 = 0x4a4b_4644;

/// How long to wait for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before a file that is locked is opened again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The size of the write-ahead log, in pages, at which SQLite makes a checkpoint. A larger one means fewer pauses, but
/// more disk space.
const CHECKPOINT_PAGES: i64 = 4000;

/// How much of the file each connection caches, in KiB.
const CACHE_KIB: i64 = 16 * 1024;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The file of a store.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The URL, for messages.
    pub(super) place: String,
}

/// Why a statement of a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    Sql(rusqlite::Error),
    /// The command was refused, and changed nothing.
    Refused(StateFault),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl File {
    /// Opens the file, or makes it, with the newest schema. While another connection does the same, SQLite may report a
    /// lock without waiting for it.
    pub(super) fn open(&self, access: Access) -> Result<Connection> {
        let began = Instant::now();
        loop {
            match self.try_open(access) {
                Err(error) if error.fault == StateFault::Timeout && began.elapsed() < BUSY_TIMEOUT => {
                    thread::sleep(BUSY_PAUSE);
                }
                opened => return opened,
            }
        }
    }

    fn try_open(&self, access: Access) -> Result<Connection> {
        protect(&self.path).map_err(|error| self.io_error(&error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| self.error(&error))?;
        prepare(&mut connection, access).map_err(|failure| self.explain(&failure))?;
        Ok(connection)
    }

    pub(super) fn explain(&self, failure: &Failure) -> StateError {
        match failure {
            Failure::Sql(error) => self.error(error),
            Failure::Refused(fault) => StateError::new(*fault, &self.place, ""),
        }
    }

    fn error(&self, error: &rusqlite::Error) -> StateError {
        let fault = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StateFault::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => StateFault::ReadOnly,
            Some(ErrorCode::CannotOpen) => StateFault::CannotOpen,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StateFault::Corrupt,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StateFault::Timeout,
            Some(ErrorCode::SystemIoFailure) => StateFault::DiskIo,
            _ => StateFault::Internal,
        };
        StateError::new(fault, &self.place, error.to_string())
    }

    fn io_error(&self, error: &io::Error) -> StateError {
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateFault::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => StateFault::ReadOnly,
            _ => StateFault::CannotOpen,
        };
        StateError::new(fault, &self.place, error.to_string())
    }
}

/// Creates the file if it does not exist. It contains personal data of callers, so only its owner may read it.
///
/// A file that exists is never opened here. When a process closes a file, POSIX drops all its locks on that file, also
/// those of SQLite's connections. Another process could then delete the write-ahead log while it is in use.
fn protect(path: &Path) -> io::Result<()> {
    /// Between the two steps, another thread must not connect to the new file.
    static CREATING: Mutex<()> = Mutex::new(());

    let creating = CREATING.lock();
    if fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        create(path)?;
    }
    drop(creating);
    restrict(path)
}

#[cfg(unix)]
fn create(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

#[cfg(not(unix))]
fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path).map(drop)
}

/// Lets only the owner read the files.
#[cfg(unix)]
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let Ok(metadata) = fs::metadata(&file) else { continue };
        if metadata.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn restrict(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Sets the connection up, and makes the newest schema.
fn prepare(connection: &mut Connection, access: Access) -> std::result::Result<(), Failure> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // SQLite opens a file that it may not write for reading, without an error. Even `BEGIN IMMEDIATE` succeeds then.
    if access == Access::Write && connection.is_readonly(rusqlite::MAIN_DB)? {
        return Err(Failure::Refused(StateFault::ReadOnly));
    }
    check_owner(connection)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(connection)?;
    // SQLite creates `-wal` and `-shm` with the permissions of the database file.
    Ok(())
}

/// Refuses the database of another program, before anything in it is changed.
fn check_owner(connection: &Connection) -> std::result::Result<(), Failure> {
    // In one transaction: another connection may be making the schema.
    let transaction = connection.unchecked_transaction()?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let owner: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if owner != APPLICATION_ID && tables > 0 { Err(Failure::Refused(StateFault::Corrupt)) } else { Ok(()) }
}

fn migrate(connection: &mut Connection) -> std::result::Result<(), Failure> {
    let newest = MIGRATIONS.len() as i64;
    if version(connection)? == newest {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let version = version(&transaction)?;
    if version > newest {
        return Err(Failure::Refused(StateFault::NewerSchema));
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or_default()) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", newest)?;
    Ok(transaction.commit()?)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
