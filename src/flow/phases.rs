//! When each verb of a call ended, for the spans of the call. Where none are made, nothing is noted.

use std::time::Instant;

use crate::traceparent::Link;

use super::CallError;

/// What is done for a call, in the order of the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The request is read.
    Decode,
    /// The route is looked up.
    FindRoute,
    /// The arguments are checked.
    Validate,
    /// A turn of the route's limit is waited for.
    Wait,
    /// The steps are asked.
    RunSteps,
    /// A step's request is made.
    Render,
    /// The cache is looked into.
    Cache,
    /// The request is delivered.
    Send,
    /// The reply is read, and the values are taken out.
    Extract,
    /// The reply is made.
    Reply,
}

/// When each verb of a call or a step ended. One begins when the one before it has ended.
#[derive(Debug, Clone, Default)]
pub struct PhaseTimes {
    began: Option<Instant>,
    marks: Vec<PhaseEnd>,
}

/// The end of a verb.
#[derive(Debug, Clone, Copy)]
pub struct PhaseEnd {
    /// The verb.
    pub verb: Phase,
    /// When it ended.
    pub ended: Instant,
    /// Whether it failed.
    pub failed: bool,
}

/// A call that is part of a trace.
#[derive(Debug, Clone)]
pub struct Traced {
    /// How it is linked into it.
    pub link: Link,
    /// When its verbs ended, if spans are made.
    pub marks: PhaseTimes,
}

impl Phase {
    /// The name of its span.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::FindRoute => "find_route",
            Self::Validate => "validate",
            Self::Wait => "wait",
            Self::RunSteps => "run_steps",
            Self::Render => "render",
            Self::Cache => "cache",
            Self::Send => "send",
            Self::Extract => "extract",
            Self::Reply => "reply",
        }
    }

    /// The verb that failed.
    pub(super) fn of(error: &CallError) -> Self {
        match error {
            CallError::UnknownFunction | CallError::Busy | CallError::StillUnderWay => Self::FindRoute,
            CallError::Arguments(_) | CallError::NotAllowed(_) => Self::Validate,
            CallError::Limit(_) => Self::Wait,
            CallError::Request(_) => Self::Render,
            CallError::Delivery(_)
            | CallError::Overdue(_)
            | CallError::Unconfirmed(_)
            | CallError::Unanswered(_) => Self::Send,
            CallError::Reply(_) => Self::Extract,
            CallError::Pick(_) | CallError::Panicked => Self::Reply,
        }
    }

    /// The verb of a call that a verb of a step is part of; itself where it is no step's.
    pub(super) fn of_call(self) -> Self {
        match self {
            Self::Render | Self::Cache | Self::Send | Self::Extract => Self::RunSteps,
            verb => verb,
        }
    }
}

impl PhaseTimes {
    /// Notes from now on, if spans are made.
    pub(super) fn begin(traced: Option<&Traced>) -> Self {
        let began = traced.filter(|traced| traced.link.is_recorded).map(|_| Instant::now());
        Self { began, marks: Vec::new() }
    }

    /// When the first verb began, and the last one ended; `None` where no spans are made.
    pub fn time(&self) -> Option<(Instant, Instant)> {
        let began = self.began?;
        Some((began, self.marks.last().map_or(began, |mark| mark.ended)))
    }

    /// The verbs in their order, each with when it began.
    pub fn each(&self) -> impl Iterator<Item = (Instant, PhaseEnd)> {
        let ends = self.marks.iter().map(|mark| mark.ended);
        self.began.into_iter().chain(ends).zip(self.marks.iter().copied())
    }

    pub(super) fn note(&mut self, verb: Phase) {
        if self.began.is_some() {
            self.marks.push(PhaseEnd { verb, ended: Instant::now(), failed: false });
        }
    }

    /// Notes that `verb` failed, which may just have ended.
    pub(super) fn note_failed(&mut self, verb: Phase) {
        if self.marks.last().is_none_or(|last| last.verb != verb) {
            self.note(verb);
        }
        if let Some(last) = self.marks.last_mut() {
            last.failed = true;
        }
    }
}

impl Traced {
    /// A call whose request came at `arrived` and has just been read.
    pub fn decoded(link: Link, arrived: Instant) -> Self {
        let began = link.is_recorded.then_some(arrived);
        let mut marks = PhaseTimes { began, marks: Vec::new() };
        marks.note(Phase::Decode);
        Self { link, marks }
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::phases::*;

    fn told(marks: &PhaseTimes) -> String {
        let each = marks
            .each()
            .map(|(_, mark)| format!("{}{}", mark.verb.name(), if mark.failed { "!" } else { "" }));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_verb_begins_when_the_one_before_it_has_ended() {
        let arrived = Instant::now();
        let link = Link::of(None, Some(1.0)).unwrap();
        let mut marks = Traced::decoded(link, arrived).marks;
        marks.note(Phase::FindRoute);
        marks.note_failed(Phase::Validate);
        marks.note(Phase::Reply);
        assert_eq!(told(&marks), "decode find_route validate! reply");
        let times: Vec<_> = marks.each().map(|(began, mark)| (began, mark.ended)).collect();
        assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(marks.time(), Some((arrived, times[3].1)));
        // What has just ended is what failed.
        marks.note_failed(Phase::Reply);
        assert_eq!(told(&marks), "decode find_route validate! reply!");
    }

    #[test]
    fn where_no_spans_are_made_nothing_is_noted_and_no_clock_is_read() {
        let not_recorded = Link::of(None, Some(0.0)).unwrap();
        let traced = Traced::decoded(not_recorded, Instant::now());
        for mut marks in [traced.marks.clone(), PhaseTimes::begin(Some(&traced)), PhaseTimes::begin(None)] {
            marks.note(Phase::Render);
            marks.note_failed(Phase::Send);
            assert!(marks.began.is_none() && marks.marks.capacity() == 0 && marks.time().is_none());
        }
    }
}
