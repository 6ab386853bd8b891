//! `jackfield call`: one function, called as a platform would call it, with every step to look at.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use crate::diagnostic;
use crate::flights::Flights;
use crate::flow::{self, CallError, Means};
use crate::plan::{FunctionsFor, Plan};
use crate::platform::{self, Decoded, Encode, EncodeStream, PLATFORMS, Platform, Settings};
use crate::reload::Origin;
use crate::repeats::Identity;
use crate::upstream::Transport;
use crate::upstream::http::HttpTransport;
use crate::upstream::keep::Carried;
use crate::upstream::stub::StubTransport;

use super::explain::{explain, hidden};
use super::{print, report};

/// Arguments of `call`.
#[derive(Debug, Args)]
pub(super) struct CallCommand {
    /// The function, as the model would name it.
    function: String,
    /// Its arguments, a JSON object such as '{"city": "Oslo"}'.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    args: String,
    /// The platform to call as: swaig, voicedock, dailybots, millis or http. The answer is printed in its format; as
    /// http unless given.
    #[arg(long = "as", value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print every step before the answer: arguments, request, reply, extracted values, chosen case.
    #[arg(long)]
    explain: bool,
    /// Show the request that would be sent, and send nothing.
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
    if !args.is_object() {
        bail!("`--args` is not a JSON object; in a shell write --args '{{\"city\": \"Oslo\"}}'");
    }
    let demo = if demo { Some(super::serve::start_demo().await?) } else { None };
    let origin = Origin { path, demo, carried: Carried::default() };
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
    let functions = FunctionsFor::new(&plan, platform.name());
    let decoded =
        platform.decode(&inbound, &settings, &functions).context("the sample request cannot be read")?;
    let (call, form) = match decoded {
        Decoded::Calls(mut calls, encoder) => match calls.pop() {
            Some(call) => (call, Form::Whole(encoder)),
            None => bail!("the sample request carries no call"),
        },
        Decoded::Stream(call, encoder) => (*call, Form::Stream(encoder)),
        Decoded::Event(_) => {
            bail!("`{}` is an event of {} and no function", command.function, platform.name())
        }
        Decoded::Denied(bad) => bail!("the sample request was refused: {bad}"),
        Decoded::Answer(answer) => {
            print(&pretty(&answer.body))?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let announced = Mutex::new(Vec::new());
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
        let announce = |own| announced.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        let route = plan.route(&call.context.function, platform.name()).map(AsRef::as_ref);
        let means = Means {
            plan: &plan,
            platform,
            transport,
            deadline,
            now: &now,
            identity: Identity::of(&call, route),
            cache: &Arc::new(Flights::new(flow::cache::MAX_BYTES)),
            traced: None,
            announce: &announce,
            // Here the end is worth waiting for.
            overdue: &|_| {},
        };
        flow::answer(call, route, means).await
    };
    if command.explain || command.dry_run {
        print(&explain(&record, &plan, platform, command.dry_run))?;
    }
    if command.dry_run && record.was_rendered() {
        return Ok(ExitCode::SUCCESS);
    }
    let failed = record.error.is_some();
    let announced = announced.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shown = match form {
        Form::Whole(encoder) => pretty(&encoder.encode(vec![record.outcome.clone()]).body),
        Form::Stream(mut encoder) => {
            let mut text = Vec::new();
            announced.into_iter().for_each(|own| text.extend(encoder.begin(own)));
            text.extend(encoder.end(record.outcome.clone()));
            String::from_utf8_lossy(&text).trim_end().to_owned()
        }
    };
    if command.explain {
        // Part of the record as it is shown here, so what must not be shown is hidden in it too.
        print(&format!("\nanswer\n{}", hidden(&shown, &record, &plan, platform)))?;
    } else {
        print(&shown)?;
    }
    if record.was_overdue() {
        report(
            "note: this took longer than the platform waits: it is told that the call timed out, and this when it \
             makes the same call again",
        );
    }
    if let (Some(error), false) = (&record.error, command.explain) {
        report(&format!("{}: {error}", error.kind()));
    }
    if let Some(CallError::UnknownFunction) = &record.error {
        report(&format!("help: {}", help_for(&command.function, &plan)));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How the answer is printed.
enum Form {
    Whole(Box<dyn Encode>),
    Stream(Box<dyn EncodeStream>),
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

/// What to write for a function that no route answers.
fn help_for(function: &str, plan: &Plan) -> String {
    let limited = plan.routes.get(function).and_then(|route| route.platforms.as_ref());
    if let Some(platform) = limited.and_then(|platforms| platforms.first()) {
        return format!("its route is not for this platform: add `--as {platform}`");
    }
    let mut known: Vec<&str> = plan.routes.keys().map(String::as_str).collect();
    known.sort_unstable();
    diagnostic::suggest(function, known).unwrap_or_else(|| "the table has no such route".to_owned())
}

fn pretty(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}
