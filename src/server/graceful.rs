//! The shutdown of connections: all are told, and each ends when it carries no request.

use std::future::Future;

use tokio::sync::watch;

/// Tells connections to end, and waits for them.
#[derive(Debug)]
pub(super) struct GracefulShutdown(watch::Sender<()>);

/// What a connection knows of the shutdown. The shutdown waits until it is dropped.
#[derive(Debug, Clone)]
pub(super) struct ShutdownWatcher(watch::Receiver<()>);

impl GracefulShutdown {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(super) fn watcher(&self) -> ShutdownWatcher {
        ShutdownWatcher(self.0.subscribe())
    }

    /// Tells all connections to end. Waits until they have ended.
    pub(super) async fn shutdown(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

impl ShutdownWatcher {
    /// Whether the shutdown has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Waits until the shutdown begins.
    pub(super) fn begun(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.0.clone();
        async move { drop(changes.changed().await) }
    }
}
