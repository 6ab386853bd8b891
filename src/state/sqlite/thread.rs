//! The threads that own the connections: waiting for the disk must not hold up the runtime.
//!
//! The writing thread takes all commands that wait for it into one transaction, so that one flush to the disk makes all
//! of them durable.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::state::engine::Result;
use crate::state::error::{StateError, StateFault};
use crate::state::fate::Fate;

use super::open::{Access, Failure, File};

/// The maximum number of commands in one transaction.
const MAX_BATCH: usize = 1000;

/// The maximum number of commands that wait. At the full speed of a fast disk, they take about a second.
const MAX_WAITING: usize = 8192;

/// How often to check whether the file was replaced or deleted.
const LOOK_AT_FILE_EVERY: Duration = Duration::from_secs(1);

/// A thread that owns a connection. It starts with its first command, and ends when this is dropped.
#[derive(Debug)]
pub(super) struct DatabaseThread {
    file: File,
    access: Access,
    commands: Mutex<Option<SyncSender<Box<dyn Command>>>>,
}

/// Something to do with the connection.
trait Command: Send {
    /// Whether the caller no longer waits for it.
    fn is_cancelled(&self) -> bool;
    /// Runs the command. Called again if the transaction failed because of another command.
    fn run(&mut self, connection: &Connection) -> std::result::Result<(), Failure>;
    /// Returns the result to the caller. If the caller was told that it failed, returns what must be undone.
    fn answer(self: Box<Self>, result: Result<()>) -> Option<Undo>;
}

/// Undoes a command.
pub(super) type Undo = Box<dyn Fn(&Connection) -> std::result::Result<(), Failure> + Send>;

struct Pending<T, F> {
    run: F,
    value: Option<T>,
    sender: oneshot::Sender<Result<T>>,
    fate: Arc<Fate>,
    undo: Option<Undo>,
}

impl<T, F> Command for Pending<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> std::result::Result<T, Failure> + Send,
{
    fn is_cancelled(&self) -> bool {
        self.sender.is_closed() || self.fate.is_given_up()
    }

    fn run(&mut self, connection: &Connection) -> std::result::Result<(), Failure> {
        self.value = Some((self.run)(connection)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<()>) -> Option<Undo> {
        let Self { value, sender, fate, undo, .. } = *self;
        let is_kept = fate.is_done() && result.is_ok();
        if let Some(result) = result.map(|()| value).transpose() {
            let _ = sender.send(result);
        }
        // A commit that failed may still be found in the log when the file is opened again.
        undo.filter(|_| !is_kept)
    }
}

impl DatabaseThread {
    pub(super) fn new(file: File, access: Access) -> Self {
        Self { file, access, commands: Mutex::default() }
    }

    /// Runs `run` in a transaction, and returns when it is committed. If `run` fails, it must have changed nothing.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        run: impl FnMut(&Connection) -> std::result::Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let (sender, result) = oneshot::channel();
        self.send(Box::new(Pending { run, value: None, sender, fate: Arc::default(), undo: None }))?;
        result.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Like [`Self::run`], within a time limit. After an error, nothing was changed, or it was undone before the next
    /// command.
    pub(super) async fn run_or_undo<T: Send + 'static>(
        &self,
        run: impl FnMut(&Connection) -> std::result::Result<T, Failure> + Send + 'static,
        undo: Undo,
        limit: Duration,
    ) -> Result<T> {
        let (sender, mut result) = oneshot::channel();
        let fate = Arc::new(Fate::default());
        let undo = Some(undo);
        self.send(Box::new(Pending { run, value: None, sender, fate: Arc::clone(&fate), undo }))?;
        match tokio::time::timeout(limit, &mut result).await {
            Ok(result) => result.unwrap_or_else(|_| Err(self.gone())),
            Err(_) if fate.give_up() => Err(StateError::timeout(&self.file.place, limit)),
            // It was committed at the last moment.
            Err(_) => result.await.unwrap_or_else(|_| Err(self.gone())),
        }
    }

