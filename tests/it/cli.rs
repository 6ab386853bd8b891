//! The command line: version and shell completion.

use std::process::Command;

use regex::Regex;

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
