//! `jackfield test --from-record`: saves a call that happened as a test, without making its requests again.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use crate::call::Context;
use crate::dispatch::in_process::{InProcess, state_access, store_in_memory};
use crate::secret::HIDDEN;
use crate::testing::capture::{CapturedCall, CapturedInput};
use crate::testing::recorded::{RecordedCall, as_received};
use crate::testing::{self, TIME};
use crate::upstream::http::HttpTransport;
use crate::upstream::recorder::Recorder;
use crate::upstream::tls::Tls;
use crate::upstream::{EgressPolicy, Redirects, Request, Target, Times, Transport as _};

use super::call::header;
use super::report;
use super::save::Saving;

/// How long the admin listener may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest record.
const MAX_RECORD: usize = 64 * 1024 * 1024;

/// The options of `--from-record`.
#[derive(Debug, Args)]
pub(super) struct FromRecord {
    /// Save a recorded call as a test: the URL of a record, such as `http://127.0.0.1:8081/records/ID`, or a file with
    /// one (`-` for standard input). Its upstream responses become the test's; nothing is sent to an upstream.
    #[arg(long, value_name = "URL|FILE", conflicts_with_all = ["filter", "update", "format"])]
    pub(super) from_record: Option<String>,
    /// The name of the new test. Default: the id of the record.
    #[arg(long, value_name = "NAME", requires = "from_record")]
    name: Option<String>,
    /// Replace names, e-mail addresses and phone numbers by invented ones, the same ones everywhere.
    #[arg(long, requires = "from_record")]
    anonymize: bool,
    /// Arguments that replace those of the record, as a JSON object. Needed for sensitive ones, which records hide.
    #[arg(long, value_name = "JSON", requires = "from_record")]
    args: Option<String>,
    /// A header for the admin listener, such as 'authorization: Bearer TOKEN'; can be repeated.
    #[arg(long = "header", value_name = "HEADER", value_parser = header, requires = "from_record")]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl FromRecord {
    /// Saves the record from `source` as a test of the table at `main`.
    pub(super) fn run(&self, source: &str, main: &Path) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let code = runtime.block_on(self.save(source, main));
        runtime.shutdown_background();
        code
    }

    async fn save(&self, source: &str, main: &Path) -> anyhow::Result<ExitCode> {
        let text = self.read(source).await?;
        let json: Value = serde_json::from_slice(&text).with_context(|| format!("`{source}` is not JSON"))?;
        let recorded = RecordedCall::read(&json)
            .map_err(|problem| anyhow!("cannot make a test from `{source}`: {problem}"))?;
        let default = match recorded.id.as_str() {
            "" => "from a record".to_owned(),
            id => format!("record {id}"),
        };
        let name = self.name.as_deref().unwrap_or(&default);
        let saving = match Saving::prepare(main, name, Some(&recorded.function))? {
            Ok(saving) => saving,
            Err(code) => return Ok(code),
        };
        let args = self.arguments(&recorded)?;
        let (plan, resources) = saving.subject();
        let stub = testing::stub(recorded.canned.clone());
        let recorder = Recorder::of(&stub);
        let now = recorded.at.clone().unwrap_or_else(|| "2026-01-01T12:00:00Z".to_owned());
        let conversation = recorded.conversation.clone();
        let change = |context: &mut Context| context.conversation.clone_from(&conversation);
        let platform = recorded.platform;
        let store = store_in_memory();
        let in_process = InProcess {
            plan,
            resources,
            platform,
            transport: &recorder,
            now: &now,
            time: Some(TIME),
            state: state_access(plan, &store),
            memory: &Map::new(),
            delivers: true,
            change: &change,
        };
        let request = in_process.read(&platform.sample(&recorded.function, &Value::Object(args)))?;
        let completed = in_process.answer(request).await?;
        let call = completed.calls.first().context("the record is not a call of a function")?;
        let outcome = call.record.outcome_slug();
        if outcome != recorded.outcome {
            report(&format!(
                "note: the recorded call came to `{}`; with the same responses, the table now gives `{outcome}`",
                recorded.outcome
            ));
        }
        let exchanges = recorder.exchanges();
        let input = CapturedInput::Args;
        let (exchanges, now, anonymize) = (&*exchanges, &*now, self.anonymize);
        saving.save(CapturedCall { plan, call, platform, input, exchanges, now, anonymize }).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn read(&self, source: &str) -> anyhow::Result<Vec<u8>> {
        if source == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
            return Ok(text);
        }
        match Url::parse(source).ok().filter(|url| matches!(url.scheme(), "http" | "https")) {
            Some(url) => self.fetch(url).await,
            None => std::fs::read(source).with_context(|| format!("cannot read `{source}`")),
        }
    }

    async fn fetch(&self, url: Url) -> anyhow::Result<Vec<u8>> {
        let target = Target {
            name: "the admin listener".to_owned(),
            timeout: Some(TIMEOUT),
            root: String::new(),
            max_body: MAX_RECORD,
            redirects: Redirects::None,
            tls: Tls::default(),
            network: EgressPolicy::Any,
            proxy: None,
        };
        let shown = url.to_string();
        let request = Request {
            target: Arc::new(target),
            step: None,
            method: Method::GET,
            url: url.into(),
            headers: self.headers.iter().cloned().collect::<HeaderMap>(),
            body: None,
        };
        let response = HttpTransport::new()?.send(&request, Times::by(Instant::now() + TIMEOUT)).await;
        let response = response.with_context(|| format!("cannot read `{shown}`"))?;
        match response.status {
            StatusCode::OK => Ok(response.body.to_vec()),
            StatusCode::UNAUTHORIZED => {
                bail!("`{shown}` needs a login: add --header 'authorization: Bearer …'")
            }
            StatusCode::NOT_FOUND => bail!("`{shown}` does not exist: the record may have been dropped"),
            status => bail!("`{shown}` answers {status}"),
        }
    }

    /// The arguments of the record, changed by `--args`.
    fn arguments(&self, recorded: &RecordedCall) -> anyhow::Result<Map<String, Value>> {
        let given: Map<String, Value> = match &self.args {
            Some(text) => serde_json::from_str(text).context("`--args` is not a JSON object")?,
            None => Map::new(),
        };
        let mut args = Map::new();
        for (name, value) in &recorded.args {
            if value.as_str() == Some(HIDDEN) && !given.contains_key(name) {
                bail!(
                    "the record hides the sensitive argument `{name}`: \
                     add a made-up value, such as --args '{{\"{name}\": \"1234\"}}'"
                );
            }
            args.insert(name.clone(), as_received(value));
        }
        args.extend(given);
        Ok(args)
    }
}
