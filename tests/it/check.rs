//! `jackfield check` for people and for programs: every kind of error, and what is printed for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jackfield::diagnostic::{Code, Severity};
use serde_json::Value;

/// Codes that no file can trigger, each with its reason.
const NO_FIXTURE: &[(Code, &str)] = &[
    (Code::TlsExpiring, "it depends on the day: see tls.rs"),
    (Code::UpstreamUnreachable, "only a response of an upstream triggers it: see online.rs"),
    (Code::CredentialRefused, "only a response of an upstream triggers it: see online.rs"),
    (Code::StateUnavailable, "only the database triggers it: see online.rs"),
    (Code::TableTooLarge, "only a very large file triggers it: see large_tables.rs"),
    (Code::MoreDiagnostics, "only hundreds of errors trigger it: see large_tables.rs"),
];

fn bad_tables() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/bad")
}

/// The table with ten errors.
fn ten_errors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/ten_faults.toml")
}

/// Runs `jackfield check` on a table, in the table's folder.
pub(crate) fn check(table: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jackfield"))
        .arg("check")
        .arg("--config")
        .arg(table.file_name().unwrap())
        .args(arguments)
        .current_dir(table.parent().unwrap())
        .env_clear()
        .env("NO_COLOR", "1")
        .env("SET_SECRET", "tanager-7431")
        .env("EMPTY_SECRET", "")
        .output()
        .unwrap()
}

pub(crate) fn printed(output: &Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The diagnostics of a table in the JSON format.
pub(crate) fn found(table: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = check(table, &[&["--format", "json"], arguments].concat());
    let answer: Value = serde_json::from_str(&printed(&output)).unwrap();
    answer["diagnostics"].as_array().unwrap().clone()
}

/// The bad tables: `<code>.toml`, or a folder `<code>` with a `routes.toml`. The name of a case may follow after a dot.
pub(crate) fn fixtures() -> Vec<(String, PathBuf)> {
    let mut fixtures: Vec<(String, PathBuf)> = std::fs::read_dir(bad_tables())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.strip_suffix(".toml").unwrap_or(name).to_owned();
            if path.is_dir() { (name, path.join("routes.toml")) } else { (name, path) }
        })
        .collect();
    fixtures.sort();
    fixtures
}

#[test]
fn every_bad_table_reports_its_errors_with_their_location() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= Code::ALL.len() - NO_FIXTURE.len());
    for (name, table) in fixtures {
        let slug = name.split('.').next().unwrap();
        let code = Code::ALL.iter().find(|code| code.slug() == slug);
        let code = code.unwrap_or_else(|| panic!("{name}: there is no code `{slug}`"));
        let found = found(&table, &[]);
        assert!(found.iter().any(|fault| fault["code"] == slug), "{name}: {found:#?}");
        let faulty = found.iter().any(|fault| fault["severity"] == "error");
        let output = check(&table, &[]);
        assert_eq!(output.status.code(), Some(i32::from(faulty)), "{name}");
        if code.severity() != Severity::Error {
            assert!(!faulty, "{name}: {found:#?}");
        }
        insta::with_settings!({ snapshot_path => "snapshots/check", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, printed(&output));
        });
    }
}

#[test]
fn every_code_has_a_bad_table() {
    let shown: BTreeSet<String> =
        fixtures().into_iter().map(|(name, _)| name.split('.').next().unwrap().to_owned()).collect();
    let excused: BTreeSet<String> = NO_FIXTURE.iter().map(|(code, _)| code.slug().to_owned()).collect();
    for code in Code::ALL {
        let slug = code.slug().to_owned();
        assert!(shown.contains(&slug) != excused.contains(&slug), "{slug}");
    }
}

#[test]
fn ten_errors_in_one_file_are_all_reported() {
    let table = ten_errors();
    let reported: Vec<(String, u64)> = found(&table, &[])
        .iter()
        .map(|fault| (fault["code"].as_str().unwrap().to_owned(), fault["line"].as_u64().unwrap()))
        .collect();
    let expected = [
        ("invalid-address", 3),
        ("unknown-key", 7),
        ("invalid-duration", 11),
        ("unknown-value", 15),
        ("unknown-upstream", 19),
        ("toml-syntax", 24),
        ("invalid-path", 30),
        ("jsonpath-syntax", 31),
        ("unknown-name", 32),
        ("invalid-action", 36),
    ];
    let expected: Vec<(String, u64)> = expected.map(|(code, line)| (code.to_owned(), line)).to_vec();
    assert_eq!(reported, expected);
}

#[test]
fn json_output_holds_the_same_diagnostics() {
    let table = ten_errors();
    let output = check(&table, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["diagnostics"]);
    for fault in answer["diagnostics"].as_array().unwrap() {
        let keys: Vec<&str> = fault.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["severity", "code", "message", "file", "line", "column", "help"]);
        assert!(["error", "warning", "note"].contains(&fault["severity"].as_str().unwrap()));
        assert_eq!(fault["file"], "ten_faults.toml");
        assert!(fault["help"].is_null() || fault["help"].is_string());
    }
    // Line 32 has text in other scripts before the name. The column counts characters, not bytes.
    let name = answer["diagnostics"].as_array().unwrap().iter().find(|fault| fault["line"] == 32).unwrap();
    let line = std::fs::read_to_string(&table).unwrap().lines().nth(31).unwrap().to_owned();
    let byte = line.find("nmae").unwrap();
    let column = line[..byte].chars().count() as u64 + 1;
    assert!(column < byte as u64);
    assert_eq!(name["column"], column);

    let good = check(&shipped(), &["--format", "json"]);
    assert_eq!(good.status.code(), Some(0));
    assert_eq!(
        serde_json::from_str::<Value>(&printed(&good)).unwrap(),
        serde_json::json!({"diagnostics": []})
    );
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("routes.toml")
}

