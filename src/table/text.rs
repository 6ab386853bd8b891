//! Reads text files, each within a time limit: a file on a hung network file system must not end all reloads.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// The maximum size of a file. A larger table or template is a mistake.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// How long reading one file may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long reading one file may take while another one is stuck. All files of a hung mount must not add up.
const SHORT_TIMEOUT: Duration = Duration::from_millis(250);

/// Reads a text file. A file that is far too large, not UTF-8, or not read within a few seconds is an error.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    static FILES: Mutex<Option<Files>> = Mutex::new(None);
    // Only one load runs at a time; a second one waits for a file, not for a load.
    FILES.lock().get_or_insert_with(Files::new).read(path, read)
}

/// How a file is read.
type Read = fn(&Path) -> io::Result<String>;

/// Reads files on a thread of their own, which is abandoned when a file does not answer.
struct Files {
    reader: Option<Sender<Request>>,
    /// The files that have not answered yet. They are not asked again, because each would keep another thread.
    stuck: HashSet<PathBuf>,
    /// Files that answered after all.
    answered: (Sender<PathBuf>, Receiver<PathBuf>),
}

/// A file to read, and where its text goes.
struct Request {
    path: PathBuf,
    read: Read,
    text: SyncSender<io::Result<String>>,
}

impl Files {
    fn new() -> Self {
        Self { reader: None, stuck: HashSet::new(), answered: mpsc::channel() }
    }

    fn read(&mut self, path: &Path, read: Read) -> io::Result<String> {
        while let Ok(path) = self.answered.1.try_recv() {
            self.stuck.remove(&path);
        }
        if self.stuck.contains(path) {
            return Err(stuck());
        }
        let timeout = if self.stuck.is_empty() { TIMEOUT } else { SHORT_TIMEOUT };
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => start(self.answered.0.clone())?,
        };
        // Without a buffer, the thread knows whether somebody still waits for the text.
        let (text, read_text) = mpsc::sync_channel(0);
        let request = Request { path: path.to_owned(), read, text };
        if reader.send(request).is_err() {
            return Err(io::Error::other("the thread that reads files has ended"));
        }
        match read_text.recv_timeout(timeout) {
            Ok(text) => {
                self.reader = Some(reader);
                text
            }
            Err(RecvTimeoutError::Timeout) => {
                self.stuck.insert(path.to_owned());
                Err(stuck())
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the thread that reads files has ended"))
            }
        }
    }
}

fn stuck() -> io::Error {
    io::Error::other("reading it takes longer than 5 s; it may be on a file system that does not answer")
}

/// Starts a thread that reads files until nobody asks any more.
fn start(answered: Sender<PathBuf>) -> io::Result<Sender<Request>> {
    let (requests, pending) = mpsc::channel::<Request>();
    thread::Builder::new().name("files".to_owned()).spawn(move || {
        for Request { path, read, text } in pending {
            // Nobody waits any more for a file that took too long, but it may be asked for again.
            if text.send(read(&path)).is_err() && answered.send(path).is_err() {
                break;
            }
        }
    })?;
    Ok(requests)
}

fn read(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    // A pipe or a device may never end, and a reload would wait for it.
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let length = metadata.len();
    if length > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it has {length} bytes, and the limit is {MAX_FILE_BYTES}")));
    }
    let bytes = fs::read(path)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        io::Error::other(format!("it is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
    })?;
    // Some editors on Windows write a byte order mark, which TOML does not allow.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, LazyLock};

    /// Opens once the test wants the stuck file to answer.
    static GATE: LazyLock<(std::sync::Mutex<bool>, Condvar)> = LazyLock::new(Default::default);

    fn hung(path: &Path) -> io::Result<String> {
        if path == Path::new("hung") {
            let (is_open, changed) = &*GATE;
            drop(changed.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
        Ok("text".to_owned())
    }

    #[test]
    fn a_file_that_does_not_answer_is_an_error_and_the_others_are_read() {
        let mut files = Files::new();
        // Another stuck file makes the test wait for the short timeout only.
        files.stuck.insert(PathBuf::from("other"));
        let error = files.read(Path::new("hung"), hung).unwrap_err();
        assert!(error.to_string().contains("takes longer"), "{error}");
        assert!(files.read(Path::new("hung"), hung).is_err());
        assert_eq!(files.read(Path::new("fine"), hung).unwrap(), "text");
        let (is_open, changed) = &*GATE;
        *is_open.lock().unwrap() = true;
        changed.notify_all();
        let answered = files.answered.1.recv().unwrap();
        assert_eq!(answered, Path::new("hung"));
        files.stuck.remove(&answered);
        assert_eq!(files.read(Path::new("hung"), hung).unwrap(), "text");
    }
}
