//! The command line: one file per command. Only here is anything printed.

mod call;
mod check;
mod completions;
mod declare;
mod explain;
mod init;
mod online;
mod output;
mod save;
mod schema;
mod serve;
mod shared;
mod test;

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Answers the function calls of voice-AI agents by ordinary HTTP APIs, as one TOML table says.
#[derive(Debug, Parser)]
#[command(name = "jackfield", version = VERSION, after_help = EXAMPLES)]
struct Cli {
    /// The main file of the table; relative paths in it start from its folder.
    #[arg(long, global = true, default_value = "routes.toml", value_name = "FILE")]
    config: PathBuf,
    /// Start a small sample API and point `[upstreams.demo]` at it; for `serve`, `call` and `check`.
    #[arg(long, global = true)]
    demo: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The version, the revision if it is known, and the target that it was built for.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("JACKFIELD_BUILD"), ")");

const EXAMPLES: &str = "\
A first try:
  jackfield serve --demo                      serve ./routes.toml, with a sample API to call
  jackfield check                             list every fault of the table
  jackfield test                              run the tests of the table
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --explain --demo";

const LOG: &str = "\
The log goes to standard error: for people on a terminal, elsewhere each line is an object of JSON. JACKFIELD_LOG=human
or JACKFIELD_LOG=json, or `log.format` of the table, says otherwise. RUST_LOG sets how much (RUST_LOG=jackfield=debug), NO_COLOR takes the colours away.
SIGHUP asks for a reload; SIGTERM and Ctrl-C let calls in flight finish. It ends with 1 when the table has faults, with
2 when the table cannot be read or an address cannot be listened on.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the platforms that the table names, and read the table again when it changes (the default).
    #[command(after_help = LOG)]
    Serve,
    /// List every fault of the table and what is unwise in it, with what to write; the exit code is 1 for a fault.
    Check(check::Check),
    /// Explain a kind of fault, with a bad and a good example; without a code, list them all.
    Explain(explain::Explain),
    /// Run the table's own tests, without any network; the exit code is 1 if one fails.
    Test(test::TestCommand),
    /// Print what to paste into a platform so that it knows the table's functions.
    Declare(declare::Declare),
    /// Call one function as a platform would, and print what happens.
    #[command(after_help = call::EXAMPLES)]
    Call(call::CallCommand),
    /// Print the JSON Schema of the table, by which an editor completes and explains its keys.
    Schema,
    /// Write a first table to change, with comments, and its JSON Schema beside it; never over a file that is there.
    Init,
    /// Print a script by which a shell completes commands and options.
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None | Some(Command::Serve) => serve::run(cli.config, cli.demo),
        Some(Command::Check(command)) => check::run(&command, &cli.config, cli.demo),
        Some(Command::Explain(command)) => explain::run(&command),
        Some(Command::Test(command)) => test::run(&command, &cli.config),
        Some(Command::Declare(command)) => declare::run(&command, &cli.config),
        Some(Command::Call(command)) => call::run(&command, cli.config, cli.demo),
        Some(Command::Schema) => schema::run(),
        Some(Command::Init) => init::run(&cli.config),
        Some(Command::Completions(command)) => completions::run(&command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            report(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// A line for a person, on standard error.
fn report(text: &str) {
    // There is nobody to tell that nobody can be told.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What a command is for, on standard output.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads may have read enough, as `head` does.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the output"),
    }
}
