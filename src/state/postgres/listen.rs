//! Listens for notifications from other instances.

use std::future::poll_fn;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Notification};

use crate::state::error::StateError;

use super::Inner;

/// The poll interval while notifications arrive. Only changes during a broken connection are missed.
const POLL: Duration = Duration::from_secs(5);

/// The poll interval while notifications do not arrive.
pub(super) const POLL_UNHEARD: Duration = Duration::from_secs(1);

/// How long a probe, a notification to this instance itself, may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a probe checks that notifications arrive.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// The pause before the next attempt to connect.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Why a connection stopped listening.
enum Heard {
    /// It broke, or was never made.
    Broken,
    /// It works, but no notification arrives.
    Nothing,
}

/// Listens until the engine is gone.
pub(super) async fn listen(inner: Weak<Inner>) {
    let mut is_warned = false;
    loop {
        let pause = match listen_once(&inner).await {
            Heard::Broken => CONNECT_AGAIN_AFTER,
            Heard::Nothing => {
                if let Some(inner) = inner.upgrade().filter(|_| !is_warned) {
                    let place = inner.pool.place();
                    tracing::warn!(
                        "state store `{place}`: notifications do not arrive, so changes are polled every second; \
                         connect to the server itself, or through a pooler in session mode"
                    );
                    is_warned = true;
                }
                PROBE_EVERY
            }
        };
        let Some(inner) = inner.upgrade() else { return };
        inner.signals.set_poll(POLL_UNHEARD);
        // Something may have been missed.
        inner.signals.all_changed();
        drop(inner);
        tokio::time::sleep(pause).await;
    }
}

async fn listen_once(inner: &Weak<Inner>) -> Heard {
    let Some(strong) = inner.upgrade() else { return Heard::Broken };
    let Ok((client, mut connection)) = strong.pool.connect().await else { return Heard::Broken };
    // Each instance hears only its own probes.
    let probe = format!("jackfield_probe_{:x}", strong.instance);
    drop(strong);
    let (sender, mut notifications) = mpsc::unbounded_channel();
    // It ends with the client.
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = sender.send(notification);
            }
        }
    });
    let listen = format!("LISTEN jackfield_jobs; LISTEN jackfield_calls; LISTEN {probe}");
    let listening = tokio::time::timeout(PROBE_TIMEOUT, client.batch_execute(&listen)).await;
    if !matches!(listening, Ok(Ok(()))) {
        return Heard::Broken;
    }
    loop {
        if !send_probe(inner, &probe).await {
            return Heard::Broken;
        }
        match hear(inner, &mut notifications, PROBE_TIMEOUT, Some(&probe)).await {
            Ok(true) => {}
            Ok(false) => return Heard::Nothing,
            Err(Ended) => return Heard::Broken,
        }
        let Some(strong) = inner.upgrade() else { return Heard::Broken };
        if strong.signals.poll() != POLL {
            strong.signals.set_poll(POLL);
            // Look for changes that happened before the connection listened.
            strong.signals.all_changed();
        }
        drop(strong);
        if hear(inner, &mut notifications, PROBE_EVERY, None).await.is_err() {
            return Heard::Broken;
        }
    }
}

/// Sends a probe through another connection. A pooler may return a notification to the connection that sent it, even if
/// it delivers none to other connections.
async fn send_probe(inner: &Weak<Inner>, probe: &str) -> bool {
    let Some(inner) = inner.upgrade() else { return false };
    let sent = tokio::time::timeout(PROBE_TIMEOUT, async {
        let connection = inner.pool.get().await?;
        connection.batch(&format!("NOTIFY {probe}")).await?;
        connection.release();
        Ok::<_, StateError>(())
    });
    matches!(sent.await, Ok(Ok(())))
}

/// The connection ended.
struct Ended;

/// Passes notifications on for some time, or until the probe arrives. Returns whether it did.
async fn hear(
    inner: &Weak<Inner>,
    notifications: &mut mpsc::UnboundedReceiver<Notification>,
    time: Duration,
    probe: Option<&str>,
) -> Result<bool, Ended> {
    let ends = tokio::time::Instant::now() + time;
    loop {
        let notification = match tokio::time::timeout_at(ends, notifications.recv()).await {
            Ok(Some(notification)) => notification,
            Ok(None) => return Err(Ended),
            Err(_) => return Ok(false),
        };
        let inner = inner.upgrade().ok_or(Ended)?;
        match notification.channel() {
            "jackfield_jobs" => inner.signals.jobs_changed(),
            "jackfield_calls" => {
                let mut key = [0; 32];
                if hex::decode_to_slice(notification.payload(), &mut key).is_ok() {
                    inner.signals.call_changed(&key);
                }
            }
            channel if Some(channel) == probe => return Ok(true),
            _ => {}
        }
    }
}
