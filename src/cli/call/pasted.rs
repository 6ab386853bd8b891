//! `--response`: responses from files, in place of those of upstreams.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use http::StatusCode;

use crate::diagnostic;
use crate::plan::testing::Canned;
use crate::testing::recorded::pasted;

/// The responses of the options, by step. `known` are the steps of the route, if it is known.
pub(super) fn responses(
    options: &[String],
    status: StatusCode,
    known: Option<&[&str]>,
) -> anyhow::Result<Vec<(String, Canned)>> {
    let mut responses: Vec<(String, Canned)> = Vec::new();
    for option in options {
        let (step, file) = match option.split_once('=') {
            Some((step, file)) if !Path::new(option).exists() => (step, file),
            _ => ("", option.as_str()),
        };
        check_step(step, known, responses.iter().map(|(step, _)| step.as_str()))?;
        let mut body = Vec::new();
        match file {
            "-" => std::io::stdin().read_to_end(&mut body).map(drop),
            file => fs::read(file).map(|text| body = text),
        }
        .with_context(|| format!("cannot read `{file}`"))?;
        responses.push((step.to_owned(), pasted(body, status, file)));
    }
    Ok(responses)
}

/// Checks that `--response` names a step of the route, and each step once.
fn check_step<'s>(
    step: &str,
    known: Option<&[&str]>,
    mut given: impl Iterator<Item = &'s str>,
) -> anyhow::Result<()> {
    if given.any(|other| other == step) {
        let of = if step.is_empty() { String::new() } else { format!(" for the step `{step}`") };
        bail!("there are two `--response` options{of}: remove one of them");
    }
    let Some(known) = known.filter(|known| !known.contains(&step)) else { return Ok(()) };
    let names: Vec<&str> = known.iter().copied().filter(|name| !name.is_empty()).collect();
    match (step, names.as_slice()) {
        (_, []) if known.is_empty() => bail!("the route sends no request: remove `--response`"),
        (step, []) => bail!("the route has no step `{step}`: write `--response FILE`"),
        ("", names) => bail!(
            "the route has several steps: write `--response STEP=FILE`, with {}",
            diagnostic::list(names)
        ),
        (step, names) => {
            let help = diagnostic::suggest(step, names.iter().copied()).unwrap_or_default();
            bail!("the route has no step `{step}`: {help}")
        }
    }
}
