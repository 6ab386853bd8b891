//! Deduplication: a call that may change something runs once, and a retry of it by the platform gets the same reply.

use std::sync::Arc;

use crate::call::{Outcome, Reply};
use crate::single_flight::SingleFlight;

/// The outcomes of calls that may have changed something, by the key of the call.
pub type DedupLedger = SingleFlight<Outcome>;

/// The size limit of the ledger, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The largest outcome that is kept unchanged, in bytes. A few huge outcomes would evict the others, and those calls
/// could run twice.
const MAX_KEPT: usize = 256 * 1024;

/// The reply to a retry of a call whose outcome is too large to keep.
const DONE: &str = "This has been done already. Do not do it again.";

/// The outcome to keep for retries: `outcome` itself, or only its text if it is too large.
pub fn to_keep(outcome: &Outcome) -> Outcome {
    if outcome.bytes() <= MAX_KEPT {
        return outcome.clone();
    }
    let text = outcome.reply.text.clone().filter(|text| text.len() <= MAX_KEPT / 2);
    let text = text.unwrap_or_else(|| DONE.to_owned());
    Outcome { reply: Arc::new(Reply::text(text)), failure: outcome.failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_a_huge_outcome_only_the_text_is_kept() {
        let data = |bytes| Some(json!("x".repeat(bytes)).into());
        for (text, bytes, kept) in [
            (Some("Done."), 10, Some("Done.")),
            (Some("Done."), MAX_KEPT, Some("Done.")),
            (None, 10, None),
            (None, MAX_KEPT, Some(DONE)),
        ] {
            let reply = Reply { text: text.map(str::to_owned), data: data(bytes), ..Reply::default() };
            let outcome = Outcome::answered(reply);
            let to_keep = to_keep(&outcome);
            assert_eq!(to_keep.reply.text.as_deref(), kept, "{bytes}");
            assert!(to_keep.bytes() <= MAX_KEPT);
            assert_eq!(to_keep == outcome, bytes == 10);
        }
    }
}
