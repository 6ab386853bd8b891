//! What commands print, word for word, for those without a test file of their own.

use std::process::Output;

use regex::Regex;

use crate::support::folder::Folder;
use crate::support::proxy::{Proxy, jackfield, run};

const TABLE: &str = r#"
[server]
listen     = "127.0.0.1:0"
admin      = "127.0.0.1:0"
public_url = "https://tools.example.com"

[platforms.swaig]
auth.basic = { username = "signalwire", password = "${SWAIG_PASSWORD}" }
[platforms.voicedock]
auth.signature = { secret = "${VOICEDOCK_SECRET}" }
[platforms.millis]
auth.bearer = { token = "${MILLIS_TOKEN}" }

[upstreams.api]
base_url = "https://api.example.com"

[routes.get_weather]
description = "Current weather in a city."
upstream    = "api"
args.city = { type = "string", description = "City name", required = true }
args.unit = { type = "string", enum = ["celsius", "fahrenheit"], default = "celsius" }
request   = { path = "/forecast/{{args.city}}", query = { unit = "{{args.unit}}" } }
extract   = { temp = "$.temp" }
reply     = { text = "It is {{temp}} degrees." }

[[routes.get_weather.tests]]
name = "the weather is reported"
args = { city = "Oslo" }
upstream.body = { temp = 21 }
expect.text = "It is 21 degrees."
"#;

const SECRETS: [(&str, &str); 3] =
    [("SWAIG_PASSWORD", "tanager-1"), ("VOICEDOCK_SECRET", "tanager-2"), ("MILLIS_TOKEN", "tanager-3")];

/// The output of a command on each stream, and its exit code.
fn shown(output: &Output) -> String {
    let mut text = format!("exit code {}\n", output.status.code().unwrap());
    for (stream, bytes) in [("output", &output.stdout), ("error", &output.stderr)] {
        if !bytes.is_empty() {
            text.push_str(&format!("--- standard {stream}\n{}", String::from_utf8_lossy(bytes)));
        }
    }
    assert!(!text.contains("tanager"), "{text}");
    text
}

#[tokio::test]
async fn each_command_reports_its_result_or_the_reason_for_its_failure() {
    let faulty = TABLE.replace("{{args.city}}", "{{args.town}}");
    let folder = Folder::with(&[("routes.toml", TABLE), ("faulty.toml", &faulty)]);
    let cases: &[(&str, &[&str])] = &[
        ("help", &["--help"]),
        ("no_command", &["serv"]),
        ("check_help", &["check", "--help"]),
        ("check_good", &["check"]),
        ("check_good_json", &["check", "--format", "json"]),
        ("check_bad", &["check", "--config", "faulty.toml"]),
        ("check_bad_json", &["check", "--format", "json", "--config", "faulty.toml"]),
        ("check_no_table", &["check", "--config", "none.toml"]),
        ("check_no_table_json", &["check", "--format", "json", "--config", "none.toml"]),
        ("check_contradiction", &["check", "--online", "--no-secrets"]),
        ("explain_unknown", &["explain", "unknown-kye"]),
        ("schema_extra_argument", &["schema", "routes.toml"]),
        ("completions_unknown", &["completions", "tcsh"]),
        ("declare_swaig", &["declare", "swaig"]),
        ("declare_voicedock", &["declare", "voicedock"]),
        ("declare_millis", &["declare", "millis"]),
        ("declare_openai", &["declare", "openai", "--route", "get_weather"]),
        ("declare_unserved", &["declare", "dailybots"]),
        ("declare_no_definitions", &["declare", "http"]),
        ("declare_unknown_platform", &["declare", "swag"]),
        ("declare_unknown_route", &["declare", "swaig", "--route", "get_wheather"]),
        ("declare_bad", &["declare", "swaig", "--config", "faulty.toml"]),
        ("declare_no_table", &["declare", "swaig", "--config", "none.toml"]),
    ];
    for (name, words) in cases {
        let mut command = jackfield(folder.path());
        command.args(*words).env("NO_COLOR", "1").envs(SECRETS);
        let shown = shown(&run(command).await);
        insta::with_settings!({ description => words.join(" "), omit_expression => true }, {
            insta::assert_snapshot!(*name, shown);
        });
    }
}

#[tokio::test]
async fn the_version_and_the_ready_line_keep_their_format() {
    let folder = Folder::with(&[]);
    let mut command = jackfield(folder.path());
    command.arg("--version");
    let built = Regex::new(r"\d+\.\d+\.\d+ \(.*\)").unwrap();
    insta::assert_snapshot!("version", built.replace(&shown(&run(command).await), "VERSION (BUILD)"));

    // `serve` does not print the warnings of `check`.
    let untested = TABLE.split("[[routes.get_weather.tests]]").next().unwrap();
    let proxy = Proxy::with(&[("routes.toml", untested)], &SECRETS).await;
    let log = proxy.log();
    assert!(!log.contains("warning"), "{log}");
    let ready = log.lines().find(|line| line.contains("ready")).unwrap();
    let masks = [
        (r"\d{4}-\S+Z", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"revision=[0-9a-f]{16}", "revision=REVISION"),
    ];
    let ready = masks.iter().fold(ready.to_owned(), |line, (form, name)| {
        Regex::new(form).unwrap().replace_all(&line, *name).into_owned()
    });
    insta::assert_snapshot!("ready", ready);
}
