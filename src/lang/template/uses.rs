//! The declared arguments and extracts that templates use, to find unused ones.

use std::collections::BTreeSet;

use super::scope::{CallField, PathExpr, Root};

/// The arguments and extracts that templates use.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Whether all arguments are used, because a template uses them as a whole.
    all_arguments: bool,
    arguments: BTreeSet<String>,
    /// The indices of the step and of the extract.
    extracts: BTreeSet<(usize, usize)>,
}

impl Uses {
    /// Records a name.
    pub(super) fn add(&mut self, path: &PathExpr) {
        match (&path.root, path.below.first()) {
            (Root::Args, Some(name)) => {
                self.arguments.insert(name.clone());
            }
            // The whole body includes the arguments.
            (Root::Args, None) | (Root::Call(CallField::Raw), _) => self.all_arguments = true,
            (Root::Extract(step, place), _) => {
                self.extracts.insert((*step, *place));
            }
            _ => {}
        }
    }

    /// Whether a template uses this argument, or all arguments.
    pub(crate) fn argument(&self, name: &str) -> bool {
        self.all_arguments || self.arguments.contains(name)
    }

    /// Whether a template uses this extract.
    pub(crate) fn extract(&self, step: usize, place: usize) -> bool {
        self.extracts.contains(&(step, place))
    }
}
