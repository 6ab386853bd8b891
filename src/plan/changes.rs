//! The routes that a reload changes.

use super::Plan;

impl Plan {
    /// Compares the routes with those of `old`. Each list of names is sorted.
    pub fn changes_since(&self, old: &Self) -> Changes {
        let mut changes = Changes::default();
        for (name, route) in &self.routes {
            match old.routes.get(name) {
                None => changes.added.push(name.clone()),
                Some(before) if before.fingerprint != route.fingerprint => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        changes.removed =
            old.routes.keys().filter(|name| !self.routes.contains_key(*name)).cloned().collect();
        changes.added.sort();
        changes.removed.sort();
        changes.changed.sort();
        changes
    }
}

/// The names of the routes that a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New routes.
    pub added: Vec<String>,
    /// Removed routes.
    pub removed: Vec<String>,
    /// Routes whose own keys, templates, upstream or defaults differ.
    pub changed: Vec<String>,
}
