//! The command line: version and shell completion.

use std::process::Command;

use regex::Regex;

use crate::support::folder::Folder;

fn printed(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_jackfield")).args(words).env_clear().output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_version_includes_build_details() {
    let version = printed(&["--version"]);
    let form = r"^jackfield \d+\.\d+\.\d+ \(([0-9A-Za-z.-]+, )?[0-9a-z_]+(-[0-9a-z_]+)+\)\n$";
    assert!(Regex::new(form).unwrap().is_match(&version), "{version}");
    assert!(
        version.contains(env!("CARGO_PKG_VERSION")) && version.contains(std::env::consts::ARCH),
        "{version}"
    );
}

#[test]
fn completions_cover_every_command_in_every_shell() {
    let help = printed(&["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(commands.contains(&"serve") && commands.len() >= 8, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("dry-run"), "{shell}");
    }
}

/// Runs the completion script in bash, as pressing Tab does.
#[test]
fn the_bash_completion_script_works() {
    let ask = format!(
        "{}\nCOMP_WORDS=(jackfield che); COMP_CWORD=1; _jackfield jackfield che jackfield; echo \"${{COMPREPLY[@]}}\"",
        printed(&["completions", "bash"])
    );
    let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "check\n");
}

fn run(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jackfield")).args(words).env_clear().output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn commands_of_other_tools_get_a_pointer() {
    for (word, pointer) in [
        ("validate", "`jackfield check`"),
        ("lint", "`jackfield check`"),
        ("version", "`jackfield --version`"),
        ("start", "`jackfield serve`"),
    ] {
        let (code, errors) = run(&[word]);
        assert_eq!(code, Some(2), "{word}");
        assert!(errors.contains(&format!("unrecognized subcommand '{word}'")), "{errors}");
        assert!(errors.contains(pointer) && !errors.contains("similar"), "{errors}");
    }
    assert!(run(&["checks"]).1.contains("'check'"));
}

#[test]
fn the_demo_is_offered_only_where_it_works() {
    for command in ["serve", "check", "call"] {
        assert!(printed(&[command, "--help"]).contains("--demo"), "{command}");
    }
    for command in ["init", "explain", "schema", "completions", "declare", "test", "man"] {
        assert!(!printed(&[command, "--help"]).contains("--demo"), "{command}");
        let (code, errors) = run(&["--demo", command, "bash"]);
        assert_eq!(code, Some(2), "{command}: {errors}");
    }
    let (code, errors) = run(&["--demo", "schema"]);
    assert_eq!(
        (code, errors.as_str()),
        (Some(2), "error: `--demo` is for `serve`, `call` and `check` only\n")
    );
}

#[test]
fn completions_offer_platforms_codes_and_routes() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for word in ["voicedock", "openai", "unknown-key", "jackfield routes"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let zsh = printed(&["completions", "zsh"]);
    assert_eq!(zsh.matches(":_jackfield_routes'").count(), 5, "{zsh}");
    assert!(!printed(&["explain", "--help"]).contains("unknown-action"));

    let folder = Folder::with(&[(
        "routes.toml",
        "[platforms.http]\n[routes.weather]\nreply.text = \"A.\"\n[routes.wait]\nreply.text = \"B.\"\n",
    )]);
    let routes = Command::new(env!("CARGO_BIN_EXE_jackfield"))
        .arg("routes")
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(routes.stdout).unwrap(), "wait\nweather\n");
    // As pressing Tab does, with the binary on the path.
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_jackfield")).parent().unwrap();
    let ask = format!(
        "{}\nCOMP_WORDS=(jackfield call we); COMP_CWORD=2; _jackfield_with_routes jackfield we call; \
         echo \"${{COMPREPLY[@]}}\"",
        printed(&["completions", "bash"])
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "weather\n");
}

#[test]
fn the_manual_pages_cover_every_command() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH jackfield 1") && page.contains("\\-\\-config"), "{page}");
    let folder = Folder::with(&[]);
    printed(&["man", "--dir", folder.path().to_str().unwrap()]);
    for name in ["jackfield.1", "jackfield-serve.1", "jackfield-call.1", "jackfield-check.1"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[tokio::test]
async fn commands_for_operators_do_not_make_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let table = "[platforms.swaig]\n[state]\n[upstreams.api]\nbase_url = \"https://api.example.com\"\n\
                 [routes.log_lead]\nupstream = \"api\"\nrequest = { method = \"POST\", path = \"/leads\" }\n\
                 delivery = \"async\"\nreply = { text = \"Noted.\" }\n";
    std::fs::write(folder.path().join("routes.toml"), table).unwrap();
    let run = |words: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackfield"));
        command.args(words.split(' ')).current_dir(folder.path()).env_clear();
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for words in ["deliveries list", "deliveries drop --status dead", "memory forget --conversation c-1"] {
        let (code, text) = run(words);
        assert!(code == Some(2) && text.contains("does not exist yet"), "{words}: {code:?} {text}");
    }
    let file = folder.path().join("jackfield.db");
    assert!(!file.exists());

    let url = jackfield::state::StateUrl::Sqlite(file);
    jackfield::state::Store::open(&jackfield::state::Settings::new(url)).check().await.unwrap();
    for (words, expected) in [
        ("deliveries list", "no deliveries\n"),
        ("deliveries list --route log_lead", "no delivery matches these filters\n"),
        (
            "deliveries list --route bogus",
            "no delivery matches these filters; the table has no route or event `bogus`\n",
        ),
    ] {
        assert_eq!(run(words), (Some(0), expected.to_owned()), "{words}");
    }
}
