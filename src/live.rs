//! The plan that runs now and its resources, swapped whole, and what became of the last attempt to replace it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::diagnostic::JsonDiagnostic;
use crate::plan::Plan;
use crate::upstream::resources::Resources;

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

/// A plan in force, with its resources.
#[derive(Debug)]
pub struct Running {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its live state.
    pub resources: Resources,
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
        let running = Running::new(plan, &Resources::default());
        Self(ArcSwap::from_pointee(LiveState { running, rejected: None, reloads: Reloads::default() }))
    }

    /// What one call runs with: taken once, so that the whole call sees one table.
    pub fn running(&self) -> Arc<Running> {
        Arc::clone(&self.0.load().running)
    }

    /// The running plan.
    pub fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0.load().running.plan)
    }

    /// The running plan and the last rejection.
    pub fn state(&self) -> Arc<LiveState> {
        self.0.load_full()
    }

    /// Puts a new plan in force, with the resources that it shares with the one before. Calls in flight finish on theirs.
    pub fn swap(&self, plan: Plan) {
        let before = self.0.load();
        let reloads = Reloads { taken: before.reloads.taken + 1, ..before.reloads };
        let running = Running::new(plan, &before.running.resources);
        self.0.store(Arc::new(LiveState { running, rejected: None, reloads }));
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
    fn new(plan: Plan, before: &Resources) -> Arc<Self> {
        let resources = prepare(&plan, before);
        Arc::new(Self { plan: Arc::new(plan), resources, loaded_at: Timestamp::now() })
    }
}

/// The resources of a plan; those of `before` are kept where their policy is equal.
pub fn prepare(plan: &Plan, before: &Resources) -> Resources {
    Resources::prepare(&plan.deliveries, &plan.limits(), before)
}
