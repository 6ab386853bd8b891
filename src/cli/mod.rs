//! The command line: one file per command. No other module prints.

mod call;
mod check;
mod completions;
mod declare;
mod deliveries;
mod explain;
mod from_record;
mod init;
mod man;
mod memory;
mod online;
mod output;
mod save;
mod schema;
mod serve;
mod shared;
mod test;
mod words;

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};

use crate::printable::{printable, printable_json};

/// A proxy that turns your existing HTTP APIs into tools for voice-AI agents, configured in one TOML table.
#[derive(Debug, Parser)]
#[command(name = "jackfield", version = VERSION, after_help = EXAMPLES)]
struct Cli {
    /// The main file of the table; relative paths in it are relative to its folder.
    #[arg(long, global = true, default_value = "routes.toml", value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    serve: serve::Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The version, the revision if it is known, and the target that it was built for.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("JACKFIELD_BUILD"), ")");

const EXAMPLES: &str = "\
Getting started:
  jackfield serve --demo                      serve ./routes.toml, with a sample API to call
  jackfield check                             validate the table
  jackfield test                              run the tests of the table
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --explain --demo";

const LOG: &str = "\
The log goes to standard error: readable text on a terminal, one JSON object per line elsewhere. To choose the format, set
JACKFIELD_LOG=human, JACKFIELD_LOG=json, or `log.format` in the table. `log.level` sets the level, and RUST_LOG
overrides it (RUST_LOG=jackfield=debug). NO_COLOR disables colors.

SIGHUP triggers a reload. SIGTERM and Ctrl-C start a graceful shutdown: calls in flight may finish.

Exits with 1 if the table has errors, and with 2 if the table cannot be read or an address cannot be bound.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the platforms of the table and reload the table when it changes (the default command).
    #[command(after_help = LOG)]
    Serve(serve::Serve),
    /// Validate the configuration and print every error and warning with a suggested fix (exits 1 on errors).
    Check(check::Check),
    /// Explain an error or warning code with a bad and a good example; without a code, list all codes.
    Explain(explain::Explain),
    /// Run the tests of the table, without network access (exits 1 if a test fails).
    Test(test::TestCommand),
    /// Print the tool definitions of the table's functions, to paste into a platform.
    Declare(declare::Declare),
    /// Call one function as a platform would and print the result.
    #[command(after_help = call::EXAMPLES)]
    Call(call::CallCommand),
    /// List, show, retry or drop what `async` routes deliver.
    #[command(after_help = deliveries::EXAMPLES)]
    Deliveries(deliveries::Deliveries),
    /// Delete what a conversation remembers.
    Memory(memory::Memory),
    /// Print the JSON Schema of the table, for completion and documentation in an editor.
    Schema(schema::Schema),
    /// Create a commented starter table and its JSON Schema; never overwrites a file.
    Init,
    /// Print a shell completion script.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
    /// Print the manual page, or write the pages of all commands.
    #[command(after_help = man::EXAMPLES)]
    Man(man::ManPages),
    /// Print the names of the routes, for completions.
    #[command(hide = true)]
    Routes,
}

/// Names of commands in other tools, and what to run instead.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["validate", "lint", "verify", "vet"], "`jackfield check` validates the table"),
    (&["version"], "`jackfield --version` prints the version"),
    (&["run", "start", "server", "up"], "`jackfield serve` runs the proxy"),
    (&["new", "create"], "`jackfield init` creates a starter table"),
    (&["docs", "doc"], "`jackfield explain` explains a code, and `jackfield man` prints the manual page"),
    (&["tools", "export"], "`jackfield declare` prints the tool definitions"),
    (&["reload"], "send SIGHUP to the running process; it also reloads when a file changes"),
];

/// Parses the command line. A command of another name gets a pointer to the one that is meant.
fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|mut error| {
        if let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand)
            && let Some((_, tip)) = ELSEWHERE.iter().find(|(names, _)| names.contains(&given.as_str()))
        {
            error.remove(ContextKind::SuggestedSubcommand);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*tip).into()]));
        }
        if error.use_stderr() {
            // The error quotes what was written.
            report(error.to_string().trim_end());
            return ExitCode::from(2);
        }
        if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let demo = cli.serve.demo;
    let done = match cli.command {
        None => serve::run(cli.config, cli.serve),
        Some(Command::Serve(command)) => serve::run(cli.config, command.or(cli.serve)),
        Some(_) if cli.serve.is_given() => {
            Err(anyhow::anyhow!("`--listen` and `--admin` are for `serve` only"))
        }
        Some(Command::Check(command)) => check::run(&command, &cli.config, command.demo || demo),
        Some(Command::Call(command)) => call::run(&command, cli.config, command.demo || demo),
        Some(_) if demo => Err(anyhow::anyhow!("`--demo` is for `serve`, `call` and `check` only")),
        Some(Command::Explain(command)) => explain::run(&command),
        Some(Command::Test(command)) => test::run(&command, &cli.config),
        Some(Command::Declare(command)) => declare::run(&command, &cli.config),
        Some(Command::Deliveries(command)) => deliveries::run(&command, &cli.config),
        Some(Command::Memory(command)) => memory::run(&command, &cli.config),
        Some(Command::Schema(command)) => schema::run(&command),
        Some(Command::Init) => init::run(&cli.config),
        Some(Command::Completions(command)) => completions::run(&command),
        Some(Command::Man(command)) => man::run(&command),
        Some(Command::Routes) => completions::routes(&cli.config),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            report(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Prints text for people to standard error.
fn report(text: &str) {
    // If standard error is closed, there is no other place to report to.
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Prints the output of a command for people to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    print_as_is(&printable(text))
}

/// Prints the output of a command for programs to standard output.
fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    print_as_is(&printable_json(&format!("{value:#}")))
}

/// Prints text that has been made printable, and may have colours.
fn print_as_is(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        // The reader may stop early, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the output"),
    }
}
