//! Operations that go to the server together, so that one flush of its disk serves many of them: those that arrive
//! while a statement is running share the next one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::state::engine::Result;
use crate::state::error::StateError;

use super::Inner;

/// The maximum number of statements of one kind at the same time.
const MAX_STATEMENTS: usize = 2;

/// The maximum number of operations in one statement.
const MAX_BATCH: usize = 500;

/// The maximum number of operations of one kind that wait. While the server hangs, each caller gives up after its own
/// limit, but its operation waits on.
pub(super) const MAX_WAITING: usize = 10_000;

/// How long a statement may take before it is cancelled. Each caller has its own, possibly shorter limit.
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_secs(8);

/// An operation of which one statement can do many.
pub(super) trait Batched: Sized + Send + Sync + 'static {
    /// The operations that wait.
    fn waiting(inner: &Inner) -> &Batches<Waiting<Self>>;

    /// Does operations in one statement, and returns for each whether it took effect. Statements that lock several rows
    /// lock them in the same sequence, which prevents deadlocks.
    fn run(inner: &Inner, operations: &[Self]) -> impl Future<Output = Result<Vec<bool>>> + Send;
}

/// An operation whose caller waits.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    operation: T,
    sender: oneshot::Sender<Result<bool>>,
}

/// Does an operation together with others, and returns whether it took effect. If the caller gives up, the operation may
/// take effect nevertheless.
pub(super) async fn run<T: Batched>(inner: &Arc<Inner>, operation: T) -> Result<bool> {
    let (sender, result) = oneshot::channel();
    if T::waiting(inner).add(Waiting { operation, sender }).ok_or_else(|| inner.pool.full())? {
        tokio::spawn(send::<T>(Arc::clone(inner)));
    }
    result.await.unwrap_or_else(|_| Err(inner.pool.internal(&"the task of the statement ended")))
}

/// Sends statements until no operation waits.
async fn send<T: Batched>(inner: Arc<Inner>) {
    while let Some(mut batch) = T::waiting(&inner).next() {
        batch.retain(|waiting| !waiting.sender.is_closed());
        if batch.is_empty() {
            continue;
        }
        let (operations, mut senders): (Vec<T>, Vec<_>) =
            batch.into_iter().map(|Waiting { operation, sender }| (operation, sender)).unzip();
        let result = tokio::select! {
            result = T::run(&inner, &operations) => result,
            () = tokio::time::sleep(BATCH_TIMEOUT) => {
                Err(StateError::timeout(inner.pool.place(), BATCH_TIMEOUT))
            }
            // Nobody waits for it any more.
            () = all_closed(&mut senders) => continue,
        };
        for (at, sender) in senders.into_iter().enumerate() {
            let took_effect = |all: &Vec<bool>| all.get(at).copied().unwrap_or_default();
            let _ = sender.send(result.as_ref().map(took_effect).map_err(Clone::clone));
        }
    }
}

async fn all_closed(senders: &mut [oneshot::Sender<Result<bool>>]) {
    for sender in senders {
        sender.closed().await;
    }
}

/// Operations of one kind.
#[derive(Debug)]
pub(super) struct Batches<T>(Mutex<Queue<T>>);

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    /// How many tasks send statements.
    tasks: usize,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), tasks: 0 }))
    }
}

impl<T> Batches<T> {
    /// Adds an operation. Returns whether the caller must start a task that sends what [`Self::next`] returns; `None` if
    /// too many are waiting.
    #[must_use]
    pub(super) fn add(&self, operation: T) -> Option<bool> {
        let mut queue = self.0.lock();
        if queue.waiting.len() >= MAX_WAITING {
            return None;
        }
        queue.waiting.push_back(operation);
        let is_needed = queue.tasks < MAX_STATEMENTS;
        queue.tasks += usize::from(is_needed);
        Some(is_needed)
    }

    /// The operations for the next statement. `None` if there are none: the task must end.
    pub(super) fn next(&self) -> Option<Vec<T>> {
        let mut queue = self.0.lock();
        let count = queue.waiting.len().min(MAX_BATCH);
        if count == 0 {
            queue.tasks -= 1;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}
