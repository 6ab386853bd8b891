//! Tells the program what it was built from: its target and, as far as it is known, the revision.
//!
//! The revision is that of the git checkout in which a release is built, or `JACKFIELD_REVISION` where there is no
//! checkout. Other builds go without, or each commit would compile everything anew.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=JACKFIELD_REVISION");
    let given = env::var("JACKFIELD_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision =
        given.or_else(|| if env::var("PROFILE").as_deref() == Ok("release") { checked_out() } else { None });
    let target = env::var("TARGET").unwrap_or_else(|_| "unknown target".to_owned());
    let build = revision.into_iter().chain([target]).collect::<Vec<_>>().join(", ");
    println!("cargo::rustc-env=JACKFIELD_BUILD={build}");
}

/// The revision of the checkout that this folder is the top of.
fn checked_out() -> Option<String> {
    let prefix = git(&["rev-parse", "--show-prefix"])?;
    // The log of HEAD grows with each commit and each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    // Inside of another project's checkout, its revision says nothing about this one.
    if prefix.is_empty() { git(&["rev-parse", "--short=10", "HEAD"]) } else { None }
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    Some(text.trim().to_owned())
}