    /// Queues `run` without waiting for its result.
    pub(super) fn run_detached(
        &self,
        run: impl FnMut(&Connection) -> std::result::Result<(), Failure> + Send + 'static,
    ) {
        struct Detached<F>(F);

        impl<F: FnMut(&Connection) -> std::result::Result<(), Failure> + Send> Command for Detached<F> {
            fn is_cancelled(&self) -> bool {
                false
            }

            fn run(&mut self, connection: &Connection) -> std::result::Result<(), Failure> {
                (self.0)(connection)
            }

            fn answer(self: Box<Self>, _: Result<()>) -> Option<Undo> {
                None
            }
        }

        let _ = self.send(Box::new(Detached(run)));
    }

    fn send(&self, command: Box<dyn Command>) -> Result<()> {
        let mut commands = self.commands.lock();
        let command = match commands.as_ref() {
            None => command,
            Some(sender) => match sender.try_send(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(self.full()),
                // The thread has ended by a panic: start another one.
                Err(TrySendError::Disconnected(unsent)) => unsent,
            },
        };
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let owner = Owner {
            file: self.file.clone(),
            access: self.access,
            open: None,
            undone: Vec::new(),
            looked_at: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("jackfield-sqlite".to_owned());
        thread
            .spawn(move || owner.serve(&receiver))
            .map_err(|error| StateError::new(StateFault::Internal, &self.file.place, error.to_string()))?;
        // The channel is empty.
        let _ = sender.try_send(command);
        *commands = Some(sender);
        Ok(())
    }

    fn full(&self) -> StateError {
        let detail = format!("{MAX_WAITING} operations are waiting for the disk");
        StateError::new(StateFault::Timeout, &self.file.place, detail)
    }

    fn gone(&self) -> StateError {
        StateError::new(StateFault::Internal, &self.file.place, "the thread of the database ended")
    }
}

/// The owner of the connection.
struct Owner {
    file: File,
    access: Access,
    open: Option<Open>,
    /// To be undone before the next command.
    undone: Vec<Undo>,
    looked_at: Instant,
}

struct Open {
    connection: Connection,
    identity: Option<(u64, u64)>,
}

impl Owner {
    fn serve(mut self, commands: &Receiver<Box<dyn Command>>) {
        while let Ok(first) = commands.recv() {
            let mut batch = vec![first];
            if self.access == Access::Write {
                batch.extend(commands.try_iter().take(MAX_BATCH - 1));
            }
            batch.retain(|command| !command.is_cancelled());
            if !batch.is_empty() {
                self.run(batch);
            }
        }
    }

    fn run(&mut self, mut batch: Vec<Box<dyn Command>>) {
        self.reopen_if_replaced();
        let result = self.undo().and_then(|()| self.transact(&mut batch));
        let is_file_at_fault =
            |error: &StateError| error.fault.is_away() && error.fault != StateFault::Internal;
        if batch.len() > 1 && result.as_ref().is_err_and(|error| !is_file_at_fault(error)) {
            // One command failed. Each gets its own transaction, so that the others succeed.
            batch.into_iter().for_each(|command| self.run(vec![command]));
            return;
        }
        let undone = batch.into_iter().filter_map(|command| command.answer(result.clone()));
        self.undone.extend(undone);
        // What cannot be undone now is undone before the next command.
        let _ = self.undo();
    }

    fn transact(&mut self, batch: &mut [Box<dyn Command>]) -> Result<()> {
        self.transaction(self.access, |connection| {
            batch.iter_mut().try_for_each(|command| command.run(connection))
        })
    }

    fn transaction(
        &mut self,
        access: Access,
        run: impl FnOnce(&Connection) -> std::result::Result<(), Failure>,
    ) -> Result<()> {
        let result = transaction(self.connection()?, access, run);
        result.map_err(|failure| {
            let error = self.file.explain(&failure);
            if error.fault.is_away() && error.fault != StateFault::Timeout {
                // The next command opens the file again, which may have been repaired or replaced by then.
                self.open = None;
            }
            error
        })
    }

    fn undo(&mut self) -> Result<()> {
        if self.undone.is_empty() {
            return Ok(());
        }
        self.connection()?;
        let undone = std::mem::take(&mut self.undone);
        let result =
            self.transaction(Access::Write, |connection| undone.iter().try_for_each(|undo| undo(connection)));
        if result.is_err() {
            self.undone = undone;
        }
        result
    }

