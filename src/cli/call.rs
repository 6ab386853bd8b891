//! `jackfield call`: calls one function as a platform would. It can show every step and save the call as a test.

mod given_memory;
mod pasted;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::call::FailureKind;
use crate::diagnostic;
use crate::dispatch::in_process::{
    Completed, CompletedCall, InProcess, InProcessError, state_access, store_in_memory,
};
use crate::flow::{CallError, Record, StepRecord};
use crate::live;
use crate::load::{DEMO, ListenerOptions};
use crate::plan::Plan;
use crate::plan::route::ResponseError;
use crate::platform::{self, Inbound, PLATFORMS, Platform};
use crate::reload::ConfigSource;
use crate::testing;
use crate::testing::capture::{CapturedCall, CapturedInput};
use crate::upstream::Transport;
use crate::upstream::http::HttpTransport;
use crate::upstream::recorder::Recorder;
use crate::upstream::resources::Resources;
use crate::upstream::stub::StubTransport;

use super::output::explain::Shown;
use super::save::Saving;
use super::shared::{plan_or_exit, pretty, start_demo};
use super::words::Words;
use super::{print, print_json, report};

pub(super) const EXAMPLES: &str = "\
Examples:
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --explain --demo
  jackfield call get_weather --args '{\"city\": \"Oslo\"}' --as swaig --save-test \"the weather of Oslo\"
  jackfield call find_ticket --response pasted.json --save-test \"an open ticket\"     without asking the upstream
  jackfield call --request posted.json --as voicedock --explain     replay a request of VoiceDock step by step

Exits with 1 if the call fails or the table has errors, and with 2 if a file cannot be read, a test cannot be saved, or the
arguments are invalid.";

/// Arguments of `call`.
#[derive(Debug, Args)]
pub(super) struct CallCommand {
    /// The function to call. With `--request`, needed only if the platform names the function in the URL, or to select
    /// one of several calls.
    #[arg(required_unless_present = "request")]
    function: Option<String>,
    /// The arguments as a JSON object, such as '{"city": "Oslo"}'.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    #[arg(long = "as", value_name = "PLATFORM", help = platform_help())]
    #[arg(value_parser = Words::platforms(), hide_possible_values = true)]
    platform: Option<String>,
    /// Send the contents of this file instead of `--args`: the complete body of a request as the platform posted it.
    /// Authentication is skipped.
    #[arg(long, value_name = "FILE", requires = "platform", conflicts_with = "args")]
    request: Option<PathBuf>,
    /// Add a header to the platform's request, such as 'x-session: s-1'; can be repeated.
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// A value that an earlier call of the conversation remembered, such as 'order_id=A-7': JSON, or a text. Can be
    /// repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    memory: Vec<String>,
    /// Start the sample API and point `[upstreams.demo]` at it.
    #[arg(long)]
    pub(super) demo: bool,
    /// Show every step of the call: the rendered templates, each request, response and duration, and which reply case
    /// matched and why earlier ones did not. Secrets are hidden.
    #[arg(long)]
    explain: bool,
    /// Show every step up to the request, but do not send it.
    #[arg(long)]
    dry_run: bool,
    /// Use the contents of a file as the response of the upstream, and send nothing: a response that was pasted into it
    /// (`-` for standard input). For a route with steps, write STEP=FILE; can be repeated.
    #[arg(long = "response", value_name = "[STEP=]FILE", conflicts_with = "dry_run")]
    responses: Vec<String>,
    /// The status of `--response`.
    #[arg(long, value_name = "STATUS", requires = "responses", default_value = "200")]
    response_status: StatusCode,
    /// Save the call as a test with this name: the arguments or the request, the upstream responses, the time, and the
    /// result. The test is added beside the route's other tests, or to `<table>.test.toml`.
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    save_test: Option<String>,
    /// Replace names, e-mail addresses and phone numbers in the saved test by invented ones, the same ones everywhere.
    #[arg(long, requires = "save_test")]
    anonymize: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = CallFormat::Human)]
    format: CallFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CallFormat {
    /// Readable text: the response, and every step with `--explain`.
    Human,
    /// JSON, with everything that `--explain` shows.
    Json,
}

fn platform_help() -> String {
    let names: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
    format!(
        "The platform to call as: {}. The response is printed in its format. Without it, the call is made as http",
        names.join(", ")
    )
}

