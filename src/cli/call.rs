//! `jackfield call`: one function, called as a platform would call it, with every step to look at.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::diagnostic;
use crate::flow::{self, Means};
use crate::plan::{FunctionsFor, Plan};
use crate::platform::{self, Decoded, PLATFORMS, Platform, Settings};
use crate::reload::Origin;
use crate::upstream::Transport;
use crate::upstream::auth::Credentials;
use crate::upstream::http::HttpTransport;
use crate::upstream::stub::StubTransport;

use super::explain::explain;
use super::{print, report};

/// Arguments of `call`.
#[derive(Debug, Args)]
pub(super) struct CallCommand {
    /// The function, as the model would name it.
    function: String,
    /// Its arguments, a JSON object.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    /// The platform to call as; the answer is printed in its format.
    #[arg(long = "as", value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print every step of the call before the answer.
    #[arg(long)]
    explain: bool,
    /// Render the request and send nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(command: &CallCommand, path: PathBuf, demo: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(call(command, path, demo));
    runtime.shutdown_background();
    code
}

async fn call(command: &CallCommand, path: PathBuf, demo: bool) -> anyhow::Result<ExitCode> {
    let args: Value = serde_json::from_str(&command.args)
        .context("`--args` is not valid JSON; in a shell write --args '{\"city\": \"Oslo\"}'")?;
    let demo = if demo { Some(super::serve::start_demo().await?) } else { None };
    let origin = Origin { path, demo, credentials: Credentials::default() };
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
    let settings = match plan.served(platform.name()) {
        Some(served) => served.settings.clone(),
        None => Settings::defaults(platform),
    };
    let inbound = platform.sample(&command.function, &args);
    let functions = FunctionsFor { plan: &plan, platform: platform.name() };
    let decoded =
        platform.decode(&inbound, &settings, &functions).context("the sample request cannot be read")?;
    let (mut calls, encoder) = match decoded {
        Decoded::Calls(calls, encoder) => (calls, encoder),
        Decoded::Answer(answer) => {
            print(&pretty(&answer.body));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let Some(call) = calls.pop() else { bail!("the sample request carries no call") };

    let record = {
        let real;
        let nothing = StubTransport::queued([]);
        let transport: &dyn Transport = if command.dry_run {
            &nothing
        } else {
            real = HttpTransport::new()?;
            &real
        };
        let budget = plan
            .served(platform.name())
            .map_or_else(|| crate::plan::budget(platform.deadline()), |served| served.budget);
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let deadline = Instant::now() + budget;
        flow::answer(call, Means { plan: &plan, platform, transport, deadline, now: &now }).await
    };
    if command.explain || command.dry_run {
        print(&explain(&record, &plan, platform, command.dry_run));
    }
    if command.dry_run && record.was_rendered() {
        return Ok(ExitCode::SUCCESS);
    }
    let failed = record.error.is_some();
    let answer = encoder.encode(vec![record.outcome.clone()]);
    if command.explain {
        print("\nanswer");
    }
    print(&pretty(&answer.body));
    if let (Some(error), false) = (&record.error, command.explain) {
        report(&format!("{}: {error}", error.kind()));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn platform_for(command: &CallCommand, plan: &Plan) -> anyhow::Result<&'static dyn Platform> {
    if let Some(name) = &command.platform {
        let known: Vec<&str> = PLATFORMS.iter().map(|platform| platform.name()).collect();
        return platform::find(name)
            .with_context(|| format!("there is no platform `{name}`; known: {}", diagnostic::list(&known)));
    }
    // Without a wish, the plain format shows most; a route that is not for it is called as one that it is for.
    let limited = plan.routes.get(&command.function).and_then(|route| route.platforms.as_ref());
    let name = match limited {
        Some(platforms) if !platforms.contains(&"http") => platforms.first().copied().unwrap_or("http"),
        _ => "http",
    };
    platform::find(name).with_context(|| format!("there is no platform `{name}`"))
}

fn pretty(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}
