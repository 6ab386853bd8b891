//! The log of `serve`: lines for standard error that never hold up a call, nor end the proxy.
//!
//! Standard error may be a full disk, or a pipe that nobody reads. So a thread of its own writes the lines; what it
//! cannot take or write is dropped, counted, and said as soon as lines can be written again.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::live::Live;
use crate::plan::LogFormat;

use super::lines::{Events, Lines};

/// The environment's word on how lines are written, which goes before the table's.
const FORMAT: &str = "JACKFIELD_LOG";

/// The most bytes that wait to be written: some thousand lines.
const MAX_WAITING: usize = 2 * 1024 * 1024;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the thread that writes waits for further lines after the first: it wakes once for many of them.
const LINGER: Duration = Duration::from_millis(10);

/// The most bytes that are written at once, if they are more than one line: so much a pipe takes whole or not at all, and
/// no line is cut by what others write to it.
const MAX_WRITE: usize = 4096;

/// The most bytes of memory that are kept for the next lines when those before them are written.
const MAX_KEPT: usize = 64 * 1024;

/// How long is waited for a standard error that another program has made non-blocking.
const BUSY: Duration = Duration::from_millis(10);

/// The most characters of a panic's message.
const MAX_MESSAGE: usize = 500;

/// Takes lines and has them written.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    lines: Arc<Lines>,
    waiting: Mutex<PendingLines>,
    /// Told when lines come, if the thread that writes waits for them.
    came: Condvar,
    /// Told when the last line is written.
    written: Condvar,
    /// How many lines were never written.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct PendingLines {
    lines: LogLines,
    /// The bytes of the lines that wait and of those that are on their way to standard error.
    bytes: usize,
    /// Whether the thread that writes waits for lines.
    is_idle: bool,
    /// Whether lines are on their way.
    is_writing: bool,
    /// Whether somebody waits for the last line.
    is_hurried: bool,
    /// Why lines were lost.
    why: Option<String>,
}

/// Whole lines, one behind the other.
#[derive(Debug, Default)]
struct LogLines {
    text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

/// Logs to standard error: this crate from `info`, or what `RUST_LOG` says. Panics are lines of the log too.
///
/// # Errors
/// The thread that writes cannot be started.
pub(crate) fn start() -> io::Result<Arc<LogWriter>> {
    let filter = std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let filter = filter.unwrap_or_else(|| {
        // The watcher's library reports folders that come and go, which is our daily bread.
        Targets::new()
            .with_default(tracing::Level::WARN)
            .with_target("jackfield", tracing::Level::INFO)
            .with_target("notify", tracing::Level::ERROR)
    });
    let is_terminal = io::stderr().is_terminal();
    let ansi = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let said = std::env::var(FORMAT).ok().filter(|said| !said.is_empty());
    let wanted = said.as_deref().and_then(LogFormat::from_name);
    let lines = Arc::new(Lines::new(wanted, is_terminal));
    let log = LogWriter::over(io::stderr(), Arc::clone(&lines))?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(Arc::clone(&log))
        .with_ansi(ansi)
        .event_format(Events::new(lines))
        .log_internal_errors(false);
    tracing_subscriber::registry().with(layer).with(filter).init();
    std::panic::set_hook(Box::new(log_panic));
    if let (Some(said), None) = (said, wanted) {
        let said: String = said.escape_debug().take(MAX_MESSAGE).collect();
        tracing::warn!("`{FORMAT}` is `{said}` and is ignored: set it to `auto`, `human` or `json`");
    }
    Ok(log)
}

/// The hook of its own would write to standard error itself, and wait for whoever reads it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("no message");
    let message: String = message.escape_debug().take(MAX_MESSAGE).collect();
    tracing::error!(place, "internal error: {message} (this is a bug; please report it)");
}

