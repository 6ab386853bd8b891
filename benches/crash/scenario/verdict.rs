//! What the callers heard, compared with what the upstream saw.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use super::callers::{self, Answered, Heard, Told};
use super::upstream::{Arrivals, Arrived};

/// The most violations of one rule that are shown in words.
const MAX_SHOWN: usize = 10;

/// How long after the end of an outage an instance may still take the database for unavailable.
const RECOVERY: Duration = Duration::from_secs(1);

/// A time without a database, or in which an instance takes it for unavailable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outage {
    pub(super) began: Instant,
    /// `None` if it lasts.
    pub(super) ended: Option<Instant>,
}

/// What happened.
pub(super) struct Happened {
    pub(super) heard: Heard,
    pub(super) upstream: Arrivals,
    pub(super) kills: usize,
    /// How many instances were asked to end.
    pub(super) ends: usize,
    /// How many jobs each conversation has.
    pub(super) stored: HashMap<String, usize>,
    pub(super) outages: Vec<Outage>,
    /// When an instance took the database for unavailable: it also does if an answer takes too long.
    pub(super) noted: Vec<Outage>,
    /// How many jobs were neither delivered nor given up in the end, and how many were given up.
    pub(super) left: u64,
    pub(super) dead: u64,
    pub(super) panics: u64,
    /// How long the calls took, and the deliveries after them.
    pub(super) calling: Duration,
    pub(super) draining: Duration,
}

/// The counts, and what broke a rule.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    counts: Vec<(&'static str, usize)>,
    /// By rule.
    violations: BTreeMap<&'static str, Vec<String>>,
    /// How often each failure was heard.
    failures: BTreeMap<String, usize>,
    times: String,
}

impl Verdict {
    pub(super) fn of(happened: &Happened) -> Self {
        let mut verdict = Self::default();
        verdict.count("instances killed", happened.kills);
        verdict.count("instances ended", happened.ends);
        verdict.count("database server killed", happened.outages.len());
        verdict.count("  taken for unavailable by an instance", happened.noted.len());
        verdict.judge_notes(happened);
        verdict.judge_orders(happened);
        let requests = |arrived: &Arrived| arrived.requests;
        verdict.count("requests to the upstream", happened.upstream.values().map(requests).sum());
        let successes = happened.upstream.values().map(|arrived| arrived.successes).sum();
        verdict.count("  of them successful", successes);
        for (rule, count) in [
            ("a job is not delivered in the end", happened.left),
            ("a job was given up", happened.dead),
            ("an instance panicked", happened.panics),
        ] {
            if count > 0 {
                verdict.violation(rule, format!("{count}"));
            }
        }
        let seconds = |time: Duration| time.as_secs_f64();
        verdict.times = format!(
            "calls for {:.1} s, of which {:.1} s without a database; then deliveries for {:.1} s",
            seconds(happened.calling),
            seconds(happened.outages.iter().filter_map(|outage| Some(outage.ended? - outage.began)).sum()),
            seconds(happened.draining)
        );
        verdict
    }

    /// Whether no rule was broken.
    pub(crate) fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// How often something was counted.
    pub(crate) fn get(&self, name: &str) -> usize {
        self.counts.iter().find(|(known, _)| known.trim() == name).map_or(0, |(_, count)| *count)
    }

    fn count(&mut self, name: &'static str, count: usize) {
        self.counts.push((name, count));
    }

    fn violation(&mut self, rule: &'static str, what: String) {
        self.violations.entry(rule).or_default().push(what);
    }

    /// Calls that are delivered later.
    fn judge_notes(&mut self, happened: &Happened) {
        let [mut accepted, mut refused, mut unknown, mut again, mut none] = [0; 5];
        for (n, told) in &happened.heard.notes {
            let arrived = happened.upstream.get(&format!("/notes/{n}")).cloned().unwrap_or_default();
            let what = || format!("note {n}: {}; {}", describe(told), describe_arrived(&arrived));
            self.judge_answers(told, &what);
            again += usize::from(arrived.successes > 1);
            let said = |wanted: fn(&Answered) -> bool| told.iter().any(|told| wanted(&told.answered));
            // Stored twice, it is two jobs with one key.
            let is_one = happened.stored.get(&callers::conversation(*n)).is_none_or(|count| *count == 1);
            if arrived.overlaps > 0 && is_one {
                self.violation("a job was delivered by two workers at once", what());
            }
            if arrived.keys.len() > 1 {
                self.violation("a job changed its idempotency key", what());
            }
            if said(|answered| *answered == Answered::Yes) {
                accepted += 1;
                if arrived.successes == 0 {
                    self.violation("an accepted call was lost", what());
                }
            } else if said(|answered| matches!(answered, Answered::Broken | Answered::Unconfirmed)) {
                unknown += 1;
                none += usize::from(arrived.requests == 0);
            } else {
                refused += 1;
                if arrived.requests > 0 {
                    self.violation("a refused call was delivered", what());
                }
            }
        }
        self.count("async calls", happened.heard.notes.len());
        self.count("  accepted", accepted);
        self.count("  refused", refused);
        self.count("  unknown: the connection broke", unknown);
        self.count("    of them never sent", none);
        self.count("  successful more than once", again);
        self.count("  stored twice", happened.stored.values().filter(|count| **count > 1).count());
    }

