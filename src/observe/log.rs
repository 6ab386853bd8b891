//! The log of `serve`, on standard error. It never blocks a call and never ends the process.
//!
//! Standard error may be a full disk, or a pipe that nobody reads. So a separate thread writes the lines. Lines that it
//! cannot accept or write are dropped, counted, and reported as soon as writing works again.

mod writing;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Condvar, Mutex};
use tracing::span::{self, Attributes};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, callsite};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::live::Live;
use crate::plan::{LogFormat, LogLevel};

use super::lines::Lines;

use writing::{LogLines, put};

/// The environment variable for the format of lines. It takes precedence over the table.
const FORMAT: &str = "JACKFIELD_LOG";

/// The most bytes waiting to be written: some thousand lines.
const MAX_WAITING: usize = 2 * 1024 * 1024;

/// How long the process waits at its end for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the writer thread waits for more lines after the first, so that it wakes up once for many lines.
const LINGER: Duration = Duration::from_millis(10);

/// The most bytes of a write with several lines. A pipe takes this much whole or not at all, so output of other
/// processes cannot split a line.
const MAX_WRITE: usize = 4096;

/// The most bytes of a write with several lines to a regular file, which takes a write of any size as one.
const MAX_FILE_WRITE: usize = 64 * 1024;

/// The buffer capacity that is kept for later lines, in bytes.
const MAX_KEPT: usize = 64 * 1024;

/// The most characters of a panic message.
const MAX_MESSAGE: usize = 500;

/// The filter of `RUST_LOG`, if it is set and valid. It takes precedence over the table.
static FROM_ENVIRONMENT: LazyLock<Option<Targets>> =
    LazyLock::new(|| std::env::var("RUST_LOG").ok().and_then(|filter| filter.parse().ok()));

thread_local! {
    /// The buffer for the next line of the thread.
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// The filter in force.
static TARGETS: LazyLock<ArcSwap<Targets>> = LazyLock::new(|| {
    ArcSwap::from_pointee(FROM_ENVIRONMENT.clone().unwrap_or_else(|| targets(LogLevel::default())))
});

/// Queues log lines for the writer thread.
#[derive(Debug, Default)]
pub(crate) struct LogWriter {
    lines: Arc<Lines>,
    waiting: Mutex<PendingLines>,
    /// Notified when lines arrive while the writer thread is idle.
    lines_ready: Condvar,
    /// Notified when the last line is written.
    idle: Condvar,
    /// The number of lines that were lost.
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct PendingLines {
    lines: LogLines,
    /// The bytes of the lines that are waiting or being written.
    bytes: usize,
    /// Whether the writer thread is waiting for lines.
    is_idle: bool,
    /// Whether lines are being written.
    is_writing: bool,
    /// Whether a caller is waiting for the last line.
    is_flushing: bool,
    /// Why the last lines were lost.
    loss_reason: Option<String>,
}

/// Starts logging to standard error. This crate logs from `info` until [`set_level`] changes that; `RUST_LOG` overrides
/// both. Panics are logged too.
///
/// # Errors
/// The writer thread cannot be started.
pub(crate) fn start() -> io::Result<Arc<LogWriter>> {
    let is_terminal = io::stderr().is_terminal();
    let is_coloured = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let format = std::env::var(FORMAT).ok().filter(|format| !format.is_empty());
    let wanted = format.as_deref().and_then(LogFormat::from_name);
    let lines = Arc::new(Lines::new(wanted, is_terminal, is_coloured));
    let log = LogWriter::over(io::stderr(), lines, if is_file() { MAX_FILE_WRITE } else { MAX_WRITE })?;
    LevelFilter.with_subscriber(Events(Arc::clone(&log))).init();
    std::panic::set_hook(Box::new(log_panic));
    if let (Some(format), None) = (format, wanted) {
        let format: String = format.escape_debug().take(MAX_MESSAGE).collect();
        tracing::warn!("`{FORMAT}` is `{format}` and is ignored: set it to `auto`, `human` or `json`");
    }
    Ok(log)
}

/// Whether standard error is a regular file.
fn is_file() -> bool {
    let file = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.is_file())
}

/// Logs messages of this level and more severe ones from now on, unless `RUST_LOG` decides that.
pub(crate) fn set_level(level: LogLevel) {
    if FROM_ENVIRONMENT.is_none() {
        TARGETS.store(Arc::new(targets(level)));
        callsite::rebuild_interest_cache();
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    // The file watcher's library warns about folders that appear and disappear, which is normal here.
    Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("jackfield", level)
        .with_target("notify", Level::ERROR)
}

/// Which messages are logged. The answer is kept for each place in the code, so it costs nothing there.
struct LevelFilter;

impl<S: Subscriber> Layer<S> for LevelFilter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&**TARGETS.load(), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        Layer::<S>::enabled(&**TARGETS.load(), metadata, context)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Layer::<S>::max_level_hint(&**TARGETS.load())
    }
}