#[test]
fn the_shipped_table_has_no_warnings() {
    let output = check(&shipped(), &[]);
    assert_eq!(printed(&output), "routes.toml: ok, 12 routes (0 errors)\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn an_unreadable_table_exits_with_2() {
    let folder = folder("unreadable");
    std::fs::write(folder.join("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    std::fs::create_dir_all(folder.join("folder.toml")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("endless.toml")).unwrap();
    for (name, problem) in [
        ("missing.toml", "No such file"),
        ("binary.toml", "not UTF-8"),
        ("folder.toml", "directory"),
        ("endless.toml", "not a regular file"),
    ] {
        let output = check(&folder.join(name), &[]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(output.stdout, b"", "{name}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains(&format!("error: `{name}` cannot be read: ")) && stderr.contains(problem),
            "{stderr}"
        );
        assert!(stderr.contains("--config"), "{stderr}");

        let output = check(&folder.join(name), &["--format", "json"]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let answer: Value = serde_json::from_str(&printed(&output)).unwrap();
        assert_eq!(answer["diagnostics"][0]["code"], "unreadable-file", "{name}");
        assert_eq!(answer["diagnostics"][0]["file"], *name, "{name}");
    }
    // An included file is part of the table: its errors are reported, and the rest is still checked.
    let table = folder.join("including.toml");
    std::fs::write(
        &table,
        "include = [\"binary.toml\"]\n[platforms.http]\n[routes.a]\nreply.text = \"{{x}}\"\n",
    )
    .unwrap();
    assert_eq!(check(&table, &[]).status.code(), Some(1));
    let codes: Vec<Value> = found(&table, &[]).iter().map(|fault| fault["code"].clone()).collect();
    assert_eq!(codes, ["unreadable-file", "unknown-name"]);
}

/// An empty folder with this name, for a table that a test writes.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn files_matched_by_several_patterns_are_included_once() {
    let folder = folder("overlap");
    std::fs::create_dir_all(folder.join("routes.d")).unwrap();
    std::fs::write(
        folder.join("routes.d/a.toml"),
        "[routes.a]\nreply.text = \"Hello.\"\nallow = [\"route-untested\"]\n",
    )
    .unwrap();
    let table = folder.join("routes.toml");
    let text =
        "include = [\"routes.d/a.toml\", \"routes.d/*.toml\", \"./routes.d/a.toml\"]\n[platforms.http]\n";
    std::fs::write(&table, text).unwrap();
    assert_eq!(found(&table, &[]), Vec::<Value>::new());
}

#[test]
fn a_table_can_be_checked_without_its_secrets() {
    let table = bad_tables().join("secret-unset.toml");
    let codes = |arguments: &[&str]| -> Vec<Value> {
        found(&table, arguments).iter().map(|fault| fault["code"].clone()).collect()
    };
    assert_eq!(codes(&[]), vec!["secret-unset"; 6]);
    // A value that is written as empty is still an error.
    assert_eq!(codes(&["--no-secrets"]), ["secret-unset"]);
    assert_eq!(found(&bad_tables().join("secret-file/routes.toml"), &["--no-secrets"]), Vec::<Value>::new());
}

#[test]
fn secrets_are_never_printed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/secrets");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let table = entry.unwrap().path();
        if table.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        for arguments in
            [&["check"] as &[&str], &["check", "--format", "json"], &["check", "--no-secrets"], &["serve"]]
        {
            let output = Command::new(env!("CARGO_BIN_EXE_jackfield"))
                .args(arguments)
                .arg("--config")
                .arg(table.file_name().unwrap())
                .current_dir(&folder)
                .env_clear()
                .env("NO_COLOR", "1")
                .env("SET_SECRET", "tanager-7431")
                .env("LINES", "tanager\n7431")
                .output()
                .unwrap();
            let name = table.file_stem().unwrap().display().to_string();
            assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}");
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
            // One of them is the name of its file, which is no secret.
            let text = text.replace("hunter2.txt", "");
            for secret in ["hunter2", "tanager", "7431"] {
                assert!(!text.contains(secret), "{name} {arguments:?}:\n{text}");
            }
        }
    }
    assert!(seen >= 20);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_jackfield"))
        .args(["check", "--config"])
        .arg(shipped())
        .env_clear()
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn an_unwritable_output_is_an_error_and_no_panic() {
    for format in ["human", "json"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
        command.args(["check", "--format", format]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let error = "error: cannot write the output: No space left on device (os error 28)\n";
        assert_eq!((stderr.as_str(), output.status.code()), (error, Some(2)), "{format}");
    }
}
