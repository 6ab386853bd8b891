//! Requests that are answered without running a call: what they are about, and their counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::call_log::shown_name;
use crate::plan::Plan;
use crate::platform::{Decoded, WithoutCall};

/// Why a request runs no call. `Display` is for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unrouted<'d> {
    /// It asks for the declarations of the functions; their number.
    Declarations(usize),
    /// An event without an entry in the table: the platform and the event.
    NoEntry(&'static str, &'static str),
    /// A message of the platform that no entry can answer.
    Ignored(&'d str),
}

impl<'d> Unrouted<'d> {
    /// The reason; `None` if the request runs a call.
    pub(super) fn of(decoded: &'d Decoded, plan: &Plan, platform: &'static str) -> Option<Self> {
        match decoded {
            Decoded::Answer(_, WithoutCall::Declarations(count)) => Some(Self::Declarations(*count)),
            Decoded::Answer(_, WithoutCall::Event(name)) => Some(Self::Ignored(name)),
            Decoded::Event(event) if plan.event(platform, event.kind.name).is_none() => {
                Some(Self::NoEntry(platform, event.kind.name))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Unrouted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declarations(0) => {
                f.write_str("the declarations of no function (no route has a `declare`)")
            }
            Self::Declarations(1) => f.write_str("the declarations of 1 function"),
            Self::Declarations(count) => write!(f, "the declarations of {count} functions"),
            Self::NoEntry(platform, event) => write!(f, "the table has no `[events.{platform}.{event}]`"),
            Self::Ignored(name) => write!(f, "no entry can answer `{}`", shown_name(name)),
        }
    }
}

/// The number of requests that ran no call since the start, by reason.
#[derive(Debug, Default)]
pub(super) struct UnroutedRequests {
    declarations: AtomicU64,
    no_entry: AtomicU64,
    ignored: AtomicU64,
}

impl UnroutedRequests {
    pub(super) fn count(&self, unrouted: &Unrouted<'_>) {
        let counter = match unrouted {
            Unrouted::Declarations(_) => &self.declarations,
            Unrouted::NoEntry(..) => &self.no_entry,
            Unrouted::Ignored(_) => &self.ignored,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, by name.
    pub(super) fn by_reason(&self) -> [(&'static str, u64); 3] {
        [("declarations", &self.declarations), ("no_entry", &self.no_entry), ("ignored", &self.ignored)]
            .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }
}
