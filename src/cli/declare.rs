//! `jackfield declare`: prints the tool definitions to paste into a platform.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::diagnostic;
use crate::load::{Environment, load, process_environment};
use crate::plan::{FunctionsFor, Plan};
use crate::platform::{self, Endpoint, Functions as _, PLATFORMS, Platform, ToolSpec};

use super::shared::plan_or_exit;
use super::words::Words;
use super::{print_json, report};

/// The format that most model APIs accept. It is not a platform.
const OPENAI: &str = "openai";

/// Arguments of `declare`.
#[derive(Debug, Args)]
pub(super) struct Declare {
    #[arg(help = platform_help(), value_parser = Words::declaring(OPENAI), hide_possible_values = true)]
    platform: String,
    /// Print another form of the declaration, such as `sidecar` for SWAIG.
    #[arg(long, value_name = "FORM")]
    form: Option<String>,
    /// Print only this route.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
}

fn platform_help() -> String {
    let nowhere = Endpoint { url: "", events: &[], form: None };
    let able = PLATFORMS.iter().filter(|platform| platform.declare(&[], &nowhere).is_some());
    let names: Vec<&str> = able.map(|platform| platform.name()).collect();
    format!("The platform ({}), or `{OPENAI}` for a plain list of functions", names.join(", "))
}

pub(super) fn run(command: &Declare, path: &Path) -> anyhow::Result<ExitCode> {
    // The output contains no secrets, so they may be unset.
    let environment = Environment { without_secrets: true, ..process_environment() };
    let plan = match plan_or_exit(path, load(path, &environment)) {
        Ok(plan) => plan,
        Err(code) => return Ok(code),
    };
    let declaration = if command.platform == OPENAI {
        let functions = FunctionsFor::new(&plan, OPENAI);
        openai(&selected(command, functions.tools())?)
    } else {
        let platform = platform::find(&command.platform).with_context(|| unknown(&command.platform))?;
        let functions = FunctionsFor::new(&plan, platform.name());
        let tools = selected(command, functions.tools())?;
        let endpoint = Endpoint { form: form(command, platform)?, ..functions.endpoint() };
        let declaration = platform.declare(&tools, &endpoint).with_context(|| {
            format!("{} has no tool definitions; `declare {OPENAI}` prints a plain list", platform.name())
        })?;
        if plan.served(platform.name()).is_none() {
            report(&format!(
                "note: the table does not serve {name} yet; add `[platforms.{name}]`",
                name = platform.name()
            ));
        }
        note_addresses(&plan);
        declaration
    };
    print_json(&declaration)?;
    Ok(ExitCode::SUCCESS)
}

/// The form that `--form` names.
fn form(command: &Declare, platform: &dyn Platform) -> anyhow::Result<Option<&'static str>> {
    let Some(name) = &command.form else { return Ok(None) };
    let forms = platform.declare_forms();
    match forms.iter().find(|form| *form == name) {
        Some(form) => Ok(Some(form)),
        None if forms.is_empty() => bail!("{} has only one form of declarations", platform.name()),
        None => bail!("unknown form `{name}`; known: {}", diagnostic::list(forms)),
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).chain([OPENAI]).collect();
    format!("unknown platform `{name}`; known: {}", diagnostic::list(&known))
}

/// The functions to declare: all, or only that of `--route`.
fn selected<'a>(command: &Declare, tools: Vec<ToolSpec<'a>>) -> anyhow::Result<Vec<ToolSpec<'a>>> {
    let Some(name) = &command.route else { return Ok(tools) };
    let known: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    match tools.iter().find(|tool| tool.name == name) {
        Some(tool) => Ok(vec![*tool]),
        None => bail!(
            "unknown route `{name}` for {}{}",
            command.platform,
            diagnostic::suggest(name, known.iter().copied())
                .map(|help| format!(": {help}"))
                .unwrap_or_default()
        ),
    }
}

fn note_addresses(plan: &Plan) {
    if plan.server.public_url.is_none() {
        report("note: `server.public_url` is not set, so the URLs below work only on this machine");
    }
}

fn openai(tools: &[ToolSpec<'_>]) -> Value {
    tools
        .iter()
        .map(|tool| {
            json!({
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            })
        })
        .collect()
}
