//! `jackfield call`: one function, called as a platform would call it, with every step to look at.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::{Context, FailureKind};
use crate::diagnostic;
use crate::dispatch::in_process::{CompletedCall, InProcess, Untried};
use crate::flow::{CallError, Record, StepRecord};
use crate::load::DEMO;
use crate::plan::Plan;
use crate::plan::route::ReplyError;
use crate::platform::{self, Inbound, PLATFORMS, Platform};
use crate::reload::ConfigSource;
use crate::testing::capture::{Happened, Saved};
use crate::upstream::Transport;
use crate::upstream::http::HttpTransport;
use crate::upstream::keep::Carried;
use crate::upstream::recorder::Recorder;
use crate::upstream::stub::StubTransport;

use super::explain::Shown;
use super::save::Saving;
use super::{print, report};

pub(super) const EXAMPLES: &str = "\
Examples:
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --explain --demo
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --as swaig --save-test \"the weather of Oslo\"
  jackfield call --request posted.json --as voicedock --explain     what VoiceDock once posted, step by step

It ends with 1 when the call failed or the table has faults, with 2 when the table or a file cannot be read, when a test
cannot be saved, or when the command makes no sense.";

/// Arguments of `call`.
#[derive(Debug, Args)]
pub(super) struct CallCommand {
    /// The function, as the model would name it. With `--request` only where the platform names it in the URL, or to
    /// mean one of several calls.
    #[arg(required_unless_present = "request")]
    function: Option<String>,
    /// Its arguments, a JSON object such as '{"city": "Oslo"}'.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    /// The platform to call as: swaig, voicedock, dailybots, millis or http. The answer is printed in its format; as
    /// http unless given.
    #[arg(long = "as", value_name = "PLATFORM")]
    platform: Option<String>,
    /// Send what stands in this file in place of `--args`: the whole body of a request as the platform posted it. Its
    /// login is not asked for.
    #[arg(long, value_name = "FILE", requires = "platform", conflicts_with = "args")]
    request: Option<PathBuf>,
    /// A header of the platform's request, as 'x-session: s-1'; may be given several times.
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Walk through the call step by step before the answer: what was sent, what came back and how long it took, which
    /// reply case was taken and why not an earlier one, each template beside what it became. Secrets are hidden.
    #[arg(long)]
    explain: bool,
    /// Walk through the call up to the request that would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write what happened as a test of this name: the arguments or the request, the upstreams' replies, the time, and
    /// what came of it. It goes where the route's other tests are, else into `<table>.test.toml`.
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    save_test: Option<String>,
    /// How what happened is printed.
    #[arg(long, value_enum, default_value_t = CallFormat::Human)]
    format: CallFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CallFormat {
    /// The answer; with `--explain`, what led to it, for people.
    Human,
    /// All that `--explain` tells, as JSON, for machines.
    Json,
}

/// A header as it is written on the command line.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write a name, a colon and a value: 'x-session: s-1'")?;
    let name = name.trim().parse().map_err(|_| format!("`{name}` is not the name of a header"))?;
    let value = value.trim().parse().map_err(|_| "the value of a header is one line of text".to_owned())?;
    Ok((name, value))
}

pub(super) fn run(command: &CallCommand, path: PathBuf, demo: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(call(command, path, demo));
    runtime.shutdown_background();
    code
}

