//! `jackfield check --online`: what the upstreams themselves say of the table.

use std::fmt::Write as _;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::diagnostic::{Code, Diagnostic};
use crate::load::UpstreamProbe;
use crate::secret::Masks;
use crate::upstream::http::HttpTransport;
use crate::upstream::probe::{ProbeResult, Probed};

/// What was found of one upstream.
pub(super) struct Finding {
    name: String,
    probed: Probed,
    /// In a few words, without secrets.
    text: String,
    /// What is wrong with the table, if anything.
    pub(super) fault: Option<Diagnostic>,
}

/// Asks all upstreams at the same time.
pub(super) async fn ask(upstreams: &[UpstreamProbe], masks: &Masks) -> anyhow::Result<Vec<Finding>> {
    let transport = HttpTransport::new()?;
    let asking = upstreams.iter().map(|asked| async {
        let probed = asked.probe.ask(&transport).await;
        let name = asked.probe.request.target.name.clone();
        let text = masks.hide(&text(&probed.found, asked.probe.proves));
        let fault = fault(asked, &name, &probed.found, &text);
        Finding { name, probed, text, fault }
    });
    Ok(join_all(asking).await)
}

/// One line an upstream.
pub(super) fn human(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let verdict = if finding.fault.is_none() { "ok" } else { "FAIL" };
        let _ = writeln!(out, "{verdict:<5} {}: {} ({} ms)", finding.name, finding.text, finding.ms());
    }
    out
}

/// The same for machines.
pub(super) fn to_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "name": finding.name,
            "ok": finding.fault.is_none(),
            "found": finding.text,
            "ms": finding.ms(),
        })
    };
    findings.iter().map(one).collect()
}

impl Finding {
    fn ms(&self) -> u128 {
        self.probed.after.as_millis()
    }
}

fn text(found: &ProbeResult, proves: bool) -> String {
    match found {
        ProbeResult::Answer(Some(status)) if !proves => {
            format!("answers {status}, asked without a credential")
        }
        ProbeResult::Answer(Some(status)) if status.is_success() => {
            format!("answers {status} and takes the credential")
        }
        ProbeResult::Answer(Some(status)) => {
            format!("answers {status}, which does not tell whether it takes the credential")
        }
        ProbeResult::Answer(None) => "answers with more than `max_body`".to_owned(),
        ProbeResult::Refused(status) => format!("refuses the credential with {status}"),
        ProbeResult::NoCredential(error) => error.to_string(),
        ProbeResult::Unreachable(error) => error.to_string(),
    }
}

fn fault(asked: &UpstreamProbe, name: &str, found: &ProbeResult, text: &str) -> Option<Diagnostic> {
    let fault = match found {
        ProbeResult::Answer(_) => return None,
        ProbeResult::Refused(_) => Diagnostic::new(
            Code::CredentialRefused,
            asked.credential,
            format!("the upstream `{name}` {text}"),
        )
        .help("see whether the secret is the right one and still holds; if it is the path that is forbidden, name one that is not: `health = \"/…\"`"),
        ProbeResult::NoCredential(_) => Diagnostic::new(
            Code::CredentialRefused,
            asked.credential,
            format!("the upstream `{name}` was not asked: {text}"),
        )
        .help("see whether the keys of the credential are right, and whether what gives it can be reached from here"),
        ProbeResult::Unreachable(_) => Diagnostic::new(
            Code::UpstreamUnreachable,
            asked.place,
            format!("the upstream `{name}` gives no answer: {text}"),
        )
        .help("see whether the address is right, and whether it can be reached from here"),
    };
    Some(fault)
}