/// Parses a header of the command line.
pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) =
        text.split_once(':').ok_or("write the header as 'name: value', such as 'x-session: s-1'")?;
    let name = name.trim().parse().map_err(|_| format!("`{name}` is not a valid header name"))?;
    let value = value.trim().parse().map_err(|_| "a header value must be one line of text".to_owned())?;
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
    let demo = if demo { Some(start_demo().await?) } else { None };
    let source = ConfigSource { path, demo, options: ListenerOptions::default() };
    let plan = match plan_or_exit(&source.path, source.load()) {
        Ok(plan) => plan,
        Err(code) => return Ok(code),
    };
    let platform = platform_for(command, &plan)?;
    let inbound = inbound(command, platform, &args)?;
    let transport = transport(command, &plan)?;
    let recorder = Recorder::of(&*transport);
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let resources = live::prepare(&plan, &Resources::default());
    let (store, memory) = (store_in_memory(), given_memory::read(&command.memory, &plan)?);
    let in_process = InProcess {
        plan: &plan,
        resources: &resources,
        platform,
        transport: &recorder,
        now: &now,
        time: None,
        state: state_access(&plan, &store),
        memory: &memory,
        delivers: true,
        change: &|context| given_memory::name_conversation(&memory, context),
    };
    let request = in_process.read(&inbound).map_err(|error| decode_error(&error, command, platform))?;
    let selected = selected(command, &request.functions())?;
    let saving = match &command.save_test {
        None => None,
        // Check before sending anything: no write should happen for a test that cannot be saved.
        Some(name) => match Saving::prepare(&source.path, name, selected.as_deref())? {
            Ok(saving) => Some(saving),
            Err(code) => return Ok(code),
        },
    };
    let completed = in_process.answer(request).await?;
    let calls = selected_calls(command, &completed, selected.as_deref());
    let shown = Shown { completed: &completed, plan: &plan, platform, now: &now, dry_run: command.dry_run };
    print_calls(command, shown, &calls)?;
    if shown.is_unsent(&calls) {
        return Ok(ExitCode::SUCCESS);
    }
    for call in &calls {
        report_problems(command, &call.record, &plan, &source);
    }
    if let Some(saving) = saving {
        let input = match &command.request {
            // The file would keep what the test replaces.
            Some(file) if completed.calls.len() == 1 && !command.anonymize => {
                CapturedInput::Request { file, body: &inbound.body }
            }
            _ => CapturedInput::Args,
        };
        let exchanges = recorder.exchanges();
        let call = calls.first().context("no call to save")?;
        let (exchanges, now, plan) = (&*exchanges, &*now, &plan);
        let anonymize = command.anonymize;
        let captured = CapturedCall { call, platform, input, exchanges, now, plan, anonymize };
        saving.save(captured).await?;
    }
    let failed = calls.iter().any(|call| call.record.error.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The transport of the call: HTTP, or one that sends nothing.
fn transport(command: &CallCommand, plan: &Plan) -> anyhow::Result<Box<dyn Transport>> {
    if command.dry_run {
        return Ok(Box::new(StubTransport::queued([])));
    }
    if command.responses.is_empty() {
        return Ok(Box::new(HttpTransport::new()?));
    }
    let known = steps(command, plan);
    let responses = pasted::responses(&command.responses, command.response_status, known.as_deref())?;
    Ok(Box::new(testing::stub(responses)))
}

/// The steps of the function, with an empty name for the only request of a route; `None` if the function is unknown or
/// not given.
fn steps<'p>(command: &CallCommand, plan: &'p Plan) -> Option<Vec<&'p str>> {
    let route = plan.routes.get(command.function.as_ref()?)?;
    Some(route.steps.iter().map(|step| step.name.as_deref().unwrap_or_default()).collect())
}

/// The calls to print: all calls of the request, or those of the selected function.
fn selected_calls<'c>(
    command: &CallCommand,
    completed: &'c Completed,
    selected: Option<&str>,
) -> Vec<&'c CompletedCall> {
    let is_selected = |call: &&CompletedCall| {
        command.function.is_none()
            || completed.event.is_some()
            || selected.is_none_or(|name| name == call.record.call.context.function)
    };
    completed.calls.iter().filter(is_selected).collect()
}

fn print_calls(command: &CallCommand, shown: Shown<'_>, calls: &[&CompletedCall]) -> anyhow::Result<()> {
    if command.format == CallFormat::Json {
        return print_json(&shown.to_json(calls));
    }
    if command.explain || command.dry_run {
        print(&shown.explained(calls))?;
    }
    match (shown.is_unsent(calls), command.explain) {
        (true, _) => Ok(()),
        (false, true) => print(&shown.answer()),
        (false, false) => print(&pretty(&shown.completed.answer.body)),
    }
}

