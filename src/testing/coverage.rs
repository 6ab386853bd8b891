//! Test coverage of a table.

use crate::diagnostic::Span;
use crate::plan::testing::Tests;

use super::TestResult;

/// The routes and reply cases that the tests of a table reach.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// How many routes there are.
    pub routes: usize,
    /// How many reply cases they have.
    pub cases: usize,
    /// The routes and cases that no test reaches, in the order of the table.
    pub missed: Vec<Missed>,
}

/// A route or reply case that no test reaches.
#[derive(Debug, PartialEq, Eq)]
pub struct Missed {
    /// The route.
    pub route: String,
    /// Its reply case, counted from 0; `None`: the route itself.
    pub case: Option<usize>,
    /// Its position in the table.
    pub place: Span,
}

impl Coverage {
    /// The coverage of these results.
    pub fn of(tests: &Tests, ran: &[TestResult<'_>]) -> Self {
        let reached = |route: &str, case: Option<usize>| {
            ran.iter()
                .flat_map(|ran| &ran.reached)
                .any(|(name, taken)| name == route && (case.is_none() || case == *taken))
        };
        let mut out = Self::default();
        for route in &tests.routes {
            out.routes += 1;
            out.cases += route.cases.len();
            let all = std::iter::once((None, route.place));
            let all = all.chain(route.cases.iter().enumerate().map(|(case, place)| (Some(case), *place)));
            let missed = all.filter(|(case, _)| !reached(&route.name, *case));
            out.missed.extend(missed.map(|(case, place)| Missed { route: route.name.clone(), case, place }));
        }
        out
    }

    /// How many routes some test reaches.
    pub fn routes_reached(&self) -> usize {
        self.routes - self.missed.iter().filter(|missed| missed.case.is_none()).count()
    }

    /// How many reply cases some test reaches.
    pub fn cases_reached(&self) -> usize {
        self.cases - self.missed.iter().filter(|missed| missed.case.is_some()).count()
    }
}
