//! `jackfield check --online`: probes each upstream of the table, and its state database.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::dispatch::state;
use crate::load::UpstreamProbe;
use crate::plan::Plan;
use crate::secret::Masks;
use crate::state::Probed;
use crate::upstream::http::HttpTransport;
use crate::upstream::probe::ProbeResult;

/// The result of probing one upstream or the database.
pub(super) struct ProbeReport {
    name: String,
    after: Duration,
    /// A short description without secrets.
    text: String,
    /// The diagnostic, if the probe failed.
    pub(super) fault: Option<Diagnostic>,
}

/// Probes all upstreams concurrently.
pub(super) async fn probe(upstreams: &[UpstreamProbe], masks: &Masks) -> anyhow::Result<Vec<ProbeReport>> {
    let transport = HttpTransport::new()?;
    let probing = upstreams.iter().map(|upstream| async {
        let probed = upstream.probe.run(&transport).await;
        let name = upstream.probe.request.target.name.clone();
        let is_authenticated = upstream.probe.is_authenticated;
        let texts = probed.found.iter().map(|found| masks.show(&text(found, is_authenticated)));
        let texts: Vec<String> = texts.collect();
        // While a credential is rotated, the upstream may accept only one of the two.
        let is_accepted = probed.found.iter().any(|found| matches!(found, ProbeResult::Answer(_)));
        let failed = probed.found.iter().zip(&texts).next().filter(|_| !is_accepted);
        let fault = failed.and_then(|(found, text)| fault(upstream, &name, found, text));
        let text = numbered(&texts);
        ProbeReport { name, after: probed.after, text, fault }
    });
    Ok(join_all(probing).await)
}

/// One line per upstream.
pub(super) fn human<'r>(reports: impl Iterator<Item = &'r ProbeReport>) -> String {
    let mut out = String::new();
    for report in reports {
        let verdict = if report.fault.is_none() { "ok" } else { "FAIL" };
        let _ = writeln!(out, "{verdict:<5} {}: {} ({} ms)", report.name, report.text, report.ms());
    }
    out
}

/// The reports as JSON.
pub(super) fn to_json(reports: &[ProbeReport]) -> Value {
    reports.iter().map(ProbeReport::to_json).collect()
}

/// Looks at the state database without changing it; `None` if the table needs none.
pub(super) async fn probe_state(plan: &Plan, place: Span) -> Option<ProbeReport> {
    let store = state::open(plan.state.as_ref()?);
    let (name, began) = ("the state database".to_owned(), Instant::now());
    let found = store.probe().await;
    let after = began.elapsed();
    Some(match found {
        Ok(found) => {
            let text = match found {
                Probed::New => "has no schema yet; `serve` makes it".to_owned(),
                Probed::Schema(version) => format!("has version {version} of the schema"),
            };
            ProbeReport { name, after, text: format!("`{}` {text}", store.place()), fault: None }
        }
        Err(error) => {
            let fault = Diagnostic::new(Code::StateUnavailable, place, error.problem());
            let fault = Some(fault.help(error.fault.help()));
            ProbeReport { name, after, text: error.problem(), fault }
        }
    })
}

impl ProbeReport {
    fn ms(&self) -> u128 {
        self.after.as_millis()
    }

    /// The report as JSON.
    pub(super) fn to_json(&self) -> Value {
        json!({"name": self.name, "ok": self.fault.is_none(), "found": self.text, "ms": self.ms()})
    }
}

/// The results in one line, by the number of the credential if there are several.
fn numbered(texts: &[String]) -> String {
    match texts {
        [only] => only.clone(),
        several => {
            let count = several.len();
            let each = several.iter().enumerate();
            let each = each.map(|(index, text)| format!("credential {} of {count}: {text}", index + 1));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

fn text(found: &ProbeResult, is_authenticated: bool) -> String {
    match found {
        ProbeResult::Answer(Some(status)) if !is_authenticated => {
            format!("responds {status} (sent without a credential)")
        }
        ProbeResult::Answer(Some(status)) if status.is_success() => {
            format!("responds {status} and accepts the credential")
        }
        ProbeResult::Answer(Some(status)) => {
            format!("responds {status}, which does not show whether it accepts the credential")
        }
        ProbeResult::Answer(None) => "the response is larger than `max_body`".to_owned(),
        ProbeResult::Refused(status) => format!("rejects the credential with {status}"),
        ProbeResult::NoCredential(error) => error.to_string(),
        ProbeResult::Unreachable(error) => error.to_string(),
    }
}

fn fault(upstream: &UpstreamProbe, name: &str, found: &ProbeResult, text: &str) -> Option<Diagnostic> {
    let fault = match found {
        ProbeResult::Answer(_) => return None,
        ProbeResult::Refused(_) => Diagnostic::new(
            Code::CredentialRefused,
            upstream.credential,
            format!("the upstream `{name}` {text}"),
        )
        .help("check that the secret is correct and has not expired; if only the path is forbidden, set another one: `health = \"/…\"`"),
        ProbeResult::NoCredential(_) => Diagnostic::new(
            Code::CredentialRefused,
            upstream.credential,
            format!("no request was sent to the upstream `{name}`: {text}"),
        )
        .help("check the keys of the credential, and that the server that issues it is reachable from here"),
        ProbeResult::Unreachable(_) => Diagnostic::new(
            Code::UpstreamUnreachable,
            upstream.place,
            format!("the upstream `{name}` does not respond: {text}"),
        )
        .help("check that the address is correct and reachable from here"),
    };
    Some(fault)
}