    fn connection(&mut self) -> Result<&Connection> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open { connection: self.file.open(self.access)?, identity: identity(&self.file) },
        };
        Ok(&self.open.insert(open).connection)
    }

    /// What is written to a deleted file is lost when the process ends.
    fn reopen_if_replaced(&mut self) {
        if self.looked_at.elapsed() < LOOK_AT_FILE_EVERY {
            return;
        }
        self.looked_at = Instant::now();
        if self.open.as_ref().is_some_and(|open| open.identity != identity(&self.file)) {
            self.open = None;
        }
    }
}

fn transaction(
    connection: &Connection,
    access: Access,
    run: impl FnOnce(&Connection) -> std::result::Result<(), Failure>,
) -> std::result::Result<(), Failure> {
    let begin = if access == Access::Write { "BEGIN IMMEDIATE" } else { "BEGIN" };
    connection.prepare_cached(begin)?.execute([])?;
    let result = run(connection).and_then(|()| Ok(connection.prepare_cached("COMMIT")?.execute([])?));
    if result.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    result.map(drop)
}

#[cfg(unix)]
fn identity(file: &File) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = std::fs::metadata(&file.path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &File) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use futures_util::FutureExt as _;

    fn count(connection: &Connection) -> std::result::Result<i64, Failure> {
        Ok(connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))?)
    }

    fn insert(connection: &Connection, key: u8) -> std::result::Result<(), Failure> {
        let sql = "INSERT INTO calls (key, token, lease_until, purge_at) VALUES (?1, 0, 0, 0)";
        connection.execute(sql, [[key; 32]])?;
        Ok(())
    }

    fn thread(folder: &tempfile::TempDir) -> DatabaseThread {
        let file = File { path: folder.path().join("state.db"), place: "test".to_owned() };
        DatabaseThread::new(file, Access::Write)
    }

    #[tokio::test]
    async fn what_is_done_after_its_caller_gave_up_is_undone_before_the_next_command() {
        let folder = tempfile::tempdir().unwrap();
        let thread = thread(&folder);
        let (go_on, waiting) = channel();
        let run = move |connection: &Connection| {
            let _ = waiting.recv();
            insert(connection, 1)
        };
        let undo: Undo = Box::new(|connection| {
            connection.execute("DELETE FROM calls", [])?;
            Ok(())
        });
        let error = thread.run_or_undo(run, undo, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.fault, StateFault::Timeout);
        let after = thread.run(count);
        go_on.send(()).unwrap();
        assert_eq!(after.await, Ok(0));
    }

    #[tokio::test]
    async fn while_the_disk_hangs_the_queue_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let thread = thread(&folder);
        let (go_on, waiting) = channel::<()>();
        let (started, running) = channel();
        thread.run_detached(move |_| {
            let _ = started.send(());
            let _ = waiting.recv();
            Ok(())
        });
        running.recv().unwrap();
        for _ in 0..MAX_WAITING {
            thread.run_detached(|_| Ok(()));
        }
        let error = thread.run(count).await.unwrap_err();
        assert_eq!(error.fault, StateFault::Timeout);
        assert!(error.detail.contains("8192 operations are waiting"), "{error}");
        drop(go_on);
        // The thread works the queue off, and then takes commands again.
        let counted = async {
            loop {
                if let Ok(count) = thread.run(count).await {
                    return count;
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(counted.await, 0);
    }

    #[tokio::test]
    async fn a_command_at_fault_does_not_harm_the_others_of_its_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let thread = thread(&folder);
        let (go_on, waiting) = channel::<()>();
        let first = thread.run(move |_| {
            let _ = waiting.recv();
            Ok(())
        });
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none());
        // These wait for the first one or come into its transaction.
        let good = thread.run(|connection| insert(connection, 1));
        let bad = thread.run(|connection| Ok(connection.execute("INSERT INTO nothing VALUES (1)", [])?));
        let refused =
            thread.run(|_| std::result::Result::<(), _>::Err(Failure::Refused(StateFault::TooManyNames)));
        let other = thread.run(|connection| insert(connection, 2));
        let all = async { tokio::join!(good, bad, refused, other) };
        tokio::pin!(all);
        assert!(all.as_mut().now_or_never().is_none());
        drop(go_on);
        first.await.unwrap();
        let (good, bad, refused, other) = all.await;
        assert_eq!((good, other), (Ok(()), Ok(())));
        assert_eq!(bad.unwrap_err().fault, StateFault::Internal);
        assert_eq!(refused.unwrap_err().fault, StateFault::TooManyNames);
        assert_eq!(thread.run(count).await, Ok(2));
    }
}