impl LogWriter {
    /// Writes to `out`.
    fn over(out: impl Write + Send + 'static, lines: Arc<Lines>) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self { lines, ..Self::default() });
        let taken = Arc::clone(&log);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || taken.write_all(out))?;
        Ok(log)
    }

    /// How many lines were never written, as it counts on.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// From now on the running table says how lines are written.
    pub(crate) fn follow(&self, live: Arc<Live>) {
        self.lines.follow(live);
    }

    /// A text for a person, in its turn among the lines.
    pub(crate) fn print(&self, level: Level, text: &str) {
        self.push(self.lines.text(level, text).as_bytes());
    }

    /// Waits until every line is written, but not for long.
    pub(crate) fn flush(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_hurried = true;
        self.came.notify_one();
        let is_busy = |waiting: &mut PendingLines| waiting.is_writing || !waiting.lines.is_empty();
        self.written.wait_while_for(&mut waiting, is_busy, LAST_LINES);
        waiting.is_hurried = false;
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + line.len() > MAX_WAITING {
            drop(waiting);
            self.lose(1, "nobody takes them");
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push(line);
        let is_idle = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if is_idle {
            self.came.notify_one();
        }
    }

    fn lose(&self, lines: u64, why: &str) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.waiting.lock().why = Some(why.to_owned());
    }

    /// Writes what comes, for ever.
    fn write_all(&self, mut out: impl Write) {
        let (mut told, mut is_torn, mut lines) = (0, false, LogLines::default());
        loop {
            lines = self.next(lines);
            let mut at = 0;
            while let Some(part) = lines.part(at) {
                let lost = part.put(&mut out, &mut is_torn);
                self.waiting.lock().bytes -= part.text.len();
                if let Some((lost, why)) = lost {
                    self.lose(lost, &why.to_string());
                }
                at += part.ends.len();
            }
            // Those that were lost came after those that waited.
            let lost = self.lost.load(Ordering::Relaxed);
            if lost > told
                && let Some(line) = self.confession(lost - told)
                && put(&mut out, line.as_bytes(), &mut is_torn).is_ok()
            {
                told = lost;
            }
        }
    }

    /// The next lines, waited for; `done` are those before them, which have been written.
    fn next(&self, mut done: LogLines) -> LogLines {
        done.clear();
        let mut waiting = self.waiting.lock();
        waiting.is_writing = false;
        while waiting.lines.is_empty() {
            self.written.notify_all();
            waiting.is_idle = true;
            self.came.wait(&mut waiting);
        }
        waiting.is_idle = false;
        if !waiting.is_hurried {
            self.came.wait_for(&mut waiting, LINGER);
        }
        waiting.is_writing = true;
        std::mem::replace(&mut waiting.lines, done)
    }

    /// What is said about lost lines; `None` while others wait.
    fn confession(&self, lost: u64) -> Option<String> {
        let waiting = self.waiting.lock();
        let why = waiting.why.as_deref().unwrap_or("no reason is known");
        waiting.lines.is_empty().then(|| self.lines.lost(lost, why))
    }
}

impl Write for &LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogLines {
    fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Empties it, and gives back what a burst took.
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.text.shrink_to(MAX_KEPT);
        self.ends.shrink_to(MAX_KEPT / 64);
    }

    /// The line with this number and those after it that are written with it.
    fn part(&self, number: usize) -> Option<LinesPart<'_>> {
        let ends = self.ends.get(number..).filter(|ends| !ends.is_empty())?;
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let count = ends.partition_point(|end| end - begin <= MAX_WRITE).max(1);
        Some(LinesPart { begin, text: &self.text[begin..ends[count - 1]], ends: &ends[..count] })
    }
}

/// Lines that are written at once.
struct LinesPart<'a> {
    text: &'a [u8],
    /// Where the text and each of the lines stand among all lines.
    begin: usize,
    ends: &'a [usize],
}

impl LinesPart<'_> {
    /// Writes the lines; gives how many were lost, and why the last of them was.
    fn put(&self, out: &mut impl Write, is_torn: &mut bool) -> Option<(u64, io::Error)> {
        let (mut rest, mut lost) = (self.text, None);
        while let Err(error) = put(out, rest, is_torn) {
            // The line that could not be written whole is lost; the next may be written.
            let written = self.begin + self.text.len() - error.left;
            let Some(end) = self.ends.iter().find(|end| **end > written) else { break };
            rest = &self.text[end - self.begin..];
            let before = lost.map_or(0, |(lost, _)| lost);
            lost = Some((before + 1, error.why));
        }
        lost
    }
}

