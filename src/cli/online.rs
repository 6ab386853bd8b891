//! `jackfield check --online`: probes each upstream of the table.

use std::fmt::Write as _;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic};
use crate::load::UpstreamProbe;
use crate::secret::Masks;
use crate::upstream::http::HttpTransport;
use crate::upstream::probe::{ProbeResult, Probed};

/// The result of probing one upstream.
pub(super) struct ProbeReport {
    name: String,
    probed: Probed,
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
        ProbeReport { name, probed, text, fault }
    });
    Ok(join_all(probing).await)
}

/// One line per upstream.
pub(super) fn human(reports: &[ProbeReport]) -> String {
    let mut out = String::new();
    for report in reports {
        let verdict = if report.fault.is_none() { "ok" } else { "FAIL" };
        let _ = writeln!(out, "{verdict:<5} {}: {} ({} ms)", report.name, report.text, report.ms());
    }
    out
}

/// The reports as JSON.
pub(super) fn to_json(reports: &[ProbeReport]) -> Value {
    let one = |report: &ProbeReport| {
        json!({
            "name": report.name,
            "ok": report.fault.is_none(),
            "found": report.text,
            "ms": report.ms(),
        })
    };
    reports.iter().map(one).collect()
}

impl ProbeReport {
    fn ms(&self) -> u128 {
        self.probed.after.as_millis()
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
