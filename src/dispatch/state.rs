//! The store of the process. It is opened when a table first needs it; other tables never touch it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::flow::{Record, StateAccess};
use crate::plan::{Plan, StateConfig};
use crate::state::{Counts, SHORTEST_LIMIT, Settings, StateError, StateFault, Store};

/// How long no operation may fail until the store counts as working. If the disk is full, reads succeed between writes
/// that fail, and an alert must not miss that.
const STEADY_AFTER: Duration = Duration::from_secs(3);

/// The store, once it is open, and what is known about it.
#[derive(Debug, Default)]
pub struct StateSlot {
    store: OnceLock<Store>,
    opened: Notify,
    /// The last error of the store itself and its time, until the store works again.
    away: Mutex<Option<(StateError, Instant)>>,
    is_away: AtomicBool,
    /// Why stored values cannot be decrypted, if a key is missing.
    other_key: Mutex<Option<StateError>>,
    errors: AtomicU64,
    /// Calls whose retries only this instance recognises, because the store was away.
    local_claims: AtomicU64,
    counts: Mutex<Counts>,
}

impl StateSlot {
    /// How a call of `plan` uses the store; `None` if the plan has none. Opens it, which does no I/O.
    pub fn access(&self, plan: &Plan) -> Option<StateAccess<'_>> {
        let config = plan.state.as_ref()?;
        let store = self.store.get().unwrap_or_else(|| {
            let store = self.store.get_or_init(|| open(config));
            // Only now: a task that is woken earlier finds no store, and nothing wakes it again.
            self.opened.notify_waiters();
            store
        });
        Some(StateAccess { store, memory_ttl: config.memory_ttl })
    }

    /// The store, if it is open.
    pub fn store(&self) -> Option<&Store> {
        self.store.get()
    }

    /// Waits until the store is open.
    pub async fn opened(&self) -> &Store {
        loop {
            let opened = self.opened.notified();
            if let Some(store) = self.store.get() {
                return store;
            }
            opened.await;
        }
    }

    /// Notes the result of an operation, and logs when the store becomes unavailable or works again.
    pub fn note<T>(&self, result: Result<T, StateError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.note_success();
                Some(value)
            }
            Err(error) => {
                self.note_error(&error);
                None
            }
        }
    }

    /// Like [`Self::note`] for an operation within a time limit. A call that was nearly over when it asked does not show
    /// that the store is unavailable.
    pub fn note_within<T>(&self, limit: Duration, result: Result<T, StateError>) -> Option<T> {
        match result {
            Err(error) if limit < SHORTEST_LIMIT && error.fault == StateFault::Timeout => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                None
            }
            result => self.note(result),
        }
    }

    /// Notes that an operation succeeded.
    pub fn note_success(&self) {
        self.note_success_at(Instant::now());
    }

    fn note_success_at(&self, now: Instant) {
        if !self.is_away.load(Ordering::Relaxed) {
            return;
        }
        let mut away = self.away.lock();
        if away.as_ref().is_some_and(|(_, last)| now.saturating_duration_since(*last) >= STEADY_AFTER) {
            *away = None;
            self.is_away.store(false, Ordering::Relaxed);
            tracing::info!("the state store works again");
        }
    }

    /// Notes that an operation failed.
    pub fn note_error(&self, error: &StateError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        if !error.fault.is_away() {
            return;
        }
        *self.away.lock() = Some((error.clone(), Instant::now()));
        if !self.is_away.swap(true, Ordering::Relaxed) {
            let fault = error.fault.slug();
            tracing::error!(
                fault,
                "{error}. Until it works again, calls of `async` routes fail with `unreachable`, nothing is remembered, \
                 and each instance recognizes only its own retries"
            );
        }
    }

    /// Notes what the store did for a call that has ended.
    pub fn note_call(&self, record: &Record) {
        match record.state_error() {
            Some(error) => {
                let limit = record.state_limit.unwrap_or(SHORTEST_LIMIT);
                self.note_within(limit, Err::<(), _>(error.clone()));
            }
            None if record.used_state() => self.note_success(),
            None => {}
        }
    }

    /// Why the store is away, if it is.
    pub fn away(&self) -> Option<StateError> {
        self.away.lock().as_ref().map(|(error, _)| error.clone())
    }

    /// Why the store does not work, or holds values that no configured key decrypts.
    pub fn fault(&self) -> Option<StateError> {
        self.away().or_else(|| self.other_key.lock().clone())
    }

    /// Notes the result of [`Store::check_keys`]. Returns whether all values can be decrypted; `None` if the store could
    /// not tell.
    pub fn note_keys(&self, result: Result<(), StateError>) -> Option<bool> {
        let error = match result {
            Err(error) if error.fault == StateFault::OtherKey => Some(error),
            result => {
                self.note(result)?;
                None
            }
        };
        let is_good = error.is_none();
        let before = std::mem::replace(&mut *self.other_key.lock(), error.clone());
        match (before, error) {
            (None, Some(error)) => {
                tracing::error!(
                    fault = error.fault.slug(),
                    "{error}. Until then, these deliveries are handed back, and this memory cannot be read"
                );
            }
            (Some(_), None) => tracing::info!("the configured keys decrypt every stored value again"),
            _ => {}
        }
        Some(is_good)
    }

    /// How many operations failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Counts a call whose retries only this instance recognises.
    pub fn note_local_claim(&self) {
        self.local_claims.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls there were whose retries only this instance recognises.
    pub fn local_claims(&self) -> u64 {
        self.local_claims.load(Ordering::Relaxed)
    }

    /// How many deliveries there were when they were last counted.
    pub fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// Keeps the number of deliveries.
    pub fn set_counts(&self, counts: Counts) {
        *self.counts.lock() = counts;
    }
}

/// Opens the store of a table.
pub fn open(config: &StateConfig) -> Store {
    let settings =
        Settings { keys: config.keys.clone(), pool: config.pool, ..Settings::new(config.url.clone()) };
    Store::open(&settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_operation_that_had_time_shows_that_the_store_is_unavailable() {
        let slot = StateSlot::default();
        let error = |fault| StateError { fault, place: "sqlite:x".to_owned(), detail: String::new() };
        let note = |limit, fault| {
            let _: Option<()> = slot.note_within(Duration::from_millis(limit), Err(error(fault)));
            slot.away().map(|error| error.fault)
        };
        assert_eq!(note(5, StateFault::Timeout), None);
        assert_eq!(note(5, StateFault::Unreachable), Some(StateFault::Unreachable));
        slot.note_success_at(Instant::now() + STEADY_AFTER);
        assert_eq!(note(1000, StateFault::Timeout), Some(StateFault::Timeout));
        assert_eq!(slot.errors(), 3);
    }

    #[test]
    fn a_success_between_errors_does_not_show_that_the_store_works() {
        let slot = StateSlot::default();
        let full = StateError { fault: StateFault::DiskFull, place: String::new(), detail: String::new() };
        slot.note_error(&full);
        let began = Instant::now();
        slot.note_success();
        assert_eq!(slot.away(), Some(full.clone()));
        slot.note_error(&full);
        slot.note_success_at(began + STEADY_AFTER / 2);
        assert_eq!(slot.away(), Some(full));
        slot.note_success_at(began + STEADY_AFTER * 20);
        assert_eq!(slot.away(), None);
    }
}
