//! Reload: the running binary, its files changed in every way, and what it reports.

mod overtaken;
mod under_load;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::serve::ListenerExt as _;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::proxy::Proxy;
use crate::support::until;
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

/// Changes files and waits until the change is in force.
async fn reloaded(proxy: &Proxy, what: &str, change: impl FnOnce(&Path)) -> Value {
    let before = proxy.status().await;
    change(proxy.folder.path());
    proxy
        .status_when(what, |status| {
            status["plan"]["loaded_at"] != before["plan"]["loaded_at"] && status["rejected"].is_null()
        })
        .await
}

/// Changes files and waits until the change is rejected.
async fn rejected(proxy: &Proxy, what: &str, change: impl FnOnce(&Path)) -> Value {
    let before = proxy.status().await;
    change(proxy.folder.path());
    let after = proxy
        .status_when(what, |status| !status["rejected"].is_null() && status["rejected"] != before["rejected"])
        .await;
    assert_eq!(after["plan"], before["plan"], "{what}");
    after
}

async fn call(proxy: &Proxy, function: &str, args: Value) -> Value {
    let answer = proxy.post(&format!("/http/{function}"), &args).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn reply_of_say(proxy: &Proxy) -> String {
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
            reloaded(&proxy, name, |folder| save(&folder.join("routes.toml"), &watch(&saying(&text)))).await;
            assert_eq!(reply_of_say(&proxy).await, text);
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
        assert_eq!(reply_of_say(&proxy).await, "one");
        let routes = |status: Value| status["plan"]["routes"].clone();

        reloaded(&proxy, "a template", |folder| {
            fs::write(folder.join("templates/texts/say.hbs"), "two").unwrap();
        })
        .await;
        assert_eq!(reply_of_say(&proxy).await, "two");

        reloaded(&proxy, "a template in a mounted ConfigMap", |folder| {
            mount(&folder.join("templates/texts"), &[("say.hbs", "three")]);
        })
        .await;
        assert_eq!(reply_of_say(&proxy).await, "three");
        reloaded(&proxy, "the ConfigMap of a template swapped", |folder| {
            mount(&folder.join("templates/texts"), &[("say.hbs", "four")]);
        })
        .await;
        assert_eq!(reply_of_say(&proxy).await, "four");

        reloaded(&proxy, "an included file", |folder| {
            rename_over(&folder.join("routes.d/a.toml"), &route("a", "two"));
        })
        .await;
        assert_eq!(call(&proxy, "a", json!({})).await, json!({"text": "two"}));

        let status = reloaded(&proxy, "a new match", |folder| {
            fs::write(folder.join("routes.d/b.toml"), route("b", "one")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["a", "b", "say"]));
        assert_eq!(call(&proxy, "b", json!({})).await, json!({"text": "one"}));

        let status = reloaded(&proxy, "an included file removed", |folder| {
            fs::remove_file(folder.join("routes.d/a.toml")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["b", "say"]));
        assert_eq!(proxy.post("/http/a", &json!({})).await.status, StatusCode::NOT_FOUND);

        let status = reloaded(&proxy, "the first match of a pattern in folders", |folder| {
            fs::create_dir_all(folder.join("teams/red")).unwrap();
            fs::write(folder.join("teams/red/routes.toml"), route("c", "one")).unwrap();
        })
        .await;
        assert_eq!(routes(status), json!(["b", "c", "say"]));

        assert_eq!(call(&proxy, "say", json!({"n": 5})).await["error"]["kind"], "invalid_args");
        reloaded(&proxy, "a schema", |folder| {
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
    let mut proxy = Proxy::with(&files, &[("RUST_LOG", "jackfield=debug")]).await;
    let names = ["teams/red/on/x.toml", "deep/a/b/r.toml", "beside-x.toml"];
    let mut from = 0;
    for (number, name) in names.iter().enumerate() {
        // After a change, new files are read once more. Then nothing is pending that could cause a reload.
        proxy.logged_from(from, "files changed, configuration unchanged").await;
        from = proxy.log_lines();
        let route = format!("[routes.r{number}]\nreply.text = \"here\"\n");
        reloaded(&proxy, name, |root| fs::write(root.join(name), &route).unwrap()).await;
        assert_eq!(call(&proxy, &format!("r{number}"), json!({})).await, json!({"text": "here"}));
    }
}

/// A table in which `ask` sends a request to `upstream` with the secret in `token` as its credential.
fn asking(upstream: &Upstream) -> String {
    let rest = r#"
[upstreams.api]
base_url = "http://UPSTREAM"
auth.bearer = { token = "${file:token}" }
[upstreams.spare]
base_url = "http://UPSTREAM"
auth.bearer = { token = "${file:spare}" }
[routes.ask]
upstream = "api"
request = { method = "GET", path = "/" }
reply.text = "asked"
[routes.spare]
upstream = "spare"
request = { method = "GET", path = "/" }
reply.text = "asked"
"#;
    HEAD.to_owned() + &rest.replace("UPSTREAM", &upstream.address.to_string())
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
        let before = proxy.status().await;

        let after = reloaded(&proxy, "a secret", |folder| {
            rename_over(&folder.join("token"), "second\n");
        })
        .await;
        assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer second");
        assert_eq!(after["plan"]["revision"], before["plan"]["revision"]);

        // The same two secrets, exchanged: a different configuration.
        reloaded(&proxy, "two secrets exchanged", |folder| {
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
            reloaded(&proxy, &text, |folder| rename_over(&folder.join("routes.toml"), &table)).await;
            assert_eq!(reply_of_say(&proxy).await, text);
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
    let mut proxy = Proxy::with(&[("routes.toml", &main), ("spare", "s")], &[]).await;
    assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer sh");
    // The reload after the start is over: nothing else is pending.
    reloaded(&proxy, "a first change", |folder| {
        fs::write(folder.join("routes.toml"), format!("{main}[routes.more]\nreply.text = \"more\"\n"))
            .unwrap();
    })
    .await;

    renamed.stdin.take().unwrap().write_all(b"\n").unwrap();
    until("the process keeps its name", async || fs::read_to_string(&name).unwrap() == "sleep\n").await;
    reloaded(&proxy, "SIGHUP", |_| proxy.signal("HUP")).await;
    assert_eq!(credential(&proxy, &upstream, "ask").await, "Bearer sleep");
    proxy.logged("SIGHUP").await;

    // A reload by signal always reports its result, even if nothing changed.
    let from = proxy.log_lines();
    proxy.signal("HUP");
    proxy.logged_from(from, "configuration unchanged").await;
    renamed.kill().unwrap();
    renamed.wait().unwrap();
}

/// The reason for a rejection may go away without a file event. Here a secret is no valid host until its process
/// changes its name.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_rejected_reload_is_retried() {
    let mut proxy = Proxy::start(&saying("one")).await;
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
    proxy.status_when("tried again", |status| status["rejected"].is_null()).await;
    assert_eq!(reply_of_say(&proxy).await, "two");
    proxy.logged("ERROR").await;
    assert_eq!(proxy.log().matches("ERROR").count(), 1, "{}", proxy.log());
    renamed.kill().unwrap();
    renamed.wait().unwrap();
}

#[tokio::test]
async fn a_broken_table_is_rejected_and_the_running_one_stays() {
    let good = saying("good");
    let mut proxy = Proxy::start(&good).await;
    let before = proxy.status().await;
    assert_eq!(before["rejected"], json!(null));
    assert_eq!(before["restart_needed"], json!([]));

    let from = proxy.log_lines();
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
    assert_eq!(reply_of_say(&proxy).await, "good");
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
        proxy.logged_from(from, part).await;
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
    proxy.logged(": it cannot be read").await;
    assert_eq!(reply_of_say(&proxy).await, "good");
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(proxy.ask_admin(probe, &[]).await.status, StatusCode::OK, "{probe}");
    }

    // Exactly the old content, which has been running all the time.
    fs::write(proxy.folder.path().join("routes.toml"), &good).unwrap();
    let after = proxy.status_when("repaired", |status| status["rejected"].is_null()).await;
    assert_eq!(after["plan"], before["plan"]);
    proxy.logged_from(from, "configuration valid again").await;
    assert_eq!(reply_of_say(&proxy).await, "good");
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
    let running = proxy.status().await;
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
        assert_eq!(reply_of_say(&proxy).await, "good");
        let text = good.iter().find(|(known, _)| *known == name).unwrap().1;
        fs::write(proxy.folder.path().join(name), text).unwrap();
        let status = proxy.status_when("repaired", |status| status["rejected"].is_null()).await;
        assert_eq!(status["plan"], running["plan"]);
    }
}

#[tokio::test]
async fn settings_that_need_a_restart_are_reported() {
    let mut proxy = Proxy::start(&saying("one")).await;
    let (listen, admin) = (proxy.listen, proxy.admin);
    let elsewhere = saying("two").replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:9\"");
    let from = proxy.log_lines();
    let status = reloaded(&proxy, "another address", |folder| {
        fs::write(folder.join("routes.toml"), &elsewhere).unwrap()
    })
    .await;
    assert_eq!(status["restart_needed"], json!(["server.listen"]));
    assert!(proxy.ask_admin("/metrics", &[]).await.text().contains("\njackfield_restart_needed 1\n"));
    let warning = proxy.logged_from(from, "next start").await;
    assert!(warning.contains("WARN") && warning.contains("server.listen"), "{warning}");
    assert_eq!(reply_of_say(&proxy).await, "two", "the rest is in force at the old address");
    assert_eq!((proxy.listen, proxy.admin), (listen, admin));

    let both = elsewhere.replace("admin = \"127.0.0.1:0\"", "admin = \"127.0.0.1:10\"");
    let status =
        reloaded(&proxy, "both listeners", |folder| fs::write(folder.join("routes.toml"), &both).unwrap())
            .await;
    assert_eq!(status["restart_needed"], json!(["server.listen", "server.admin"]));

    // Back to the addresses that are open: no restart is needed, and nothing is logged.
    proxy.logged("restart required: changes to server.listen, server.admin").await;
    let from = proxy.log_lines();
    let status =
        reloaded(&proxy, "back", |folder| fs::write(folder.join("routes.toml"), saying("three")).unwrap())
            .await;
    assert_eq!(status["restart_needed"], json!([]));
    assert!(proxy.ask_admin("/metrics", &[]).await.text().contains("\njackfield_restart_needed 0\n"));
    assert!(!proxy.log_from(from).contains("next start"), "{}", proxy.log_from(from));
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
    let mut proxy = Proxy::start(OPEN).await;
    let closed = OPEN.replace("0.0.0.0", "127.0.0.1");
    for (login, fault) in [
        ("\n        auth.bearer = { token = \"t\" }", "the platform `http` accepts calls from anyone"),
        ("admin_auth.bearer = { token = \"t\" }", "the admin listener would accept anyone"),
    ] {
        assert!(closed.contains(login));
        let from = proxy.log_lines();
        fs::write(proxy.folder.path().join("routes.toml"), closed.replace(login, "")).unwrap();
        proxy.logged_from(from, "configuration rejected").await;
        proxy.logged_from(from, fault).await;
        proxy.logged_from(from, "takes effect at the next start").await;
    }
    assert_eq!(proxy.post("/http/say", &json!({})).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(proxy.ask_admin("/status", &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_log_names_changed_routes() {
    let upstream = Upstream::new(|_| Reply::json(&json!({}))).await;
    let route = |name: &str, upstream: &str| {
        r#"
[routes.NAME]
upstream = "UPSTREAM"
request = { method = "GET", path = "/NAME" }
reply.text_file = "NAME.hbs"
"#
        .replace("NAME", name)
        .replace("UPSTREAM", upstream)
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
    let mut proxy = Proxy::with(
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
        let from = proxy.log_lines();
        reloaded(&proxy, what, |folder| change(folder)).await;
        let line = proxy.logged_from(from, "configuration reloaded").await;
        let wanted = format!("added={added} removed={removed} changed={changed}");
        assert!(line.contains(&wanted), "{what}: {line}\nwanted {wanted}");
    }
}

#[tokio::test]
async fn unchanged_files_cause_no_reload() {
    // An include that matches nothing is a warning, logged once at the start.
    let table = format!("include = [\"more/*.toml\"]\n{}", saying("one"));
    let mut proxy = Proxy::with(
        &[("routes.toml", &table), ("templates/unused.hbs", "unused")],
        &[("RUST_LOG", "jackfield=debug")],
    )
    .await;
    proxy.logged("files changed, configuration unchanged").await;
    let log = proxy.log();
    assert_eq!(log.matches("no file matches").count(), 1, "{log}");
    let before = proxy.status().await;
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
        let from = proxy.log_lines();
        touch(&proxy.folder.path().join("routes.toml"));
        proxy.logged_from(from, "files changed, configuration unchanged").await;
        let new = proxy.log_from(from);
        assert!(new.lines().all(|line| line.contains("DEBUG")), "{what}:\n{new}");
        assert_eq!(proxy.status().await, before, "{what}");
    }

    // An error is logged once, however often the file is saved with it. Its time is when it was first seen.
    let from = proxy.log_lines();
    let broken = format!("{table}\nnonsense = 1\n");
    let status_broken =
        rejected(&proxy, "broken", |folder| fs::write(folder.join("routes.toml"), &broken).unwrap()).await;
    let again = proxy.log_lines();
    rename_over(&proxy.folder.path().join("routes.toml"), &broken);
    proxy.logged_from(again, "the configuration still has its errors").await;
    assert_eq!(proxy.status().await, status_broken);
    proxy.logged_from(from, "ERROR").await;
    assert_eq!(proxy.log_from(from).matches("ERROR").count(), 1, "{}", proxy.log());

    let gone = rejected(&proxy, "gone", |folder| fs::remove_file(folder.join("routes.toml")).unwrap()).await;
    let again = proxy.log_lines();
    fs::create_dir(proxy.folder.path().join("routes.toml.new")).unwrap();
    fs::remove_file(proxy.folder.path().join("templates/unused.hbs")).unwrap();
    proxy.logged_from(again, "the configuration still has its errors").await;
    assert_eq!(proxy.status().await, gone);
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
        let rest = r#"
[upstreams.api]
base_url = "http://ADDRESS"
[upstreams.TEXT]
base_url = "http://ADDRESS/TEXT"
[routes.say]
upstream = "api"
request = { method = "GET", path = "/" }
reply.text = "TEXT"
"#;
        HEAD.to_owned() + &rest.replace("ADDRESS", &address.to_string()).replace("TEXT", text)
    };
    let proxy = Proxy::start(&table("none")).await;
    assert_eq!(reply_of_say(&proxy).await, "none");
    for text in ["one", "two", "three"] {
        reloaded(&proxy, text, |folder| fs::write(folder.join("routes.toml"), table(text)).unwrap()).await;
        assert_eq!(reply_of_say(&proxy).await, text);
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "each reload made a new connection");
}
