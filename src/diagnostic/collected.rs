//! The collected diagnostics of one load. Their number is bounded, because anyone who can change a table can put any
//! number of errors into it.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Code, Diagnostic, FileId, Severity, Span};

/// The maximum number of diagnostics that are shown.
pub const MAX_SHOWN: usize = 200;

/// The number of errors after which loading stops looking for more.
const MAX_ERRORS: usize = 1_000;

/// The maximum number of collected warnings and notes. An `allow` may still remove any of them.
const MAX_WARNINGS: usize = 50_000;

/// Whether newer files have made a load pointless, so that it can be given up. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Overtaken(Arc<AtomicBool>);

impl Overtaken {
    /// Tells the load to give up.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the load is to be given up.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The collected diagnostics. Loading does not stop at the first, only when there are far more than anyone reads.
#[derive(Debug, Default)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
    errors: usize,
    /// How many were found beyond the maximum.
    dropped: usize,
    /// Whether there is no point in looking for more.
    is_complete: bool,
    overtaken: Overtaken,
}

impl Diagnostics {
    /// No diagnostics yet, for a load that is given up when newer files overtake it.
    pub fn of_load(overtaken: Overtaken) -> Self {
        Self { overtaken, ..Self::default() }
    }

    /// No diagnostics yet, for a part of the same load.
    pub fn of_part(&self) -> Self {
        Self::of_load(self.overtaken.clone())
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let is_error = is_error(&diagnostic);
        let (count, maximum) =
            if is_error { (self.errors, MAX_ERRORS) } else { (self.found.len() - self.errors, MAX_WARNINGS) };
        if count >= maximum {
            self.dropped += 1;
            return;
        }
        self.errors += usize::from(is_error);
        self.found.push(diagnostic);
    }

    /// Counts errors that are not described one by one.
    pub fn count_more(&mut self, errors: usize) {
        self.dropped += errors;
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: Self) {
        self.is_complete |= others.is_complete;
        self.dropped += others.dropped;
        for diagnostic in others.found {
            self.push(diagnostic);
        }
    }

    /// Says that the rest of the table cannot be checked.
    pub fn end(&mut self) {
        self.is_complete = true;
    }

    /// Whether there is no point in looking for more: there are too many errors, the table cannot be checked, or newer
    /// files have overtaken this load. Loops over parts of the table end then.
    pub fn is_full(&self) -> bool {
        self.is_complete || self.errors >= MAX_ERRORS || self.overtaken.is_set()
    }

    /// Removes warnings and notes with one of `codes`, except among the first `from` diagnostics.
    pub fn silence(&mut self, from: usize, codes: &[Code]) {
        if codes.is_empty() || from >= self.found.len() {
            return;
        }
        let later = self.found.split_off(from);
        let stays = |found: &Diagnostic| is_error(found) || !codes.contains(&found.code);
        self.found.extend(later.into_iter().filter(stays));
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The diagnostics in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.found.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are so far.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// All diagnostics in the order of files and places, without duplicates: an error in a partial is reported once, no
    /// matter how many templates include it.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(place);
        self.found.dedup_by(|a, b| (a.code, a.span, &a.message) == (b.code, b.span, &b.message));
        self.found
    }

    /// The diagnostics that are shown, in the order of files and places: those that `is_shown` says, at most
    /// [`MAX_SHOWN`], errors first, and then one that says how many more there are.
    pub fn into_shown(self, is_shown: impl Fn(&Diagnostic) -> bool) -> Vec<Diagnostic> {
        let (dropped, was_ended) = (self.dropped, self.is_complete || self.errors >= MAX_ERRORS);
        let mut shown = self.into_sorted();
        shown.retain(is_shown);
        let more = dropped + shown.len().saturating_sub(MAX_SHOWN);
        if more == 0 {
            return shown;
        }
        // A stable sort, so that the first ones stay in each class.
        shown.sort_by_key(|diagnostic| Reverse(is_error(diagnostic)));
        shown.truncate(MAX_SHOWN);
        shown.sort_by_key(place);
        shown.push(and_more(more, was_ended));
        shown
    }
}

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.severity() == Severity::Error
}

fn place(diagnostic: &Diagnostic) -> (FileId, usize, usize, &'static str) {
    let Diagnostic { span: Span { file, start, end }, code, .. } = diagnostic;
    (*file, *start, *end, code.slug())
}

/// The note about the diagnostics that are not shown.
fn and_more(more: usize, was_ended: bool) -> Diagnostic {
    let at_least = if was_ended { "at least " } else { "" };
    Diagnostic::new(Code::MoreDiagnostics, Span::start_of(FileId(0)), format!("and {at_least}{more} more"))
        .help(format!(
            "fix the diagnostics above first: at most {MAX_SHOWN} are shown, errors before warnings"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(code: Code, start: usize) -> Diagnostic {
        Diagnostic::new(code, Span { file: FileId(0), start, end: start }, format!("{start}"))
    }

    #[test]
    fn errors_are_shown_before_warnings_and_the_rest_is_counted() {
        let mut all = Diagnostics::default();
        (0..300).for_each(|place| all.push(at(Code::NoEffect, place)));
        (1000..1010).for_each(|place| all.push(at(Code::UnknownKey, place)));
        let shown = all.into_shown(|_| true);
        assert_eq!(shown.len(), MAX_SHOWN + 1);
        assert_eq!(shown.iter().filter(|one| is_error(one)).count(), 10);
        assert_eq!(shown[189].message, "189");
        assert_eq!(shown[MAX_SHOWN].message, "and 110 more");
    }

    #[test]
    fn a_few_are_all_shown() {
        let mut all = Diagnostics::default();
        (0..MAX_SHOWN).for_each(|place| all.push(at(Code::UnknownKey, place)));
        assert_eq!(all.into_shown(|_| true).len(), MAX_SHOWN);
    }

    #[test]
    fn errors_beyond_the_maximum_are_only_counted() {
        let mut all = Diagnostics::default();
        (0..MAX_ERRORS + 7).for_each(|place| all.push(at(Code::UnknownKey, place)));
        assert!(all.is_full());
        assert_eq!(all.len(), MAX_ERRORS);
        assert_eq!(all.into_shown(|_| true)[MAX_SHOWN].message, "and at least 807 more");
    }

    #[test]
    fn silenced_warnings_do_not_count() {
        let mut all = Diagnostics::default();
        (0..500).for_each(|place| all.push(at(Code::NoEffect, place)));
        all.silence(100, &[Code::NoEffect]);
        assert_eq!(all.into_shown(|_| true).len(), 100);
    }

    #[test]
    fn an_overtaken_load_is_full_in_all_its_parts() {
        let overtaken = Overtaken::default();
        let part = Diagnostics::of_load(overtaken.clone()).of_part();
        assert!(!part.is_full());
        overtaken.set();
        assert!(part.is_full() && !part.has_errors());
    }
}
