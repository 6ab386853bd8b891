//! A completed request, with everything needed to print it.

use crate::dispatch::in_process::Completed;
use crate::plan::Plan;
use crate::platform::Platform;

/// A completed request to print.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Shown<'a> {
    pub(in crate::cli) completed: &'a Completed,
    pub(in crate::cli) plan: &'a Plan,
    pub(in crate::cli) platform: &'static dyn Platform,
    /// The time of its calls.
    pub(in crate::cli) now: &'a str,
    /// Whether nothing was sent.
    pub(in crate::cli) dry_run: bool,
}
