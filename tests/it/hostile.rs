//! What APIs, models, callers and tables may contain, and what must not come of it: control of a terminal, XML that
//! nothing reads, secrets in the log, routes that vanish.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::check::{check, found, printed};
use crate::support::folder::Folder;
use crate::support::proxy::{LISTENERS, Proxy, jackfield, run};
use crate::support::upstream::{Reply, Upstream};

/// What a terminal acts on, in all its kinds.
const ACTED_ON: &str = "\u{1b}]0;own\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{7f}";

fn assert_printable(what: &str, text: &str) {
    let bad: Vec<char> = text.chars().filter(|c| jackfield::printable::is_acted_on(*c)).collect();
    assert!(bad.is_empty(), "{what}: {bad:?} in {text:?}");
}

async fn output(folder: &Folder, arguments: &[&str]) -> String {
    let mut command = jackfield(folder.path());
    command.args(arguments);
    let output = run(command).await;
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_printed_controls_a_terminal() {
    let upstream = Upstream::new(|_| Reply::raw(200, "text/plain", ACTED_ON)).await;
    let table = format!(
        "[platforms.http]\n[upstreams.api]\nbase_url = \"http://{}\"\n[routes.say]\nupstream = \"api\"\n\
         args.a.type = \"string\"\nrequest = {{ path = \"/\", query.a = \"{{{{args.a}}}}\" }}\n\
         extract.all = \"$\"\nreply.text = \"{{{{args.a}}}} {{{{all}}}}\"\n\
         [[routes.say.tests]]\nname = \"\\u001b]0;own\\u0007\\u009b\"\nargs.a = \"\\u001b\\u202e\"\n\
         upstream.body = \"\\u009b\"\nexpect.text = \"\\u2028\"\n",
        upstream.address
    );
    let folder = Folder::with(&[("routes.toml", &table)]);
    let args = json!({ "a": ACTED_ON }).to_string();
    for arguments in [
        &["call", "say", "--args", &args][..],
        &["call", "say", "--args", &args, "--explain"],
        &["call", "say", "--args", &args, "--format", "json"],
        &["call", ACTED_ON],
        &["test"],
        &["test", "--format", "json"],
        &["test", "--format", "junit"],
        &["test", "--filter", ACTED_ON],
        &["explain", ACTED_ON],
        &["declare", ACTED_ON],
        &["declare", "http", "--route", ACTED_ON],
        &["check", "--config", ACTED_ON],
        &["check", "--config", ACTED_ON, "--format", "json"],
        &["check", "--format", ACTED_ON],
        &[ACTED_ON],
    ] {
        let shown = output(&folder, arguments).await;
        assert!(!shown.trim().is_empty(), "{arguments:?}");
        assert_printable(&format!("{arguments:?}"), &shown);
        if arguments.ends_with(&["--format", "json"]) {
            // Standard error follows.
            let mut values = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
            assert!(values.next().unwrap().is_ok(), "{arguments:?}: {shown}");
        }
    }
}

/// What looks like a hidden value, and like a value that was kept from looking so.
const FAKES: [&str; 3] = ["***", r"\*\*\*", r"\***"];

/// `***` means a hidden value, wherever a call is printed. Nothing that a caller, an upstream or a table says looks so.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_looks_hidden_that_is_not() {
    for fake in FAKES {
        let body = json!({"text": fake, fake: [fake]}).to_string();
        for (kind, body) in [("application/json", body), ("text/plain", fake.to_owned())] {
            let upstream =
                Upstream::new(move |_| Reply::raw(200, kind, body.as_str()).header("x-request-id", fake))
                    .await;
            let table = format!(
                "[platforms.voicedock]\n[platforms.http]\n[upstreams.api]\nbase_url = \"http://{}\"\n\
                 [routes.say]\nupstream = \"api\"\nargs.a.type = \"string\"\n\
                 request = {{ method = \"POST\", path = \"/{{{{args.a}}}}\", query.a = \"{{{{args.a}}}}\", \
                 headers.x-a = \"{{{{args.a}}}}\", body.a = \"{{{{args.a}}}}\" }}\n\
                 extract.all = \"$\"\n[[routes.say.reply]]\nwhen.equals = {{ all = \"none\" }}\ntext = '{fake}'\n\
                 [[routes.say.reply]]\ntext = \"{{{{args.a}}}} {{{{json all}}}}\"\ndata = \"{{{{all}}}}\"\n\
                 [[routes.say.tests]]\nname = 'one'\nargs.a = '{fake}'\nupstream.body = '{fake}'\n\
                 expect.text = 'two {fake}'\nexpect.data = ['{fake}']\n",
                upstream.address
            );
            let folder = Folder::with(&[("routes.toml", &table)]);
            let args = json!({"a": fake, fake: 1}).to_string();
            let bad = json!({"a": [fake], fake: 1}).to_string();
            for arguments in [
                &["call", "say", "--args", &args, "--explain"][..],
                &["call", "say", "--args", &args, "--format", "json"],
                &["call", "say", "--args", &args, "--dry-run"],
                &["call", "say", "--args", &bad, "--explain"],
                &["call", "say", "--args", &bad, "--format", "json"],
                &["call", "say", "--args", &args, "--as", "voicedock", "--explain"],
                &["call", fake, "--explain"],
                &["test"],
                &["test", "--format", "json"],
            ] {
                let shown = output(&folder, arguments).await;
                assert!(shown.contains(r"\*"), "{arguments:?}: {shown}");
                assert!(!shown.contains("***"), "{arguments:?}: {shown}");
            }
        }
    }
}

