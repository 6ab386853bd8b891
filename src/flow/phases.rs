//! The times at which the phases of a call ended, for its spans. Nothing is recorded for a call without spans.

use std::time::Instant;

use crate::traceparent::Link;

use super::CallError;

/// A phase of a call, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The request is read.
    Decode,
    /// The route is looked up.
    FindRoute,
    /// The arguments are checked.
    Validate,
    /// The call waits for a permit of the route's limit.
    Wait,
    /// The steps run.
    RunSteps,
    /// A step's request is rendered.
    Render,
    /// The cache is searched.
    Cache,
    /// The request is delivered.
    Send,
    /// The response is read, and values are extracted.
    Extract,
    /// The reply is rendered.
    Reply,
    /// The call, or what it remembers, is stored.
    Store,
}

/// When each phase of a call or a step ended. A phase begins when the previous one ends.
#[derive(Debug, Clone, Default)]
pub struct PhaseTimes {
    began: Option<Instant>,
    ends: Vec<PhaseEnd>,
}

/// The end of a phase.
#[derive(Debug, Clone, Copy)]
pub struct PhaseEnd {
    /// The phase.
    pub phase: Phase,
    /// When it ended.
    pub ended: Instant,
    /// Whether it failed.
    pub failed: bool,
}

/// A call that is part of a trace.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The trace context.
    pub link: Link,
    /// When its phases ended; empty without spans.
    pub phase_times: PhaseTimes,
}

impl Phase {
    /// The name of the phase's span.
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
            Self::Store => "store",
        }
    }

    /// The phase in which this error occurs.
    pub(super) fn of(error: &CallError) -> Self {
        match error {
            CallError::UnknownFunction
            | CallError::Busy
            | CallError::StillInFlight
            | CallError::Interrupted => Self::FindRoute,
            CallError::Arguments(_) | CallError::NotAllowed(_) => Self::Validate,
            CallError::Limit(_) => Self::Wait,
            CallError::Request(_) => Self::Render,
            CallError::Delivery(_)
            | CallError::Overdue(_)
            | CallError::Unconfirmed(_)
            | CallError::Unanswered(_)
            | CallError::Unread(_)
            | CallError::LeaseLost => Self::Send,
            CallError::Response(_) => Self::Extract,
            CallError::NotStored(_) => Self::Store,
            CallError::Pick(_) | CallError::Declared { .. } | CallError::Panicked => Self::Reply,
        }
    }

    /// The phase of the call that contains this phase; the phase itself if it is not part of a step.
    pub(super) fn of_call(self) -> Self {
        match self {
            Self::Render | Self::Cache | Self::Send | Self::Extract => Self::RunSteps,
            phase => phase,
        }
    }
}

impl PhaseTimes {
    /// Starts recording, if the call has spans.
    pub(super) fn begin(traced: Option<&Traced>) -> Self {
        let began = traced.filter(|traced| traced.link.is_recorded).map(|_| Instant::now());
        Self { began, ends: Vec::new() }
    }

    /// When the first phase began and the last one ended; `None` without spans.
    pub fn time(&self) -> Option<(Instant, Instant)> {
        let began = self.began?;
        Some((began, self.ends.last().map_or(began, |end| end.ended)))
    }

    /// The phases in order, each with its start.
    pub fn each(&self) -> impl Iterator<Item = (Instant, PhaseEnd)> {
        let ends = self.ends.iter().map(|end| end.ended);
        self.began.into_iter().chain(ends).zip(self.ends.iter().copied())
    }

    pub(super) fn note(&mut self, phase: Phase) {
        if self.began.is_some() {
            self.ends.push(PhaseEnd { phase, ended: Instant::now(), failed: false });
        }
    }

    /// Records that `phase` failed. Its end may already be recorded.
    pub(super) fn note_failed(&mut self, phase: Phase) {
        if self.ends.last().is_none_or(|last| last.phase != phase) {
            self.note(phase);
        }
        if let Some(last) = self.ends.last_mut() {
            last.failed = true;
        }
    }
}

impl Traced {
    /// A call whose request arrived at `arrived` and has just been decoded.
    pub fn decoded(link: Link, arrived: Instant) -> Self {
        let began = link.is_recorded.then_some(arrived);
        let mut phase_times = PhaseTimes { began, ends: Vec::new() };
        phase_times.note(Phase::Decode);
        Self { link, phase_times }
    }
}

#[cfg(test)]
mod tests {
    use crate::flow::phases::*;

    fn names(phase_times: &PhaseTimes) -> String {
        let each = phase_times
            .each()
            .map(|(_, end)| format!("{}{}", end.phase.name(), if end.failed { "!" } else { "" }));
        each.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_phase_begins_when_the_previous_one_ends() {
        let arrived = Instant::now();
        let link = Link::of(None, Some(1.0)).unwrap();
        let mut phase_times = Traced::decoded(link, arrived).phase_times;
        phase_times.note(Phase::FindRoute);
        phase_times.note_failed(Phase::Validate);
        phase_times.note(Phase::Reply);
        assert_eq!(names(&phase_times), "decode find_route validate! reply");
        let times: Vec<_> = phase_times.each().map(|(began, end)| (began, end.ended)).collect();
        assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0));
        assert_eq!(phase_times.time(), Some((arrived, times[3].1)));
        // A phase whose end is already recorded is marked as failed.
        phase_times.note_failed(Phase::Reply);
        assert_eq!(names(&phase_times), "decode find_route validate! reply!");
    }

    #[test]
    fn without_spans_nothing_is_recorded_and_no_clock_is_read() {
        let not_recorded = Link::of(None, Some(0.0)).unwrap();
        let traced = Traced::decoded(not_recorded, Instant::now());
        for mut phase_times in
            [traced.phase_times.clone(), PhaseTimes::begin(Some(&traced)), PhaseTimes::begin(None)]
        {
            phase_times.note(Phase::Render);
            phase_times.note_failed(Phase::Send);
            assert!(
                phase_times.began.is_none()
                    && phase_times.ends.capacity() == 0
                    && phase_times.time().is_none()
            );
        }
    }
}