async fn call(command: &CallCommand, path: PathBuf, demo: bool) -> anyhow::Result<ExitCode> {
    let args = arguments(command)?;
    let demo = if demo { Some(super::serve::start_demo().await?) } else { None };
    let origin = ConfigSource { path, demo, carried: Carried::default() };
    let loaded = match origin.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            report(&super::check::unreadable(&origin.path, &error.source));
            return Ok(ExitCode::from(2));
        }
    };
    let Some(plan) = loaded.plan else {
        let text = diagnostic::to_text(&loaded.diagnostics, &loaded.sources, false);
        report(&format!("{text}{}", super::check::summary(&origin.path, &loaded.diagnostics, None)));
        return Ok(ExitCode::FAILURE);
    };
    let platform = platform_for(command, &plan)?;
    let inbound = inbound(command, platform, &args)?;
    let real;
    let nothing = StubTransport::queued([]);
    let transport: &dyn Transport = if command.dry_run {
        &nothing
    } else {
        real = HttpTransport::new()?;
        &real
    };
    let recorder = Recorder::of(transport);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = |_: &mut Context| {};
    let trial =
        InProcess { plan: &plan, platform, transport: &recorder, now: &now, time: None, change: &change };
    let asked = trial.read(&inbound).map_err(|error| unread(&error, command, platform))?;
    let chosen = chosen(command, &asked.functions())?;
    let saving = match &command.save_test {
        None => None,
        // Before anything is sent: a write is not made for a test that cannot be saved.
        Some(name) => match Saving::prepare(&origin.path, name, chosen.as_deref())? {
            Ok(saving) => Some(saving),
            Err(code) => return Ok(code),
        },
    };
    let tried = trial.answer(asked).await?;
    let shown = Shown { tried: &tried, plan: &plan, platform, now: &now, dry_run: command.dry_run };
    let is_chosen = |call: &&CompletedCall| {
        command.function.is_none()
            || tried.event.is_some()
            || chosen.as_deref().is_none_or(|name| name == call.record.call.context.function)
    };
    let calls: Vec<&CompletedCall> = tried.calls.iter().filter(is_chosen).collect();
    let is_unsent = shown.is_unsent(&calls);
    match command.format {
        CallFormat::Json => print(&format!("{:#}", shown.to_json(&calls)))?,
        CallFormat::Human => {
            if command.explain || command.dry_run {
                print(&shown.explained(&calls))?;
            }
            match (is_unsent, command.explain) {
                (true, _) => {}
                (false, true) => print(&shown.answer())?,
                (false, false) => print(&pretty(&tried.answer.body))?,
            }
        }
    }
    if is_unsent {
        return Ok(ExitCode::SUCCESS);
    }
    for call in &calls {
        tell(command, &call.record, &plan, &origin);
    }
    if let Some(saving) = saving {
        let asked = match &command.request {
            Some(file) if tried.calls.len() == 1 => Saved::Request { file, body: &inbound.body },
            _ => Saved::Call,
        };
        let exchanges = recorder.exchanges();
        let call = calls.first().context("there is no call to save")?;
        saving
            .save(Happened { call, platform, asked, exchanges: &exchanges, now: &now, plan: &plan })
            .await?;
    }
    let failed = calls.iter().any(|call| call.record.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn arguments(command: &CallCommand) -> anyhow::Result<Value> {
    let args: Value = serde_json::from_str(&command.args)
        .context("`--args` is not valid JSON; in a shell write --args '{\"city\": \"Oslo\"}'")?;
    if !args.is_object() {
        bail!("`--args` is not a JSON object; in a shell write --args '{{\"city\": \"Oslo\"}}'");
    }
    Ok(args)
}

/// The request that the platform sends: that of the file, else one made up.
fn inbound(command: &CallCommand, platform: &dyn Platform, args: &Value) -> anyhow::Result<Inbound> {
    let mut inbound = platform.sample(command.function.as_deref().unwrap_or_default(), args);
    if let Some(file) = &command.request {
        inbound.body = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?.into();
    }
    for (name, value) in &command.headers {
        inbound.headers.insert(name, value.clone());
    }
    Ok(inbound)
}

/// Why a request cannot be read, and what to do.
fn unread(error: &Untried, command: &CallCommand, platform: &dyn Platform) -> anyhow::Error {
    let Some(file) = &command.request else { return anyhow!("the sample request is of no use: {error}") };
    let (file, name) = (file.display(), platform.name());
    // What its requests do not say, the command has to.
    if command.function.is_none() && platform.sample("", &json!({})).function.is_some() {
        return anyhow!(
            "a request of {name} does not say which function it calls: \
             write `jackfield call FUNCTION --request {file} --as {name}`"
        );
    }
    anyhow!("`{file}` is no request of {name}: {error}")
}

/// The one call that is meant; `None` where there is none or several.
fn chosen(command: &CallCommand, asked: &[&str]) -> anyhow::Result<Option<String>> {
    let known = diagnostic::list(asked);
    match (&command.function, asked) {
        (Some(function), [_, ..]) if !asked.contains(&function.as_str()) => {
            bail!("the request does not call `{function}`, but {known}")
        }
        (None, [_, _, ..]) if command.save_test.is_some() => {
            bail!("a test is one call, and the request has several: name the one to save, {known}")
        }
        (_, []) if command.save_test.is_some() => {
            bail!(
                "only a call can be saved; write a test of an event by hand, with its `event`, `request_file` and \
             `expect`"
            )
        }
        (Some(function), _) => Ok(Some(function.clone())),
        (None, [only]) => Ok(Some((*only).to_owned())),
        (None, _) => Ok(None),
    }
}

/// Tells what went wrong with a call, beside its answer.
fn tell(command: &CallCommand, record: &Record, plan: &Plan, origin: &ConfigSource) {
    if record.was_overdue() {
        report(
            "note: this took longer than the upstream's `timeout` or the platform waits: the platform is told that \
             the call timed out, and this when it makes the same call again",
        );
    }
    if let (Some(error), false) = (&record.error, command.explain) {
        report(&format!("{}: {error}", error.kind()));
    }
    if let Some(help) = help_for(record, plan, origin) {
        report(&format!("help: {help}"));
    }
}

fn platform_for(command: &CallCommand, plan: &Plan) -> anyhow::Result<&'static dyn Platform> {
    if let Some(name) = &command.platform {
        let known: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
        return platform::find(name)
            .with_context(|| format!("there is no platform `{name}`; known: {}", diagnostic::list(&known)));
    }
    // Without a wish, the plain format shows most; a route that is not for it is called as one that it is for.
    let limited = command
        .function
        .as_ref()
        .and_then(|function| plan.routes.get(function))
        .and_then(|route| route.platforms.as_ref());
    let name = match limited {
        Some(platforms) if !platforms.contains(&"http") => platforms.first().copied().unwrap_or("http"),
        _ => "http",
    };
    platform::find(name).with_context(|| format!("there is no platform `{name}`"))
}