#[test]
fn diagnostics_do_not_control_a_terminal() {
    let text = "[platforms.http]\n[routes.say]\nargs.a.type = \"string\"\nupstream = \"a\u{9b}b\"\n\
                request.path = \"/{{args.a\u{9b}b}}\u{202e}\"\nk\u{9b} = 1\n";
    let folder = Folder::with(&[("routes.toml", text)]);
    for arguments in [&[][..], &["--format", "json"], &["--format", "sarif"]] {
        assert_printable(
            &format!("{arguments:?}"),
            &printed(&check(&folder.path().join("routes.toml"), arguments)),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junit_results_are_xml_whatever_a_test_says() {
    let table = "[platforms.http]\n[routes.say]\nargs.v.type = \"string\"\nreply.text = \"{{args.v}}\"\n\
                 [[routes.say.tests]]\nname = \"\\uFFFE <&> \\u0001\"\nargs.v = \"\\uFFFE\\uFFFF\\u001b\"\n\
                 expect.text = \"x\"\n";
    let folder = Folder::with(&[("routes.toml", table)]);
    let shown = output(&folder, &["test", "--format", "junit"]).await;
    for c in shown.chars() {
        let is_xml = matches!(c, '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(is_xml, "{c:?} in {shown}");
    }
    assert!(shown.contains('\u{fffd}') && shown.contains("&lt;&amp;&gt;"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sensitive_values_are_hidden_in_the_log_of_bodies() {
    let table = format!(
        "{LISTENERS}[log]\nbodies = true\n[platforms.http]\n[routes.secret]\n\
         args.s = {{ type = \"array\", items = {{ type = \"string\" }}, sensitive = true }}\n\
         args.n.type = \"string\"\nreply.text = \"done {{{{args.n}}}}\"\n"
    );
    let mut proxy = Proxy::start(&table).await;
    for (count, shows_the_rest) in [(3, true), (20_000, true), (90_000, false)] {
        let from = proxy.log_lines();
        let values: Vec<String> = (0..count).map(|number| format!("v{:06}", number * 10)).collect();
        let answer =
            proxy.post("/http/secret", &json!({ "s": values, "n": "about v000010 and harmless" })).await;
        assert_eq!(answer.json()["text"], "done about v000010 and harmless");
        let line = proxy.logged_from(from, "the whole record").await;
        assert!(!line.contains("v000010"), "{count}: {}", &line[..500]);
        assert_eq!(line.contains("and harmless"), shows_the_rest, "{count}");
    }
}

#[test]
fn a_link_to_nowhere_that_a_pattern_matches_is_an_error() {
    let main = "include = [\"routes.d/*.toml\"]\n[platforms.http]\n[routes.say]\nreply.text = \"x\"\n";
    let folder =
        Folder::with(&[("routes.toml", main), ("routes.d/a.toml", "[routes.a]\nreply.text = \"a\"\n")]);
    let table = folder.path().join("routes.toml");
    let codes = || -> Vec<String> {
        let found = found(&table, &[]);
        found
            .iter()
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .filter(|code| code != "route-untested")
            .collect()
    };
    assert!(codes().is_empty());
    // Emacs marks an open file so.
    symlink("someone@here.1", folder.path().join("routes.d/.#a.toml")).unwrap();
    assert!(codes().is_empty());
    symlink("not/mounted.toml", folder.path().join("routes.d/b.toml")).unwrap();
    assert_eq!(codes(), ["unreadable-file"]);
    let shown = printed(&check(&table, &[]));
    assert!(shown.contains("b.toml` cannot be read: it is a link to a file that does not exist"), "{shown}");
}

#[test]
fn a_pipe_in_place_of_a_file_is_an_error_that_names_it() {
    let base = "[platforms.http]\n[upstreams.api]\nbase_url = \"https://api.example\"\n";
    for (rest, name) in [
        ("[routes.say]\nreply.text = \"x\"\n", "routes.d/pipe.toml"),
        (
            "auth.bearer.token = \"${file:pipe}\"\n[routes.say]\nupstream = \"api\"\nrequest.path = \"/\"\n",
            "pipe",
        ),
        ("[routes.say]\nargs_schema = \"pipe.json\"\nreply.text = \"x\"\n", "pipe.json"),
    ] {
        let table = format!("include = [\"routes.d/*.toml\"]\n{base}{rest}");
        let folder = Folder::with(&[("routes.toml", &table), ("routes.d/a.toml", "")]);
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
        assert!(made.success());
        // Nobody ever writes to it.
        let shown = printed(&check(&folder.path().join("routes.toml"), &[]));
        assert!(shown.contains(name) && shown.contains("not a regular file"), "{name}: {shown}");
    }
}