/// Logs the events that the filter lets through. The program has no spans.
struct Events(Arc<LogWriter>);

impl Subscriber for Events {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        self.0.log(event);
    }

    fn new_span(&self, _: &Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The default hook would write to standard error itself, and block if nobody reads it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("no message");
    let message: String = message.escape_debug().take(MAX_MESSAGE).collect();
    tracing::error!(place, "internal error: {message} (this is a bug; please report it)");
}

impl LogWriter {
    /// Starts the writer thread for `out`. A write of several lines has at most `max_write` bytes.
    fn over(out: impl Write + Send + 'static, lines: Arc<Lines>, max_write: usize) -> io::Result<Arc<Self>> {
        let log = Arc::new(Self { lines, ..Self::default() });
        let taken = Arc::clone(&log);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || taken.write_all(out, max_write))?;
        Ok(log)
    }

    /// The counter of lost lines.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Uses the log format of the running table from now on.
    pub(crate) fn follow(&self, live: Arc<Live>) {
        self.lines.follow(live);
    }

    /// Prints a text for people, in order with the log lines.
    pub(crate) fn print(&self, level: Level, text: &str) {
        self.push(self.lines.text(level, text).as_bytes());
    }

    /// Waits until all lines are written, but at most [`LAST_LINES`].
    pub(crate) fn flush(&self) {
        let mut waiting = self.waiting.lock();
        waiting.is_flushing = true;
        self.lines_ready.notify_one();
        let is_busy = |waiting: &mut PendingLines| waiting.is_writing || !waiting.lines.is_empty();
        self.idle.wait_while_for(&mut waiting, is_busy, LAST_LINES);
        waiting.is_flushing = false;
    }

    /// Logs an event.
    fn log(&self, event: &Event<'_>) {
        // A value may log while it is formatted. That line then finds an empty buffer.
        let mut line = BUFFER.take();
        if self.lines.push(&mut line, event).is_ok() {
            self.push(line.as_bytes());
        }
        line.clear();
        line.shrink_to(MAX_KEPT);
        BUFFER.set(line);
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + line.len() > MAX_WAITING {
            drop(waiting);
            self.lose(1, "standard error is too slow");
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push(line);
        let is_idle = std::mem::take(&mut waiting.is_idle);
        drop(waiting);
        if is_idle {
            self.lines_ready.notify_one();
        }
    }

    fn lose(&self, lines: u64, why: &str) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.waiting.lock().loss_reason = Some(why.to_owned());
    }

    /// Writes lines as they arrive. Never returns.
    fn write_all(&self, mut out: impl Write, max_write: usize) {
        let (mut reported, mut is_torn, mut lines) = (0, false, LogLines::default());
        loop {
            lines = self.next(lines);
            let mut at = 0;
            while let Some(part) = lines.part(at, max_write) {
                let lost = part.put(&mut out, &mut is_torn);
                self.waiting.lock().bytes -= part.text.len();
                if let Some((lost, why)) = lost {
                    self.lose(lost, &why.to_string());
                }
                at += part.ends.len();
            }
            // Report lost lines after the lines that were waiting, which are older.
            let lost = self.lost.load(Ordering::Relaxed);
            if lost > reported
                && let Some(line) = self.lost_lines_message(lost - reported)
                && put(&mut out, line.as_bytes(), &mut is_torn).is_ok()
            {
                reported = lost;
            }
        }
    }

    /// Waits for the next lines. `done` are the previous ones, whose buffer is reused.
    fn next(&self, mut done: LogLines) -> LogLines {
        done.clear();
        let mut waiting = self.waiting.lock();
        waiting.is_writing = false;
        while waiting.lines.is_empty() {
            self.idle.notify_all();
            waiting.is_idle = true;
            self.lines_ready.wait(&mut waiting);
        }
        waiting.is_idle = false;
        if !waiting.is_flushing {
            self.lines_ready.wait_for(&mut waiting, LINGER);
        }
        waiting.is_writing = true;
        std::mem::replace(&mut waiting.lines, done)
    }

    /// The message about lost lines; `None` while other lines are waiting.
    fn lost_lines_message(&self, lost: u64) -> Option<String> {
        let waiting = self.waiting.lock();
        let why = waiting.loss_reason.as_deref().unwrap_or("unknown reason");
        waiting.lines.is_empty().then(|| self.lines.lost(lost, why))
    }
}

