//! The built binary, or that of `JACKFIELD_BIN`, serving a table in a folder of its own, and what the system says of it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long it may take to open its listeners, and to end.
const GUARD: Duration = Duration::from_secs(60);

/// A running proxy. It ends with the benchmark.
pub(crate) struct Proxy {
    /// The listener for platforms.
    pub(crate) listen: SocketAddr,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    /// How often it has logged something of which nothing should be logged.
    pub(crate) alarms: Arc<AtomicU64>,
    folder: TempDir,
    child: Child,
}

/// What a process takes of the machine.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Memory that is in use, in KiB.
    pub(crate) memory: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Time of all cores since its start.
    pub(crate) cpu: Duration,
}

impl Proxy {
    /// Serves a table that has both listeners on free ports.
    pub(crate) fn start(table: &str) -> io::Result<Self> {
        Self::watched(table, |_| ())
    }

    /// The same, with a function that gets each line of the log.
    pub(crate) fn watched(table: &str, mut watch: impl FnMut(&str) + Send + 'static) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("routes.toml"), table)?;
        let built = || env!("CARGO_BIN_EXE_jackfield").into();
        let mut command = Command::new(std::env::var_os("JACKFIELD_BIN").unwrap_or_else(built));
        command
            .arg("serve")
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.env("JACKFIELD_LOG", "human");
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let alarms = Arc::new(AtomicU64::new(0));
        let (tell, told) = mpsc::channel();
        let counter = Arc::clone(&alarms);
        std::thread::spawn(move || {
            let mut starting = Some(tell);
            for line in BufReader::with_capacity(1 << 18, stderr).lines().map_while(Result::ok) {
                watch(&line);
                if line.contains("panicked") {
                    counter.fetch_add(1, Ordering::Relaxed);
                    eprint_line(&line);
                }
                let Some(tell) = &starting else { continue };
                match addresses(&line) {
                    Some(both) => {
                        let _ = tell.send(both);
                        starting = None;
                    }
                    None => eprint_line(&line),
                }
            }
        });
        let both = told.recv_timeout(GUARD);
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut proxy = Self { listen: unknown, admin: unknown, alarms, folder, child };
        (proxy.listen, proxy.admin) = both.map_err(|_| io::Error::other("the proxy did not start"))?;
        Ok(proxy)
    }

    /// Puts another table in the place of the one that is served, as an editor does.
    pub(crate) fn save(&self, table: &str) -> io::Result<()> {
        let new = self.folder.path().join("routes.toml.new");
        fs::write(&new, table)?;
        fs::rename(new, self.folder.path().join("routes.toml"))
    }

    pub(crate) fn usage(&self) -> io::Result<Usage> {
        usage(self.child.id())
    }

    /// Asks the process to end and waits for it.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status()?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > GUARD {
                return Err(io::Error::other("the proxy does not end"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses of both listeners, from the line that tells of them.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name))?.parse().ok();
    Some((field("listen=")?, field("admin=")?))
}

#[expect(clippy::print_stderr, reason = "what the proxy says when it does not start, or panics")]
fn eprint_line(line: &str) {
    eprintln!("{line}");
}

/// What a process takes, as Linux tells it.
pub(crate) fn usage(process: u32) -> io::Result<Usage> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let status = fs::read_to_string(folder.join("status"))?;
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    // The name of the program may hold anything; the fields are counted from behind it.
    let stat = fs::read_to_string(folder.join("stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Usage {
        memory: number("VmRSS:"),
        descriptors: fs::read_dir(folder.join("fd"))?.count() as u64,
        threads: number("Threads:"),
        cpu: Duration::from_millis(ticks * 10),
    })
}
