//! What templates use of what a route declares: for whoever wants to know what is declared for nothing.

use std::collections::BTreeSet;

use super::scope::{CallField, PathExpr, Root};

/// The arguments and extracts that templates name.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Whether all arguments are, since a template takes them whole.
    all_arguments: bool,
    arguments: BTreeSet<String>,
    /// The step, and the place among its extracts.
    extracts: BTreeSet<(usize, usize)>,
}

impl Uses {
    /// Takes note of a name in a template.
    pub(super) fn add(&mut self, path: &PathExpr) {
        match (&path.root, path.below.first()) {
            (Root::Args, Some(name)) => {
                self.arguments.insert(name.clone());
            }
            // The body as it came holds the arguments, too.
            (Root::Args, None) | (Root::Call(CallField::Raw), _) => self.all_arguments = true,
            (Root::Extract(step, place), _) => {
                self.extracts.insert((*step, *place));
            }
            _ => {}
        }
    }

    /// Whether some template names this argument, or takes all of them.
    pub(crate) fn argument(&self, name: &str) -> bool {
        self.all_arguments || self.arguments.contains(name)
    }

    /// Whether some template names this extract.
    pub(crate) fn extract(&self, step: usize, place: usize) -> bool {
        self.extracts.contains(&(step, place))
    }
}
