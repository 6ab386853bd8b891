//! What a reload changed.

use super::Plan;

impl Plan {
    /// The names of the routes that came, went and changed since `old`, each list sorted.
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

/// What a reload changed, by route name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Routes that were not there before.
    pub added: Vec<String>,
    /// Routes that are not there any more.
    pub removed: Vec<String>,
    /// Routes that say something else, or whose templates, upstream or defaults do.
    pub changed: Vec<String>,
}