/// What to do about a call that failed, where that can be known.
fn help_for(record: &Record, plan: &Plan, origin: &ConfigSource) -> Option<String> {
    let sent_to = record.steps.iter().rev().find_map(StepRecord::upstream);
    match record.error.as_deref()? {
        CallError::UnknownFunction => Some(known_function(&record.call.context.function, plan)),
        CallError::Reply(ReplyError::Status(status @ 400..500)) => {
            Some(format!("a reply case with `when.status = {status}` answers this"))
        }
        error if error.kind() == FailureKind::Unreachable => (sent_to == Some(DEMO) && origin.demo.is_none())
            .then(|| "`--demo` starts the sample API for `[upstreams.demo]`".to_owned()),
        _ => None,
    }
}

/// What to write for a function that no route answers.
fn known_function(function: &str, plan: &Plan) -> String {
    let limited = plan.routes.get(function).and_then(|route| route.platforms.as_ref());
    if let Some(platform) = limited.and_then(|platforms| platforms.first()) {
        return format!("its route is not for this platform: add `--as {platform}`");
    }
    let mut known: Vec<&str> = plan.routes.keys().map(String::as_str).collect();
    known.sort_unstable();
    diagnostic::suggest(function, known).unwrap_or_else(|| "the table has no such route".to_owned())
}

pub(super) fn pretty(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}
