//! The declared arguments and extracts that templates use, to find unused ones.

use std::collections::{BTreeMap, BTreeSet};

use super::Expr;
use super::scope::{CallField, PathExpr, Root};
use crate::lang::body::BodyNeed;

/// A use of a response body in a template.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyRef {
    /// The step; `None` for the last one that got a response.
    pub(crate) step: Option<usize>,
    /// The number of steps that run before this template is rendered.
    pub(crate) before: usize,
    pub(crate) need: BodyNeed,
}

/// The arguments, extracts and response bodies that templates use.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Whether all arguments are used, because a template uses them as a whole.
    all_arguments: bool,
    arguments: BTreeSet<String>,
    /// The indices of the step and of the extract.
    extracts: BTreeSet<(usize, usize)>,
    bodies: Vec<BodyRef>,
    /// Whether a template uses the status or a header of a response.
    heads: bool,
    /// The names that are recalled, each with whether its value may decide what is allowed.
    memory: BTreeMap<String, bool>,
    /// Whether a template uses the whole body of the platform's request.
    raw: bool,
}

impl Uses {
    /// Records a name in a template that is rendered after `before` steps.
    pub(super) fn add(&mut self, path: &PathExpr, before: usize) {
        match (&path.root, path.below.first()) {
            (Root::Args, Some(name)) => {
                self.arguments.insert(name.clone());
            }
            (Root::Args, None) => self.all_arguments = true,
            // The whole body includes the arguments.
            (Root::Call(CallField::Raw), _) => (self.all_arguments, self.raw) = (true, true),
            (Root::Memory { trusted }, Some(name)) => {
                self.memory.insert(name.clone(), *trusted);
            }
            (Root::Extract(step, place), _) => {
                self.extracts.insert((*step, *place));
            }
            (Root::Response(step), Some(field)) if field == "body" => {
                let need = if path.below.len() > 1 { BodyNeed::Parts } else { BodyNeed::Whole };
                self.bodies.push(BodyRef { step: *step, before, need });
            }
            (Root::Response(_), _) => self.heads = true,
            _ => {}
        }
    }

    /// Records an expression whose value must be a list or an object.
    pub(super) fn add_parts(&mut self, expr: &Expr, before: usize) {
        match expr {
            Expr::Path(PathExpr { root: Root::Response(step), below, .. }) if below.len() == 1 => {
                self.bodies.push(BodyRef { step: *step, before, need: BodyNeed::Parts });
            }
            Expr::Helper { params, .. } => params.iter().for_each(|param| self.add_parts(param, before)),
            Expr::Path(_) | Expr::Literal(_) => {}
        }
    }

    /// The uses of response bodies.
    pub(crate) fn bodies(&self) -> &[BodyRef] {
        &self.bodies
    }

    /// Whether a template uses the status or a header of a response.
    pub(crate) fn heads(&self) -> bool {
        self.heads
    }

    /// The names that templates recall from the conversation's memory, each with whether its value may decide what is
    /// allowed.
    pub(crate) fn memory(&self) -> impl Iterator<Item = (&str, bool)> {
        self.memory.iter().map(|(name, trusted)| (name.as_str(), *trusted))
    }

    /// Whether a template uses the whole body of the platform's request.
    pub(crate) fn raw(&self) -> bool {
        self.raw
    }

    /// Drops all uses of response bodies after the first `after`.
    pub(crate) fn forget_bodies(&mut self, after: usize) {
        self.bodies.truncate(after);
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
