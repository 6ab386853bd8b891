//! Files whose reading never ends, as those of a network file system that hangs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::until;

const WHY: &str = "reading it takes too long";

/// Takes a write lease on files and tells so. Until it ends, whoever opens one of them waits. (The kernel breaks leases
/// after `/proc/sys/fs/lease-break-time`, which is 45 s: much longer than the time limit.)
const LEASE: &str = r#"
    use Fcntl qw(F_WRLCK);
    $SIG{IO} = "IGNORE";
    for (@ARGV) {
        open(my $file, "+<", $_) or die "$_: $!";
        fcntl($file, 1024, F_WRLCK) or die "no lease on $_: $!";
        push @held, $file;
    }
    $| = 1;
    print "held\n";
    sleep 600;
"#;

/// Files that hang until this is dropped.
struct Hung(Child);

impl Hung {
    /// Puts a file with this text into the place of each of these, and makes it hang.
    fn files(folder: &Path, files: &[(&str, &str)]) -> Self {
        let new = |name: &str| folder.join(format!("{}.new", name.replace('/', "-")));
        let mut command = Command::new("perl");
        command.args(["-e", LEASE]).stdin(Stdio::null()).stdout(Stdio::piped());
        for (name, text) in files {
            fs::write(new(name), text).unwrap();
            command.arg(new(name));
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap().by_ref()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n", "perl cannot take a lease");
        for (name, _) in files {
            fs::rename(new(name), folder.join(name)).unwrap();
        }
        Self(child)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const INCLUDED: &str = "[routes.more]\nreply.text = \"More.\"\n";

/// A table that reads files of every kind.
fn files() -> Vec<(&'static str, String)> {
    let main = format!(
        "include = [\"routes.d/*.toml\"]\n{LISTENERS}[platforms.http]\n[upstreams.api]\n\
         base_url = \"https://api.example\"\nauth.bearer.token = \"${{file:token}}\"\n\
         [routes.say]\nreply.text_file = \"say\"\n[routes.ask]\nargs_schema = \"ask.json\"\nupstream = \"api\"\n\
         request.path = \"/\"\n"
    );
    vec![
        ("routes.toml", main),
        ("routes.d/more.toml", INCLUDED.to_owned()),
        ("templates/say.hbs", "Before.".to_owned()),
        ("ask.json", "{\"type\": \"object\"}".to_owned()),
        ("token", "s3cret".to_owned()),
    ]
}

fn folder(files: &[(&'static str, String)]) -> Folder {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Folder::with(&files)
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part).into_owned()).concat()
}

/// `serve` and `check` end within the time limit, and name the file.
#[tokio::test]
async fn a_start_on_a_file_that_hangs_ends_with_its_name() {
    let mut running = Vec::new();
    for (name, content) in files() {
        for command in ["serve", "check"] {
            running.push(tokio::spawn({
                let content = content.clone();
                async move {
                    let folder = folder(&files());
                    let _hung = Hung::files(folder.path(), &[(name, &content)]);
                    let mut ended = jackfield(folder.path());
                    ended.arg(command).stdin(Stdio::null());
                    let output = run(ended).await;
                    let text = text(&output);
                    assert!(!output.status.success(), "{command} {name}: {text}");
                    assert!(text.contains(name) && text.contains(WHY), "{command} {name}: {text}");
                }
            }));
        }
    }
    for ended in running {
        ended.await.unwrap();
    }
}

async fn say(proxy: &Proxy) -> Value {
    proxy.post("/http/say", &json!({})).await.json()["text"].clone()
}

/// Puts a file into its place as editors do.
fn replace(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

/// Files that hang are rejected by name while the process serves, and read again once they answer or are replaced.
#[tokio::test]
async fn a_reload_names_the_files_that_hang_and_recovers() {
    let folder = folder(&files());
    let command = jackfield(folder.path());
    let proxy = Proxy::run(folder, command).await;
    let folder = proxy.folder.path();
    let before = proxy.status().await;
    let hanging = [
        ("routes.d/more.toml", INCLUDED),
        ("templates/say.hbs", "After."),
        ("ask.json", "{\"type\": \"object\"}"),
        ("token", "s3cret"),
    ];
    let are_named = |status: &Value| {
        let rejected = status["rejected"].to_string();
        rejected.contains(WHY) && hanging.iter().all(|(name, _)| rejected.contains(name))
    };
    let hung = Hung::files(folder, &hanging);
    let status = proxy.status_when("all files that hang", are_named).await;
    assert_eq!(status["plan"], before["plan"]);
    assert_eq!(say(&proxy).await, "Before.");
    assert_eq!(proxy.ask_admin("/readyz", &[]).await.status, 200);
    // They answer after all.
    drop(hung);
    until("it does not recover", async || say(&proxy).await == "After.").await;
    proxy.status_when("nothing is rejected", |status| status["rejected"].is_null()).await;
    for (name, text) in [("token", "s3cret-2"), ("routes.toml", &files()[0].1)] {
        let _hung = Hung::files(folder, &[(name, text)]);
        let is_named = |status: &Value| {
            let rejected = status["rejected"].to_string();
            rejected.contains(WHY) && rejected.contains(name)
        };
        proxy.status_when(name, is_named).await;
        assert_eq!(say(&proxy).await, "After.");
        // The old file hangs for ever, and another one has its name now.
        replace(folder, name, text);
        proxy.status_when("a replaced file is read", |status| status["rejected"].is_null()).await;
    }
}

/// The authorities for the connection to PostgreSQL are read when it connects.
#[tokio::test]
async fn authorities_of_the_database_that_hang_are_an_error_that_names_them() {
    let folder = Folder::with(&[]);
    let authorities = folder.path().join("ca.pem");
    let table = format!(
        "{LISTENERS}[state]\nurl = \"postgres://nobody@127.0.0.1:9/none?sslmode=verify-full&sslrootcert={}\"\n\
         [platforms.http]\n[upstreams.api]\nbase_url = \"https://api.example\"\n[routes.note]\n\
         upstream = \"api\"\nrequest = {{ method = \"POST\", path = \"/\" }}\ndelivery = \"async\"\n\
         reply.text = \"Noted.\"\n[routes.say]\nreply.text = \"Hello.\"\n",
        authorities.display()
    );
    folder.write("routes.toml", &table);
    let _hung = Hung::files(folder.path(), &[("ca.pem", "")]);
    let command = jackfield(folder.path());
    let mut proxy = Proxy::run(folder, command).await;
    assert_eq!(say(&proxy).await, "Hello.");
    let answer = proxy.post("/http/note", &json!({})).await;
    assert!(!answer.text().contains("Noted."), "{}", answer.text());
    let line = proxy.logged("sslrootcert").await;
    assert!(line.contains("ca.pem") && line.contains(WHY), "{line}");
}
