//! The routes that a reload changes.

use crate::secret::Secret;

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
        let is_changed = |(name, secret): &(&String, &Secret)| {
            old.secret_files.get(*name).is_some_and(|before| before.reveal() != secret.reveal())
        };
        changes.secret_files =
            self.secret_files.iter().filter(is_changed).map(|(name, _)| name.clone()).collect();
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
    /// Files of secrets whose content differs.
    pub secret_files: Vec<String>,
}
