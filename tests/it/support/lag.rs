//! Measures how late timers fire on this machine. Tests that hold a reply to a deadline allow for that much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

const TICK: Duration = Duration::from_millis(20);

/// Measures in the background until it is dropped.
pub(crate) struct Lag {
    ticks: Arc<Mutex<Ticks>>,
    task: JoinHandle<()>,
}

struct Ticks {
    /// When each past tick fired, and how late.
    fired: Vec<(Instant, Duration)>,
    /// When the next tick is due.
    due: Instant,
}

impl Lag {
    pub(crate) fn measure() -> Self {
        let ticks = Arc::new(Mutex::new(Ticks { fired: Vec::new(), due: Instant::now() + TICK }));
        let noted = Arc::clone(&ticks);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                let mut ticks = noted.lock();
                let late = now.saturating_duration_since(ticks.due);
                ticks.fired.push((now, late));
                ticks.due = now + TICK;
            }
        });
        Self { ticks, task }
    }

    /// The worst delay of a timer that fired since `start`, or that is overdue now.
    pub(crate) fn since(&self, start: Instant) -> Duration {
        let ticks = self.ticks.lock();
        let fired = ticks.fired.iter().rev().take_while(|(at, _)| *at >= start).map(|(_, late)| *late);
        fired.chain([ticks.due.elapsed()]).max().unwrap_or_default()
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.task.abort();
    }
}
