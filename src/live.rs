//! The plan that runs now, swapped whole, and what became of the last attempt to replace it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::diagnostic::JsonDiagnostic;
use crate::plan::Plan;

/// The running plan and the last rejection, in one place: nobody sees a new one of the one beside an old one of
/// the other.
#[derive(Debug)]
pub struct Live(ArcSwap<State>);

/// What runs, and whether the files say something else.
#[derive(Debug, Clone)]
pub struct State {
    /// The plan in force.
    pub running: Arc<Running>,
    /// The last rejection; `None` when the files as they are now are what runs.
    pub rejected: Option<Arc<Rejection>>,
}

/// A plan in force.
#[derive(Debug)]
pub struct Running {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Since when.
    pub loaded_at: Timestamp,
}

/// A table that was not taken.
#[derive(Debug)]
pub struct Rejection {
    /// When it was found.
    pub at: Timestamp,
    /// What is wrong with it.
    pub diagnostics: Vec<JsonDiagnostic>,
}

impl Live {
    /// Begins with `plan`.
    pub fn new(plan: Plan) -> Self {
        Self(ArcSwap::from_pointee(State { running: Running::now(plan), rejected: None }))
    }

    /// The plan for one call: taken once, so that the whole call sees one table.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.load().running.plan)
    }

    /// The running plan and the last rejection.
    pub fn state(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Puts a new plan in force. Calls under way finish on theirs.
    pub fn swap(&self, plan: Plan) {
        self.0.store(Arc::new(State { running: Running::now(plan), rejected: None }));
    }

    /// Notes that the files as they are now are what runs.
    pub fn confirm(&self) {
        self.set_rejected(None);
    }

    /// Notes that the files as they are now are not what runs.
    pub fn reject(&self, diagnostics: Vec<JsonDiagnostic>) {
        self.set_rejected(Some(Arc::new(Rejection { at: Timestamp::now(), diagnostics })));
    }

    fn set_rejected(&self, rejected: Option<Arc<Rejection>>) {
        let running = Arc::clone(&self.0.load().running);
        self.0.store(Arc::new(State { running, rejected }));
    }
}

impl Running {
    fn now(plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan: Arc::new(plan), loaded_at: Timestamp::now() })
    }
}
