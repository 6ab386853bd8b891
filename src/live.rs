//! The running plan and its resources, swapped as one, and the result of the last reload.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::diagnostic::JsonDiagnostic;
use crate::plan::Plan;
use crate::upstream::resources::Resources;

/// The running plan and the last rejection. Both are swapped at once, so that no reader sees them out of step.
#[derive(Debug)]
pub struct Live(ArcSwap<LiveState>);

/// The running plan, and whether it matches the files.
#[derive(Debug, Clone)]
pub struct LiveState {
    /// The running plan and its resources.
    pub running: Arc<Running>,
    /// The last rejection; `None` if the running plan matches the files.
    pub rejected: Option<Arc<Rejection>>,
    /// When the running table was saved, if it is the copy of an earlier one: at the start, the files had errors.
    pub last_good: Option<Timestamp>,
    /// The files of the table that were replaced outside of their mount: their changes are not seen.
    pub unlinked: Arc<[PathBuf]>,
    /// The reloads since the start.
    pub reloads: Reloads,
}

/// Counts of reloads, by result.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reloads {
    /// The number of applied reloads.
    pub applied: u64,
    /// The number of rejected reloads.
    pub rejected: u64,
    /// The time of the last rejection.
    pub last_rejected_at: Option<Timestamp>,
}

/// A running plan and its resources.
#[derive(Debug)]
pub struct Running {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its live state.
    pub resources: Resources,
    /// When the plan was loaded.
    pub loaded_at: Timestamp,
}

/// A rejected configuration.
#[derive(Debug)]
pub struct Rejection {
    /// When it was rejected.
    pub at: Timestamp,
    /// What is wrong with it.
    pub diagnostics: Vec<JsonDiagnostic>,
}

impl Live {
    /// Starts with `plan`.
    pub fn new(plan: Plan) -> Self {
        Self::saved(plan, None)
    }

    /// Starts with `plan`, which was saved at that time if it is a copy of an earlier table.
    pub fn saved(plan: Plan, last_good: Option<Timestamp>) -> Self {
        let running = Running::new(plan, &Resources::default());
        let reloads = Reloads::default();
        Self(ArcSwap::from_pointee(LiveState {
            running,
            rejected: None,
            last_good,
            unlinked: Arc::default(),
            reloads,
        }))
    }

    /// The plan and resources for a call. A call gets them once and keeps them to its end, so that it sees one
    /// configuration.
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

    /// Replaces the running plan. Resources whose policy is equal are kept. Calls in flight finish on the plan that
    /// they started with.
    pub fn swap(&self, plan: Plan) {
        let before = self.0.load();
        let reloads = Reloads { applied: before.reloads.applied + 1, ..before.reloads };
        let running = Running::new(plan, &before.running.resources);
        let unlinked = Arc::clone(&before.unlinked);
        self.0.store(Arc::new(LiveState { running, rejected: None, last_good: None, unlinked, reloads }));
    }

    /// Clears the rejection: the running plan matches the files.
    pub fn confirm(&self) {
        self.0.store(Arc::new(LiveState {
            rejected: None,
            last_good: None,
            ..LiveState::clone(&self.0.load())
        }));
    }

    /// Records which files were replaced outside of their mount.
    pub fn note_unlinked(&self, unlinked: Vec<PathBuf>) {
        let unlinked = unlinked.into();
        self.0.store(Arc::new(LiveState { unlinked, ..LiveState::clone(&self.0.load()) }));
    }

    /// Records a rejection: the running plan stays although the files have changed.
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

/// Creates the resources of a plan. Those of `before` are kept if their policy is equal.
pub fn prepare(plan: &Plan, before: &Resources) -> Resources {
    Resources::prepare(&plan.deliveries, &plan.limits(), before)
}
