//! The built binary: as a running proxy on its own ports, and as a command that ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::client::{Answer, Client, request};
use super::folder::Folder;
use super::poll;
use super::upstream::Upstream;

/// How long a test waits for anything before it fails.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// The start of a table: both listeners on free ports.
pub(crate) const LISTENERS: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";

/// The binary in a folder with its own environment. It logs in the human format, which the tests search.
pub(crate) fn jackfield(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
    command.current_dir(folder).env_clear().env("JACKFIELD_LOG", "human");
    command
}

/// Runs a command of the binary to its end.
pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A running proxy. It is killed at the end of the test.
pub(crate) struct Proxy {
    pub(crate) folder: Folder,
    pub(crate) listen: SocketAddr,
    /// The admin listener, if the table has one.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) client: Client,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends when the process has closed its standard error.
    reader: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Serves a table.
    pub(crate) async fn start(table: &str) -> Self {
        Self::with(&[("routes.toml", table)], &[]).await
    }

    /// Serves a table without `[server]` on free ports. Each `UPSTREAM` in it is replaced by the address of `upstream`.
    pub(crate) async fn over(upstream: &Upstream, table: &str) -> Self {
        let table = table.replace("UPSTREAM", &upstream.address.to_string());
        Self::start(&format!("{LISTENERS}{table}")).await
    }

    /// Serves `routes.toml` from these files, with these environment variables.
    pub(crate) async fn with(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let folder = Folder::with(files);
        let mut command = jackfield(folder.path());
        command.envs(variables.iter().copied());
        Self::run(folder, command).await
    }

    /// Serves the files of the folder with this command.
    pub(crate) async fn run(folder: Folder, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut proxy = Self {
            folder,
            listen: unknown,
            admin: None,
            client: Client::new(),
            child,
            log,
            reader: Some(reader),
        };
        let ready = proxy
            .logged_as(0, "listen", |line| line.contains("listen=") || line.contains("\"listen\":"))
            .await;
        let field = |name: &str| match serde_json::from_str::<Value>(&ready) {
            Ok(line) => line[name].as_str().unwrap().to_owned(),
            Err(_) => {
                let value = ready.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                value.unwrap().to_owned()
            }
        };
        proxy.listen = field("listen").parse().unwrap();
        proxy.admin = field("admin").parse().ok();
        proxy
    }

    /// The log until now.
    pub(crate) fn log(&self) -> String {
        self.log_from(0)
    }

    /// The log from line `from` on.
    pub(crate) fn log_from(&self, from: usize) -> String {
        self.log.lock().unwrap().get(from..).unwrap_or_default().join("\n")
    }

    /// The number of lines in the log until now.
    pub(crate) fn log_lines(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Waits for a log line that contains `text`, and returns the first one.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        self.logged_from(0, text).await
    }

    /// Waits for a line with `text` at or after line `from` of the log, and returns the first one.
    pub(crate) async fn logged_from(&mut self, from: usize, text: &str) -> String {
        self.logged_as(from, text, |line| line.contains(text)).await
    }

    /// Waits for a log line that `is_wanted`, and returns the first one; `what` describes it.
    async fn logged_as(&mut self, from: usize, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let log = Arc::clone(&self.log);
        let problem = || format!("never logged `{what}`:\n{}", log.lock().unwrap().join("\n"));
        poll(&problem, async || {
            if let Some(line) = log.lock().unwrap().iter().skip(from).find(|line| is_wanted(line)) {
                return Some(line.clone());
            }
            if self.child.try_wait().unwrap().is_some() {
                // Its last lines may still be in the pipe.
                match self.reader.take() {
                    Some(reader) => reader.join().unwrap(),
                    None => panic!("the process ended: {}", problem()),
                }
            }
            None
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// Posts JSON to the listener for platforms.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    /// Sends a request to the listener for platforms.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.client.send(request(method, &self.url(path), headers, body)).await
    }

    /// Sends a GET request to the admin listener.
    pub(crate) async fn ask_admin(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = format!("http://{}{path}", self.admin.expect("the table has no admin listener"));
        self.client.send(request(Method::GET, &url, headers, Bytes::new())).await
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// What the admin listener reports as status.
    pub(crate) async fn status(&self) -> Value {
        self.ask_admin("/status", &[]).await.json()
    }

    /// Waits until the status is as wanted, and returns it; `what` describes it.
    pub(crate) async fn status_when(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let problem = || format!("the status never showed: {what}\n{}", self.log());
        poll(problem, async || Some(self.status().await).filter(|status| is_wanted(status))).await
    }

    /// Waits for the process to exit.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let log = Arc::clone(&self.log);
        let problem = || format!("the process does not exit:\n{}", log.lock().unwrap().join("\n"));
        let status = poll(problem, async || self.child.try_wait().unwrap()).await;
        // The log is complete only after its reader has reached the end.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
