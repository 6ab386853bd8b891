//! The command line: one file per command. Only here is anything printed.

mod call;
mod check;
mod declare;
mod explain;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A declarative tool-routing proxy for voice-AI agents.
#[derive(Debug, Parser)]
#[command(name = "jackfield", version)]
struct Cli {
    /// The table.
    #[arg(long, global = true, default_value = "routes.toml", value_name = "FILE")]
    config: PathBuf,
    /// Start a small sample API on loopback and point `[upstreams.demo]` at it; for `serve` and `call`.
    #[arg(long, global = true)]
    demo: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the platforms that the table names (the default).
    Serve,
    /// Say everything that is wrong with the table.
    Check(check::Check),
    /// Print what to paste into a platform so that it knows the table's functions.
    Declare(declare::Declare),
    /// Call one function as a platform would, and print what happens.
    Call(call::CallCommand),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        None | Some(Command::Serve) => serve::run(cli.config, cli.demo),
        Some(Command::Check(command)) => check::run(&command, &cli.config),
        Some(Command::Declare(command)) => declare::run(&command, &cli.config),
        Some(Command::Call(command)) => call::run(&command, cli.config, cli.demo),
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
#[expect(clippy::print_stderr, reason = "the command line is where people are spoken to")]
fn report(text: &str) {
    eprintln!("{text}");
}

/// What a command is for, on standard output.
#[expect(clippy::print_stdout, reason = "the command line is where results are printed")]
fn print(text: &str) {
    println!("{text}");
}
