//! Deduplication: a call that may change something runs once, and a retry of it by the platform gets the same reply.

use crate::call::{Outcome, Reply};
use crate::single_flight::SingleFlight;

/// The outcomes of calls that may have changed something, by the key of the call.
pub type DedupLedger = SingleFlight<Outcome>;

/// The most that is kept of them, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The largest outcome that is kept as it is, in bytes: a few huge ones would leave no room for those that keep others
/// from running twice.
const MAX_KEPT: usize = 256 * 1024;

/// What a retry is told of a call whose outcome is too large to be kept.
const DONE: &str = "This has been done already. Do not do it again.";

/// What a retry of a call with this outcome gets: the same, unless that is huge.
pub fn to_keep(outcome: &Outcome) -> Outcome {
    if outcome.bytes() <= MAX_KEPT {
        return outcome.clone();
    }
    let text = outcome.reply.text.clone().filter(|text| text.len() <= MAX_KEPT / 2);
    let text = text.unwrap_or_else(|| DONE.to_owned());
    Outcome { reply: Reply::text(text), failure: outcome.failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_huge_answer_is_kept_as_what_can_be_said_of_it() {
        let data = |bytes| Some(json!("x".repeat(bytes)));
        for (text, bytes, kept) in [
            (Some("Done."), 10, Some("Done.")),
            (Some("Done."), MAX_KEPT, Some("Done.")),
            (None, 10, None),
            (None, MAX_KEPT, Some(DONE)),
        ] {
            let reply = Reply { text: text.map(str::to_owned), data: data(bytes), ..Reply::default() };
            let outcome = Outcome { reply, failure: None };
            let repeated = to_keep(&outcome);
            assert_eq!(repeated.reply.text.as_deref(), kept, "{bytes}");
            assert!(repeated.bytes() <= MAX_KEPT);
            assert_eq!(repeated == outcome, bytes == 10);
        }
    }
}
