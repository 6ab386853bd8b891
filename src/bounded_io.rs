//! Runs work on files within a time limit: a network file system that hangs must not end all reloads.
//!
//! Work that takes too long cannot be ended. Its thread is abandoned, and what it was about counts as stuck.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long work on one path may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take while another path is stuck. All files of a hung mount must not add up.
const SHORT_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a stuck path is not asked again. Each attempt may cost another thread, so this doubles each time. A path
/// may lead elsewhere by then, if it was a link to a file system that hangs.
const FIRST_RETRY: Duration = Duration::from_secs(10);

/// The longest time between two attempts.
const LAST_RETRY: Duration = Duration::from_secs(3600);

static FILES: Mutex<Option<Files>> = Mutex::new(None);

/// Does work on `path`, and waits for it up to a few seconds.
///
/// # Errors
/// It took too long, now or before.
pub(crate) fn within_limit<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<T> {
    // Work is done one after another. Callers wait for a single piece of it.
    FILES.lock().get_or_insert_with(Files::new).run(path, work)
}

/// Whether work on some path takes too long at the moment.
pub(crate) fn is_any_stuck() -> bool {
    FILES.lock().as_mut().is_some_and(Files::is_any_stuck)
}

type Value = Box<dyn Any + Send>;
type Work = Box<dyn FnOnce(&Path) -> Value + Send>;

/// Work on a path, and where its result goes.
struct Request {
    path: PathBuf,
    work: Work,
    done: SyncSender<Value>,
}

/// A path that does not answer.
struct Stuck {
    /// How many pieces of work on it have not ended.
    waiting: u32,
    retry_at: Instant,
    next_pause: Duration,
}

/// The thread that works, and the paths that are stuck.
struct Files {
    worker: Option<Sender<Request>>,
    stuck: HashMap<PathBuf, Stuck>,
    /// Paths that answered after all.
    answered: (Sender<PathBuf>, Receiver<PathBuf>),
}

impl Files {
    fn new() -> Self {
        Self { worker: None, stuck: HashMap::new(), answered: mpsc::channel() }
    }

    fn is_any_stuck(&mut self) -> bool {
        while let Ok(path) = self.answered.1.try_recv() {
            self.note_answer(&path);
        }
        !self.stuck.is_empty()
    }

    /// Notes that a piece of work on a path has ended. It answers again once all of them have.
    fn note_answer(&mut self, path: &Path) {
        let Some(stuck) = self.stuck.get_mut(path) else { return };
        stuck.waiting -= 1;
        if stuck.waiting == 0 {
            self.stuck.remove(path);
        }
    }

    fn run<T: Send + 'static>(
        &mut self,
        path: &Path,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> io::Result<T> {
        let timeout = if self.is_any_stuck() { SHORT_TIMEOUT } else { TIMEOUT };
        if self.stuck.get(path).is_some_and(|stuck| Instant::now() < stuck.retry_at) {
            return Err(unanswered());
        }
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => start(self.answered.0.clone())?,
        };
        // Without a buffer, the thread knows whether somebody still waits for the result.
        let (done, result) = mpsc::sync_channel(0);
        let work: Work = Box::new(|path| Box::new(work(path)));
        if worker.send(Request { path: path.to_owned(), work, done }).is_err() {
            return Err(ended());
        }
        match result.recv_timeout(timeout) {
            Ok(value) => {
                self.worker = Some(worker);
                self.stuck.remove(path);
                value.downcast().map(|value| *value).map_err(|_| ended())
            }
            Err(RecvTimeoutError::Timeout) => {
                self.note_stuck(path);
                Err(unanswered())
            }
            Err(RecvTimeoutError::Disconnected) => Err(ended()),
        }
    }

    fn note_stuck(&mut self, path: &Path) {
        let now = Instant::now();
        let first = || Stuck { waiting: 0, retry_at: now, next_pause: FIRST_RETRY };
        let stuck = self.stuck.entry(path.to_owned()).or_insert_with(first);
        stuck.waiting += 1;
        stuck.retry_at = now + stuck.next_pause;
        stuck.next_pause = (stuck.next_pause * 2).min(LAST_RETRY);
    }
}

fn unanswered() -> io::Error {
    io::Error::other("reading it takes too long; it may be on a file system that does not answer")
}

fn ended() -> io::Error {
    io::Error::other("the thread that reads files has ended")
}

/// Starts a thread that works until nobody asks any more.
fn start(answered: Sender<PathBuf>) -> io::Result<Sender<Request>> {
    let (requests, pending) = mpsc::channel::<Request>();
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        for Request { path, work, done } in pending {
            // Nobody waits any more for what took too long, but the path may be asked for again.
            if done.send(work(&path)).is_err() && answered.send(path).is_err() {
                break;
            }
        }
    })?;
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Condvar};

    /// Work that does not end before the gate is opened.
    #[derive(Clone, Default)]
    struct Gate(Arc<(std::sync::Mutex<bool>, Condvar)>);

    impl Gate {
        fn wait(&self) {
            let (is_open, changed) = &*self.0;
            drop(changed.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }

        fn open(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }
    }

    /// Files of which another one is stuck, so that a test waits for the short timeout only.
    fn files() -> Files {
        let mut files = Files::new();
        files.note_stuck(Path::new("other"));
        files
    }

    fn hang(files: &mut Files, gate: &Gate) -> io::Result<()> {
        let gate = gate.clone();
        files.run(Path::new("hung"), move |_| gate.wait())
    }

    #[test]
    fn a_path_that_does_not_answer_is_an_error_and_the_others_are_read() {
        let (mut files, gate) = (files(), Gate::default());
        let error = hang(&mut files, &gate).unwrap_err();
        assert!(error.to_string().contains("takes too long"), "{error}");
        // It is not asked again.
        assert!(files.run(Path::new("hung"), |_| ()).is_err());
        assert_eq!(files.run(Path::new("fine"), |path| path.to_owned()).unwrap(), Path::new("fine"));
        gate.open();
        let answered = files.answered.1.recv().unwrap();
        files.note_answer(&answered);
        assert!(files.run(Path::new("hung"), |_| ()).is_ok());
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_asked_again_after_a_pause() {
        let (mut files, gate) = (files(), Gate::default());
        let pause_after = |files: &mut Files| {
            hang(files, &gate).unwrap_err();
            let stuck = files.stuck.get_mut(Path::new("hung")).unwrap();
            stuck.retry_at = Instant::now();
            stuck.next_pause
        };
        assert_eq!(pause_after(&mut files), FIRST_RETRY * 2);
        assert_eq!(pause_after(&mut files), FIRST_RETRY * 4);
        // Another file has this name now.
        assert!(files.run(Path::new("hung"), |_| ()).is_ok());
        assert!(!files.stuck.contains_key(Path::new("hung")));
        // What was abandoned ends later, which changes nothing.
        gate.open();
        for _ in 0..2 {
            let answered = files.answered.1.recv().unwrap();
            files.note_answer(&answered);
        }
        assert!(files.run(Path::new("hung"), |_| ()).is_ok());
    }
}
