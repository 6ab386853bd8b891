//! Operations that end within the time limit of the store, and do not all wait for a store that hangs.

use std::time::{Duration, Instant};

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};
use crate::state::hang::Hang;

use super::Store;

impl Store {
    /// Reads, and waits also for a store that hangs.
    pub(super) async fn read<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.limited(&self.inner.reads, operation).await
    }

    /// Writes, and waits also for a store that hangs.
    pub(super) async fn write<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.limited(&self.inner.writes, operation).await
    }

    /// Reads for a call, which does not wait for a store that hangs.
    pub(super) async fn quick_read<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.admit(&self.inner.reads, Duration::ZERO)?;
        self.read(operation).await
    }

    /// Writes for a call, which does not wait for a store that hangs.
    pub(super) async fn quick_write<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        self.admit(&self.inner.writes, Duration::ZERO)?;
        self.write(operation).await
    }

    /// An error if the store has been hanging for longer than `patience` and is not to be asked now.
    pub(super) fn admit(&self, hang: &Hang, patience: Duration) -> Result<()> {
        if hang.admits(patience, Instant::now()) {
            return Ok(());
        }
        let detail = "it gave no answer a moment ago, so it was not asked";
        Err(StateError::new(StateFault::Timeout, &self.inner.place, detail))
    }

    async fn limited<T>(&self, hang: &Hang, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let result = match tokio::time::timeout(self.limit, operation).await {
            Ok(result) => result,
            Err(_) => Err(StateError::timeout(&self.inner.place, self.limit)),
        };
        hang.note(&result, self.limit, Instant::now());
        result
    }
}
