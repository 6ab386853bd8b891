//! Stores to test, and values to store.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use jackfield::state::{
    Conversation, EncryptionKey, EncryptionKeys, Job, JobWatch, NewJob, Page, Payload, Settings, StateUrl,
    Store, Work, WorkKind,
};
use tempfile::TempDir;

use crate::server::Server;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Everything, newest first.
pub(crate) const ALL: Page = Page { after: None, limit: 1000 };

/// Where the stores of a test are. Each store that is opened there is an instance of its own.
pub(crate) enum World {
    InMemory,
    Sqlite(TempDir),
    /// The URL of a database.
    Postgres(String),
}

/// Stores that share their data: one for each instance.
pub(crate) struct Instances {
    place: Place,
}

enum Place {
    Shared(Store),
    At(Settings),
}

impl World {
    pub(crate) fn in_memory() -> Self {
        Self::InMemory
    }

    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        let server = Server::shared().await;
        Self::Postgres(server.url(&server.database().await))
    }

    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("state.db"),
            Self::InMemory | Self::Postgres(_) => panic!("not a file"),
        }
    }

    /// Instances with a key whose job leases last as long as this.
    pub(crate) fn instances(&self, job_lease: Duration) -> Instances {
        let keys = EncryptionKeys(vec![key(1)]);
        let url = match self {
            Self::InMemory => return Instances { place: Place::Shared(Store::in_memory(keys, job_lease)) },
            Self::Sqlite(_) => StateUrl::Sqlite(self.file()),
            Self::Postgres(url) => StateUrl::parse(url).unwrap(),
        };
        Instances { place: Place::At(Settings { keys, job_lease, ..Settings::new(url) }) }
    }

    /// One instance with leases of an hour.
    pub(crate) fn store(&self) -> Store {
        self.instances(HOUR).open()
    }
}

impl Instances {
    pub(crate) fn open(&self) -> Store {
        match &self.place {
            Place::Shared(store) => store.clone(),
            // The machine may be busy with other tests.
            Place::At(settings) => Store::open(settings).within(Duration::from_secs(60)),
        }
    }
}

pub(crate) fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::parse(&base64::engine::general_purpose::STANDARD.encode([byte; 32])).unwrap()
}

pub(crate) fn open_payload(text: &str) -> Payload {
    Payload { bytes: text.into(), is_sensitive: false }
}

pub(crate) fn sensitive(text: &str) -> Payload {
    Payload { bytes: text.into(), is_sensitive: true }
}

/// A job of a conversation that is not ordered.
pub(crate) fn job(name: &str) -> NewJob {
    NewJob {
        work: Work { kind: WorkKind::Route, name: name.to_owned() },
        platform: "vapi".to_owned(),
        conversation: Some("conversation-1".to_owned()),
        revision: "22482c64".to_owned(),
        ordered: false,
        retry_for: HOUR,
        seed: [7; 32],
        payload: open_payload(name),
    }
}

pub(crate) fn ordered(name: &str, conversation: &str) -> NewJob {
    NewJob { ordered: true, conversation: Some(conversation.to_owned()), ..job(name) }
}

pub(crate) fn conversation(id: &str) -> Conversation {
    Conversation { platform: "vapi".to_owned(), id: id.to_owned() }
}

/// The names of jobs.
pub(crate) fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| &*job.work.name).collect()
}

/// Waits until there is a job, and leases it.
pub(crate) async fn lease_one(store: &Store, watch: &mut JobWatch) -> Job {
    loop {
        if let Some(job) = store.lease_jobs(1).await.unwrap().pop() {
            return job;
        }
        watch.changed().await;
    }
}
