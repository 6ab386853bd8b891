//! `jackfield completions`: prints a shell completion script.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::load::{Environment, load, process_environment};

use super::words::Words;
use super::{Cli, print};

pub(super) const EXAMPLES: &str = "\
Install the script:
  jackfield completions bash > ~/.local/share/bash-completion/completions/jackfield
  jackfield completions zsh > \"${fpath[1]}/_jackfield\"
  jackfield completions fish > ~/.config/fish/completions/jackfield.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell to generate the script for.
    shell: Shell,
}

pub(super) fn run(command: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut cli = Cli::command();
    let name = cli.get_name().to_owned();
    clap_complete::generate(command.shell, &mut cli, name, &mut script);
    print(with_routes(command.shell, &String::from_utf8(script)?).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the names of the routes that can be called; nothing if the table has errors.
pub(super) fn routes(path: &Path) -> anyhow::Result<ExitCode> {
    let environment = Environment { without_secrets: true, ..process_environment() };
    let plan = load(path, &environment).ok().and_then(|loaded| loaded.plan);
    let mut names: Vec<String> = plan.iter().flat_map(|plan| plan.routes.keys().cloned()).collect();
    names.sort_unstable();
    if !names.is_empty() {
        print(&names.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The script, extended by the routes of the table in the current folder, which only the command itself knows.
fn with_routes(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}\n{BASH_ROUTES}"),
        Shell::Fish => format!("{script}\n{FISH_ROUTES}{}", fish_words()),
        Shell::Zsh => {
            let lines = script.lines().map(|line| {
                match line.contains("function -- ") || line.contains("--route=[") {
                    true => line.replace(":_default'", ":_jackfield_routes'"),
                    false => line.to_owned(),
                }
            });
            let lines: Vec<String> = lines.collect();
            let script = lines.join("\n");
            match script.split_once("\n_jackfield() {") {
                Some((head, rest)) => format!("{head}\n{ZSH_ROUTES}\n_jackfield() {{{rest}"),
                None => script,
            }
        }
        _ => script.to_owned(),
    }
}

/// The words of arguments without an option, which `clap_complete` leaves out for fish.
fn fish_words() -> String {
    let words = [("declare", Words::declaring("openai")), ("explain", Words::codes())];
    let lines = words.iter().map(|(command, words)| {
        format!(
            "complete -c jackfield -n \"__fish_seen_subcommand_from {command}\" -f -a \"{}\"\n",
            words.all()
        )
    });
    lines.collect()
}

const BASH_ROUTES: &str = r#"_jackfield_with_routes() {
    _jackfield "$@"
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    if [[ "$previous" == call || "$previous" == --route ]] && [[ "$current" != -* ]]; then
        COMPREPLY+=($(compgen -W "$(jackfield routes 2>/dev/null)" -- "$current"))
    fi
}
complete -F _jackfield_with_routes -o nosort -o bashdefault -o default jackfield
"#;

const ZSH_ROUTES: &str = r#"_jackfield_routes() {
    local -a names
    names=(${(f)"$(jackfield routes 2>/dev/null)"})
    compadd -a names
}
"#;

const FISH_ROUTES: &str = r#"complete -c jackfield -n "__fish_seen_subcommand_from call" -f -a "(jackfield routes 2>/dev/null)"
complete -c jackfield -n "__fish_seen_subcommand_from declare" -l route -x -a "(jackfield routes 2>/dev/null)"
"#;