    /// Writes that were each sent to two instances.
    fn judge_orders(&mut self, happened: &Happened) {
        let [mut done, mut failed, mut unconfirmed, mut unknown, mut interrupted, mut without_store] = [0; 6];
        for (n, told) in &happened.heard.orders {
            let arrived = happened.upstream.get(&format!("/orders/{n}")).cloned().unwrap_or_default();
            let what = || format!("order {n}: {}; {}", describe(told), describe_arrived(&arrived));
            self.judge_answers(told, &what);
            let said = |wanted: fn(&Answered) -> bool| told.iter().any(|told| wanted(&told.answered));
            let is_unconfirmed = said(|answered| *answered == Answered::Unconfirmed);
            let is_broken = said(|answered| *answered == Answered::Broken);
            interrupted += usize::from(is_unconfirmed && is_broken);
            match () {
                () if said(|answered| *answered == Answered::Yes) => {
                    done += 1;
                    if arrived.successes == 0 {
                        self.violation("a write was confirmed but not done", what());
                    }
                }
                () if is_unconfirmed => unconfirmed += 1,
                () if is_broken => unknown += 1,
                () => failed += 1,
            }
            if arrived.requests > 1 {
                if happened.was_away(told) {
                    without_store += 1;
                } else {
                    self.violation("a repeated write was sent twice", what());
                }
            }
        }
        self.count("writes, each sent twice by its caller", happened.heard.orders.len());
        self.count("  confirmed", done);
        self.count("  failed", failed);
        self.count("  unconfirmed", unconfirmed);
        self.count("  unknown: both connections broke", unknown);
        self.count("  unconfirmed after their instance was killed", interrupted);
        self.count("  sent twice while the database was away", without_store);
    }

    fn judge_answers(&mut self, told: &[Told], what: &dyn Fn() -> String) {
        for told in told {
            match &told.answered {
                Answered::No(text) => *self.failures.entry(text.clone()).or_default() += 1,
                Answered::Wrong(_) => self.violation("an answer is missing or wrong", what()),
                _ => {}
            }
        }
    }
}

impl Happened {
    /// Whether the database was away during one of these calls, or an instance took it for that.
    fn was_away(&self, told: &[Told]) -> bool {
        let has = |told: &Told, outage: &Outage| {
            outage.began < told.ended + RECOVERY
                && outage.ended.is_none_or(|ended| told.at < ended + RECOVERY)
        };
        let mut all = self.outages.iter().chain(&self.noted);
        all.any(|outage| told.iter().any(|told| has(told, outage)))
    }
}

fn describe(told: &[Told]) -> String {
    let one = |told: &Told| {
        let time = told.ended.saturating_duration_since(told.at);
        let later = told.at.saturating_duration_since(told.origin);
        format!("{:?} by instance {} after {time:.1?} at {later:.1?}", told.answered, told.instance)
    };
    told.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn describe_arrived(arrived: &Arrived) -> String {
    format!(
        "{} requests, {} successes, {} overlaps, {} keys",
        arrived.requests,
        arrived.successes,
        arrived.overlaps,
        arrived.keys.len()
    )
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.times)?;
        for (name, count) in &self.counts {
            writeln!(f, "{name:<48} {count:>7}")?;
        }
        for (text, count) in &self.failures {
            writeln!(f, "heard {count} times: {text}")?;
        }
        for (rule, whats) in &self.violations {
            writeln!(f, "BROKEN: {rule}: {} times", whats.len())?;
            whats.iter().take(MAX_SHOWN).try_for_each(|what| writeln!(f, "  {what}"))?;
        }
        Ok(())
    }
}
