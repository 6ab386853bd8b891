//! Measures how late timers fire on this machine. Tests that hold a reply to a deadline allow for that much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// Measures in the background until it is dropped.
pub(crate) struct Lag {
    worst_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lag {
    pub(crate) fn measure() -> Self {
        let worst_ms = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&worst_ms);
        let task = tokio::spawn(async move {
            const TICK: Duration = Duration::from_millis(20);
            loop {
                let due = Instant::now() + TICK;
                tokio::time::sleep(TICK).await;
                let late = u64::try_from(due.elapsed().as_millis()).unwrap();
                noted.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self { worst_ms, task }
    }

    /// The worst delay since the measurement began.
    pub(crate) fn worst(&self) -> Duration {
        Duration::from_millis(self.worst_ms.load(Ordering::Relaxed))
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}
