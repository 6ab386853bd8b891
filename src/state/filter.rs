//! Jobs as operators see them, and filters that select jobs.

use jiff::Timestamp;

use super::job::{JobId, Work};

/// A job as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: JobId,
    /// What delivers it.
    pub work: Work,
    /// The platform that sent the call.
    pub platform: String,
    /// The conversation, if the platform named one.
    pub conversation: Option<String>,
    /// The revision of the plan that accepted it.
    pub revision: String,
    /// Whether its conversation's jobs run one after the other.
    pub is_ordered: bool,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// The number of attempts that have started.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it may run next. For a running job, when its lease ends. `None` for a finished job, and for an ordered job
    /// behind another.
    pub due_at: Option<Timestamp>,
    /// Until when it is retried.
    pub retry_until: Timestamp,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// Why the last attempt failed, if one did.
    pub reason: Option<String>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// It has not been tried yet.
    Waiting,
    /// It failed and will be tried again.
    Retrying,
    /// An instance has leased it.
    Running,
    /// Done.
    Delivered,
    /// Given up. It is kept until an operator retries or drops it.
    Dead,
}

impl DeliveryStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Retrying, Self::Running, Self::Delivered, Self::Dead];

    /// The word for it in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Running => "running",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The number for it in stores.
    pub(super) const fn code(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Retrying => 1,
            Self::Running => 2,
            Self::Delivered => 3,
            Self::Dead => 4,
        }
    }

    pub(super) fn of_code(code: i16) -> Self {
        Self::ALL.into_iter().find(|status| status.code() == code).unwrap_or(Self::Dead)
    }

    /// Whether it will not run again unless an operator retries it.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Delivered | Self::Dead)
    }
}

/// Selects jobs. Each part that is given narrows the selection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// The name of the route or event.
    pub name: Option<String>,
    /// Where they stand.
    pub status: Option<DeliveryStatus>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// The conversation.
    pub conversation: Option<String>,
    /// Not those that were delivered.
    pub is_undelivered: bool,
}

/// Which jobs to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Ids(Vec<JobId>),
    /// All that match.
    Matching(DeliveryFilter),
}

/// What an operator does with jobs that are not running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Makes them due at once. Finished ones start over.
    Retry,
    /// Deletes them.
    Drop,
}

/// A part of all jobs, in the order of their acceptance. A large selection is worked off in parts, so that other
/// operations need not wait until all of it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Begins after this job.
    pub(super) after: i64,
    /// The last job of all parts; `None` until the first part is done. Jobs that are accepted later belong to none.
    pub(super) until: Option<i64>,
}

impl Part {
    /// The maximum number of jobs in a part.
    pub(super) const LENGTH: i64 = 1000;
}

/// What was done with a part of a selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Acted {
    /// How many of its jobs were selected.
    pub(super) count: u64,
    /// The next part, if there is one.
    pub(super) next: Option<Part>,
}

/// A part of a long list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Starts after this job; `None` starts with the newest one.
    pub after: Option<JobId>,
    /// The maximum number of jobs.
    pub limit: u32,
}

/// The jobs of a route or event that are neither delivered nor dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The route or event.
    pub work: Work,
    /// The platform that sent the calls.
    pub platform: String,
    /// How many there are.
    pub count: u64,
}

/// How many jobs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not tried yet.
    pub waiting: u64,
    /// Failed, and to be tried again.
    pub retrying: u64,
    /// Leased by an instance.
    pub running: u64,
    /// Delivered, and not yet deleted.
    pub delivered: u64,
    /// Given up.
    pub dead: u64,
    /// When the oldest that is neither delivered nor dead was accepted.
    pub oldest: Option<Timestamp>,
}

impl Counts {
    /// Adds `count` jobs with this status, of which the first was accepted at `first`.
    pub(super) fn add(&mut self, status: DeliveryStatus, count: u64, first: Timestamp) {
        let field = match status {
            DeliveryStatus::Waiting => &mut self.waiting,
            DeliveryStatus::Retrying => &mut self.retrying,
            DeliveryStatus::Running => &mut self.running,
            DeliveryStatus::Delivered => &mut self.delivered,
            DeliveryStatus::Dead => &mut self.dead,
        };
        *field += count;
        if !status.is_finished() {
            self.oldest = Some(self.oldest.map_or(first, |oldest| oldest.min(first)));
        }
    }
}