fn arguments(command: &CallCommand) -> anyhow::Result<Value> {
    let args: Value = serde_json::from_str(&command.args)
        .context("`--args` is not valid JSON; in a shell write --args '{\"city\": \"Oslo\"}'")?;
    if !args.is_object() {
        bail!("`--args` is not a JSON object; in a shell write --args '{{\"city\": \"Oslo\"}}'");
    }
    Ok(args)
}

/// The platform's request: from the file, or a sample request without one.
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

/// The error for a request that cannot be decoded.
fn decode_error(error: &InProcessError, command: &CallCommand, platform: &dyn Platform) -> anyhow::Error {
    let Some(file) = &command.request else { return anyhow!("cannot decode the sample request: {error}") };
    let (file, name) = (file.display(), platform.name());
    // The URL names the function, so the body alone is not enough.
    if command.function.is_none() && platform.sample("", &json!({})).function.is_some() {
        return anyhow!(
            "a {name} request does not name its function: \
             write `jackfield call FUNCTION --request {file} --as {name}`"
        );
    }
    anyhow!("`{file}` is not a {name} request: {error}")
}

/// The selected function; `None` if there are no calls or several.
fn selected(command: &CallCommand, called: &[&str]) -> anyhow::Result<Option<String>> {
    let known = diagnostic::list(called);
    match (&command.function, called) {
        (Some(function), [_, ..]) if !called.contains(&function.as_str()) => {
            bail!("the request does not call `{function}`, but {known}")
        }
        (None, [_, _, ..]) if command.save_test.is_some() => {
            bail!("the request has several calls, but a test has only one: name the call to save, {known}")
        }
        (_, []) if command.save_test.is_some() => {
            bail!(
                "only a call can be saved; write the test of an event by hand with `event`, `request_file` and \
             `expect`"
            )
        }
        (Some(function), _) => Ok(Some(function.clone())),
        (None, [only]) => Ok(Some((*only).to_owned())),
        (None, _) => Ok(None),
    }
}

/// Reports what went wrong with a call, after its response.
fn report_problems(command: &CallCommand, record: &Record, plan: &Plan, source: &ConfigSource) {
    if record.was_overdue() {
        report(
            "note: the call exceeded the upstream's `timeout` or the platform's deadline: the platform gets a timeout \
             failure, and this result if it retries the call",
        );
    }
    if let (Some(error), false) = (&record.error, command.explain) {
        report(&format!("{}: {error}", error.kind()));
    }
    if let Some(help) = help_for(record, plan, source) {
        report(&format!("help: {help}"));
    }
}

fn platform_for(command: &CallCommand, plan: &Plan) -> anyhow::Result<&'static dyn Platform> {
    if let Some(name) = &command.platform {
        let known: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
        return platform::find(name)
            .with_context(|| format!("unknown platform `{name}`; known: {}", diagnostic::list(&known)));
    }
    // The `http` format shows the most. If the route does not serve it, use the first platform that it serves.
    let limited = command
        .function
        .as_ref()
        .and_then(|function| plan.routes.get(function))
        .and_then(|route| route.platforms.as_ref());
    let name = match limited {
        Some(platforms) if !platforms.contains(&"http") => platforms.first().copied().unwrap_or("http"),
        _ => "http",
    };
    platform::find(name).with_context(|| format!("unknown platform `{name}`"))
}

/// Suggests a fix for a failed call.
fn help_for(record: &Record, plan: &Plan, source: &ConfigSource) -> Option<String> {
    let sent_to = record.steps.iter().rev().find_map(StepRecord::upstream);
    match record.error.as_deref()? {
        CallError::UnknownFunction => Some(known_function(&record.call.context.function, plan)),
        CallError::Response(ResponseError::Status(status @ 400..500)) => {
            Some(format!("add a reply case with `when.status = {status}`"))
        }
        error if error.kind() == FailureKind::Unreachable => (sent_to == Some(DEMO) && source.demo.is_none())
            .then(|| "add `--demo` to start the sample API for `[upstreams.demo]`".to_owned()),
        _ => None,
    }
}

/// Suggests a fix for an unknown function.
fn known_function(function: &str, plan: &Plan) -> String {
    let limited = plan.routes.get(function).and_then(|route| route.platforms.as_ref());
    if let Some(platform) = limited.and_then(|platforms| platforms.first()) {
        return format!("the route does not serve this platform: add `--as {platform}`");
    }
    let mut known: Vec<&str> = plan.routes.keys().map(String::as_str).collect();
    known.sort_unstable();
    diagnostic::suggest(function, known).unwrap_or_else(|| "add a route with this name".to_owned())
}
