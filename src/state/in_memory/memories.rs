//! The memory of conversations, in memory.

use std::collections::{BTreeMap, HashMap};

use crate::state::conversation::{Conversation, Memory, Remembered};
use crate::state::engine::{Result, SealedChange};
use crate::state::error::StateError;

#[derive(Debug, Default)]
pub(super) struct Memories(HashMap<Conversation, Entry>);

#[derive(Debug, Clone, Default)]
struct Entry {
    values: BTreeMap<String, (Remembered, usize)>,
    expires_at: i64,
}

impl Memories {
    pub(super) fn recall(&mut self, conversation: &Conversation, now: i64, ttl_ms: i64) -> Memory {
        let memory = self.0.get_mut(conversation).filter(|memory| now < memory.expires_at);
        let Some(memory) = memory else { return Vec::new() };
        memory.expires_at = memory.expires_at.max(now.saturating_add(ttl_ms));
        memory.values.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    pub(super) fn remember(
        &mut self,
        conversation: &Conversation,
        changes: Vec<SealedChange>,
        now: i64,
        ttl_ms: i64,
    ) -> Result<()> {
        let memory = self.0.get(conversation).filter(|memory| now < memory.expires_at);
        let mut memory = memory.cloned().unwrap_or_default();
        let sizes = memory.values.iter().map(|(name, (_, bytes))| (name.clone(), *bytes));
        SealedChange::check_limits(sizes, &changes).map_err(|fault| StateError::new(fault, "memory", ""))?;
        for SealedChange { name, value, bytes } in changes {
            match value {
                Some(value) => memory.values.insert(name, (value, bytes)),
                None => memory.values.remove(&name),
            };
        }
        memory.expires_at = memory.expires_at.max(now.saturating_add(ttl_ms));
        self.0.insert(conversation.clone(), memory);
        Ok(())
    }

    pub(super) fn forget(&mut self, platform: Option<&str>, id: &str) -> u64 {
        let mut forgotten = 0;
        self.0.retain(|conversation, memory| {
            let is_meant =
                conversation.id == id && platform.is_none_or(|known| known == conversation.platform);
            forgotten += if is_meant { memory.values.len() as u64 } else { 0 };
            !is_meant
        });
        forgotten
    }

    pub(super) fn purge(&mut self, now: i64) -> u64 {
        let before = self.0.len();
        self.0.retain(|_, memory| now < memory.expires_at);
        (before - self.0.len()) as u64
    }
}
