//! The errors of the store.

use std::fmt;
use std::time::Duration;

/// An error of the store: what failed, where, and how to fix it. It never contains stored values or passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateError {
    /// What failed.
    pub fault: StateFault,
    /// The store, as in `[state] url`, without its password.
    pub place: String,
    /// What the engine says about it; may be empty.
    pub detail: String,
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateFault {
    /// There was no answer in time.
    Timeout,
    /// The server cannot be reached, or the connection broke.
    Unreachable,
    /// The disk is full.
    DiskFull,
    /// The disk failed to read or write.
    DiskIo,
    /// The file, its folder or the server does not allow writing.
    ReadOnly,
    /// The file cannot be opened.
    CannotOpen,
    /// The file is not a database, or is damaged.
    Corrupt,
    /// The server refused the user or the password.
    Denied,
    /// There is no such database.
    NoDatabase,
    /// TLS failed.
    Tls,
    /// A newer version of Jackfield made the schema.
    NewerSchema,
    /// The server is older than PostgreSQL 13.
    OldServer,
    /// Something sensitive cannot be stored without a key.
    NoKey,
    /// A stored value was encrypted with a key that is no longer configured, or the value was changed.
    UnknownKey,
    /// Values were encrypted with a key that is not configured.
    OtherKey,
    /// The conversation would remember too many names.
    TooManyNames,
    /// The conversation would remember too much.
    TooManyBytes,
    /// Everything else.
    Internal,
}

impl StateFault {
    /// The word for it in metrics and logs.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::DiskFull => "disk-full",
            Self::DiskIo => "disk-io",
            Self::ReadOnly => "read-only",
            Self::CannotOpen => "cannot-open",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::NoDatabase => "no-database",
            Self::Tls => "tls",
            Self::NewerSchema => "newer-schema",
            Self::OldServer => "old-server",
            Self::NoKey => "no-key",
            Self::UnknownKey => "unknown-key",
            Self::OtherKey => "other-key",
            Self::TooManyNames => "too-many-names",
            Self::TooManyBytes => "too-many-bytes",
            Self::Internal => "internal",
        }
    }

    /// Whether the store itself is unavailable. The other errors concern only the value that was stored or read.
    pub const fn is_away(self) -> bool {
        !matches!(
            self,
            Self::NoKey | Self::UnknownKey | Self::OtherKey | Self::TooManyNames | Self::TooManyBytes
        )
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Timeout => "no answer in time",
            Self::Unreachable => "not reachable",
            Self::DiskFull => "the disk is full",
            Self::DiskIo => "the disk failed to read or write the file",
            Self::ReadOnly => "writing is not allowed",
            Self::CannotOpen => "the file cannot be opened",
            Self::Corrupt => "the file is damaged or is not a Jackfield database",
            Self::Denied => "the server refused the user or the password",
            Self::NoDatabase => "there is no such database",
            Self::Tls => "TLS failed",
            Self::NewerSchema => "the schema was made by a newer version of Jackfield",
            Self::OldServer => "the server is older than PostgreSQL 13",
            Self::NoKey => "a sensitive value cannot be stored without an encryption key",
            Self::UnknownKey => "a stored value cannot be decrypted",
            Self::OtherKey => "it holds values that were encrypted with another key",
            Self::TooManyNames => "the conversation would remember more than 64 names",
            Self::TooManyBytes => "the conversation would remember more than 64 KiB",
            Self::Internal => "the operation failed",
        }
    }

    /// How to fix it.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Timeout => "check the load of the database and the network to it",
            Self::Unreachable => {
                "check that the server runs and that host and port in `[state] url` are right"
            }
            Self::DiskFull => "free space on the disk of the database",
            Self::DiskIo => "check the disk, its quotas and the system's log",
            Self::ReadOnly => {
                "give Jackfield's user write access to the database file and its folder, or use the primary server"
            }
            Self::CannotOpen => "create the folder of the file, and give Jackfield's user write access to it",
            Self::Corrupt => "restore the file from a backup, or move it away to start with an empty one",
            Self::Denied => "correct the user and the password in `[state] url`",
            Self::NoDatabase => "create the database, or correct its name in `[state] url`",
            Self::Tls => {
                "check the server's certificate, add `sslrootcert=FILE` for a private authority, or set `sslmode`"
            }
            Self::NewerSchema => {
                "update this instance of Jackfield to the newest version that uses the database"
            }
            Self::OldServer => "update the server to PostgreSQL 13 or newer",
            Self::NoKey => "set `[state] encryption_key`; `openssl rand -base64 32` makes one",
            Self::UnknownKey => "add the key that encrypted it as the second key of `[state] encryption_key`",
            Self::OtherKey => {
                "add that key to `[state] encryption_key`, as the first of two or as the second; if it is lost, drop the deliveries"
            }
            Self::TooManyNames | Self::TooManyBytes => "forget values that are no longer needed",
            Self::Internal => "check the detail, and report a bug if it does not help",
        }
    }
}

impl StateError {
    pub(super) fn new(fault: StateFault, place: &str, detail: impl Into<String>) -> Self {
        Self { fault, place: place.to_owned(), detail: detail.into() }
    }

    pub(super) fn timeout(place: &str, waited: Duration) -> Self {
        Self::new(StateFault::Timeout, place, format!("waited {}", humantime::format_duration(waited)))
    }

    /// Some values were encrypted with the key that has this id.
    pub(super) fn other_key(place: &str, id: &[u8]) -> Self {
        Self::new(StateFault::OtherKey, place, format!("the id of that key is {}", hex::encode(id)))
    }

    /// What failed and where, without how to fix it.
    pub fn problem(&self) -> String {
        let (place, message) = (&self.place, self.fault.message());
        let detail = if self.detail.is_empty() { String::new() } else { format!(" ({})", self.detail) };
        format!("state store `{place}`: {message}{detail}")
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.fault.help())
    }
}

impl std::error::Error for StateError {}
