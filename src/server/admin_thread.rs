//! The thread of the admin listener. It has a small runtime of its own, so that no call delays health probes.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::admin::Admin;
use super::connections::{Accepting, accept};
use super::graceful::GracefulShutdown;
use super::{ADMIN_HEAD_TIMEOUT, App, LAST_ADMIN, MAX_ADMIN_CONNECTIONS};

/// How many requests for records, metrics and the status are answered at once. They run on other
/// threads, so that they do not delay health probes either.
const MAX_RENDERING: usize = 4;

/// The running thread.
pub(super) struct AdminThread {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<io::Result<bool>>,
}

impl AdminThread {
    /// Starts serving.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub(super) fn start(listener: TcpListener, app: App) -> io::Result<Self> {
        let listener = listener.into_std()?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let serving = move || {
            let served = catch_unwind(AssertUnwindSafe(|| run(listener, app, stopped)));
            // The receiver is gone if the process exits immediately.
            let _ = end.send(served.unwrap_or_else(|_| Err(io::Error::other("its thread panicked"))));
        };
        thread::Builder::new().name("admin".to_owned()).spawn(serving)?;
        Ok(Self { stop, ended })
    }

    /// Waits for a failure of the thread. Never ends without one.
    pub(super) async fn failed(&mut self) -> io::Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => io::Error::other("its thread ended"),
        }
    }

    /// Stops accepting connections and finishes the last requests. Returns whether they ended in time.
    pub(super) async fn stop(self) -> bool {
        let _ = self.stop.send(());
        matches!(self.ended.await, Ok(Ok(true)))
    }
}

/// Serves the listener until `stopped`. Returns whether the last requests ended in time.
fn run(listener: std::net::TcpListener, app: App, stopped: impl Future) -> io::Result<bool> {
    let runtime =
        runtime::Builder::new_current_thread().enable_all().max_blocking_threads(MAX_RENDERING).build()?;
    let is_in_time = runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let connections = GracefulShutdown::new();
        let accepting = Accepting {
            name: "the admin listener",
            listener: &listener,
            endpoint: Admin::new(app),
            tls: &|| None,
            most: &|| MAX_ADMIN_CONNECTIONS,
            room: Arc::default(),
            head_timeout: ADMIN_HEAD_TIMEOUT,
        };
        tokio::select! {
            () = accept(accepting, &connections) => {}
            _ = stopped => {}
        }
        Ok(timeout(LAST_ADMIN, connections.shutdown()).await.is_ok())
    });
    // No client is left to read responses that are still being rendered.
    runtime.shutdown_background();
    is_in_time
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    /// Asks without the runtime of the test.
    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn the_admin_listener_answers_while_all_threads_for_calls_are_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = App::over("[platforms.http]\n[routes.say]\nreply.text = \"Hello.\"\n");
        let admin = AdminThread::start(listener, app).unwrap();
        // This test holds the only thread of its runtime.
        for path in ["/healthz", "/readyz", "/metrics", "/status", "/records"] {
            let answer = ask(address, path);
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path} {answer}");
        }
        assert!(admin.stop().await);
        assert!(TcpStream::connect(address).is_err());
    }
}