#[cfg(test)]
pub(crate) mod captured {
    use super::*;

    /// A subscriber that logs for people, and what it has logged.
    pub(crate) fn human() -> (impl Subscriber, impl Fn() -> String) {
        formatted(Lines::default())
    }

    /// A subscriber that logs in this format, and what it has logged.
    pub(in crate::observe) fn formatted(lines: Lines) -> (impl Subscriber, impl Fn() -> String) {
        let text = Captured::default();
        let log = LogWriter::over(text.clone(), Arc::new(lines), MAX_WRITE).unwrap();
        let logged = Arc::clone(&log);
        (Events(log), move || {
            logged.flush();
            String::from_utf8(text.0.lock().clone()).unwrap()
        })
    }

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(lines);
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::observe::log::*;
    use std::io::ErrorKind;
    use std::sync::mpsc;

    /// Accepts `room` more bytes, then fails until there is room again.
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
        Arc::new(Lines::new(Some(LogFormat::Human), false, false))
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_reported_when_there_is_room_again() {
        [MAX_WRITE, MAX_FILE_WRITE].into_iter().for_each(report_lost_lines);
    }

    fn report_lost_lines(max_write: usize) {
        let disk = Disk::default();
        disk.make_room(12);
        let log = LogWriter::over(disk.clone(), human(), max_write).unwrap();
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
        let message: Vec<_> = lines.iter().filter(|line| line.contains("could not be written")).collect();
        assert_eq!(message.len(), 1, "{text}");
        assert!(message[0].contains("WARN 2 log lines could not be written: no storage space"), "{text}");
        assert!(text.contains("\nfifth\n"), "{text}");
    }

    #[test]
    fn lines_are_written_together() {
        let mut lines = LogLines::default();
        (0..20).for_each(|_| lines.push(&[b'x'; 1000]));
        for (max_write, counts) in [(100, [1; 20].as_slice()), (MAX_WRITE, &[4; 5]), (MAX_FILE_WRITE, &[20])]
        {
            let (mut at, mut written) = (0, Vec::new());
            while let Some(part) = lines.part(at, max_write) {
                written.push(part.ends.len());
                at += part.ends.len();
            }
            assert_eq!(written, counts);
        }
    }

    /// The panic hook is global, so the test runs itself in a child process.
    #[test]
    fn a_panic_is_one_log_line() {
        const PANICS: &str = "JACKFIELD_TEST_PANICS";
        if std::env::var_os(PANICS).is_some() {
            let log = start().unwrap();
            std::thread::spawn(|| panic!("on\npurpose")).join().unwrap_err();
            log.flush();
            return;
        }
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "observe::log::tests::a_panic_is_one_log_line"]).env(PANICS, "1");
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

    /// A pipe whose reader waits for permission.
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
    fn an_unread_pipe_does_not_block_logging() {
        let (read, reads) = mpsc::channel();
        let (write, written) = mpsc::channel();
        let log = LogWriter::over(Pipe(reads, write), human(), MAX_WRITE).unwrap();
        let line = "x".repeat(MAX_WAITING / 8);
        for _ in 0..20 {
            log.print(Level::WARN, &line);
        }
        // One line may be in the process of being written, and seven are waiting.
        let lost = log.lost().load(Ordering::Relaxed);
        assert!((12..=13).contains(&lost), "{lost}");
        for _ in 0..(20 - lost) {
            read.send(()).unwrap();
            assert_eq!(written.recv().unwrap().len(), line.len() + 1);
        }
        read.send(()).unwrap();
        let message = String::from_utf8(written.recv().unwrap()).unwrap();
        assert!(
            message.contains(&format!(" {lost} log lines could not be written: standard error is too slow")),
            "{message}"
        );
    }
}
