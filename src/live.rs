//! The plan that runs now, swapped whole, and what became of the last attempt to replace it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::diagnostic::JsonDiagnostic;
use crate::plan::Plan;

/// The running plan and the last rejection, in one place: nobody sees a new one of the one beside an old one of
/// the other.
#[derive(Debug)]
pub struct Live(ArcSwap<LiveState>);

/// What runs, and whether the files say something else.
#[derive(Debug, Clone)]
pub struct LiveState {
    /// The plan in force.
    pub running: Arc<Running>,
    /// The last rejection; `None` when the files as they are now are what runs.
    pub rejected: Option<Arc<Rejection>>,
    /// What became of the changed tables since the start.
    pub reloads: Reloads,
}

/// What became of changed tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reloads {
    /// How many were put in force.
    pub taken: u64,
    /// How many were not.
    pub rejected: u64,
    /// When one was not for the last time.
    pub last_rejected_at: Option<Timestamp>,
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
        let running = Running::now(plan);
        Self(ArcSwap::from_pointee(LiveState { running, rejected: None, reloads: Reloads::default() }))
    }

    /// The plan for one call: taken once, so that the whole call sees one table.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.load().running.plan)
    }

    /// The running plan and the last rejection.
    pub fn state(&self) -> Arc<LiveState> {
        self.0.load_full()
    }

    /// Puts a new plan in force. Calls under way finish on theirs.
    pub fn swap(&self, plan: Plan) {
        let before = self.0.load();
        let reloads = Reloads { taken: before.reloads.taken + 1, ..before.reloads };
        self.0.store(Arc::new(LiveState { running: Running::now(plan), rejected: None, reloads }));
    }

    /// Notes that the files as they are now are what runs.
    pub fn confirm(&self) {
        self.0.store(Arc::new(LiveState { rejected: None, ..LiveState::clone(&self.0.load()) }));
    }

    /// Notes that the files as they are now are not what runs.
    pub fn reject(&self, diagnostics: Vec<JsonDiagnostic>) {
        let (before, at) = (LiveState::clone(&self.0.load()), Timestamp::now());
        let rejected = before.reloads.rejected + 1;
        let reloads = Reloads { rejected, last_rejected_at: Some(at), ..before.reloads };
        self.0.store(Arc::new(LiveState {
            rejected: Some(Arc::new(Rejection { at, diagnostics })),
            reloads,
            ..before
        }));
    }
}

impl Running {
    fn now(plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan: Arc::new(plan), loaded_at: Timestamp::now() })
    }
}