/// Bytes that could not all be written.
struct WriteError {
    /// How many of the bytes were not.
    left: usize,
    why: io::Error,
}

/// Writes lines, on a line of their own also when the one before them was cut off.
fn put(out: &mut impl Write, lines: &[u8], is_torn: &mut bool) -> Result<(), WriteError> {
    if lines.is_empty() {
        return Ok(());
    }
    if *is_torn {
        put_bytes(out, b"\n").map_err(|error| WriteError { left: lines.len(), ..error })?;
        *is_torn = false;
    }
    put_bytes(out, lines).inspect_err(|error| {
        let written = &lines[..lines.len() - error.left];
        *is_torn = written.last().is_some_and(|byte| *byte != b'\n');
    })
}

fn put_bytes(out: &mut impl Write, mut bytes: &[u8]) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        let why = match out.write(bytes) {
            Ok(0) => ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = &bytes[written..];
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(BUSY);
                continue;
            }
            Err(error) => error,
        };
        return Err(WriteError { left: bytes.len(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::observe::log::*;
    use std::sync::mpsc;

    /// Takes `room` bytes more, then nothing until there is room again.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Disk {
        fn make_room(&self, room: usize) {
            self.0.lock().0 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().1.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock();
            let fits = bytes.len().min(disk.0);
            if fits == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            disk.0 -= fits;
            disk.1.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn human() -> Arc<Lines> {
        Arc::new(Lines::new(Some(LogFormat::Human), false))
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many_when_it_is_free_again() {
        let disk = Disk::default();
        disk.make_room(12);
        let log = LogWriter::over(disk.clone(), human()).unwrap();
        for line in ["first", "second, torn", "third"] {
            log.print(Level::WARN, line);
        }
        log.flush();
        assert_eq!(disk.text(), "first\nsecond");
        assert_eq!(log.lost().load(Ordering::Relaxed), 2);
        disk.make_room(1000);
        log.print(Level::WARN, "fourth");
        log.print(Level::WARN, "fifth");
        log.flush();
        let text = disk.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["first", "second", "fourth"]);
        let said: Vec<_> = lines.iter().filter(|line| line.contains("could not be written")).collect();
        assert_eq!(said.len(), 1, "{text}");
        assert!(said[0].contains("WARN 2 log lines could not be written: no storage space"), "{text}");
        assert!(text.contains("\nfifth\n"), "{text}");
    }

    /// The hook is the whole process's, so the test runs itself once more to panic there.
    #[test]
    fn a_panic_is_one_line_of_the_log() {
        const PANICS: &str = "JACKFIELD_TEST_PANICS";
        if std::env::var_os(PANICS).is_some() {
            let log = start().unwrap();
            std::thread::spawn(|| panic!("on\npurpose")).join().unwrap_err();
            log.flush();
            return;
        }
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "observe::log::tests::a_panic_is_one_line_of_the_log"]).env(PANICS, "1");
        let output = again.env_remove("RUST_LOG").env(FORMAT, "human").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let log = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(
            lines[0].contains("ERROR internal error: on\\npurpose (this is a bug; please report it) place=\"src/observe/log.rs:"),
            "{log}"
        );
    }

    /// A pipe that nobody reads until it is let.
    struct Pipe(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            self.1.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_up_nobody() {
        let (read, reads) = mpsc::channel();
        let (write, written) = mpsc::channel();
        let log = LogWriter::over(Pipe(reads, write), human()).unwrap();
        let line = "x".repeat(MAX_WAITING / 8);
        for _ in 0..20 {
            log.print(Level::WARN, &line);
        }
        // One may be on its way, and seven wait.
        let lost = log.lost().load(Ordering::Relaxed);
        assert!((12..=13).contains(&lost), "{lost}");
        for _ in 0..(20 - lost) {
            read.send(()).unwrap();
            assert_eq!(written.recv().unwrap().len(), line.len() + 1);
        }
        read.send(()).unwrap();
        let said = String::from_utf8(written.recv().unwrap()).unwrap();
        assert!(
            said.contains(&format!(" {lost} log lines could not be written: nobody takes them")),
            "{said}"
        );
    }
}
