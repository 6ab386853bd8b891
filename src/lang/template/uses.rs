//! What templates use of what a route declares: for whoever wants to know what is declared for nothing.

use std::collections::BTreeSet;

use super::Expr;
use super::scope::{CallField, PathExpr, Root};
use crate::lang::body::Asked;

/// A place in a template that looks at the body of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyRef {
    /// Of this step; `None`: of the last one that got a response.
    pub(crate) step: Option<usize>,
    /// How many of the steps may have run before this place.
    pub(crate) before: usize,
    pub(crate) asked: Asked,
}

/// The arguments, extracts and bodies that templates name.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Whether all arguments are, since a template takes them whole.
    all_arguments: bool,
    arguments: BTreeSet<String>,
    /// The step, and the place among its extracts.
    extracts: BTreeSet<(usize, usize)>,
    bodies: Vec<BodyRef>,
}

impl Uses {
    /// Takes note of a name in a template, where so many of the steps may have run before.
    pub(super) fn add(&mut self, path: &PathExpr, before: usize) {
        match (&path.root, path.below.first()) {
            (Root::Args, Some(name)) => {
                self.arguments.insert(name.clone());
            }
            // The body as it came holds the arguments, too.
            (Root::Args, None) | (Root::Call(CallField::Raw), _) => self.all_arguments = true,
            (Root::Extract(step, place), _) => {
                self.extracts.insert((*step, *place));
            }
            (Root::Response(step), Some(field)) if field == "body" => {
                let asked = if path.below.len() > 1 { Asked::Parts } else { Asked::Whole };
                self.bodies.push(BodyRef { step: *step, before, asked });
            }
            _ => {}
        }
    }

    /// Takes note of an expression whose value has to be a list or an object.
    pub(super) fn add_parts(&mut self, expr: &Expr, before: usize) {
        match expr {
            Expr::Path(PathExpr { root: Root::Response(step), below, .. }) if below.len() == 1 => {
                self.bodies.push(BodyRef { step: *step, before, asked: Asked::Parts });
            }
            Expr::Helper { params, .. } => params.iter().for_each(|param| self.add_parts(param, before)),
            Expr::Path(_) | Expr::Literal(_) => {}
        }
    }

    /// The places that look at the body of a response.
    pub(crate) fn bodies(&self) -> &[BodyRef] {
        &self.bodies
    }

    /// Forgets the bodies that were noted after so many.
    pub(crate) fn forget_bodies(&mut self, after: usize) {
        self.bodies.truncate(after);
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
