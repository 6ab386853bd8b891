//! Operations that go to the server together, so that one flush of its disk serves many of them: those that arrive
//! while a statement is running share the next one.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

/// The maximum number of statements at the same time.
const MAX_STATEMENTS: usize = 2;

/// The maximum number of operations in one statement.
const MAX_BATCH: usize = 500;

/// How long a statement may take before it is cancelled. Each caller has its own, possibly shorter limit.
pub(super) const BATCH_TIMEOUT: Duration = Duration::from_secs(8);

/// The operations of one kind that wait.
#[derive(Debug)]
pub(super) struct Batches<T>(Mutex<Queue<T>>);

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    /// How many tasks send statements.
    senders: usize,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self(Mutex::new(Queue { waiting: VecDeque::new(), senders: 0 }))
    }
}

impl<T> Batches<T> {
    /// Adds an operation. Returns whether the caller must start a task that sends what [`Self::next`] returns.
    #[must_use]
    pub(super) fn add(&self, operation: T) -> bool {
        let mut queue = self.0.lock();
        queue.waiting.push_back(operation);
        let is_needed = queue.senders < MAX_STATEMENTS;
        queue.senders += usize::from(is_needed);
        is_needed
    }

    /// The operations for the next statement. `None` if there are none: the task must end.
    pub(super) fn next(&self) -> Option<Vec<T>> {
        let mut queue = self.0.lock();
        let count = queue.waiting.len().min(MAX_BATCH);
        if count == 0 {
            queue.senders -= 1;
            return None;
        }
        Some(queue.waiting.drain(..count).collect())
    }
}
