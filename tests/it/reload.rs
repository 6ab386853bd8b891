//! Reload: the running binary, its files changed in every way, and what it reports.

mod under_load;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use axum::serve::ListenerExt as _;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::proxy::{GUARD, Proxy};
use crate::support::upstream::{Reply, Upstream};

/// The start of every table here: both listeners on free ports, one platform.
const HEAD: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[platforms.http]\n";

/// A table in which the reply of `say` is `text`.
fn saying(text: &str) -> String {
    format!("{HEAD}[routes.say]\nreply.text = \"{text}\"\n")
}

fn polling(table: &str) -> String {
    table.replace("[server]\n", "[server]\nwatch = \"poll\"\n")
}

async fn status(proxy: &Proxy) -> Value {
    proxy.ask_admin("/status", &[]).await.json()
}

/// Waits until the status is as wanted.
async fn status_when(proxy: &Proxy, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let status = status(proxy).await;
        if wanted(&status) {
            return status;
        }
        assert!(started.elapsed() < GUARD, "{what}: {status:#}\n{}", proxy.log());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Changes files and waits until the change is in force.
async fn taken(proxy: &Proxy, what: &str, change: impl FnOnce(&Path)) -> Value {
    let before = status(proxy).await;
    change(proxy.folder.path());
    status_when(proxy, what, |status| {
        status["plan"]["loaded_at"] != before["plan"]["loaded_at"] && status["rejected"].is_null()
    })
    .await
}

/// Changes files and waits until the change is rejected.
async fn rejected(proxy: &Proxy, what: &str, change: impl FnOnce(&Path)) -> Value {
    let before = status(proxy).await;
    change(proxy.folder.path());
    let after = status_when(proxy, what, |status| {
        !status["rejected"].is_null() && status["rejected"] != before["rejected"]
    })
    .await;
    assert_eq!(after["plan"], before["plan"], "{what}");
    after
}

/// The log from line `from` on.
fn log_from(proxy: &Proxy, from: usize) -> String {
    proxy.log().lines().skip(from).collect::<Vec<_>>().join("\n")
}

fn lines(proxy: &Proxy) -> usize {
    proxy.log().lines().count()
}

/// Waits for a line with `text` at or after line `from`, and returns the first one.
async fn logged(proxy: &Proxy, from: usize, text: &str) -> String {
    let started = Instant::now();
    loop {
        let log = log_from(proxy, from);
        if let Some(line) = log.lines().find(|line| line.contains(text)) {
            return line.to_owned();
        }
        assert!(started.elapsed() < GUARD, "`{text}` is not logged:\n{}", proxy.log());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn call(proxy: &Proxy, function: &str, args: Value) -> Value {
    let answer = proxy.post(&format!("/http/{function}"), &args).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn said(proxy: &Proxy) -> String {
    call(proxy, "say", json!({})).await["text"].as_str().unwrap_or_default().to_owned()
}

fn rename_over(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Writes these files as kubelet mounts a ConfigMap: a hidden folder per version, a link `..data` to it, and a link
/// through `..data` for each file.
fn mount(folder: &Path, files: &[(&str, &str)]) {
    let old = fs::read_link(folder.join("..data")).ok();
    let number = old.as_ref().map_or(0, |old| old.to_str().unwrap()[3..].parse::<u32>().unwrap()) + 1;
    let version = format!("..v{number}");
    fs::create_dir_all(folder.join(&version)).unwrap();
    for (name, text) in files {
        fs::write(folder.join(&version).join(name), text).unwrap();
    }
    symlink(&version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if old.is_none() {
        for (name, _) in files {
            symlink(format!("..data/{name}"), folder.join("link")).unwrap();
            fs::rename(folder.join("link"), folder.join(name)).unwrap();
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(folder.join(old)).unwrap();
    }
}

#[tokio::test]
async fn every_way_of_saving_triggers_a_reload() {
    type Save = fn(&Path, &str);
    let forms: [(&str, Save); 9] = [
        ("write in place", |table, text| fs::write(table, text).unwrap()),
        ("rename over", rename_over),
        ("write in pieces", |table, text| {
            let mut file = File::create(table).unwrap();
            for piece in text.as_bytes().chunks(16) {
                file.write_all(piece).unwrap();
                file.sync_all().unwrap();
            }
        }),
        ("delete and recreate", |table, text| {
            fs::remove_file(table).unwrap();
            fs::write(table, text).unwrap();
        }),
        ("backup and write", |table, text| {
            fs::rename(table, table.with_extension("toml~")).unwrap();
            fs::write(table, text).unwrap();
        }),
        ("link in its place", |table, text| {
            let elsewhere = table.with_file_name("elsewhere.toml");
            fs::write(&elsewhere, text).unwrap();
            symlink(&elsewhere, table.with_extension("link")).unwrap();
            fs::rename(table.with_extension("link"), table).unwrap();
        }),
        ("write behind the link", |table, text| {
            fs::write(table.with_file_name("elsewhere.toml"), text).unwrap();
        }),
        ("first mount of a ConfigMap", |table, text| {
            mount(table.parent().unwrap(), &[("routes.toml", text)]);
        }),
        ("ConfigMap swapped", |table, text| mount(table.parent().unwrap(), &[("routes.toml", text)])),
    ];
    let each = async |watch: fn(&str) -> String| {
        let proxy = Proxy::start(&watch(&saying("nothing yet"))).await;
        // The last form twice: the first swap replaces links that were just created, the second one those of a swap.
        for (number, (name, save)) in forms.iter().chain(&forms[8..]).enumerate() {
            let text = format!("{name} {number}");
            taken(&proxy, name, |folder| save(&folder.join("routes.toml"), &watch(&saying(&text)))).await;
            assert_eq!(said(&proxy).await, text);
        }
    };
    tokio::join!(each(str::to_owned), each(polling));
}

#[tokio::test]
async fn every_file_named_in_the_table_is_watched() {
    const TABLE: &str = r#"
        include = ["routes.d/*.toml", "teams/*/routes.toml", "deep/**/*.toml"]
        [server]
        listen = "127.0.0.1:0"
        admin = "127.0.0.1:0"
        [platforms.http]
        [routes.say]
        args_schema = "schemas/say.json"
        reply.text_file = "texts/say.hbs"
    "#;
    let route = |name: &str, text: &str| format!("[routes.{name}]\nreply.text = \"{text}\"\n");
    let schema = |most: u32| {
        json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": most}}}).to_string()
    };
    let each = async |watch: fn(&str) -> String| {
        let files = [
            ("routes.toml", watch(TABLE)),
            ("templates/texts/say.hbs", "one".to_owned()),
            ("schemas/say.json", schema(3)),
            ("routes.d/a.toml", route("a", "one")),
        ];
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let proxy = Proxy::with(&files, &[]).await;
        assert_eq!(said(&proxy).await, "one");
        let routes = |status: Value| status["plan"]["routes"].clone();

        taken(&proxy, "a template", |folder| {
            fs::write(folder.join("templates/texts/say.hbs"), "two").unwrap();
        })
        .await;
        assert_eq!(said(&proxy).await, "two");

        taken(&proxy, "a template in a mounted ConfigMap", |folder| {
            mount(&folder.join("templates/texts"), &[("say.hbs", "three")]);
        })
        .await;
        assert_eq!(said(&proxy).await, "three");
        taken(&proxy, "the ConfigMap of a template swapped", |folder| {
            mount(&folder.join("templates/texts"), &[("say.hbs", "four")]);
        })
        .await;
        assert_eq!(said(&proxy).await, "four");

        taken(&proxy, "an included file", |folder| {
            rename_over(&folder.join("routes.d/a.toml"), &route("a", "two"));
        })
        .await;
        assert_eq!(call(&proxy, "a", json!({})).await, json!({"text": "two"}));

        let status = taken(&proxy, "a new match", |folder| {
            fs::write(folder.join("routes.d/b.toml"), route("b", "one")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["a", "b", "say"]));
        assert_eq!(call(&proxy, "b", json!({})).await, json!({"text": "one"}));

        let status = taken(&proxy, "an included file removed", |folder| {
            fs::remove_file(folder.join("routes.d/a.toml")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["b", "say"]));
        assert_eq!(proxy.post("/http/a", &json!({})).await.status, StatusCode::NOT_FOUND);

        let status = taken(&proxy, "the first match of a pattern in folders", |folder| {
            fs::create_dir_all(folder.join("teams/red")).unwrap();
            fs::write(folder.join("teams/red/routes.toml"), route("c", "one")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["b", "c", "say"]));

        assert_eq!(call(&proxy, "say", json!({"n": 5})).await["error"]["kind"], "invalid_args");
        taken(&proxy, "a schema", |folder| {
            fs::write(folder.join("schemas/say.json"), schema(7)).unwrap();
        })
        .await;
        assert_eq!(call(&proxy, "say", json!({"n": 5})).await, json!({"text": "four"}));
    };
    tokio::join!(each(str::to_owned), each(polling));
}

/// A folder may exist long before a matching file in it, and only events of that folder announce the file.
#[tokio::test]
async fn a_new_file_in_an_empty_folder_is_noticed() {
    let main = format!(
        "include = [\"teams/*/on/*.toml\", \"deep/**/r.toml\", \"beside-*.toml\"]\n{}",
        saying("one")
    );
    let files = [("routes.toml", &*main), ("teams/red/on/readme", ""), ("deep/a/b/readme", "")];
    let proxy = Proxy::with(&files, &[("RUST_LOG", "jackfield=debug")]).await;
    let names = ["teams/red/on/x.toml", "deep/a/b/r.toml", "beside-x.toml"];
    let mut from = 0;
    for (number, name) in names.iter().enumerate() {
        // After a change, new files are read once more. Then nothing is pending that could cause a reload.
        logged(&proxy, from, "files changed, configuration unchanged").await;
        from = lines(&proxy);
        let route = format!("[routes.r{number}]\nreply.text = \"here\"\n");
        taken(&proxy, name, |root| fs::write(root.join(name), &route).unwrap()).await;
        assert_eq!(call(&proxy, &format!("r{number}"), json!({})).await, json!({"text": "here"}));
    }
}

/// A table in which `ask` sends a request to `upstream` with the secret in `token` as its credential.
fn asking(upstream: &Upstream) -> String {
    let address = upstream.address;
    format!(
        "{HEAD}[upstreams.api]\nbase_url = \"http://{address}\"\nauth.bearer = {{ token = \"${{file:token}}\" }}\n\
         [upstreams.spare]\nbase_url = \"http://{address}\"\nauth.bearer = {{ token = \"${{file:spare}}\" }}\n\
         [routes.ask]\nupstream = \"api\"\nrequest = {{ method = \"GET\", path = \"/\" }}\nreply.text = \"asked\"\n\
         [routes.spare]\nupstream = \"spare\"\nrequest = {{ method = \"GET\", path = \"/\" }}\nreply.text = \"asked\"\n"
    )
}

async fn credential(proxy: &Proxy, upstream: &Upstream, function: &str) -> String {
    assert_eq!(call(proxy, function, json!({})).await, json!({"text": "asked"}), "{}", proxy.log());
    upstream.one().header("authorization").join(", ")
}

#[tokio::test]
async fn a_rotated_secret_reaches_the_upstream() {
    let each = async |watch: fn(&str) -> String| {
        let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
        let main = watch(&asking(&upstream));
        let proxy =
            Proxy::with(&[("routes.toml", &main), ("token", "first-one\n"), ("spare", "s")], &[]).await;
        assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer first-one");
        let before = status(&proxy).await;

        let after = taken(&proxy, "a secret", |folder| {
            rename_over(&folder.join("token"), "second\n");
        })
        .await;
        assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer second");
        assert_eq!(after["plan"]["revision"], before["plan"]["revision"]);

        // The same two secrets, exchanged: a different configuration.
        taken(&proxy, "two secrets exchanged", |folder| {
            fs::write(folder.join("token"), "s").unwrap();
            fs::write(folder.join("spare"), "second").unwrap();
        })
        .await;
        assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer s");
        assert_eq!(credential(&proxy, &upstream, "spare").await, "Bearer second");

        // A missing or empty secret is an error, and never used as a credential.
        let status =
            rejected(&proxy, "an empty secret", |folder| fs::write(folder.join("token"), "\n").unwrap());
        assert_eq!(status.await["rejected"]["diagnostics"][0]["code"], "secret-file");
        assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer s");
        for secret in ["first-one", "second"] {
            assert!(!proxy.log().contains(secret), "{}", proxy.log());
        }
    };
    tokio::join!(each(str::to_owned), each(polling));
}

#[tokio::test]
async fn a_reload_can_change_the_watch_mode() {
    let proxy = Proxy::start(&saying("one")).await;
    for (number, watch) in ["poll", "events", "poll", "events"].iter().enumerate() {
        let head = format!("[server]\nwatch = \"{watch}\"\n");
        for text in [format!("{watch} {number}"), format!("{watch} {number} again")] {
            let table = saying(&text).replace("[server]\n", &head);
            taken(&proxy, &text, |folder| rename_over(&folder.join("routes.toml"), &table)).await;
            assert_eq!(said(&proxy).await, text);
        }
    }
}

/// The name of a process changes without a file event, and long before a fallback scan would notice.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn sighup_reloads_changes_without_file_events() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let mut renamed = Command::new("sh")
        .args(["-c", "echo ready; read line; exec sleep 60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(renamed.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let name = format!("/proc/{}/comm", renamed.id());
    let main = asking(&upstream).replace("${file:token}", &format!("${{file:{name}}}"));
    let proxy = Proxy::with(&[("routes.toml", &main), ("spare", "s")], &[]).await;
    assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer sh");
    // The reload after the start is over: nothing else is pending.
    taken(&proxy, "a first change", |folder| {
        fs::write(folder.join("routes.toml"), format!("{main}[routes.more]\nreply.text = \"more\"\n"))
            .unwrap();
    })
    .await;

    renamed.stdin.take().unwrap().write_all(b"\n").unwrap();
    let started = Instant::now();
    while fs::read_to_string(&name).unwrap() != "sleep\n" {
        assert!(started.elapsed() < GUARD);
        tokio::task::yield_now().await;
    }
    taken(&proxy, "SIGHUP", |_| proxy.signal("HUP")).await;
    assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer sleep");
    logged(&proxy, 0, "SIGHUP").await;

    // A reload by signal always reports its result, even if nothing changed.
    let from = lines(&proxy);
    proxy.signal("HUP");
    logged(&proxy, from, "configuration unchanged").await;
    renamed.kill().unwrap();
    renamed.wait().unwrap();
}

/// The reason for a rejection may go away without a file event. Here a secret is no valid host until its process
/// changes its name.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_rejected_reload_is_retried() {
    let proxy = Proxy::start(&saying("one")).await;
    let folder = proxy.folder.path();
    for name in ["no host", "localhost"] {
        symlink("/bin/sh", folder.join(name)).unwrap();
    }
    let mut renamed = Command::new(folder.join("no host"))
        .args(["-c", "echo ready; read line; exec ./localhost -c 'read line'"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(renamed.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let table = saying("two")
        + &format!("[upstreams.api]\nbase_url = \"http://${{file:/proc/{}/comm}}:1\"\n", renamed.id());
    let status = rejected(&proxy, "no host", |folder| fs::write(folder.join("routes.toml"), table).unwrap());
    assert_eq!(status.await["rejected"]["diagnostics"][0]["code"], "invalid-url");
    renamed.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    status_when(&proxy, "tried again", |status| status["rejected"].is_null()).await;
    assert_eq!(said(&proxy).await, "two");
    logged(&proxy, 0, "ERROR").await;
    assert_eq!(proxy.log().matches("ERROR").count(), 1, "{}", proxy.log());
    renamed.kill().unwrap();
    renamed.wait().unwrap();
}

#[tokio::test]
async fn a_broken_table_is_rejected_and_the_running_one_stays() {
    let good = saying("good");
    let proxy = Proxy::start(&good).await;
    let before = status(&proxy).await;
    assert_eq!(before["rejected"], json!(null));
    assert_eq!(before["restart_needed"], json!([]));

    let from = lines(&proxy);
    let broken =
        good.replace("reply.text = \"good\"", "reply.text = \"{{args.nme}}\"\nargs.name.type = \"string\"");
    let status = rejected(&proxy, "an unknown name", |folder| {
        fs::write(folder.join("routes.toml"), &broken).unwrap();
    })
    .await;
    let at = status["rejected"]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at.duration_since(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_mins(1));
    let [diagnostic] = status["rejected"]["diagnostics"].as_array().unwrap().as_slice() else {
        panic!("{status:#}")
    };
    assert_eq!(
        diagnostic,
        &json!({
            "severity": "error",
            "code": "unknown-name",
            "message": diagnostic["message"],
            "file": "routes.toml",
            "line": 6,
            "column": 17,
            "help": "did you mean `name`?",
        })
    );
    assert!(diagnostic["message"].as_str().unwrap().contains("nme"), "{diagnostic}");
    assert_eq!(said(&proxy).await, "good");
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(proxy.ask_admin(probe, &[]).await.status, StatusCode::OK, "{probe}");
    }
    for part in [
        "ERROR",
        "configuration rejected, keeping revision",
        "--> routes.toml:6:17",
        "reply.text = \"{{args.nme}}\"",
        "help: did you mean",
    ] {
        logged(&proxy, from, part).await;
    }

    // Another error replaces the first.
    let syntax = rejected(&proxy, "half a file", |folder| {
        fs::write(folder.join("routes.toml"), &good[..good.len() - 3]).unwrap();
    })
    .await;
    assert_eq!(syntax["rejected"]["diagnostics"][0]["code"], "toml-syntax", "{syntax:#}");
    let empty =
        rejected(&proxy, "an empty file", |folder| fs::write(folder.join("routes.toml"), "").unwrap()).await;
    assert_eq!(empty["rejected"]["diagnostics"][0]["code"], "no-platforms", "{empty:#}");
    let gone =
        rejected(&proxy, "no file", |folder| fs::remove_file(folder.join("routes.toml")).unwrap()).await;
    let diagnostic = &gone["rejected"]["diagnostics"][0];
    assert_eq!(
        (&diagnostic["code"], &diagnostic["file"]),
        (&json!("unreadable-file"), &json!("routes.toml"))
    );
    logged(&proxy, 0, ": it cannot be read").await;
    assert_eq!(said(&proxy).await, "good");
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(proxy.ask_admin(probe, &[]).await.status, StatusCode::OK, "{probe}");
    }

    // Exactly the old content, which has been running all the time.
    fs::write(proxy.folder.path().join("routes.toml"), &good).unwrap();
    let after = status_when(&proxy, "repaired", |status| status["rejected"].is_null()).await;
    assert_eq!(after["plan"], before["plan"]);
    logged(&proxy, from, "configuration valid again").await;
    assert_eq!(said(&proxy).await, "good");
}

#[tokio::test]
async fn errors_in_any_file_are_rejected_with_their_location() {
    let main =
        format!("include = [\"routes.d/*.toml\"]\n{HEAD}[routes.say]\nreply.text_file = \"say.hbs\"\n");
    let good = [
        ("routes.toml", main.as_str()),
        ("routes.d/a.toml", "[routes.a]\nreply.text = \"a\"\n"),
        ("templates/say.hbs", "good"),
    ];
    let proxy = Proxy::with(&good, &[]).await;
    let running = status(&proxy).await;
    for (name, bad, line, column) in [
        ("routes.d/a.toml", "[routes.a]\n\nreply.txt = \"a\"\n", 3, 7),
        ("templates/say.hbs", "good\n{{nobody}}", 2, 3),
        ("routes.d/a.toml", "[routes.say]\nreply.text = \"a\"\n", 1, 9),
    ] {
        let status = rejected(&proxy, name, |folder| fs::write(folder.join(name), bad).unwrap()).await;
        let diagnostic = &status["rejected"]["diagnostics"][0];
        assert_eq!(diagnostic["file"], name, "{status:#}");
        assert_eq!(
            (&diagnostic["line"], &diagnostic["column"]),
            (&json!(line), &json!(column)),
            "{status:#}"
        );
        assert_eq!(said(&proxy).await, "good");
        let text = good.iter().find(|(known, _)| *known == name).unwrap().1;
        fs::write(proxy.folder.path().join(name), text).unwrap();
        let status = status_when(&proxy, "repaired", |status| status["rejected"].is_null()).await;
        assert_eq!(status["plan"], running["plan"]);
    }
}

#[tokio::test]
async fn settings_that_need_a_restart_are_reported() {
    let proxy = Proxy::start(&saying("one")).await;
    let (listen, admin) = (proxy.listen, proxy.admin);
    let elsewhere = saying("two").replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:9\"");
    let from = lines(&proxy);
    let status =
        taken(&proxy, "another address", |folder| fs::write(folder.join("routes.toml"), &elsewhere).unwrap())
            .await;
    assert_eq!(status["restart_needed"], json!(["server.listen"]));
    let warning = logged(&proxy, from, "next start").await;
    assert!(warning.contains("WARN") && warning.contains("server.listen"), "{warning}");
    assert_eq!(said(&proxy).await, "two", "the rest is in force at the old address");
    assert_eq!((proxy.listen, proxy.admin), (listen, admin));

    let both = elsewhere.replace("admin = \"127.0.0.1:0\"", "admin = \"127.0.0.1:10\"");
    let status =
        taken(&proxy, "both listeners", |folder| fs::write(folder.join("routes.toml"), &both).unwrap()).await;
    assert_eq!(status["restart_needed"], json!(["server.listen", "server.admin"]));

    // Back to the addresses that are open: no restart is needed, and nothing is logged.
    logged(&proxy, 0, "restart required: changes to server.listen, server.admin").await;
    let from = lines(&proxy);
    let status =
        taken(&proxy, "back", |folder| fs::write(folder.join("routes.toml"), saying("three")).unwrap()).await;
    assert_eq!(status["restart_needed"], json!([]));
    assert!(!log_from(&proxy, from).contains("next start"), "{}", log_from(&proxy, from));
}

/// The address that is open counts, not the one in the changed table.
#[tokio::test]
async fn authentication_cannot_be_removed_from_a_public_listener() {
    const OPEN: &str = r#"
        [server]
        listen = "0.0.0.0:0"
        admin = "0.0.0.0:0"
        admin_auth.bearer = { token = "t" }
        [platforms.http]
        auth.bearer = { token = "t" }
        [routes.say]
        reply.text = "one"
    "#;
    let proxy = Proxy::start(OPEN).await;
    let closed = OPEN.replace("0.0.0.0", "127.0.0.1");
    for (login, fault) in [
        ("\n        auth.bearer = { token = \"t\" }", "the platform `http` accepts calls from anyone"),
        ("admin_auth.bearer = { token = \"t\" }", "the admin listener would accept anyone"),
    ] {
        assert!(closed.contains(login));
        let from = lines(&proxy);
        fs::write(proxy.folder.path().join("routes.toml"), closed.replace(login, "")).unwrap();
        logged(&proxy, from, "configuration rejected").await;
        logged(&proxy, from, fault).await;
        logged(&proxy, from, "takes effect at the next start").await;
    }
    assert_eq!(proxy.post("/http/say", &json!({})).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(proxy.ask_admin("/status", &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_log_names_changed_routes() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let route = |name: &str, upstream: &str| {
        format!(
            "[routes.{name}]\nupstream = \"{upstream}\"\nrequest = {{ method = \"GET\", path = \"/{name}\" }}\n\
             reply.text_file = \"{name}.hbs\"\n"
        )
    };
    let files = [
        "include = [\"more/*.toml\"]\n".to_owned() + HEAD,
        format!("[upstreams.one]\nbase_url = \"http://{}\"\n", upstream.address),
        format!("[upstreams.two]\nbase_url = \"http://{}\"\n", upstream.address),
        "[defaults]\nfailure.timeout = \"{{> sorry}}\"\nfailure.unreachable = \"call {{vars.phone}}\"\n"
            .to_owned(),
        "[vars]\nphone = \"1\"\n".to_owned(),
        route("a", "one"),
        route("b", "one"),
        route("c", "two"),
    ];
    let main = files.concat();
    let proxy = Proxy::with(
        &[
            ("routes.toml", &main),
            ("templates/a.hbs", "a"),
            ("templates/b.hbs", "b"),
            ("templates/c.hbs", "{{> shared}}"),
            ("templates/shared.hbs", "c"),
            ("templates/sorry.hbs", "sorry"),
        ],
        &[],
    )
    .await;
    let now = std::cell::RefCell::new(main);
    let replace = |from: &'static str, to: &'static str| {
        let now = &now;
        move |folder: &Path| {
            let next = now.borrow().replacen(from, to, 1);
            assert_ne!(next, *now.borrow(), "{from}");
            fs::write(folder.join("routes.toml"), &next).unwrap();
            *now.borrow_mut() = next;
        }
    };
    let template = |name: &'static str, text: &'static str| {
        move |folder: &Path| fs::write(folder.join("templates").join(name), text).unwrap()
    };
    let include = |text: &'static str| {
        move |folder: &Path| {
            fs::create_dir_all(folder.join("more")).unwrap();
            fs::write(folder.join("more/x.toml"), text).unwrap();
        }
    };
    type Change<'a> = Box<dyn Fn(&Path) + 'a>;
    let steps: Vec<(&str, Change<'_>, [&str; 3])> = vec![
        ("a route", Box::new(replace("\"/a\"", "\"/aa\"")), ["none", "none", "a"]),
        ("a template", Box::new(template("b.hbs", "bb")), ["none", "none", "b"]),
        ("a partial", Box::new(template("shared.hbs", "cc")), ["none", "none", "c"]),
        (
            "an upstream",
            Box::new(replace("[upstreams.one]\n", "[upstreams.one]\ntimeout = \"3s\"\n")),
            ["none", "none", "a, b"],
        ),
        ("a default", Box::new(replace("{{> sorry}}", "so {{> sorry}}")), ["none", "none", "a, b, c"]),
        ("a partial of a default", Box::new(template("sorry.hbs", "well")), ["none", "none", "a, b, c"]),
        (
            "a constant of a default",
            Box::new(replace("phone = \"1\"", "phone = \"2\"")),
            ["none", "none", "a, b, c"],
        ),
        (
            "a comment",
            Box::new(replace("[routes.a]", "# a comment\n[routes.a]  # another")),
            ["none", "none", "none"],
        ),
        ("a file more", Box::new(include("[routes.d]\nreply.text = \"d\"\n")), ["d", "none", "none"]),
        ("a route renamed", Box::new(include("[routes.e]\nreply.text = \"d\"\n")), ["e", "d", "none"]),
        ("a route removed", Box::new(include("# nothing\n")), ["none", "e", "none"]),
        (
            "two at once",
            Box::new(|folder: &Path| {
                template("a.hbs", "aa")(folder);
                include("[routes.z]\nreply.text = \"z\"\n[routes.y]\nreply.text = \"y\"\n")(folder);
            }),
            ["y, z", "none", "a"],
        ),
    ];
    for (what, change, [added, removed, changed]) in steps {
        let from = lines(&proxy);
        taken(&proxy, what, |folder| change(folder)).await;
        let line = logged(&proxy, from, "configuration reloaded").await;
        let wanted = format!("added={added} removed={removed} changed={changed}");
        assert!(line.contains(&wanted), "{what}: {line}\nwanted {wanted}");
    }
}

#[tokio::test]
async fn unchanged_files_cause_no_reload() {
    // An include that matches nothing is a warning, logged once at the start.
    let table = format!("include = [\"more/*.toml\"]\n{}", saying("one"));
    let proxy = Proxy::with(
        &[("routes.toml", &table), ("templates/unused.hbs", "unused")],
        &[("RUST_LOG", "jackfield=debug")],
    )
    .await;
    logged(&proxy, 0, "files changed, configuration unchanged").await;
    let log = proxy.log();
    assert_eq!(log.matches("no file matches").count(), 1, "{log}");
    let before = status(&proxy).await;
    type Touch<'a> = &'a dyn Fn(&Path);
    let touches: [(&str, Touch<'_>); 4] = [
        ("the same again", &|path| fs::write(path, &table).unwrap()),
        ("the same, renamed over", &|path| rename_over(path, &table)),
        ("another time", &|path| {
            File::options().append(true).open(path).unwrap().set_modified(SystemTime::now()).unwrap()
        }),
        ("deleted and recreated", &|path| {
            fs::remove_file(path).unwrap();
            fs::write(path, &table).unwrap();
        }),
    ];
    for (what, touch) in touches {
        let from = lines(&proxy);
        touch(&proxy.folder.path().join("routes.toml"));
        logged(&proxy, from, "files changed, configuration unchanged").await;
        let said = log_from(&proxy, from);
        assert!(said.lines().all(|line| line.contains("DEBUG")), "{what}:\n{said}");
        assert_eq!(status(&proxy).await, before, "{what}");
    }

    // An error is logged once, however often the file is saved with it. Its time is when it was first seen.
    let from = lines(&proxy);
    let broken = format!("{table}\nnonsense = 1\n");
    let status_broken =
        rejected(&proxy, "broken", |folder| fs::write(folder.join("routes.toml"), &broken).unwrap()).await;
    let again = lines(&proxy);
    rename_over(&proxy.folder.path().join("routes.toml"), &broken);
    logged(&proxy, again, "the configuration still has its errors").await;
    assert_eq!(status(&proxy).await, status_broken);
    logged(&proxy, from, "ERROR").await;
    assert_eq!(log_from(&proxy, from).matches("ERROR").count(), 1, "{}", proxy.log());

    let gone = rejected(&proxy, "gone", |folder| fs::remove_file(folder.join("routes.toml")).unwrap()).await;
    let again = lines(&proxy);
    fs::create_dir(proxy.folder.path().join("routes.toml.new")).unwrap();
    fs::remove_file(proxy.folder.path().join("templates/unused.hbs")).unwrap();
    logged(&proxy, again, "the configuration still has its errors").await;
    assert_eq!(status(&proxy).await, gone);
}

#[tokio::test]
async fn connections_to_unchanged_upstreams_survive_a_reload() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::clone(&accepted);
    let listener = listener.tap_io(move |_| _ = count.fetch_add(1, Ordering::SeqCst));
    let router = axum::Router::new().fallback(|| async { "{}" });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let table = |text: &str| {
        format!(
            "{HEAD}[upstreams.api]\nbase_url = \"http://{address}\"\n[upstreams.{text}]\nbase_url = \"http://{address}/{text}\"\n\
             [routes.say]\nupstream = \"api\"\nrequest = {{ method = \"GET\", path = \"/\" }}\nreply.text = \"{text}\"\n"
        )
    };
    let proxy = Proxy::start(&table("none")).await;
    assert_eq!(said(&proxy).await, "none");
    for text in ["one", "two", "three"] {
        taken(&proxy, text, |folder| fs::write(folder.join("routes.toml"), table(text)).unwrap()).await;
        assert_eq!(said(&proxy).await, text);
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "each reload made a new connection");
}
