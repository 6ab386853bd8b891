//! Constant calls while the table is replaced repeatedly, sometimes by a broken one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::rename_over;
use crate::support::client::{Client, request};
use crate::support::proxy::Proxy;
use crate::support::upstream::{Reply, Upstream};

const TABLES: usize = 200;
const CALLERS: usize = 4;

/// The main file: `TABLE` is the number of the table, `SET` that of the set of files.
const MAIN: &str = r#"
include = ["more.toml"]
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
[platforms.http]
[platforms.swaig]
[upstreams.api]
base_url = "http://UPSTREAM/baseTABLE"
headers = { x-table = "TABLE" }
[vars]
table = "TABLE"
[routes.number]
upstream = "api"
args.table = { type = "string", default = "TABLE" }
request = { method = "POST", path = "/pathTABLE", query = { q = "{{vars.table}}" }, body = { b = "TABLE" } }
extract = { path = "$.path", query = "$.query", header = "$.header", body = "$.body.b" }
[routes.number.reply]
text = "TABLE {{args.table}} {{path}} {{query}} {{header}} {{body}}"
data = { table = TABLE, main = SET, include = "{{vars.include}}", template = "{{> set}}" }
[routes.table_TABLE]
reply.text = "it runs"
"#;

/// A set of three files that belong together. The main file has the number of its table in every place that a call goes
/// through.
struct Files<'a> {
    upstream: &'a Upstream,
    set: usize,
}

impl Files<'_> {
    fn main(&self, table: usize) -> String {
        MAIN.replace("UPSTREAM", &self.upstream.address.to_string())
            .replace("TABLE", &table.to_string())
            .replace("SET", &self.set.to_string())
    }

    fn write(&self, folder: &Path, table: usize) {
        fs::create_dir_all(folder.join("templates")).unwrap();
        fs::write(folder.join("routes.toml"), self.main(table)).unwrap();
        fs::write(folder.join("more.toml"), format!("[vars]\ninclude = \"{}\"\n", self.set)).unwrap();
        fs::write(folder.join("templates/set.hbs"), self.set.to_string()).unwrap();
    }
}

/// Puts a new set into its own folder and points the link `current` to it, as a deployment does.
fn release(root: &Path, files: &Files<'_>, table: usize) {
    files.write(&root.join(format!("release-{}", files.set)), table);
    symlink(format!("release-{}", files.set), root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
}

/// Calls until it is told to stop. Returns the tables that answered, and the number of calls.
async fn calling(
    listen: std::net::SocketAddr,
    swaig: bool,
    stop: Arc<AtomicBool>,
) -> (BTreeSet<usize>, usize) {
    let client = Client::new();
    let (url, body) = match swaig {
        true => {
            (format!("http://{listen}/swaig"), json!({"function": "number", "argument": {"parsed": [{}]}}))
        }
        false => (format!("http://{listen}/http/number"), json!({})),
    };
    let (mut tables, mut calls) = (BTreeSet::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let answer = client.send(request(Method::POST, &url, &[], body.to_string())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let answer = answer.json();
        let text = if swaig { &answer["response"] } else { &answer["text"] };
        let text = text.as_str().unwrap_or_else(|| panic!("{answer}"));
        let table = text.split(' ').next().unwrap();
        let whole = format!("{table} {table} /base{table}/path{table} {table} {table} {table}");
        assert_eq!(text, whole, "half of one table and half of another");
        if !swaig {
            let data = &answer["data"];
            assert_eq!(data["table"].to_string(), table, "{answer}");
            let set = data["main"].to_string();
            assert_eq!((&data["include"], &data["template"]), (&json!(set), &json!(set)), "{answer}");
        }
        tables.insert(table.parse().unwrap_or_else(|_| panic!("{answer}")));
        calls += 1;
    }
    (tables, calls)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_during_reloads_never_fail_or_mix_tables() {
    let upstream = Upstream::new(|seen| {
        let query = seen.query().into_iter().find(|(name, _)| name == "q").map(|(_, value)| value);
        Reply::json(&json!({
            "path": seen.path(), "query": query, "header": seen.header("x-table")[0], "body": seen.json(),
        }))
    })
    .await;
    let mut files = Files { upstream: &upstream, set: 0 };
    // The main file becomes a link into the current release, and so do a template and an included file.
    let mut proxy = Proxy::with(
        &[
            ("routes.toml", &files.main(0)),
            ("more.toml", "[vars]\ninclude = \"0\"\n"),
            ("templates/set.hbs", "0"),
        ],
        &[],
    )
    .await;
    let root = proxy.folder.path().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(calling(proxy.listen, caller % 2 == 1, Arc::clone(&stop))))
        .collect();
    let runs = |status: &Value, table: usize| {
        let name = json!(format!("table_{table}"));
        status["plan"]["routes"].as_array().unwrap().contains(&name)
    };

    // From here on, all files are reached through `current`.
    release(&root, &files, 0);
    for name in ["routes.toml", "more.toml", "templates"] {
        let _ = fs::remove_dir_all(root.join(name));
        symlink(format!("current/{name}"), root.join("link")).unwrap();
        fs::rename(root.join("link"), root.join(name)).unwrap();
    }
    let mut broken = BTreeSet::new();
    for table in 1..=TABLES {
        let path = root.join("current/routes.toml");
        let main = files.main(table);
        if table % 10 == 0 {
            let text = match table % 40 {
                0 => main.replace("args.table}", "args.tabel}"),
                10 => main[..main.len() / 2].to_owned(),
                20 => String::new(),
                _ => format!("{main}\nnonsense = 1\n"),
            };
            assert_ne!(text, main);
            broken.insert(table);
            let from = proxy.log_lines();
            fs::write(&path, text).unwrap();
            if table % 20 == 0 {
                proxy.logged_from(from, "configuration rejected").await;
                proxy.status_when("rejected", |status| !status["rejected"].is_null()).await;
            }
            continue;
        }
        match table % 6 {
            0 => fs::write(&path, main).unwrap(),
            1 | 2 => rename_over(&path, &main),
            3 => {
                fs::remove_file(&path).unwrap();
                fs::write(&path, main).unwrap();
            }
            4 => {
                fs::rename(&path, path.with_extension("toml~")).unwrap();
                fs::write(&path, main).unwrap();
            }
            _ => {
                files.set += 1;
                release(&root, &files, table);
            }
        }
        match table % 5 {
            // Waiting for one in five ensures that many are loaded; the others change faster than the debounce.
            4 => _ = proxy.status_when("reloaded", |status| runs(status, table)).await,
            _ => tokio::time::sleep(Duration::from_millis((table as u64 * 7) % 40)).await,
        }
    }
    files.set += 1;
    release(&root, &files, TABLES + 1);
    let last = proxy.status_when("the last one", |status| runs(status, TABLES + 1)).await;
    assert_eq!(last["rejected"], json!(null));

    stop.store(true, Ordering::Relaxed);
    let mut seen = BTreeSet::new();
    for caller in callers {
        let (tables, calls) = caller.await.unwrap();
        assert!(calls >= tables.len() && tables.len() > TABLES / 10, "{calls} calls saw {tables:?}");
        seen.extend(tables);
    }
    assert_eq!(seen.intersection(&broken).collect::<Vec<_>>(), Vec::<&usize>::new());
    let log = proxy.log();
    let loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let other =
        log.lines().filter(loud).find(|line| !line.contains("configuration rejected, keeping revision"));
    assert_eq!(other, None, "{log}");
}
