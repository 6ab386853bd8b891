//! PostgreSQL servers for tests, each in a folder of its own, with a random port and a local socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio_postgres::NoTls;

/// The password of the user `jackfield`.
pub(crate) const PASSWORD: &str = "correct-horse";

/// `nobody`: the server refuses to run as root.
const UNPRIVILEGED: u32 = 65534;

/// Starts and stops the server as it is told, and removes everything when the test process has ended.
const KEEPER: &str = r#"
start() {
    "$BIN/postgres" -D "$FOLDER/data" -k "$FOLDER" -p "$PORT" >>"$FOLDER/log" 2>&1 </dev/null &
    pid=$!
}
start
while read -r command; do
    case $command in
        start) start ;;
        stop) kill -QUIT "$pid"; wait "$pid" ;;
        kill) kill -KILL "$pid"; wait "$pid" 2>/dev/null; sleep 0.1; rm -f "$FOLDER/data/postmaster.pid" ;;
    esac
    echo done
done
kill -QUIT "$pid" && wait "$pid"
rm -rf "$FOLDER"
"#;

const CONFIGURATION: &str = "
listen_addresses = '127.0.0.1'
max_connections = 400
fsync = off
shared_buffers = 32MB
timezone = 'UTC'
";

// Checking a password takes long in a build that is not optimized, so only the test of passwords does.
const ACCESS: &str = "
local all root trust
local all all scram-sha-256
host all jackfield 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// A server.
pub(crate) struct Server {
    keeper: Mutex<Child>,
    folder: PathBuf,
    port: u16,
    databases: AtomicUsize,
}

impl Server {
    /// The server that all tests share. Each of them makes a database.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        let server = SHARED.get_or_init(|| Self::start(""));
        server.await_ready().await;
        server
    }

    /// A server of one's own, with more configuration.
    pub(crate) async fn own(configuration: &str) -> Self {
        let server = Self::start(configuration);
        server.await_ready().await;
        server
    }

    fn start(configuration: &str) -> Self {
        let bin = bin();
        let folder = tempfile::Builder::new().prefix("jackfield-pg-").tempdir().unwrap().keep();
        let is_root = folder.metadata().unwrap().uid() == 0;
        if is_root {
            chown(&folder, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let as_user = |command: &mut Command| {
            if is_root {
                command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
            }
            command.current_dir(&folder).env("LC_ALL", "C");
        };
        let mut initdb = Command::new(bin.join("initdb"));
        as_user(&mut initdb);
        let data = folder.join("data");
        let output = initdb
            .args(["--no-sync", "--username=root", "--auth=trust", "--encoding=UTF8", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
        let file = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"));
        file.unwrap().write_all(format!("{CONFIGURATION}{configuration}").as_bytes()).unwrap();
        // The server cannot choose a port itself. That another process takes this one meanwhile is unlikely.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut keeper = Command::new("sh");
        as_user(&mut keeper);
        keeper.args(["-c", KEEPER]).env("BIN", &bin).env("FOLDER", &folder).env("PORT", port.to_string());
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped());
        let keeper = Mutex::new(keeper.spawn().unwrap());
        Self { keeper, folder, port, databases: AtomicUsize::new(0) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Tells the keeper to `start`, `stop` or `kill` the server, and waits until it has.
    pub(crate) async fn tell(&self, command: &str) {
        {
            let mut keeper = self.keeper.lock().unwrap();
            writeln!(keeper.stdin.as_mut().unwrap(), "{command}").unwrap();
            let mut answer = String::new();
            BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        }
        if command == "start" {
            self.await_ready().await;
        }
    }

    /// Waits until the server takes connections: it says so nowhere else.
    async fn await_ready(&self) {
        for _ in 0..600 {
            if self
                .try_run(
                    "postgres",
                    "DO $$ BEGIN \
                IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jackfield') THEN \
                    CREATE ROLE jackfield LOGIN PASSWORD 'correct-horse'; END IF; \
                EXCEPTION WHEN unique_violation THEN NULL; END $$",
                )
                .await
                .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.folder.join("log"));
        panic!("the server does not start: {log:?}");
    }

    async fn try_run(&self, database: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client(database).await?.batch_execute(sql).await
    }

    /// A connection of the superuser.
    pub(crate) async fn client(
        &self,
        database: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user("root").dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Makes a file one that the server accepts as a private key.
    pub(crate) fn own_file(&self, path: &str) {
        let owner = self.folder.metadata().unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        self.try_run(database, sql).await.unwrap();
    }

    /// Makes a database, and returns its name.
    pub(crate) async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name} OWNER jackfield")).await;
        name
    }

    /// The URL of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://jackfield:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }
}

/// The folder of the server's programs.
fn bin() -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut debian: Vec<PathBuf> =
        debian.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect();
    debian.sort();
    debian.reverse();
    let found = debian.into_iter().chain(std::env::split_paths(&paths));
    found
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect(
            "these tests need PostgreSQL: `scripts/test` installs it, or install the package `postgresql`",
        )
}
