//! The plan that runs now, swapped whole, and what became of the last attempt to replace it.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;

use crate::diagnostic::JsonDiagnostic;
use crate::plan::Plan;

/// The running plan and the last rejection.
#[derive(Debug)]
pub struct Live {
    running: ArcSwap<Running>,
    rejected: ArcSwapOption<Rejection>,
}

/// A plan in force.
#[derive(Debug, Clone)]
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
        let running = Running { plan: Arc::new(plan), loaded_at: Timestamp::now() };
        Self { running: ArcSwap::from_pointee(running), rejected: ArcSwapOption::empty() }
    }

    /// The plan for one call: taken once, so that the whole call sees one table.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.running.load().plan)
    }

    /// The running plan with when it was loaded.
    pub fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// The last rejection; `None` when the files as they are now are what runs.
    pub fn rejected(&self) -> Option<Arc<Rejection>> {
        self.rejected.load_full()
    }

    /// Puts a new plan in force. Calls under way finish on theirs.
    pub fn swap(&self, plan: Plan) {
        self.running.store(Arc::new(Running { plan: Arc::new(plan), loaded_at: Timestamp::now() }));
        self.rejected.store(None);
    }

    /// Notes that the files as they are now are what runs.
    pub fn confirm(&self) {
        self.rejected.store(None);
    }

    /// Notes that the files as they are now are not what runs.
    pub fn reject(&self, diagnostics: Vec<JsonDiagnostic>) {
        self.rejected.store(Some(Arc::new(Rejection { at: Timestamp::now(), diagnostics })));
    }
}
