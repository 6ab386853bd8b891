//! Instances of the binary that are killed and started again. Each start takes other ports.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::support::proxy::Proxy;
use super::verdict::Outage;

/// What an instance logs when it takes the database for unavailable, and when it does no longer.
const IS_AWAY: &str = "Until it works again";
const IS_BACK: &str = "the state store works again";

pub(super) struct Instances {
    table: String,
    /// `None` while an instance is down.
    running: Vec<Mutex<Option<Proxy>>>,
    kills: AtomicUsize,
    ends: AtomicUsize,
    /// How often each process so far has panicked.
    panics: Mutex<Vec<Arc<AtomicU64>>>,
    /// When an instance took the database for unavailable.
    outages: Arc<Mutex<Vec<Outage>>>,
}

/// Reads the log of an instance.
struct Watching {
    outages: Arc<Mutex<Vec<Outage>>>,
    /// The outage that has not ended.
    open: Option<usize>,
}

impl Watching {
    fn read(&mut self, line: &str) {
        if line.contains(IS_AWAY) {
            let mut outages = locked(&self.outages);
            self.open = Some(outages.len());
            outages.push(Outage { began: Instant::now(), ended: None });
        } else if line.contains(IS_BACK) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(open) = self.open.take() {
            locked(&self.outages)[open].ended = Some(Instant::now());
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.end();
    }
}

impl Instances {
    pub(super) async fn start(count: usize, table: &str) -> Self {
        let running = (0..count).map(|_| Mutex::default()).collect();
        let instances = Self {
            table: table.to_owned(),
            running,
            kills: 0.into(),
            ends: 0.into(),
            panics: Mutex::default(),
            outages: Arc::default(),
        };
        for at in 0..count {
            instances.start_again(at).await;
        }
        instances
    }

    pub(super) async fn start_again(&self, at: usize) {
        let table = self.table.clone();
        let mut watching = Watching { outages: Arc::clone(&self.outages), open: None };
        let started =
            tokio::task::spawn_blocking(move || Proxy::watched(&table, move |line| watching.read(line)));
        let proxy = started.await.expect("a thread").expect("an instance");
        locked(&self.panics).push(Arc::clone(&proxy.alarms));
        *locked(&self.running[at]) = Some(proxy);
    }

    /// Takes an instance from the callers; `None` if it is down.
    pub(super) fn take(&self, at: usize) -> Option<Proxy> {
        locked(&self.running[at]).take()
    }

    /// SIGKILL.
    pub(super) async fn kill(&self, proxy: Proxy) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || drop(proxy)).await.expect("a thread");
    }

    /// SIGTERM, as in a rolling restart.
    pub(super) async fn end(&self, mut proxy: Proxy) {
        self.ends.fetch_add(1, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(move || proxy.end());
        assert!(ended.await.expect("a thread").expect("a status").success(), "an instance failed at its end");
    }

    pub(super) fn count(&self) -> usize {
        self.running.len()
    }

    /// Where an instance listens, unless it is down.
    pub(super) fn address(&self, at: usize) -> Option<SocketAddr> {
        locked(&self.running[at]).as_ref().map(|proxy| proxy.listen)
    }

    pub(super) fn kills(&self) -> usize {
        self.kills.load(Ordering::Relaxed)
    }

    pub(super) fn ends(&self) -> usize {
        self.ends.load(Ordering::Relaxed)
    }

    pub(super) fn outages(&self) -> Vec<Outage> {
        locked(&self.outages).clone()
    }

    pub(super) fn panics(&self) -> u64 {
        locked(&self.panics).iter().map(|panics| panics.load(Ordering::Relaxed)).sum()
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
